# A bundle made where the recorded programs are not, as a sidecar makes it: the run directory's own
# copies give source lines, and nothing is taken by path.
# usage: bash foreign_bundle.sh BIN_DIRECTORY
set -u
bin=${1:?usage: bash $0 BIN_DIRECTORY}
work=$(mktemp -d /var/tmp/shmrec-foreign-XXXXXX) && cd "$work" || exit 1
trap '[ $? = 0 ] && rm -rf "$work" || echo "files: $work; repeat: bash $0 $bin"' EXIT
fail() {
  echo "FAILED: $1"
  for file in output keeper coverage blame; do [ -e $file ] && { echo "--- $file"; cat $file; }; done
  exit 1
}

# The program waits for its keeper, which follows the log from beside it.
mkdir there
cp "$bin/shmem_producer_consumer" there/
mkfifo go
printf '#!/bin/sh\nread x <go\nexec %s\n' "$work/there/shmem_producer_consumer" >there/start
chmod +x there/start
SHMREC_LOG_SIZE=32MiB "$bin/shmrec" run -q --spool "$work/spool" --keep-spool -o local.shmrec.tar.zst \
  -- there/start >output 2>&1 &
recorder=$!
for _ in $(seq 300); do [ -e spool/*/run.json ] && break; sleep 0.1; done
run=$(echo spool/*)
[ -e "$run/run.shmlog" ] || fail "no run directory"
mkfifo end
"$bin/keeper_driver" "$run" <end >keeper 2>&1 &
keeper=$!
exec 7>end
echo >go
wait $recorder
exec 7>&-
wait $keeper || fail "the keeper ended with $?"
grep -q '^files [1-9][0-9]* lost 0' keeper || fail "the keeper lost something"

# The programs are gone, and what has their names now is not to be used.
rm there/shmem_producer_consumer
echo "not this" >there/shmem_producer_consumer
"$bin/shmrec" bundle create --foreign "$run" -o foreign.shmrec.tar.zst >/dev/null || fail "no bundle"
"$bin/shmrec" bundle verify foreign.shmrec.tar.zst >/dev/null || fail "the bundle does not verify"
"$bin/shmrec" bundle show foreign.shmrec.tar.zst coverage.json >coverage
grep -q '"source": "binaries"' coverage && fail "binaries are missing"
address=$(sed -n 's/.*shmem_data_array\[[0-9]*\] at \(0x[0-9a-f]*\) held 100\..*/\1/p' output)
[ -n "$address" ] || fail "the example did not say what it found"
"$bin/shmrec" blame foreign.shmrec.tar.zst --recording consumer "$address" >blame 2>&1 || fail "blame"
grep -q '^\*.* read .*shmem_producer_consumer\.c:80\b' blame || fail "not the read of line 80"
grep -B 1 '^\*' blame | head -n 1 | grep -q '^ .* write .*shmem_producer_consumer\.c:102\b' ||
  fail "not the write of line 102"

# Without the copies there are none: never by path.
cp "$bin/shmem_producer_consumer" there/
rm -r "$run/binaries"
"$bin/shmrec" bundle create --foreign "$run" -o bare.shmrec.tar.zst >/dev/null || fail "no bare bundle"
"$bin/shmrec" bundle ls bare.shmrec.tar.zst | grep -q ' binaries/' && fail "binaries were taken by path"
exit 0
