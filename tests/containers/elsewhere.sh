#!/bin/bash
# Runs `shmrec COMMAND BUNDLE ARGUMENT...` where there is nothing of what was recorded: in a container with gdb
# (build_debugger.sh), the bundle, shmrec, and a /tmp to unpack into; restricted as a pod is, without network.
# What it prints is all on the standard output, as of two streams podman does not keep the order.
# usage: elsewhere.sh SHMREC COMMAND BUNDLE [ARGUMENT]...
set -euo pipefail
shmrec=$1 command=$2 bundle=$3
shift 3
. "$(dirname "$0")/podman.sh"
work=$(mktemp -d /var/tmp/shmrec-elsewhere-XXXXXX)
trap 'rm -rf "$work"' EXIT
# A copy, as it is its owner's alone here.
install -m 644 "$bundle" "$work/moved.shmrec.tar.zst"
podman run --rm --network=none --cap-drop=all --user 1000 --security-opt no-new-privileges --read-only \
  --read-only-tmpfs=false --tmpfs /tmp:rw,mode=1777,size=512m -v "$work/moved.shmrec.tar.zst:/moved.shmrec.tar.zst:ro" \
  -v "$shmrec:/usr/bin/shmrec:ro" --rootfs "$debugger" \
  sh -c 'exec "$@" 2>&1' - shmrec "$command" /moved.shmrec.tar.zst "$@"
