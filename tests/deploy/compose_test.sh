#!/bin/bash
# deploy/compose.yaml as it is, run by docker-compose on podman's Docker API: the example fails in an
# unchanged image, the sidecar makes the bundle, and it comes out by exec and by the published port.
# usage: compose_test.sh DIRECTORY_OF_PROGRAMS
# podman-compose 1.0 is no substitute: it neither waits for the installer to end nor takes a healthcheck
# without a shell. Exit status 77: not root, or what is needed is not there.
# shellcheck disable=SC1091,SC2154
set -euo pipefail
programs=$1
work=/nowhere pod=shmrec-compose
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../containers/pod.sh"
skip_unless_possible
command -v docker-compose >/dev/null || { echo "skipped: needs docker-compose"; exit 77; }
take_turn

compose() {
  docker-compose -p "$pod" -f "$here/../../deploy/compose.yaml" -f "$work/app.yaml" "$@"
}
fail_with_logs() {
  for each in shmrec-install shmrec-sidecar app; do
    echo "--- $each"
    podman logs "${pod}_${each}_1" 2>&1 | tail -n 40 || true
  done
  fail "$1"
}
finish() {
  local status=$?
  compose down -v -t 1 >"$work/down" 2>&1 || true
  kill -- "-$service" 2>/dev/null || true
  if [ $status = 0 ]; then rm -rf "$work"; else echo "files: $work; repeat: $0 $programs"; fi
}

# A network with a published port is what Compose makes, so it has to be possible.
podman network rm -f "$pod-probe" >/dev/null 2>&1 || true
output=$(podman network create "$pod-probe" 2>&1 &&
  podman run --rm --network "$pod-probe" -p 127.0.0.1::1 "$image" true 2>&1) ||
  { echo "skipped: podman makes no networks here: $output"; exit 77; }
podman network rm -f "$pod-probe" >/dev/null

work=$(mktemp -d /var/tmp/"$pod"-XXXXXX)
set -m  # a process group of its own, to end all of it
podman system service --time=300 "unix://$work/docker.sock" >"$work/service" 2>&1 9>&- &
service=$!
set +m
trap finish EXIT
wait_until "socket of podman" 20 test -S "$work/docker.sock"

export DOCKER_HOST=unix://$work/docker.sock SHMREC_IMAGE=$sidecar_image APP_IMAGE=$image
export SHMREC_TOKEN_FILE=$work/token SHMREC_PORT=0 SHMREC_HEALTH_PORT=0  # any that are free
head -c 32 /dev/urandom | base64 -w 0 >"$work/token"
chown 65532 "$work/token"
chmod 400 "$work/token"
# The program stands in the place where the image would have it.
printf 'services: {app: {volumes: ["%s:/usr/bin/shmem_producer_consumer:ro"]}}\n' \
  "$programs/shmem_producer_consumer" >"$work/app.yaml"
compose down -v -t 1 >/dev/null 2>&1 || true  # what a killed test left
compose up -d >"$work/up" 2>&1 || { cat "$work/up"; fail_with_logs "docker-compose up"; }

app_is_over() { [ "$(podman inspect --format '{{.State.Status}}' "${pod}_app_1")" = exited ]; }
wait_until "end of the example" 60 app_is_over
podman logs "${pod}_app_1" >"$work/output" 2>&1
status=$(podman inspect --format '{{.State.ExitCode}}' "${pod}_app_1")
[ "$status" = 1 ] || fail_with_logs "the example ended with $status, alone it ends with 1"
address=$(sed -n 's/.*shmem_data_array\[[0-9]*\] at \(0x[0-9a-f]*\) held 100\..*/\1/p' "$work/output")
[ -n "$address" ] || fail_with_logs "the example did not say what it found"

# Not by docker-compose: what its exec leaves goes on for five minutes.
request() { podman exec "${pod}_shmrec-sidecar_1" shmrec-sidecar request "$@"; }
has_bundle() { request /v1/bundles 2>/dev/null | grep '"trigger": "exit 1"' >/dev/null; }
wait_until "bundle for exit 1" 30 has_bundle
name=$(request /v1/bundles | sed -nE 's/.*"name": "([^"]*)".*/\1/p' | head -n 1)
request "/v1/bundles/$name/content" >"$work/by_exec"

url=http://$(compose port shmrec-sidecar 7070)/v1/bundles
curl -sS -f -H "Authorization: Bearer $(cat "$work/token")" -o "$work/by_port" "$url/$name/content" ||
  fail_with_logs "the published port"
cmp "$work/by_exec" "$work/by_port" || fail "exec and port differ"
refused=$(curl -sS -o /dev/null -w '%{http_code}' "$url")
[ "$refused" = 401 ] || fail "without a token the port answers $refused"
ready=$(curl -sS "http://$(compose port shmrec-sidecar 7071)/readyz")
[ "$ready" = ok ] || fail "readyz says $ready"
podman healthcheck run "${pod}_shmrec-sidecar_1" >/dev/null || fail_with_logs "the healthcheck"

"$programs/shmrec" bundle verify "$work/by_port" >"$work/verified" 2>&1 ||
  { cat "$work/verified"; fail "verify"; }
blame_example "$work/by_port"
cat "$work/blame"
