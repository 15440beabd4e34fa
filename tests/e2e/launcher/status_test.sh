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
check "bad policy" 2 "$(code --strict --policy bad.yaml true)"
printf 'apiVersion: shmrec/v1\nkind: Policy\nsegments:\n- match: {path: /tmp/**}\n  mode: shadow\n  direction: in\n' > shadow.yaml
check "policy that asks for a later release" 2 "$(code --strict --policy shadow.yaml true)"

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

# A process group of the launcher's, as a shell with job control makes it.
group() { perl -e 'setpgrp; $SIG{$_} = "DEFAULT" for keys %SIG; exec @ARGV' "$@"; }
number() { kill -l "$1"; }
# The group's members get a signal that one of them sends to it: the command dies as it would alone,
# and the launcher lives to say so.
for signal in HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT XCPU XFSZ \
  VTALRM PROF IO PWR SYS RTMIN RTMAX; do
  rm -f ./*.zst
  group "$driver" sh -c 'kill -$0 0; sleep 5' "$(number $signal)" 2>err
  status=$?
  check "SIG$signal to the group: the command's death" $((128 + $(number $signal))) $status
  check "SIG$signal to the group: a bundle" 1 "$(ls ./*.zst 2>/dev/null | wc -l)"
done
# Once each, whoever of the group sends it, alive or dead when it is looked for: one that has forked
# and ended is known by its recording.
cat > counted <<'END'
$n = 0; $SIG{$ARGV[0]} = sub { ++$n };
system("perl", "-e", "kill \$ARGV[0], 0", $ARGV[0]);
kill $ARGV[0], 0;
if (!($child = fork)) { kill $ARGV[0], 0; exit }
waitpid $child, 0;
select undef, undef, undef, 0.3;
print "$n\n";
END
for signal in TERM USR1 ABRT; do
  alone=$(group perl counted $signal)
  check "SIG$signal to the group arrives as often as alone" "$alone" "$(group "$bin/shmrec" run -q -- perl counted $signal 2>err)"
done
for signal in SEGV ABRT TRAP; do
  rm -f ready
  perl -e '$SIG{$_} = "DEFAULT" for keys %SIG; exec @ARGV' "$driver" perl -e 'open F, ">ready"; close F; sleep 60' \
    2>err & launcher=$!
  while [ ! -e ready ]; do sleep 0.02; done
  kill -$signal $launcher
  wait $launcher
  status=$?
  check "SIG$signal is forwarded and ends the command" $((128 + $(number $signal))) $status
done
# A signal to stop that the group gets stops the whole job, and it goes on.
cat > stopping.sh <<END
set -m
$driver perl -e 'kill \$ARGV[0], 0; print "went on\n"' \$1 &
wait %1; echo "stopped with \$((\$? - 128))"
fg >/dev/null
END
for signal in TSTP TTIN TTOU; do
  # Only a job of a terminal's session stops; SIGTTIN and SIGTTOU stop the launcher by SIGTSTP.
  command -v script >/dev/null || break
  out=$(timeout 20 script -qec "bash --norc stopping.sh $(number $signal)" /dev/null 2>&1 </dev/null | tr -d '\r')
  check "SIG$signal to the group stops the job" 1 "$(grep -c 'stopped with 20' <<<"$out")"
  check "SIG$signal to the group: the job goes on" 1 "$(grep -c '^went on' <<<"$out")"
done

# SIGKILL to the group takes the launcher too; what was recorded stays, and a bundle can be made.
rm -rf spool
group "$driver" perl -e 'kill 9, 0' 2>err
check "SIGKILL to the group" 137 $?
"$bin/shmrec" bundle create -o killed.zst spool/* >out 2>&1 && "$bin/shmrec" bundle verify killed.zst >>out 2>&1
check "SIGKILL to the group loses nothing" 0 $?

rm -rf spool
run --keep-spool "$victim" orphans 5
check "orphans are reaped" 6 "$(cat spool/*/events.jsonl | grep -c '"type":"exit"')"
finish
