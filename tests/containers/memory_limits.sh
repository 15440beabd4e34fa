#!/bin/bash
# A program that needs most of what its container may have ends as it does alone, whatever the limit,
# with the spool (and the bundle) in memory and on disk; and it is recorded, or it is said that it is not.
# usage: memory_limits.sh DIRECTORY_OF_PROGRAMS
# Exit status 77: not root, or no limit can be set here. A failure keeps its files and says where.
set -euo pipefail
programs=$1
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
. "$here/podman.sh"
work=$(mktemp -d /var/tmp/shmrec-memory-XXXXXX)
trap '[ $? = 0 ] && rm -rf "$work" || echo "files: $work; repeat: $0 $programs"' EXIT
mkdir "$work"/{bin,out}
cp "$programs"/{shmrec,use_memory} "$work/bin"
chmod 755 "$work" "$work/bin"
chmod 777 "$work/out"
percent=${E2E_MEMORY_PERCENT:-60}
wrong=0

# One container for each limit, as making one takes seconds: the commands one after another, each with
# its output and its status in files.
cat >"$work/bin/inside" <<'END'
#!/bin/sh
try() {  # NAME COMMAND...
  name=$1
  shift
  "$@" >/out/"$name" 2>&1
  echo $? >/out/"$name".status
  rm -rf /memory/* /out/spool /out/*.zst
}
in_memory() { name=$1; shift; cd /memory; try "$name" env SHMREC_SPOOL=/memory/spool "$@"; }
on_disk() { name=$1; shift; cd /out; try "$name" env SHMREC_SPOOL=/out/spool "$@"; }
. /x/commands
END
chmod 755 "$work/bin/inside"

inside() {  # MIB COMMANDS_OF_THE_SHELL_ABOVE
  rm -rf "$work"/out/*
  printf '%s\n' "$2" >"$work/bin/commands"
  podman run --rm --network=none --cap-drop=all --user 1000 --security-opt no-new-privileges --read-only \
    --memory "${1}m" --memory-swap "${1}m" -v "$work/bin:/x:ro" -v "$work/out:/out" \
    --tmpfs /memory:rw,mode=1777 "$image" /x/inside >"$work/podman" 2>&1 || true
}
ended() {  # NAME STATUS
  [ "$(cat "$work/out/$1.status" 2>&1)" = "$2" ] || fail "$1" "ended with $(cat "$work/out/$1.status"), not $2"
}
has() { grep -qF -- "$2" "$work/out/$1" 2>/dev/null; }
says() { has "$1" "$2" || fail "$1" "does not say: $2"; }
fail() {
  echo "FAILED: $mib MiB, $1: $2"
  tail -n 20 "$work/out/$1" "$work/podman" || true
  wrong=1
}

mib=64
inside 64 'on_disk probe /x/use_memory 200'
[ "$(cat "$work/out/probe.status" 2>/dev/null)" = 137 ] ||
  { echo "skipped: a limit of 64 MiB does not hold here"; cat "$work/podman"; exit 77; }

for mib in 64 96 128 192 256 320 512; do
  own=$((mib * percent / 100))
  inside $mib "
    in_memory alone /x/use_memory $own
    in_memory memory /x/shmrec run -- /x/use_memory $own
    on_disk disk /x/shmrec run -- /x/use_memory $own"
  for name in alone memory disk; do ended $name 7; done
  for name in memory disk; do
    has $name "accesses to 1 shared segment" || says $name "the command runs unrecorded: "
    has $name "shmrec: bundle " || has $name "no bundle: " || says $name "unrecorded"
  done
  has memory "runs unrecorded" || says memory "of the 256MiB that the policy allows"
  echo "$mib MiB: $(grep -hoE 'the log has [^:]*|runs unrecorded' "$work/out/memory" | head -n 1)"
done

# What a person asked for and does not fit is less, and is said.
mib=128
inside $mib '
  in_memory wished env SHMREC_LOG_SIZE=128MiB /x/shmrec run -- /x/use_memory 76
  in_memory doctor env SHMREC_LOG_SIZE=128MiB /x/shmrec doctor'
ended wished 7
ended doctor 0
for name in wished doctor; do says $name "of the 128MiB that the policy allows"; done

# No room for the smallest: unrecorded, or refused.
mib=32
inside $mib '
  in_memory open /x/shmrec run -- /x/use_memory 4
  in_memory doctor /x/shmrec doctor
  in_memory closed env SHMREC_FAILURE_POLICY=closed /x/shmrec run -- /x/use_memory 4
  in_memory strict /x/shmrec run --strict -- /x/use_memory 4'
ended open 7
says open "the command runs unrecorded: /memory/spool: no room for a log of 8MiB"
ended doctor 1
says doctor "no room for a log of 8MiB"
for name in closed strict; do
  ended $name 125
  says $name "not started, because it cannot be recorded: /memory/spool: no room"
done
exit $wrong
