#!/bin/sh
# gdb, gcore and strace on a program: started by them, and attached to while it runs. Prints what they
# print, without what differs from run to run. usage: debuggers.sh PROGRAM
set -eu
program=$1
start() {
  rm -f in ready
  mkfifo in
  "$program" < in &
  pid=$!
  exec 3> in
  until [ -e ready ]; do sleep 0.01; done
}
end() {
  exec 3>&-
  code=0
  wait "$pid" || code=$?
  echo "$1: exit $code"
}
signals() { grep -c -e 'SIG[A-Z]*' "$1" || true; }
debug() { gdb -q -nx -batch -iex 'set debuginfod enabled off' "$@" > gdb.out 2> gdb.err < /dev/null; }

start
debug -p "$pid" -ex 'print answer' -ex 'print shared->ready' -ex 'info threads' \
  -ex 'break work' -ex continue -ex 'backtrace 1' -ex 'print answer = 43' -ex delete -ex detach
grep -e '^\$' -e 'received signal' -e '^#0' gdb.out
echo "threads: $(grep -c Thread.*LWP gdb.out)"
end "gdb -p"

start
gcore -o core "$pid" > gcore.out 2>&1 3>&-
[ -s "core.$pid" ] && echo "a core"
rm -f "core.$pid"
end gcore

start
strace -f -qq -e trace=read,exit_group -o strace.out -p "$pid" 3>&- &
tracer=$!
until grep -q "^TracerPid:.[1-9]" "/proc/$pid/status"; do sleep 0.01; done
end "strace -p"
wait "$tracer"
echo "signals: $(signals strace.out)"
grep -o 'exit_group(.*)' strace.out

for how in run starti; do
  debug -ex "$how < /dev/null" -ex continue -ex 'print answer' "$program" || true
  grep -e '^answer' -e 'received signal' -e 'exited with' gdb.out | sed 's/process [0-9]*/process/'
done
strace -f -qq -e trace=exit_group -o strace.out "$program" < /dev/null || echo "strace: exit $?"
echo "signals: $(signals strace.out)"
rm -f in ready ./*.out ./*.err
