#!/bin/bash
# Investigates the example (investigate.sh) in one environment.
# usage: run_example.sh ENVIRONMENT DIRECTORY_OF_PROGRAMS
#   root        on this machine as root
#   user        on this machine as uid 1000, without capabilities
#   podman      in a container with podman's default settings
#   restricted  in a container as a restricted pod gets: uid 1000, no capabilities, no new
#               privileges, read-only root
# Exit status 77: this machine's user may not do that. A failure keeps its files and says where.
set -euo pipefail
environment=$1 programs=$2
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || [ "$environment" = user ] || { echo "skipped: needs root"; exit 77; }

work=$(mktemp -d /var/tmp/shmrec-"$environment"-XXXXXX)
trap '[ $? = 0 ] && rm -rf "$work" || echo "files: $work; repeat: $0 $environment $programs"' EXIT
# Copies, because uid 1000 need not be able to read the build directory.
mkdir "$work/bin" "$work/out"
cp "$programs"/{shmrec,shmem_producer_consumer,without_perf,ask_perf} "$here/investigate.sh" "$work/bin"
chmod 755 "$work" "$work/bin"
chmod 777 "$work/out"

in_container() {
  . "$here/podman.sh"
  podman run --rm --network=none -v "$work/bin:/x:ro" -v "$work/out:/out" -w /out "$@" \
    "$image" /x/investigate.sh /x
}

cd "$work/out"
case $environment in
  root) "$work/bin/investigate.sh" "$work/bin" ;;
  user)
    become=()
    [ "$(id -u)" != 0 ] || become=(setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all)
    "${become[@]}" "$work/bin/investigate.sh" "$work/bin"
    ;;
  podman) in_container ;;
  restricted)
    in_container --cap-drop=all --user 1000 --security-opt no-new-privileges --read-only ;;
  *) echo "no such environment: $environment" >&2; exit 2 ;;
esac
