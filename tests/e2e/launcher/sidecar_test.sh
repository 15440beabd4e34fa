# With a sidecar: the handshake, who makes the bundle, and all that a sidecar can do wrong. The sidecar is
# fake_sidecar.py, which writes what it gets to the file "heard".
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || exit 77
socket=$work/s/sidecar.sock
mkdir s
heard() { cat heard 2>/dev/null; }
wait_for() { for _ in $(seq 200); do grep -q "$1" "$2" 2>/dev/null && return; sleep 0.05; done; return 1; }
clean() { rm -rf spool ./*.zst up go; }
bundles() { ls ./*.zst 2>/dev/null | wc -l; }

# None, and none to be expected: nothing is said, nothing is waited for.
check "without a sidecar" recorded "$(run "$victim")"
check "...bundles here" 1 "$(bundles)"
grep -q sidecar err
check "...and does not speak of one" 1 $?
clean

# One that answers.
export SHMREC_SOCKET=$socket
start answer
check "with a sidecar" recorded "$(CONTAINER_NAME=web run "$victim")"
check "...no bundle is made here" 0 "$(bundles)"
name=$(ls spool)
check "...the run stays, ended in order" "binaries
cores
end.json
events.jsonl
launcher.log
run.json
run.shmlog" "$(ls spool/"$name")"
wait_for '^end' heard
check "...the sidecar heard of both" '{"container":"web","launcherPid":PID,"probe":".probe-PID-KEY","type":"hello","version":1}
{"name":"NAME","type":"run"}
end' "$(heard | sed -E "s/Pid\":[0-9]+/Pid\":PID/; s/\.probe-[0-9]+-[0-9]+/.probe-PID-KEY/; s/$name/NAME/")"
check "...the report says who has it" "shmrec: run $name is left to the sidecar, which keeps bundles by its rules
shmrec: they are listed by: shmrec-sidecar request /v1/bundles, in its container" "$(tail -2 err)"
check "...the log is free" 0 "$(flock --nonblock --exclusive "spool/$name/run.shmlog" true; echo $?)"
check "...the log says which sidecar" 1 "$(grep -c "collects this run, instance $(printf %08x $sidecar)" spool/*/launcher.log)"
clean
KUBERNETES_SERVICE_HOST=10.0.0.1 run sh -c 'exit 9'
check "exit code with a sidecar" 9 $?
check "...in Kubernetes the report names the plugin" \
  "shmrec: they are listed by: kubectl shmrec bundles POD; in the sidecar: shmrec-sidecar request /v1/bundles" \
  "$(tail -1 err)"
clean
run no-such-command
check "a command that cannot be started" "127 " "$? $(ls spool)"
clean
check "the command does not inherit the connection" "$(SHMREC_SOCKET= run "$victim" state | grep '^fd')" \
  "$(run "$victim" state | grep '^fd')"
clean
# Found in the spool, without a variable.
mkdir spool && ln -s "$socket" spool/sidecar.sock
SHMREC_SOCKET= run true
check "found by sidecar.sock in the spool" "0 1" "$(bundles) $(ls spool | grep -c '^true-')"
clean
stop

