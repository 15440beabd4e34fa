# What outlives what: processes that outlive the command, the launcher's death, a full spool.
. "$(dirname "$0")/lib.sh"

wait_for_file() { for _ in $(seq 200); do [ -e "$1" ] && return; sleep 0.02; done; }

keepers() { pgrep -cx shmrec-keeper; }
before=$(keepers)

# The command ends first. What it left goes on, and can still exec although the launcher is gone.
run sh -c "(sleep 1; $victim > late; touch late-done) >/dev/null 2>&1 & "
check "does not wait for what the command left" "" "$(cat late 2>/dev/null)"
grep -q 'not recorded: processes that outlived the command' err
check "...and says so" 0 $?
wait_for_file late-done
check "...which goes on, unrecorded" native "$(cat late)"
for _ in $(seq 50); do [ "$(keepers)" -gt "$before" ] || break; sleep 0.1; done
check "no keeper stays" "$before" "$(keepers)"

run --wait-all sh -c "(sleep 0.3; $victim > all) &"
check "--wait-all waits" recorded "$(cat all)"

# As the first process of a pid namespace it ends everything with the command, as the kernel would.
if unshare --pid --fork --mount-proc true 2>/dev/null; then
  timeout 20 unshare --pid --fork --mount-proc "$driver" --keep-spool sh -c 'sleep 100 & exit 3' 2>err
  check "exit code as pid 1" 3 $?
  check "...ends the others" 0 "$(grep -c 'outlived' err)"
  check "...and reaps them" 1 "$(cat spool/*/events.jsonl | grep '"type":"exit"' | grep -c '"status":9')"
  rm -rf spool
fi

# The launcher is killed. A command that runs goes on.
"$driver" sh -c 'echo > up; sleep 0.5; echo > survived' 2>err & launcher=$!
wait_for_file up
kill -9 $launcher
wait $launcher 2>/dev/null
wait_for_file survived
check "the command survives the launcher" 0 "$([ -e survived ]; echo $?)"
check "...and the run directory stays" 1 "$(find spool -name 'sh-*' -type d | wc -l)"
rm -rf spool up survived

printf 'apiVersion: shmrec/v1\nkind: Policy\nonLauncherDeath: kill\n' > kill.yaml
"$driver" --policy kill.yaml sh -c 'echo > up; sleep 0.5; echo > survived' 2>err & launcher=$!
wait_for_file up
kill -9 $launcher
wait $launcher 2>/dev/null
sleep 0.8
check "onLauncherDeath: kill" "" "$(cat survived 2>/dev/null)"
rm -rf spool up

# What cannot be recorded runs, or is refused: as the policy says.
printf 'apiVersion: shmrec/v1\nkind: Policy\nfailurePolicy: closed\n' > closed.yaml
# The inner launcher cannot; the outer one records what it starts.
check "a second listener, failurePolicy open" recorded "$(run "$driver" "$victim")"
grep -q 'another seccomp listener' err
check "...is explained" 0 $?
run "$driver" --policy closed.yaml "$victim" > out
check "a second listener, failurePolicy closed" 125 $?
check "...did not run" "" "$(cat out)"
check "no spool, failurePolicy open" native "$(SHMREC_SPOOL=/proc/nowhere run "$victim")"
SHMREC_SPOOL=/proc/nowhere run --policy closed.yaml "$victim" > out
check "no spool, failurePolicy closed" 125 $?

# What killed launchers left counts: two logs of 8 MiB do not fit in 15.
rm -rf spool; mkdir -p spool/left-behind
fallocate -l 7MiB spool/left-behind/run.shmlog
check "a spool with room" recorded "$(SHMREC_RECORDING_SIZE=8MiB SHMREC_SPOOL_SIZE=15MiB run "$victim")"
fallocate -l 8MiB spool/left-behind/run.shmlog
check "a spool without room, failurePolicy open" native "$(SHMREC_RECORDING_SIZE=8MiB SHMREC_SPOOL_SIZE=15MiB run "$victim")"
grep -q 'earlier runs take 8 MiB.*at most spoolSize (15 MiB).*shmrec bundle create' err
check "...is explained" 0 $?
SHMREC_RECORDING_SIZE=8MiB SHMREC_SPOOL_SIZE=15MiB run --policy closed.yaml "$victim" > out
check "a spool without room, failurePolicy closed" 125 $?

rm -rf spool
(cd /proc && run true)
check "a bundle that cannot be written: the run is kept" 1 "$(ls spool | wc -l)"
check "...and said to be" 1 "$(grep -c 'shmrec bundle create .*/spool/true-' err)"
rm -rf spool ./*.zst
check "--on-failure, success" "" "$(run --on-failure true; ls ./*.zst 2>/dev/null | grep true-)"
run --on-failure sh -c 'exit 4'
check "--on-failure, failure" 1 "$(ls ./sh-*.zst | wc -l)"
check "the spool is empty after bundling" "" "$(ls spool)"
finish
