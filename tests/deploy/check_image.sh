# Sourced: check_image IMAGE VERSION ends the test unless the image is the sidecar's: its configuration,
# small, without a shell, and its programs start as a restricted pod starts them. Before: podman.sh, fail.
# shellcheck shell=bash
check_image() {
  local image=$1 version=$2 size
  inspect() { podman image inspect --format "$1" "$image"; }
  start() {
    podman run --rm --network=none --cap-drop=all --security-opt no-new-privileges --read-only "$@"
  }
  [ "$(inspect '{{.Config.User}}')" = 65532:65532 ] || fail "it runs as $(inspect '{{.Config.User}}')"
  [ "$(inspect '{{index .Config.Labels "org.opencontainers.image.version"}}')" = "$version" ] || fail "label"
  [ "$(inspect '{{.Config.Entrypoint}}')" = '[/usr/bin/shmrec-sidecar]' ] || fail "entry point"
  size=$(inspect '{{.Size}}')
  [ "$size" -lt 60000000 ] || fail "it has $size bytes"
  start "$image" --version >/dev/null || fail "shmrec-sidecar does not start"
  [ "$(start --entrypoint shmrec "$image" --version)" = "shmrec $version" ] || fail "shmrec does not start"
  start --entrypoint /bin/sh "$image" -c true 2>/dev/null && fail "it has a shell"
  echo "$image: $size bytes"
}

# Mode, owner and name of each file, and what the image says of itself. buildah labels its images.
describe_image() {
  local container
  container=$(podman create "$1")
  podman export "$container" | tar -tv --numeric-owner | awk '{ print $1, $2, $6, $7, $8 }' | sort
  podman rm "$container" >/dev/null
  podman image inspect --format '{{json .Config}}' "$1" | sed -E 's/"io\.buildah\.version":"[^"]*",?//'
}
