# How large the log is where it lies in memory: it leaves the program what it needs. The control group's
# limits are files of the test's own, mounted over /sys/fs/cgroup in a mount namespace of its own.
. "$(dirname "$0")/lib.sh"
mkdir -p cg/memory spool
inside() {
  unshare --mount bash -c 'mount --bind cg /sys/fs/cgroup && mount -t tmpfs none spool && "$@"
    status=$?; cp -r spool/. kept 2>/dev/null; exit $status' _ timeout 60 "$driver" "$@" 2>err
}
inside true 2>/dev/null || exit 77
limit() {  # MIB_FREE
  rm -rf kept && mkdir kept
  echo $((100 << 20)) > cg/memory.max
  echo $(((100 - $1) << 20)) > cg/memory.current
}
logs() { stat -c %s kept/*/run.shmlog 2>/dev/null; }
said() { grep -qF -- "$1" "${2:-err}" && echo said; }

limit 80
SHMREC_LOG_SIZE=64MiB inside --keep-spool sh -c 'exit 5'
check "an eighth" "5 $((10 << 20))" "$? $(logs)"
why="the log has 10MiB of the 64MiB that the policy allows: the spool is in memory"
check "...said" said "$(said "$why")"
check "...in launcher.log" said "$(said "$why" "$(echo kept/*/launcher.log)")"
check "...in run.json" said "$(said "\"logSize\": \"$why" "$(echo kept/*/run.json)")"
limit 80
SHMREC_LOG_SIZE=9MiB inside --keep-spool sh -c 'exit 5'
check "what fits is as wished" "5 $((9 << 20)) " "$? $(logs) $(said 'the log has')"
check "...in launcher.log" said "$(said 'the log has 9MiB' "$(echo kept/*/launcher.log)")"
limit 33
inside --keep-spool sh -c 'exit 5'
check "the smallest may take a quarter" "5 $((8 << 20))" "$? $(logs)"
limit 31
inside --keep-spool sh -c 'exit 5'
check "no room" "5 " "$? $(logs)"
check "...said" said "$(said "the command runs unrecorded: $work/spool: no room for a log of 8MiB")"
limit 31
SHMREC_FAILURE_POLICY=closed inside --keep-spool sh -c 'exit 5'
check "no room, closed" "125 " "$? $(logs)"
check "...said" said "$(said "not started, because it cannot be recorded: $work/spool: no room")"
finish
