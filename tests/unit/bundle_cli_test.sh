#!/bin/sh
# `shmrec bundle` as a person uses it: what is printed, where, and the exit codes.
# usage: bundle_cli_test.sh SHMREC LOG
set -eu
shmrec=$1
log=$2
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
bundle=demo-20260921T141320Z.shmrec.tar.zst
mkdir $run
cp "$log" $run/run.shmlog

expect 0 "$shmrec" bundle --help
for command in create ls show verify extract; do has out $command; done
expect 2 "$shmrec" bundle
expect 2 "$shmrec" bundle frobnicate
expect 0 "$shmrec" bundle create $run
has out "^$bundle\$"
expect 0 "$shmrec" bundle create $run -o other --json
has out '"bundle": "other"'
cmp $bundle other
expect 0 "$shmrec" bundle verify $bundle
has out ': ok, 5 files$'
expect 0 "$shmrec" bundle ls $bundle
has out ' run.shmlog$'
expect 0 "$shmrec" bundle ls --json $bundle
has out sha256
expect 0 "$shmrec" bundle show $bundle
has out '"format": "shmrec-bundle/1"'
expect 2 "$shmrec" bundle show $bundle nonesuch
has err "bundle ls lists"
expect 0 "$shmrec" bundle extract $bundle -C x coverage.json
[ "$(ls -A x)" = coverage.json ]
expect 2 "$shmrec" bundle extract $bundle -C x
has err "x/coverage.json: exists"
expect 0 "$shmrec" bundle extract $bundle -C y
cmp "$log" y/run.shmlog
# What it writes, other tools read.
if command -v zstd >/dev/null; then
  mkdir z
  tar --zstd -xf $bundle -C z
  (cd z && sha256sum --quiet -c SHA256SUMS)
fi

head -c 300 $bundle >cut
expect 2 "$shmrec" bundle verify cut
expect 0 "$shmrec" bundle verify $bundle $bundle
expect 2 "$shmrec" bundle verify cut $bundle cut
[ "$(grep -c ': ok, ' out)" = 1 ] || { echo "a bad bundle stops verify"; exit 1; }
has err "^shmrec: cut: cut off after 300 bytes"
expect 2 "$shmrec" bundle verify --json cut
has out '"ok": false'
expect 2 "$shmrec" bundle ls nonesuch
has err "nonesuch: No such file"
expect 2 "$shmrec" bundle create .
has err "not a run directory"
expect 1 "$shmrec" bundle create $run -o nonesuch/b
has err "choose another place"
