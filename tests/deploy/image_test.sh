#!/bin/bash
# The sidecar's image: made without a registry, as check_image.sh wants it, and the same as the last stage
# of deploy/Dockerfile makes. usage: image_test.sh DIRECTORY_OF_PROGRAMS
# Exit status 77: not root, or what is needed is not there.
# shellcheck disable=SC1091,SC2154
set -euo pipefail
programs=$1
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
command -v podman >/dev/null || { echo "skipped: needs podman"; exit 77; }
[ -x "$programs/shmrec-sidecar" ] || { echo "skipped: shmrec-sidecar is not built"; exit 77; }
. "$here/../containers/podman.sh"
. "$here/check_image.sh"
deploy=$here/../../deploy
imported=localhost/shmrec-test:sidecar built=localhost/shmrec-test:last-stage

work=$(mktemp -d)
forget() {
  podman rmi -f $imported $built >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap forget EXIT
fail() { echo "FAILED: $1"; exit 1; }

# A directory as it would be on a machine that lacks one of the programs.
mkdir "$work/some"
cp "$programs/shmrec" "$work/some"
"$deploy/image-root" "$work/some" "$work/tar" 2>"$work/error" && fail "made without a sidecar"
grep -q 'shmrec-sidecar is missing' "$work/error" || fail "does not say what is missing"

{ echo '#!/bin/bash'; declare -p storage CONTAINERS_CONF; declare -f podman; echo 'podman "$@"'; } >"$work/podman"
chmod 755 "$work/podman"
PODMAN=$work/podman "$deploy/build-image.sh" "$programs" $imported 2>"$work/log" ||
  { cat "$work/log"; fail "build-image.sh"; }
version=$("$programs/shmrec" --version | cut -d' ' -f2)
check_image $imported "$version"

# The last stage takes the root from here instead of from a first stage, which compiles for minutes:
# build_dockerfile.sh does that.
mkdir -p "$work/stage/image"
"$deploy/image-root" "$programs" "$work/tar"
tar -C "$work/stage/image" -xpf "$work/tar"
podman build --layers=false --network=none --build-context "build=$work/stage" \
  --build-arg "VERSION=$version" -f "$deploy/Dockerfile" -t $built "$deploy" >"$work/log" 2>&1 ||
  { cat "$work/log"; fail "the last stage of the Dockerfile"; }
describe_image $imported >"$work/imported"
describe_image $built >"$work/built"
diff "$work/imported" "$work/built" || fail "build-image.sh and the Dockerfile make different images"
