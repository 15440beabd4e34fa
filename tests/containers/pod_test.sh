#!/bin/bash
# A pod with the example, a process that is not recorded, and the sidecar: the example fails, and the
# bundle is brought out as `kubectl shmrec pull` does it, and names the bug.
# usage: pod_test.sh VARIANT DIRECTORY_OF_PROGRAMS
#   user   one user for application and sidecar; the bundle comes by exec, from a Unix socket without token
#   group  two users with a group in common (fsGroup); it comes by port-forward with the token, and by exec
# kubectl is a program that does with podman what it would do with a pod. Exit status 77: not root, or
# what is needed is not there. A failure keeps its files and says where.
set -euo pipefail
variant=$1 programs=$2
pod=shmrec-pod-$variant
. "$(dirname "$0")/pod.sh"
skip_unless_possible
case $variant in
  user) sidecar_user=1000 ;;
  group) sidecar_user=65532 ;;
  *) echo "no such variant: $variant" >&2; exit 2 ;;
esac

begin "$variant" "$programs"

# ---- The pod

listen() {
  case $variant in
    user) printf '%s\n' -e SHMREC_LISTEN=unix:/var/lib/shmrec/api.sock -e SHMREC_NO_AUTH=1 ;;
    group) printf '%s\n' -e SHMREC_LISTEN=127.0.0.1:7070 -e SHMREC_TOKEN_FILE=/etc/shmrec/token ;;
  esac
}

make_volumes $sidecar_user
cp "$programs/shmem_producer_consumer" "$work/app"
printf 'apiVersion: shmrec/v1\nkind: Sidecar\n' >"$work/config/sidecar.yaml"
printf 'a-token-for-%s\n' "$(tr -dc a-z0-9 </dev/urandom | head -c 32)" >"$work/config/token"
chgrp 2000 "$work/config/token"
chmod 440 "$work/config/token"
install_tools
make_pod
mapfile -t listening < <(listen)
create_sidecar $sidecar_user "${listening[@]}"
create_app -- /shmrec/shmrec run -- /app/shmem_producer_consumer
podman create --pod "$pod" --name "$pod-peer" "${in_pod[@]}" --user 1001:1001 "$image" \
  sh -c 'while :; do i=$((i + 1)); echo $i 1<>/dev/shm/peer; sleep 0.05; done' >/dev/null

start peer
start sidecar
wait_until "health of the sidecar" 20 sidecar_is_ready
start app

# ---- What the application's owner sees

await_example
wait_until "empty spool" 30 spool_is_empty
is_over peer && fail "the peer has ended"
[ -n "$(podman exec "$pod-peer" cat /dev/shm/peer)" ] || fail "the peer has not written"

# ---- kubectl shmrec

cat >"$work/kubectl" <<END
#!/bin/bash
# exec POD -c CONTAINER -- COMMAND...   port-forward POD :PORT
[ "\$2" = pod/web ] || exit 9
case \$1 in
  exec) exec "$work/podman" exec "$pod-\${4#shmrec-}" "\${@:6}" ;;
  port-forward) exec python3 "$containers/port_forward.py" "$(podman inspect --format '{{.State.Pid}}' "$pod-sidecar")" "\${3#:}" ;;
esac
END
write_podman "$work/podman"
chmod 755 "$work/kubectl"
plugin() {
  KUBECTL=$work/kubectl SHMREC=$programs/shmrec SHMREC_TOKEN_FILE=$work/config/token \
    "$containers/../../deploy/kubectl-shmrec" "$@"
}

plugin bundles pod/web >"$work/bundles" || fail "kubectl shmrec bundles"
grep -q ' exit 1$' "$work/bundles" || { cat "$work/bundles"; fail "no bundle for exit 1"; }
mkdir "$work/pull"
cd "$work/pull"
plugin pull pod/web >name 2>verified || { cat verified; fail "kubectl shmrec pull"; }
bundle=$(cat name)
if [ "$variant" = group ]; then
  plugin pull pod/web --port -o "$work/by_port.shmrec.tar.zst" >"$work/pulled" 2>&1 ||
    { cat "$work/pulled"; fail "kubectl shmrec pull --port"; }
  cmp "$bundle" "$work/by_port.shmrec.tar.zst" || fail "exec and port differ"
  SHMREC_TOKEN_FILE='' SHMREC_TOKEN=wrong KUBECTL=$work/kubectl "$containers/../../deploy/kubectl-shmrec" \
    bundles pod/web --port >/dev/null 2>"$work/refused" && fail "a wrong token was taken"
  grep -q 401 "$work/refused" || { cat "$work/refused"; fail "a wrong token is not refused with 401"; }
fi

# ---- The answer, where neither the program nor the pod's paths exist

"$programs/shmrec" bundle verify "$bundle" >"$work/verified" 2>&1 || { cat "$work/verified"; fail "verify"; }
[ ! -e /app/shmem_producer_consumer ] || fail "this machine has the program, so blame shows nothing"
blame_example "$bundle"
echo "\$ kubectl logs pod/web"
cat "$work/output"
echo "\$ kubectl shmrec pull pod/web"
cat verified name
echo "\$ shmrec blame $bundle --recording consumer $address"
cat "$work/blame"
podman stop -t 10 "$pod-sidecar" >/dev/null
[ "$(podman inspect --format '{{.State.ExitCode}}' "$pod-sidecar")" = 0 ] || fail "the sidecar does not end in order"
