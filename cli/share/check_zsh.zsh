#!/usr/bin/env zsh
# Fails unless zsh's completion knows commands and options. usage: check_zsh.zsh DIRECTORY_OF_SHMREC
zmodload zsh/zpty
result=$(mktemp)
trap 'rm -f $result' EXIT
setup="TERM=dumb; PATH=$1:\$PATH; fpath=(${0:A:h} \$fpath); autoload -Uz compinit; compinit -u -D
complete_and_tell() { zle expand-or-complete; print -r -- \$BUFFER > $result }
zle -N complete_and_tell; bindkey '^I' complete_and_tell"

# Types a line and a tab, and expects the line to become `expected`.
expect() {
  local expected=$1 line=$2 part
  : > $result
  zpty shell zsh -f
  zpty -w shell "$setup"
  zpty -w -n shell "$line"$'\t'
  local end=$((SECONDS + 20))
  while ((SECONDS < end)) && [[ ! -s $result ]]; do
    zpty -r -t shell part || sleep 0.1
  done
  zpty -d shell
  [[ "$(<$result)" == "$expected" ]] || { print -r -- "$line<TAB> gives '$(<$result)', not '$expected'"; exit 1; }
}

expect 'shmrec blame ' 'shmrec bl'
expect 'shmrec blame b.tar.zst --recording ' 'shmrec blame b.tar.zst --rec'
expect 'shmrec bundle verify ' 'shmrec bundle ver'
expect 'shmrec run --policy ' 'shmrec run --pol'
expect 'shmrec run --level replay --checksums ' 'shmrec run --level replay --ch'
expect 'shmrec replay b.tar.zst --until ' 'shmrec replay b.tar.zst --un'
expect 'shmrec export b.tar.zst --format ' 'shmrec export b.tar.zst --fo'
