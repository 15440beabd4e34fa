#!/bin/bash
# Builds all of deploy/Dockerfile with podman, on a Debian that debootstrap made, and checks the image. Not
# among the tests of CI: it installs the packages and compiles without a cache, which takes many minutes.
# usage: build_dockerfile.sh [OPTION_OF_PODMAN_BUILD]...
# shellcheck disable=SC1091,SC2154
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../containers/podman.sh"
. "$here/check_image.sh"
fail() { echo "FAILED: $1"; exit 1; }
root=$here/../..
built=localhost/shmrec-test:dockerfile
version=$(sed -nE 's/^project\(shmrec VERSION ([0-9.]+) .*/\1/p' "$root/CMakeLists.txt")

"$here/../containers/build_image.sh"
# The machine's own network: packages come the way they come to the machine.
podman build --network=host -f "$root/deploy/Dockerfile" -t $built --build-arg "DEBIAN=$image" \
  --build-arg "VERSION=$version" "$@" "$root"
check_image $built "$version"
