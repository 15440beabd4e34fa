# Sourced: a pod as `shmrec inject` makes one, with podman: no shared PID namespace, every container
# under Pod Security "restricted" (no capability, no new privileges, read-only root, uid not 0). Its
# volumes are directories of $work, so that the tests see what is in them. What stands for an emptyDir
# with fsGroup is a directory of that group with the setgid bit.
#
# Before: $pod (a name of the test's own), $programs. Sets $sidecar_image; begin sets $work; $sidecar is the
# name of the sidecar's container in the pod.
# shellcheck shell=bash disable=SC2154
. "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/podman.sh"
sidecar_image=localhost/shmrec-test:pod
sidecar=sidecar
# shellcheck disable=SC2034
containers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
  echo "FAILED: $1"
  podman logs "$pod-$sidecar" 2>&1 | tail -n 40 || true
  exit 1
}

skip_unless_possible() {
  [ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
  command -v podman >/dev/null || { echo "skipped: needs podman"; exit 77; }
  [ -x "$programs/shmrec-sidecar" ] || { echo "skipped: shmrec-sidecar is not built"; exit 77; }
}

# Pods have fixed names, so that what a killed test left is found: one at a time of each name.
take_turn() {
  mkdir -p "$storage"
  exec 9>"$storage/$pod.lock"
  flock 9
}

# Where not even a pod of `true` runs, what fails is not ours. Found out once. REQUIRES: take_turn.
skip_without_pods() {
  local output known
  known=$storage/makes-pods-$(cat /proc/sys/kernel/random/boot_id)
  [ ! -e "$known" ] || return 0
  podman pod rm -f -t 0 "$pod-probe" >/dev/null 2>&1 || true
  output=$(podman pod create --name "$pod-probe" --share ipc,net,uts --network none 2>&1 &&
    podman run --rm --pod "$pod-probe" "${in_pod[@]}" --user 1000:1000 "$image" /bin/true 2>&1) ||
    { echo "skipped: podman makes no pods here: $output"; exit 77; }
  podman pod rm -f -t 0 "$pod-probe" >/dev/null 2>&1
  touch "$known"
}

# Sets $work, whose files stay if the test fails. ARGUMENTS: to repeat it.
begin() {
  repeat="$0 $*"
  take_turn
  skip_without_pods
  work=$(mktemp -d /var/tmp/"$pod"-XXXXXX)
  trap finish EXIT
  remove_pod  # what a killed test left
}

finish() {
  local status=$?
  remove_pod
  umount "$work/store" "$work/spool" 2>/dev/null || true  # where a test has mounted them
  if [ $status = 0 ]; then rm -rf "$work"; else echo "files: $work; repeat: $repeat"; fi
}

# A program that knows the storage, for those who call podman by name.
write_podman() {
  { echo '#!/bin/bash'; declare -p storage CONTAINERS_CONF; declare -f podman; echo 'podman "$@"'; } >"$1"
  chmod 755 "$1"
}

make_volumes() {  # SIDECAR_UID
  mkdir "$work"/{tools,spool,store,config,app,shared}
  chmod 755 "$work" "$work"/{app,config}
  chmod 2770 "$work/spool"
  chgrp 2000 "$work/spool"
  chown 1000:1000 "$work"/{tools,shared}
  chown "$1:$1" "$work/store"
  chmod 700 "$work/store"
}

# Without tmpfs at /tmp and /run, which podman would add to a read-only root and Kubernetes does not.
restricted=(--network=none --cap-drop=all --security-opt no-new-privileges --read-only
  --read-only-tmpfs=false --group-add 2000)
in_pod=(--cap-drop=all --security-opt no-new-privileges --read-only --read-only-tmpfs=false --group-add 2000)

# Fills the volume as the init container does.
install_tools() {
  podman run --rm "${restricted[@]}" --user 1000:1000 -v "$work/tools:/shmrec" \
    --entrypoint /usr/bin/shmrec "$sidecar_image" install /shmrec >/dev/null || fail "shmrec install"
}

make_pod() { podman pod create --name "$pod" --share ipc,net,uts --network none >/dev/null; }
remove_pod() { podman pod rm -f -t 0 "$pod" >/dev/null 2>&1 || true; }

# $as (sidecar) is its name in the pod.
create_sidecar() {  # UID [OPTION_OF_PODMAN]...
  local user=$1
  shift
  podman create --pod "$pod" --name "$pod-${as:-sidecar}" "${in_pod[@]}" --user "$user:$user" \
    -v "$work/spool:/var/spool/shmrec" -v "$work/store:/var/lib/shmrec" -v "$work/config:/etc/shmrec:ro" \
    -e SHMREC_SPOOL=/var/spool/shmrec -e SHMREC_STORE=/var/lib/shmrec \
    -e SHMREC_SIDECAR_CONFIG=/etc/shmrec/sidecar.yaml "$@" "$sidecar_image" >/dev/null
}

create_app() {  # [OPTION_OF_PODMAN]... -- COMMAND...
  local options=()
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  podman create --pod "$pod" --name "$pod-app" "${in_pod[@]}" --user 1000:1000 -w /shared \
    -v "$work/tools:/shmrec:ro" -v "$work/spool:/var/spool/shmrec" -v "$work/app:/app:ro" \
    -v "$work/shared:/shared" -e SHMREC_SPOOL=/var/spool/shmrec "${options[@]}" "$image" "$@" >/dev/null
}

start() { podman start "$pod-$1" >/dev/null || fail "$1 does not start"; }

# What inject makes of $work/MANIFEST.yaml, in $work/injected.yaml and $work/notes, as kubelet runs it: one
# init container after the other, and the sidecar ready before the containers start, which is left to the
# test. What kubelet does more than podman is in as_kubelet.py. REQUIRES: $work/volumes.
play_injected() {  # MANIFEST.yaml [OPTION_OF_INJECT]...
  local manifest=$work/$1
  shift
  sidecar=shmrec-sidecar
  "$programs/shmrec" inject -f "$manifest" --image "$sidecar_image" "$@" >"$work/injected.yaml" \
    2>"$work/notes" || { cat "$work/notes"; fail "inject"; }
  python3 "$containers/as_kubelet.py" "$pod" "$work/volumes" <"$work/injected.yaml" >"$work/pod.json"
  podman kube play --start=false --network none "$work/pod.json" >"$work/played" 2>&1 ||
    { cat "$work/played"; fail "kube play"; }
  podman start --attach "$pod-shmrec-install" >"$work/installed" 2>&1 ||
    { cat "$work/installed"; fail "the installer"; }
  start $sidecar
  wait_until "health of the sidecar" 20 sidecar_is_ready
}

# PATH [OPTION_OF_CURL]...: the answer of the health server, which only the pod's network has.
health() { nsenter -t "$(pid_1 "$sidecar")" -n curl -sS -m 5 "http://127.0.0.1:7071$1" "${@:2}"; }
health_has() { health "$1" | grep -E "$2" >/dev/null; }

wait_until() {  # WHAT SECONDS COMMAND...
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "no $what in time"
    sleep 0.05
  done
}

# The example must end as it does alone. Sets $address, where the wrong value was found (the last time),
# which $work/output tells.
await_example() {  # [CONTAINER]
  local status
  wait_until "end of the example" 60 is_over "${1:-app}"
  status=$(podman inspect --format '{{.State.ExitCode}}' "$pod-${1:-app}")
  podman logs "$pod-${1:-app}" >"$work/output" 2>&1
  [ "$status" = 1 ] || { cat "$work/output"; fail "the example ended with $status, alone it ends with 1"; }
  address=$(sed -n 's/.*shmem_data_array\[[0-9]*\] at \(0x[0-9a-f]*\) held 100\..*/\1/p' "$work/output" | tail -n 1)
  [ -n "$address" ] || { cat "$work/output"; fail "the example did not say what it found"; }
}

# Who asks for the value at $address must be told of the bug.
blame_example() {  # BUNDLE
  "$programs/shmrec" blame "$1" --recording consumer "$address" >"$work/blame" 2>&1 ||
    { cat "$work/blame"; fail "blame"; }
  # Behind them may be what overwrote the value later.
  grep -q '^\*.* read .*shmem_producer_consumer\.c:80\b' "$work/blame" ||
    { cat "$work/blame"; fail "no read of line 80"; }
  grep -B 1 '^\*' "$work/blame" | head -n 1 | grep -q '^ .* write .*shmem_producer_consumer\.c:102\b' ||
    { cat "$work/blame"; fail "the write of line 102 is not found"; }
}

sidecar_is_ready() { podman exec "$pod-$sidecar" shmrec-sidecar health >/dev/null 2>&1; }
pid_1() { podman inspect --format '{{.State.Pid}}' "$pod-$1" | grep -vx 0; }  # 0 would be all of us
is_over() { [ "$(podman inspect --format '{{.State.Running}}' "$pod-$1")" = false ]; }
# A run is a folder; .packed has what bundles have in common.
spool_is_empty() { [ -z "$(find "${1:-$work/spool}" -mindepth 1 -maxdepth 1 -type d ! -name '.*')" ]; }
