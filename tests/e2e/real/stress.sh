#!/bin/bash
# stress-ng --verify of the stressors that share memory; its figures of speed are not compared.
# usage: stress.sh STRESSOR LIMIT (in an empty directory); LIMIT is operations, or seconds if it ends in s
set -uo pipefail
limit=(--"$1"-ops "$2" --timeout 100)
[[ $2 != *s ]] || limit=(--timeout "$2")
stress-ng --"$1" 2 "${limit[@]}" --verify --no-rand-seed --oom-avoid --temp-path . > output 2>&1
status=$?
# Result lines say "successful run completed" or name what failed.
sed -nE 's/^stress-ng: (fail|error): *\[[0-9]+\] */\1 /p; s/.*(successful|unsuccessful) run completed.*/\1/p' output
[ $status = 0 ] || cat output >&2
rm output
exit $status
