# shmrec install and shmrec trigger, with the sidecar of fake_sidecar.py.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || exit 77
shmrec=$bin/shmrec
run() { timeout 60 "$shmrec" "$@" >out 2>err; }

run install new/dir
check "install" "0 755" "$? $(stat -c %a new/dir/shmrec)"
cmp -s "$shmrec" new/dir/shmrec
check "...the copy is equal" 0 $?
check "...and runs" "$("$shmrec" --version)" "$(new/dir/shmrec --version)"
check "...it is said how to use it" 1 "$(grep -cF "command: [\"$work/new/dir/shmrec\", \"run\", \"--\"," out)"
before=$(stat -c '%i %y' new/dir/shmrec)
run install new/dir
check "install again changes nothing" "0 $before" "$? $(stat -c '%i %y' new/dir/shmrec)"
check "...and says so" 1 "$(grep -c 'is there already' out)"
echo older > new/dir/shmrec
run install new/dir
check "another version is replaced" 0 "$(cmp -s "$shmrec" new/dir/shmrec; echo $?)"
chmod 600 new/dir/shmrec; run install new/dir
check "...and other modes" 755 "$(stat -c %a new/dir/shmrec)"
# The one that is running is not written to: a process started from it goes on.
new/dir/shmrec run -q -o /dev/null/x -- sleep 0.5 2>/dev/null & old=$!
sleep 0.2; printf x >> "$work/other"; cp "$shmrec" other; printf x >> other; chmod +x other
./other install new/dir > out 2>err
check "an update while it is in use" 0 $?
wait $old
# A link to a file of this test's own: whatever it does, it may do it to nothing else.
echo behind > behind; ln -sf ../../behind new/dir/shmrec; run install new/dir
check "a link is followed, as cp does" "0 symbolic link" "$? $(stat -c %F new/dir/shmrec)"
check "...to what it names" 0 "$(cmp -s "$shmrec" behind; echo $?)"
check "...nothing else is left" shmrec "$(ls new/dir)"
rm new/dir/shmrec; mkfifo new/dir/shmrec; run install new/dir
check "a pipe is refused and stays" "1 fifo" "$? $(stat -c %F new/dir/shmrec)"
rm new/dir/shmrec
run install /proc/nowhere
check "a place that cannot be" 1 $?
run install
check "no place" 2 $?

export SHMREC_SPOOL=$work/spool
mkdir -p spool

run trigger
check "nobody there" "1 shmrec: no sidecar at $work/spool/sidecar.sock: No such file or directory" "$? $(cat err)"
start answer
run trigger
check "trigger" "0 op-1" "$? $(cat out)"
run trigger --run web-1 "before the deploy"
check "...with a run and a reason" '{"run":"","trigger":"on demand","type":"trigger"}
end
{"run":"web-1","trigger":"before the deploy","type":"trigger"}' "$(head -3 heard)"
run trigger --wait
check "--wait" "0 x.shmrec.tar.zst" "$? $(cat out)"
for place in "--socket $work/spool/sidecar.sock" "--spool $work/spool"; do
  SHMREC_SPOOL=/nowhere SHMREC_SOCKET=/nowhere/s run trigger $place
  check "$place" "0 op-1" "$? $(cat out)"
done
SHMREC_SPOOL=/nowhere SHMREC_SOCKET=$work/spool/sidecar.sock run trigger
check "SHMREC_SOCKET" "0 op-1" "$? $(cat out)"
run trigger --run none-such
check "no such run" "1 shmrec: the sidecar refused: no such run" "$? $(cat err)"
run trigger --wait --timeout 5
check "a wait without unit" 2 $?
run trigger --spool /a --socket /b
check "two places" 2 $?
stop
start busy; run trigger
check "busy" "3 shmrec: the sidecar is busy: a bundle is being made; ask again later" "$? $(cat err)"
stop
start answer state=failed; run trigger --wait
check "a bundle that cannot be made" "1 shmrec: operation op-1 failed: the store is full" "$? $(cat err)"
stop
start answer state=running; run trigger --wait --timeout 300ms
check "a bundle that takes too long" "1 shmrec: operation op-1 still goes on after 300ms" "$? $(cat err)"
stop
start old; run trigger --wait
check "a sidecar that knows no operations" "1 shmrec: the sidecar refused: unknown type" "$? $(cat err)"
stop
start hangup; run trigger; check "hangs up" "1 1" "$? $(grep -c 'hung up' err)"; stop
start garbage; run trigger; check "garbage" "1 1" "$? $(grep -c 'none of its protocol' err)"; stop
start long; run trigger; check "a line without end" "1 1" "$? $(grep -c 'without end' err)"; stop
start silent; run trigger; check "silent" "1 1" "$? $(grep -c 'did not answer within 10 s' err)"; stop
finish
