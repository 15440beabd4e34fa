#!/bin/bash
# Fails unless completion knows every command and the options of some. usage: check_completion.sh SHMREC
set -eu
shmrec=$1
. "$(dirname "$0")/shmrec.bash"

# Completes the last argument of `shmrec ARGUMENTS...` and expects a word among the answers.
expect() {
  local word=$1
  shift
  COMP_WORDS=("$shmrec" "$@") COMP_CWORD=$#
  _shmrec
  [[ " ${COMPREPLY[*]} " == *" $word "* ]] || { echo "$*<TAB> gives '${COMPREPLY[*]}', not $word"; exit 1; }
}

for command in run blame timeline ls backtrace gdb replay report export dump bundle doctor policy inject uninject install core trigger; do expect $command "${command:0:1}"; done
expect --policy run --p
expect --level run --le
expect --checksums run --level replay --c
expect --until replay b.tar.zst --u
expect --check replay --ch
expect --recording blame b.tar.zst --rec
expect --json ls --j
expect --limit timeline --l
expect --format export --f
expect --last blame --la
expect --output report --o
expect --recording dump --r
expect --wait trigger --w
expect verify bundle v
expect check policy c
expect --explain inject --ex
expect --claim inject --c
expect --recursive uninject --r