# Ones that do not answer, each in its own way: recorded and bundled here, loudly.
export SHMREC_SIDECAR_WAIT=300ms
local_run() {  # local_run WHAT REASON
  check "$1: recorded" recorded "$(run "$victim")"
  check "$1: bundled here" 1 "$(bundles)"
  check "$1: said on stderr" 1 "$(grep -c "^shmrec: recording without the sidecar: no sidecar answered at $socket within 300ms: $2" err)"
  check "$1: said in the report" 1 "$(grep -c '^shmrec: not recorded: collection by the sidecar:' err)"
  tar --zstd -xOf ./*.zst coverage.json launcher.log > texts
  check "$1: in the coverage list and the log" 2 "$(grep -c "no sidecar answered at $socket" texts)"
  check "$1: no control characters" 0 "$(grep -c "$(printf '\033')" err texts | grep -vc ':0$')"
  clean
}
rm -f "$socket"
local_run "nobody listens" 'No such file or directory'
start answer; stop
local_run "a socket that nobody serves" 'Connection refused'
start silent;  local_run silent 'it accepted, but did not answer'; stop
start hangup;  local_run hangup 'it hung up'; stop
start garbage; local_run garbage "it answered 'HTTP/1.1 400 Bad "; stop
start number;  local_run number "it answered '\[17\]'"; stop
start long;    local_run long 'it sent a line without end'; stop
start refuse;  local_run refuse 'it refused: no more\\x1b\[31m launchers'; stop
start version; local_run version 'it speaks another version'; stop
touch plain
socket_was=$socket; socket=$work/plain; SHMREC_SOCKET=$socket; local_run "no socket" 'Connection refused'
socket=$socket_was; SHMREC_SOCKET=$socket
long=$work/$(printf 'x%.0s' $(seq 120)); socket=$long; SHMREC_SOCKET=$socket
local_run "a path too long for a socket" 'its path has [0-9]* bytes; expected 1 to 107'
socket=$socket_was; SHMREC_SOCKET=$socket
start slow; SHMREC_SIDECAR_WAIT=5s run true
check "one that answers byte by byte" "0 1" "$(bundles) $(ls spool | wc -l)"
stop; clean

# Required: refused instead.
for how in none silent hangup garbage; do
  [ $how = none ] || start $how
  SHMREC_SIDECAR_REQUIRED=true run touch up
  check "required, $how" "125 absent" "$? $([ -e up ] || echo absent)"
  check "...is said" 1 "$(grep -c '^shmrec: not started, because the policy requires the sidecar: no sidecar answered' err)"
  stop; clean
done
SHMREC_SOCKET= SHMREC_SIDECAR_REQUIRED=true run touch up
check "required, and no place named" "125 1" "$? $(grep -c "no sidecar answered at $work/spool/sidecar.sock" err)"
clean

# It comes late, but in time.
rm -f "$socket" heard
(sleep 0.7; exec python3 "$fake" "$socket" "$work/heard") & sidecar=$!
SHMREC_SIDECAR_WAIT=20s run true
check "it comes late" "0 1" "$(bundles) $(ls spool | wc -l)"
stop; clean

# It restarts while the command runs: found again, told again; the command does not notice.
start answer
run sh -c 'touch up; while [ ! -e go ]; do sleep 0.02; done; exit 5' & launcher=$!
for _ in $(seq 200); do [ -e up ] && break; sleep 0.02; done
for mode in answer hangup garbage silent answer; do stop; sleep 0.1; start $mode; wait_for hello heard; done
wait_for '"type":"run"' heard
check "a sidecar that restarts is told of the run again" 0 $?
touch go; wait $launcher
check "...the command ends as it would" 5 $?
check "...and is left to the sidecar" "0 1" "$(bundles) $(grep -c 'is left to the sidecar, which keeps' err)"
check "...the log says what happened" "1 1" "$(for text in 'the sidecar is gone: it hung up' 'the sidecar is back'; do
  [ "$(grep -c "$text" spool/*/launcher.log)" -gt 0 ] && echo 1; done | xargs)"
stop; clean

# It goes and does not come back: the run waits for it.
start answer
run sh -c 'touch up; while [ ! -e go ]; do sleep 0.02; done' & launcher=$!
for _ in $(seq 200); do [ -e up ] && break; sleep 0.02; done
stop; touch go; wait $launcher
check "a sidecar that is gone at the end" "0 0 1" "$? $(bundles) $(grep -c 'is not there right now' err)"
clean

# One that hears of runs and hangs up costs no processor time: pauses grow.
start hello
run sh -c 'touch up; sleep 2' 
check "a sidecar that hangs up again and again" 1 "$([ "$(grep -c hello heard)" -le 60 ] && echo 1)"
stop; clean

# Killed: the sidecar sees the end of the line at once, and the log's lock go.
start answer
"$driver" --policy <(printf 'apiVersion: shmrec/v1\nkind: Policy\nonLauncherDeath: kill\n') sh -c 'touch up; exec sleep 20' 2>err & launcher=$!
for _ in $(seq 200); do [ -e up ] && break; sleep 0.02; done
kill -9 $launcher; wait $launcher 2>/dev/null
wait_for '^end' heard
check "the launcher is killed" 0 $?
timeout 5 flock --exclusive spool/sh-*/run.shmlog true
check "...the log is free when all are gone" 0 $?
stop; clean
finish
