#!/bin/sh
# `shmrec dump --recording` as a person uses it: what is printed, where, and the exit codes.
# usage: dump_cli_test.sh SHMREC LOG STREAM
set -eu
shmrec=$1
log=$2
stream=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# expect CODE COMMAND...: runs it, output to out and err
expect() {
  want=$1
  shift
  got=0
  "$@" >out 2>err || got=$?
  if [ "$got" != "$want" ]; then
    echo "exit code $got, expected $want: $*"
    cat out err
    exit 1
  fi
}
has() {
  grep -q -- "$2" "$1" || { echo "no '$2' in $1:"; cat "$1"; exit 1; }
}

run=demo-20260921T141320Z-1
id=292b1631-c83d
mkdir $run
cp "$log" $run/run.shmlog
expect 2 "$shmrec" dump $run --recording $id
has err "--recording $id: no such recording"

mkdir -p $run/recordings/$id
cp "$stream" $run/recordings/$id/0.stream
expect 0 "$shmrec" dump $run --recording $id
has out "^stream of $id "
has out ' read(3, 0x7ffc49b9d000, 832) = 5 '
expect 0 "$shmrec" dump $run --recording $id --json
has out '"syscall":"openat".*"error":"ENOENT"'

mkdir $run/recordings/1
expect 2 "$shmrec" dump $run --recording 1
has err "recordings/1/0.stream: missing; expected the first file of a recording"

# What is sound is printed, and then what is not.
head -c 600 "$stream" >$run/recordings/$id/0.stream
expect 2 "$shmrec" dump $run --recording $id
has out ' mapping 0x400000-0x402000 '
has err "^shmrec: $run/recordings/$id/0.stream: cut off at byte 600; expected "

expect 2 "$shmrec" dump $run --recording ../recordings/$id
has err "no such recording"
expect 2 "$shmrec" dump $run/run.shmlog --recording $id
has err "a log alone"
