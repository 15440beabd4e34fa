# Several launchers in one log, as the containers of a pod: PID namespaces of their own, one spool. With the
# real agent where there is shared memory, with the stand-in elsewhere. The sidecar is fake_sidecar.py.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || exit 77
shmrec=$bin/shmrec
mkdir spool
wait_for_file() { for _ in $(seq 300); do [ -e "$1" ] && return; sleep 0.02; done; echo "no $1"; }
contained() { unshare --pid --fork --mount-proc "$@"; }
contained true 2>/dev/null || exit 77
clean() { stop; rm -rf spool/* up go up2 go2; }
run_name() { ls spool | grep -v sidecar.sock; }

# A first container, whose run the others are told to join.
start answer
first() { CONTAINER_NAME=first timeout 100 "$driver" "$@" sh -c 'touch up; while [ ! -e go ]; do sleep 0.02; done; exit 3' 2>err1; }
first & one=$!
wait_for_file up
name=$(run_name)
stop; start answer "join=$name"
check "a joined run" recorded "$(CONTAINER_NAME=second run "$victim")"
member=$(ls "spool/$name/members")
check "...has a directory of its own in it" "end.json
events.jsonl
launcher.log
run.json" "$(ls "spool/$name/members/$member")"
check "...and no run of its own" "$name" "$(run_name)"
check "...the sidecar hears of both names" 1 "$(grep -c "{\"member\":\"$member\",\"name\":\"$name\",\"type\":\"run\"}" heard)"
check "...the same run id" 1 "$(grep -h '"runId"' "spool/$name/run.json" "spool/$name/members/$member/run.json" | sort -u | wc -l)"
check "...it is not over" 1 "$(flock --nonblock --exclusive "spool/$name/run.shmlog" true; echo $?)"

# Policies that cannot share a log, and names that are no runs: a run of its own, and the reason.
refused() {  # refused WHAT REASON COMMAND...: the command runs recorded in a run of its own
  local what=$1 reason=$2; shift 2
  check "$what" recorded "$("$@" 2>err)"
  check "$what: the reason" 1 "$(grep -c "not recorded: the order with the other containers of the pod: their log could not be joined: .*$reason" err)"
  check "$what: a run of its own" 1 "$(run_name | grep -c launcher_victim)"
  rm -rf spool/launcher_victim*
}
printf 'apiVersion: shmrec/v1\nkind: Policy\nsegments: [{match: {posix: x}, mode: ignore}]\n' > rules.yaml
printf 'apiVersion: shmrec/v1\nkind: Policy\nfailurePolicy: closed\n' > closed.yaml
refused "other rules" 'other rules or by another release' "$driver" --policy rules.yaml "$victim"
refused "another failurePolicy" 'its defaults or failurePolicy are not' "$driver" --policy closed.yaml "$victim"
refused "another default" 'its defaults or failurePolicy are not' env SHMREC_DEFAULT_MODE=ignore "$driver" "$victim"
join_to() { stop; start answer "join=$1"; }
for bad in ../x /etc . .. "$name/members/$member"; do
  join_to "$bad"; refused "the name $bad" 'no name of a run' "$driver" "$victim"
done
join_to nowhere; refused "no such run" 'No such file' "$driver" "$victim"
mkdir spool/odd; join_to odd
ln -s "../$name/run.shmlog" spool/odd/run.shmlog; refused "a link" 'Too many levels' "$driver" "$victim"
rm spool/odd/run.shmlog; mkfifo spool/odd/run.shmlog; refused "a pipe" 'is no file' "$driver" "$victim"
rm spool/odd/run.shmlog; head -c 100000 /dev/zero > spool/odd/run.shmlog
refused "nobody records into it" 'nobody records' "$driver" "$victim"
exec 9< spool/odd/run.shmlog; flock --shared 9
refused "no log" 'not a whole log of this version' "$driver" "$victim"
exec 9<&-; rm -rf spool/odd
join_to "$name"; mv "spool/$name/members" keep; ln -s /tmp "spool/$name/members"
refused "members is a link" 'members: not a directory' "$driver" "$victim"
rm "spool/$name/members"; mv keep "spool/$name/members"

# The first launcher's end is not the run's while another records; the last one closes it.
closed() { python3 - "$1" <<'PY'
import re, struct, sys
data = open(sys.argv[1], "rb").read(4096)
print(struct.unpack_from("<I", data, 408)[0])
PY
}
check "the offset of Header::closed" 1 "$(grep -c '^| 408 | 4 | `closed`' "$(dirname "$fake")/../../../docs/shmlog_format.md")"
(CONTAINER_NAME=third exec timeout 100 "$driver" sh -c 'touch up2; while [ ! -e go2 ]; do sleep 0.02; done' 2>err2) & three=$!
wait_for_file up2
touch go; wait $one
check "the first container's exit code" 3 $?
check "...the log is not closed" 0 "$(closed "spool/$name/run.shmlog")"
check "...nor free" 1 "$(flock --nonblock --exclusive "spool/$name/run.shmlog" true; echo $?)"
touch go2; wait $three
check "the last one closes it" "1 0" "$(closed "spool/$name/run.shmlog") $(flock --nonblock --exclusive "spool/$name/run.shmlog" true; echo $?)"
refused "a run that is over" 'nobody records' "$driver" "$victim"

# The bundle takes them all, and says who they were.
"$shmrec" bundle create -o all.shmrec.tar.zst "spool/$name" >/dev/null 2>err
check "a bundle of it" 0 $?
"$shmrec" bundle verify all.shmrec.tar.zst > out 2>err
check "...verifies" 0 $?
tar --zstd -tf all.shmrec.tar.zst > names
check "...holds the members" 8 "$(grep -c '^members/' names)"
tar --zstd -xOf all.shmrec.tar.zst manifest.json > manifest.json
check "...in a format of its own" 1 "$(grep -c '"format": "shmrec-bundle/2"' manifest.json)"
check "...names the containers" "first second third" "$(grep -o '"containerName": "[a-z]*"' manifest.json | cut -d'"' -f4 | xargs)"
"$shmrec" ls all.shmrec.tar.zst > out 2>err
check "shmrec ls shows them" 'first sh exit 3 .
second launcher_victim_dynamic exit 0 members/NAME
third sh exit 0 members/NAME' "$(sed -n '/^Launchers/,/^$/p' out | tail -n +3 | sed '/^$/d; s/  */ /g; s/^ //; s|members/.*|members/NAME|')"
echo "content of a file outside" > outside
ln -sf "$PWD/outside" "spool/$name/members/$member/launcher.log"
"$shmrec" bundle create -o link.shmrec.tar.zst "spool/$name" >/dev/null 2>err
tar --zstd -xOf link.shmrec.tar.zst > all-bytes
check "a link in a member is not followed" 0 "$(grep -c 'content of a file outside' all-bytes)"
clean

# Two containers, each with a process 1, and real recordings: whose end was whose.
victims=$bin/victims
if [ -x "$victims/anon_fork" ]; then
  start answer
  (CONTAINER_NAME=red exec timeout 100 unshare --pid --fork --mount-proc "$shmrec" run -q sh -c "touch up; $victims/anon_fork >/dev/null; while [ ! -e go ]; do sleep 0.02; done; kill -9 \$\$" 2>err1) & one=$!
  wait_for_file up
  name=$(run_name); join_to "$name"
  CONTAINER_NAME=blue contained "$shmrec" run -q sh -c "$victims/anon_fork >/dev/null; exit 5" 2>err
  check "the second container's exit code" 5 $?
  touch go; wait $one
  check "the first container's" 137 $?
  "$shmrec" ls --json "spool/$name" > ls.json 2>err
  check "each container's shell ended as it did" "blue exit 5
red SIGKILL" "$(python3 - <<'PY'
import json
listing = json.load(open("ls.json"))
names = {l["pidNamespace"]: l["container"] for l in listing["launchers"]}
shells = [r for r in listing["recordings"] if r["name"] == "sh" and r.get("parent") is None]
for line in sorted(f'{names[r["pidNamespace"]]} {r["ended"]}' for r in shells): print(line)
PY
)"
  check "...with equal process numbers" 1 "$(python3 - <<'PY'
import json
rows = json.load(open("ls.json"))["recordings"]
shells = [r for r in rows if r["name"] == "sh" and r.get("parent") is None]
print(len({r["pid"] for r in shells}))
PY
)"
  clean
fi
finish
