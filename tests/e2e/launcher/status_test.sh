# Exit codes, signals, descriptors and everything inherited are the command's own.
. "$(dirname "$0")/lib.sh"

code() { run "$@" >out; echo $?; }
check "exit code" 7 "$(code sh -c 'exit 7')"
check "death by signal" 137 "$(code sh -c 'kill -9 $$')"
check "death by SIGSEGV" 139 "$(code sh -c 'kill -SEGV $$')"
rm -f ./*.zst
check "not found" 127 "$(code no-such-command)"
check "not found, said" "shmrec: no-such-command: No such file or directory" "$(cat err)"
check "not executable" 126 "$(code /etc/passwd)"
check "a directory" 126 "$(code /tmp)"
check "nothing is left of a command that did not start" "" "$(ls spool 2>/dev/null; ls ./*.zst 2>/dev/null)"
echo 'kind: nonsense' > bad.yaml
check "bad policy" 2 "$(code --policy bad.yaml true)"
printf 'apiVersion: shmrec/v1\nkind: Policy\nsegments:\n- match: {kind: file, path: /tmp/**}\n  mode: shadow\n  direction: in\n' > shadow.yaml
check "policy that asks for a later release" 2 "$(code --policy shadow.yaml true)"

# One shell sets both up: ignored signals, a descriptor, limits. $_ names the first program.
state() {
  (umask 027; ulimit -n 777; trap '' USR1 PIPE "$1"; shift; exec 7</dev/null
   "$@" "$victim" state 2>/dev/null | grep -v '^_=')
}
bare() { "$@"; }
for ignored in HUP CHLD; do
  check "inherited state, SIG$ignored ignored" "$(state $ignored bare)" "$(state $ignored "$driver")"
done
descriptors() { "$@" "$victim" state <&- 2>&- | grep '^fd'; }
check "closed standard descriptors" "$(descriptors bare)" "$(descriptors "$driver")"
check "stdin and stdout" "hello" "$(echo hello | run cat)"

# Signals sent to the launcher reach the command; its handler decides.
for signal in TERM INT HUP QUIT USR1 USR2 WINCH RTMIN; do
  rm -f ready
  # bash ignores SIGINT and SIGQUIT in background commands, so the handler is set by perl.
  perl -e '$SIG{$_} = "DEFAULT" for keys %SIG; exec @ARGV' "$driver" \
    perl -e '$SIG{$ARGV[0]} = sub { exit 3 }; open F, ">ready"; close F; select undef, undef, undef, 0.05 while 1' \
    $signal 2>err & launcher=$!
  while [ ! -e ready ]; do sleep 0.02; done
  kill -$signal $launcher
  wait $launcher
  check "SIG$signal is forwarded" 3 $?
done

run --keep-spool "$victim" orphans 5
check "orphans are reaped" 6 "$(cat spool/*/events.jsonl | grep -c '"type":"exit"')"
finish
