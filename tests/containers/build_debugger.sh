#!/bin/bash
# Makes the root that bundles are opened in away from all else, $debugger: the tests' image with gdb as Debian
# has it. A directory, not an image, as podman copies an image for each container. Made once, as the image is.
# Exit status 77: not root.
set -euo pipefail
. "$(dirname "$0")/podman.sh"
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }

[ ! -e "$debugger" ] || exit 0
tree=$(mktemp -d "$debugger-XXXXXX")
trap 'podman rm "${container:-none}" >/dev/null 2>&1; rm -rf --one-file-system "$tree" "$tree.log"' EXIT
chmod 755 "$tree"
container=$(podman create "$image" true)
podman export "$container" | tar -C "$tree" -x
cp /etc/resolv.conf "$tree/etc"
in_tree() {
  env DEBIAN_FRONTEND=noninteractive chroot "$tree" "$@" >>"$tree.log" 2>&1 || { tail -n 20 "$tree.log"; exit 1; }
}
in_tree apt-get -q update
in_tree apt-get -q -o DPkg::Options::=--force-unsafe-io install --no-install-recommends -y gdb
rm -rf "$tree"/usr/share/{doc,locale} "$tree"/var/{cache/apt,lib/apt/lists}/*
mv "$tree" "$debugger"
