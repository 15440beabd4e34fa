#!/bin/sh
# Fails unless the libraries define exactly the functions that shmrec.h declares, and no others.
# usage: check_exports.sh shmrec.h libshmrec.so libshmrec.a
set -eu
header=$1 shared=$2 static=$3
declared=$(grep -oE '\bshmrec_[a-z_]+\(' "$header" | tr -d '(' | sort -u)
status=0
check() {
  if [ "$2" != "$declared" ]; then
    echo "$1 exports:" "$2"
    echo "shmrec.h declares:" "$declared"
    status=1
  fi
}
check "$shared" "$(nm -D --defined-only "$shared" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u)"
check "$static" "$(nm -g --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort -u)"
exit $status
