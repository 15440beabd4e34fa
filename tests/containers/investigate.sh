#!/bin/sh
# What each of the tests does in its environment, with nothing but a POSIX shell and shmrec: records
# the example, verifies the bundle, and blames; records it at level replay, and executes it again. usage: investigate.sh DIRECTORY_OF_PROGRAMS
# Runs in the working directory, which must be writable. Fails unless the producer's store is found.
set -eu
bin=$1

fail() {
  echo "FAILED: $1"
  for file in output verify blame replay; do
    [ -e $file ] && { echo "--- $file"; cat $file; }
  done
  exit 1
}

# The check itself must work: asking for a counter kills.
if [ -e "$bin/ask_perf" ] && "$bin/without_perf" "$bin/ask_perf"; then
  fail "performance counters are not refused"
fi

status=0
"$bin/without_perf" "$bin/shmrec" run -o example.shmrec.tar.zst -- "$bin/shmem_producer_consumer" \
  >output 2>&1 || status=$?
[ $status = 1 ] || fail "shmrec run ended with $status, the example alone ends with 1"
address=$(sed -n 's/.*shmem_data_array\[[0-9]*\] at \(0x[0-9a-f]*\) held 100\..*/\1/p' output)
[ -n "$address" ] || fail "the example did not say what it found"

"$bin/shmrec" bundle verify example.shmrec.tar.zst >verify 2>&1 || fail "the bundle does not verify"
"$bin/shmrec" blame example.shmrec.tar.zst --recording consumer "$address" >blame 2>&1 ||
  fail "blame ended with $?"
cat blame
# The row with the * is the consumer's own read, the one before it the producer's store; behind it may
# be what overwrote the value later.
grep -q '^\*.* read .*shmem_producer_consumer\.c:80\b' blame ||
  fail "the row with the * is not the read of line 80"
grep -B 1 '^\*' blame | head -n 1 | grep -q '^ .* write .*shmem_producer_consumer\.c:102\b' ||
  fail "the row before it is not the write of line 102"

status=0
"$bin/without_perf" "$bin/shmrec" run -q --level replay --checksums -o replay.shmrec.tar.zst -- \
  "$bin/shmem_producer_consumer" >output 2>&1 || status=$?
[ $status = 1 ] || fail "shmrec run --level replay ended with $status, the example alone ends with 1"
"$bin/shmrec" replay --check replay.shmrec.tar.zst >replay 2>&1 || fail "replay ended with $?"
cat replay
[ "$(grep -c ' equal, ' replay)" = 2 ] || fail "not both processes were executed again"
grep -q ' up to ' replay && fail "they were not executed to their ends"
exit 0
