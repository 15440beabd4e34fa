#!/bin/bash
# Investigates the example (investigate.sh) in one environment.
# usage: run_example.sh ENVIRONMENT DIRECTORY_OF_PROGRAMS
#   root        on this machine as root
#   user        on this machine as uid 1000, without capabilities
#   podman      in a container with podman's default settings
#   restricted  in a container as a restricted pod gets: uid 1000, no capabilities, no new
#               privileges, read-only root
#   strict      the same under a seccomp profile without the syscalls of deploy/seccomp/recording.json,
#               where it says that it cannot record, and then with them
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

restricted=(--cap-drop=all --user 1000 --security-opt no-new-privileges --read-only)

# podman's default profile as somebody would write a stricter one: without what recording needs, without
# one of it alone, and with the additions.
write_profiles() {
  local additions="$here/../../deploy/seccomp/recording.json" default=/usr/share/containers/seccomp.json
  jq '.syscalls |= map(.names -= ["prctl"]) | .syscalls += [{"names": ["prctl"], "action": "SCMP_ACT_ALLOW",
      "args": [{"index": 0, "value": 59, "op": "SCMP_CMP_NE"}]}]' $default >"$work/no_dispatch.json"
  jq --slurpfile wanted "$additions" '.syscalls |= map(.names -= $wanted[0].syscalls[0].names)' \
    "$work/no_dispatch.json" >"$work/strict.json"
  jq -s '.[0].syscalls += .[1].syscalls | .[0]' "$work/strict.json" "$additions" >"$work/added.json"
}

runs_unrecorded() {  # PROFILE TEXT_OF_THE_LAUNCHER
  local status=0
  . "$here/podman.sh"
  podman run --rm --network=none -v "$work/bin:/x:ro" -w /tmp "${restricted[@]}" \
    --security-opt "seccomp=$work/$1.json" "$image" /x/shmrec run -- /x/shmem_producer_consumer \
    >"$work/unrecorded" 2>&1 || status=$?
  [ $status = 1 ] && grep -q "held 100" "$work/unrecorded" && grep -qF "$2" "$work/unrecorded" ||
    { cat "$work/unrecorded"; echo "FAILED: under $1.json it ended with $status, or does not say: $2"; return 1; }
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
  restricted) in_container "${restricted[@]}" ;;
  strict)
    command -v jq >/dev/null || { echo "skipped: needs jq"; exit 77; }
    write_profiles
    runs_unrecorded strict "the command runs unrecorded: seccomp(2) is refused"
    runs_unrecorded no_dispatch "not recorded: shmem_producer_ (pid "
    in_container "${restricted[@]}" --security-opt "seccomp=$work/added.json"
    ;;
  *) echo "no such environment: $environment" >&2; exit 2 ;;
esac
# What was recorded there is executed here, where its program is another file.
rm "$work/bin/shmem_producer_consumer"
"$work/bin/shmrec" replay --check "$work/out/replay.shmrec.tar.zst"
