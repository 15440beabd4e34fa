#!/bin/bash
# Makes the sidecar's image for the tests with pods. usage: build_sidecar_image.sh DIRECTORY_OF_PROGRAMS
# Exit status 77: not root, or what is needed is not there.
set -euo pipefail
programs=$1
. "$(dirname "$0")/pod.sh"
skip_unless_possible
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
write_podman "$work/podman"
old=$(podman image inspect --format '{{.Id}}' "$sidecar_image" 2>/dev/null || true)
PODMAN=$work/podman "$containers/../../deploy/build-image.sh" "$programs" "$sidecar_image" >"$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
new=$(podman image inspect --format '{{.Id}}' "$sidecar_image")
if [ -n "$old" ] && [ "$old" != "$new" ]; then
  podman rmi "$old" >/dev/null 2>&1 || true  # else each build would leave one
fi
echo "$sidecar_image: $new"
