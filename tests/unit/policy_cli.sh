#!/bin/sh
# shmrec policy on the command line: exit codes, where messages go, what overrides what.
# usage: policy_cli.sh SHMREC
shmrec=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for name in $(env | sed -n 's/^\(SHMREC_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done

fail() {
  echo "failed: $1" >&2
  cat "$dir/out" "$dir/err" >&2
  exit 1
}

# expect CODE ARGUMENTS...: runs `shmrec policy ARGUMENTS`.
expect() {
  code=$1
  shift
  "$shmrec" policy "$@" >"$dir/out" 2>"$dir/err"
  got=$?
  [ $got -eq "$code" ] || fail "shmrec policy $*: exit code $got, expected $code"
}
says() { grep -qF -- "$2" "$dir/$1" || fail "no '$2' in $1"; }

printf 'apiVersion: shmrec/v1\nkind: Policy\nlimits: {logSize: 64MiB}\n' >"$dir/good.yaml"
printf 'apiVersion: shmrec/v1\nkind: Policy\nlimit: {}\nsegmets: []\n' >"$dir/bad.yaml"

expect 0 check "$dir/good.yaml"
says out "good.yaml: ok"
expect 2 check "$dir/bad.yaml"
says err "shmrec: $dir/bad.yaml:3:1: unknown key 'limit' in policy (did you mean 'limits'?)"
says err "shmrec: $dir/bad.yaml:4:1: unknown key 'segmets'"
[ -s "$dir/out" ] && fail "a message on stdout"
expect 2 check --json "$dir/bad.yaml"
says out '"ok": false'
expect 2 check "$dir/none.yaml"
says err "No such file or directory"
expect 2 check
expect 2 chekc

expect 0 show --policy "$dir/good.yaml"
says out "logSize: 64MiB"
SHMREC_LOG_SIZE=32MiB SHMREC_POLICY=$dir/good.yaml expect 0 show
says out "logSize: 32MiB"
cp "$dir/out" "$dir/shown.yaml"
expect 0 check "$dir/shown.yaml"
SHMREC_LOGSIZE=1 expect 2 show
says err "SHMREC_LOG_SIZE"
expect 0 schema
says out '"$schema"'
