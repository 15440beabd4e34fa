#!/bin/bash
# The sidecar's image: made without a registry, small, without a shell, and its programs start as a
# restricted pod starts them. usage: image_test.sh DIRECTORY_OF_PROGRAMS
# Exit status 77: not root, or what is needed is not there.
set -euo pipefail
programs=$1
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
command -v podman >/dev/null || { echo "skipped: needs podman"; exit 77; }
[ -x "$programs/shmrec-sidecar" ] || { echo "skipped: shmrec-sidecar is not built"; exit 77; }
# shellcheck disable=SC1091,SC2154
. "$here/../containers/podman.sh"
sidecar=localhost/shmrec-test:sidecar

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $1"; exit 1; }

# A directory as it would be on a machine that lacks one of the programs.
mkdir "$work/some"
cp "$programs/shmrec" "$work/some"
"$here/../../deploy/image-root" "$work/some" "$work/tar" 2>"$work/error" && fail "made without a sidecar"
grep -q 'shmrec-sidecar is missing' "$work/error" || fail "does not say what is missing"

{ echo '#!/bin/bash'; declare -p storage CONTAINERS_CONF; declare -f podman; echo 'podman "$@"'; } >"$work/podman"
chmod 755 "$work/podman"
PODMAN=$work/podman "$here/../../deploy/build-image.sh" "$programs" $sidecar 2>"$work/log" ||
  { cat "$work/log"; fail "build-image.sh"; }

version=$("$programs/shmrec" --version | cut -d' ' -f2)
inspect() { podman image inspect --format "$1" $sidecar; }
[ "$(inspect '{{.Config.User}}')" = 65532:65532 ] || fail "it runs as $(inspect '{{.Config.User}}')"
[ "$(inspect '{{index .Config.Labels "org.opencontainers.image.version"}}')" = "$version" ] || fail "label"
[ "$(inspect '{{.Config.Entrypoint}}')" = '[/usr/bin/shmrec-sidecar]' ] || fail "entry point"
size=$(inspect '{{.Size}}')
[ "$size" -lt 60000000 ] || fail "it has $size bytes"

start() {
  podman run --rm --network=none --cap-drop=all --security-opt no-new-privileges --read-only "$@"
}
start $sidecar --version >/dev/null || fail "shmrec-sidecar does not start"
[ "$(start --entrypoint shmrec $sidecar --version)" = "shmrec $version" ] || fail "shmrec does not start"
start --entrypoint /bin/sh $sidecar -c true 2>/dev/null && fail "it has a shell"
echo "$sidecar: $size bytes"
