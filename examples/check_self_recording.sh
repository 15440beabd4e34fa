#!/bin/bash
# Fails unless self_recording leaves a log from which shmrec tells who wrote, and which marks were set;
# under `shmrec run` the program must do the same and leave the log to the launcher.
# usage: check_self_recording.sh DIRECTORY_OF_PROGRAMS
set -euo pipefail
bin=$1
work=$(mktemp -d /tmp/shmrec-self-recording-XXXXXX)
trap '[ $? = 0 ] && rm -r "$work" || echo "files: $work; repeat: $0 $bin"' EXIT
cd "$work"

# The lines that `pattern` must match, one after the other, in the output of a command.
expect() {
  local pattern=$1
  shift
  "$@" >output
  tr '\n' '~' <output | grep -Eq "$pattern" || { echo "no /$pattern/ in: $*"; cat output; exit 1; }
}

"$bin/self_recording" run.shmlog >said
cat said
address=$(sed -n 's/^Who wrote.* \(0x[0-9a-f]*\)$/\1/p' said)
parent=$(sed -n 's/^parent: .* recording //p' said)
child=$(sed -n 's/^child: .* recording //p' said)
expect "$child .* write .* 42 .*self_recording.c:[0-9]+.*~\* .*$parent .* write .* 100 " \
  "$bin/shmrec" blame run.shmlog --recording "$parent" "$address"
expect "mark .*child starts to work~.*mark .*child has ended" "$bin/shmrec" dump run.shmlog

"$bin/shmrec" run -o run.shmrec.tar.zst -- "$bin/self_recording" not_made.shmlog >said
[ ! -e not_made.shmlog ] || { echo "made a log of its own under shmrec run"; exit 1; }
address=$(sed -n 's/^Who wrote.* \(0x[0-9a-f]*\)$/\1/p' said)
parent=$(sed -n 's/^parent: .* recording //p' said)
expect " write .* 42 .*~\* .*$parent .* write .* 100 " \
  "$bin/shmrec" blame run.shmrec.tar.zst --recording "$parent" "$address"
