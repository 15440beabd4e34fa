#!/bin/bash
# Makes the image that the tests run in, a minimal Debian 12 with nothing of shmrec in it, unless it is
# there already. Exit status 77: not root, which debootstrap needs.
set -euo pipefail
. "$(dirname "$0")/podman.sh"
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }

podman image exists "$image" && exit 0
tree=$(mktemp -d /var/tmp/shmrec-debootstrap-XXXXXX)
trap 'rm -rf --one-file-system "$tree"' EXIT
chmod 755 "$tree"  # becomes / of the image
debootstrap --variant=minbase bookworm "$tree" >"$tree.log" 2>&1 || { tail -n 20 "$tree.log"; exit 1; }
rm -f "$tree.log"
# A container is a copy of it, so without what nobody reads there.
tar -C "$tree" --exclude=./usr/share/{doc,locale,man,zoneinfo} --exclude=./var/{cache/apt,lib/apt/lists}/* -c . |
  podman import - "$image"
