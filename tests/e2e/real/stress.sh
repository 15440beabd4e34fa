#!/bin/bash
# stress-ng --verify of the stressors that share memory; its figures of speed are not compared.
# usage: stress.sh STRESSOR OPERATIONS (in an empty directory)
set -uo pipefail
stress-ng --"$1" 2 --"$1"-ops "$2" --verify --timeout 60 --no-rand-seed --oom-avoid --temp-path . \
  "${@:3}" > output 2>&1
status=$?
# Result lines say "successful run completed" or name what failed.
sed -nE 's/^stress-ng: (fail|error): *\[[0-9]+\] */\1 /p; s/.*(successful|unsuccessful) run completed.*/\1/p' output
[ $status = 0 ] || cat output >&2
rm output
exit $status
