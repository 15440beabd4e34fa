#!/bin/bash
# Makes the sidecar's image of programs that are built already, without a registry: the same image as
# deploy/Dockerfile makes.
#   deploy/build-image.sh [DIRECTORY_OF_PROGRAMS [NAME]]
# Default: build/release/bin, localhost/shmrec-sidecar:VERSION. $PODMAN (podman) may hold arguments too;
# docker has the same import command. Build on Debian 12: the image takes over this machine's libraries.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
programs=${1:-$here/../build/release/bin}
[ -x "$programs/shmrec" ] || { echo "build-image: no $programs/shmrec; build it first" >&2; exit 1; }
version=$("$programs/shmrec" --version | cut -d' ' -f2)
name=${2:-localhost/shmrec-sidecar:$version}

tar=$(mktemp --suffix=.tar)
trap 'rm -f "$tar"' EXIT
"$here/image-root" "$programs" "$tar"
# The instructions of the Dockerfile's last stage, so that they stand in one place.
changes=()
while IFS= read -r line; do
  changes+=(--change "${line//\$\{VERSION\}/$version}")
done < <(sed -n '/^FROM scratch/,$p' "$here/Dockerfile" | grep -E '^(LABEL|ENV|USER|WORKDIR|EXPOSE|ENTRYPOINT) ')
# shellcheck disable=SC2086  # words
${PODMAN:-podman} import "${changes[@]}" "$tar" "$name"
