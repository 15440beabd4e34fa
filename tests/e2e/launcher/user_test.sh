# Programs of another user than the launcher's, as gosu and setpriv start them. Needs root.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || exit 77
chmod 755 "$work"
cp "$victim" ./v
cp "$(command -v setpriv)" ./setpriv
as_user="$work/setpriv --reuid 1000 --regid 1000 --clear-groups"
unprivileged() { $as_user --no-new-privs --bounding-set -all --inh-caps -all "$@"; }
# As a container's root has it: CAP_SETUID and CAP_SETGID, but no CAP_SYS_PTRACE.
container_root() { ./setpriv --bounding-set -sys_ptrace,-sys_admin --inh-caps -all "$@"; }

mkdir -m 777 free && export SHMREC_SPOOL=$work/free/spool
check "unprivileged launcher" recorded "$(cd free && unprivileged "$driver" ../v 2>"$work/err")"
rm -rf free/spool
check "root launcher, root command" recorded "$(run ./v)"
check "container's root, root command" recorded "$(container_root "$driver" ./v 2>err)"

# The stand-in agent does not make its process dumpable before execve as the agent does, so the exec
# that follows the change of user is the one the kernel lets only CAP_SYS_PTRACE reach; the next is not.
check "root launcher with CAP_SYS_PTRACE" recorded "$(run $as_user ./v)"
check "container's root, second exec of another user" recorded \
  "$(container_root "$driver" $as_user ./v exec ./v 2>err)"
check "container's root, with groups" recorded \
  "$(container_root "$driver" ./setpriv --reuid 1000 --regid 2000 --groups 3000 ./v exec ./v 2>err)"
check "container's root, the command keeps its capabilities" \
  "$(container_root ./v state | grep Cap)" "$(container_root "$driver" ./v state 2>err | grep Cap)"

# Signals reach a command of another user.
"$driver" $as_user perl -e '$SIG{TERM} = sub { exit 3 }; open F, ">free/ready"; close F;
  select undef, undef, undef, 0.05 while 1' 2>err & launcher=$!
for _ in $(seq 200); do [ -e free/ready ] && break; sleep 0.02; done
kill -TERM $launcher
wait $launcher
check "SIGTERM is forwarded to another user" 3 $?
finish
