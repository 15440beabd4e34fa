# Programs that change their user, as gosu and setpriv do. Needs root.
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || exit 77
chmod 755 "$work"
cp "$victim" ./v && chmod 755 v
cp "$(command -v setpriv)" ./readable-setpriv

as_user="setpriv --reuid 1000 --regid 1000 --clear-groups"
without() { setpriv --bounding-set "$1" --inh-caps "$1" "${@:2}"; }

check "root launcher with CAP_SYS_PTRACE" recorded "$(run $as_user ./v)"
check "unprivileged launcher" recorded \
  "$(SHMREC_SPOOL=$(mktemp -d -p /tmp) ; chown 1000 "$SHMREC_SPOOL"; export SHMREC_SPOOL
     $as_user "$driver" ./v 2>err; rm -rf "$SHMREC_SPOOL")"
finish
