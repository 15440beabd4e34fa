# What the launcher notes when the kernel kills a child for want of memory. The control group's counter is
# a file of the test's own, mounted over /sys/fs/cgroup in a mount namespace of its own.
. "$(dirname "$0")/lib.sh"
mkdir -p cg/memory
inside() { unshare --mount bash -c 'mount --bind cg /sys/fs/cgroup && "$@"' _ "$@"; }
inside true 2>/dev/null || exit 77
ooms() { grep -h '"type":"oom"' spool/*/events.jsonl | sed 's/"time":"[^"]*"/"time":T/'; rm -rf spool; }
count() { echo "oom 9
oom_kill $1" > cg/memory.events; }
export -f count

count 3
inside timeout 60 "$driver" --keep-spool sh -c 'kill -9 $$' 2>err
check "SIGKILL without a rise" "137 " "$? $(ooms)"
inside timeout 60 "$driver" --keep-spool bash -c 'count 5; kill -9 $$' 2>err
check "SIGKILL with a rise" '137 {"time":T,"type":"oom","count":2}' "$? $(ooms)"
inside timeout 60 "$driver" --keep-spool bash -c 'count 6; exit 3' 2>err
check "another end" "3 " "$? $(ooms)"
# A grandchild whose parent is gone is the launcher's to reap; the command goes on.
inside timeout 60 "$driver" --keep-spool --wait-all bash -c '(sh -c "sleep 0.3; echo oom_kill 9 > cg/memory.events; kill -9 \$\$" &) ; exit 0' 2>err
check "a descendant" '0 {"time":T,"type":"oom","count":3}' "$? $(ooms)"
finish
