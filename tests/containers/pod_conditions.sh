#!/bin/bash
# What a pod does when something around it is wrong: each CONDITION is a test of its own.
# usage: pod_conditions.sh CONDITION DIRECTORY_OF_PROGRAMS
#   disk_full      no room in the store, then none in the spool
#   spool_limit    the policy's limits.spoolSize and the sidecar's retention.bytes are reached
#   read_only      store or spool is mounted read-only
#   missing_token  the token's file comes later
#   clock_step     the sidecar's wall clock jumps by 40 days, both ways
#   two_sidecars   two on one spool, and on one store
#   mistakes       in the sidecar's configuration and in the policy, which may also be missing
#   store_memory   the store is in memory, and the sidecar may have little of it
#   taken_port     the application has the port of the sidecar's health
#   twenty_failures  of five kinds, in a store that holds five bundles
# The application's container runs commands one after another, as the test hands them in, so that it need
# not be started for each. Exit status 77: not root, or what is needed is not there. A failure keeps its
# files and says where.
set -euo pipefail
condition=$1 programs=$2
pod=shmrec-pod-${condition//_/-}
. "$(dirname "$0")/pod.sh"
skip_unless_possible
faketime=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1

begin "$condition" "$programs"

# ---- The pod

mount_small() {  # VOLUME SIZE
  mount -t tmpfs -o "size=$2,$(stat --format 'mode=%a,uid=%u,gid=%g' "$work/$1")" none "$work/$1" ||
    { echo "skipped: mounting is not possible here"; exit 77; }
}

# Leaves so many bytes free.
fill() {  # VOLUME BYTES
  local free
  free=$(stat --file-system --format '%f * %S' "$work/$1")
  fallocate -l $((free - $2)) "$work/$1/.filler"
}

make_all() {  # LINES_OF_CONFIGURATION [OPTION_OF_PODMAN]...
  printf 'apiVersion: shmrec/v1\nkind: Sidecar\n%s\n' "$1" >"$work/config/sidecar.yaml"
  shift
  cp "$programs/shmem_producer_consumer" "$work/app"
  cat >"$work/app/serve" <<'END'
number=1
while :; do
  until [ -e /shared/$number.command ]; do sleep 0.05; done
  sh /shared/$number.command >/shared/$number.output 2>&1
  echo $? >/shared/status.part
  mv /shared/status.part /shared/$number.status
  number=$((number + 1))
done
END
  install_tools
  make_pod
  create_sidecar 65532 -e SHMREC_LISTEN=unix:/var/lib/shmrec/api.sock -e SHMREC_NO_AUTH=1 "$@"
  create_app -e SHMREC_LOG_SIZE=8MiB -- sh /app/serve
  start app
}

start_sidecar() { start sidecar; wait_until "health of the sidecar" 20 sidecar_is_ready; }

commands=0
hand_in() {  # COMMAND_OF_A_SHELL
  commands=$((commands + 1))
  output=$work/shared/$commands.output
  printf '%s\n' "$1" >"$work/shared/part"
  mv "$work/shared/part" "$work/shared/$commands.command"
}

# In the application's container; it must end with the status, which is that of the command alone.
app() {  # STATUS COMMAND_OF_A_SHELL
  local ended
  hand_in "$2"
  wait_until "end of: $2" 30 test -e "$work/shared/$commands.status"
  ended=$(cat "$work/shared/$commands.status")
  [ "$ended" = "$1" ] || { cat "$output"; fail "$2: ended with $ended, not with $1"; }
}

record() { app "$1" "${3:+$3 }/shmrec/shmrec run -- $2"; }  # STATUS COMMAND [VARIABLES]
says() { grep -qF "$1" "$output" || { cat "$output"; fail "the launcher does not say: $1"; }; }

# ---- What the sidecar says

exit_code() { podman inspect --format '{{.State.ExitCode}}' "$pod-$1"; }
log_has() { podman logs "$pod-${2:-sidecar}" 2>&1 | grep -F "$1" >/dev/null; }
ask() { curl -sS -m 10 --unix-socket "$work/store/api.sock" "http://localhost$1"; }
listed() { ask /v1/bundles; }
something_is_recorded() { ask /v1/processes | grep -F '"running"' >/dev/null; }
is_listed() { listed | grep -F "\"trigger\": \"$1\"" >/dev/null; }
bundles() { find "$work/store" -maxdepth 1 -name '*.shmrec.tar.zst' | sort; }
listed_are() { [ "$(listed | grep -c '"name"')" = "$1" ]; }
count_is() { [ "$(bundles | wc -l)" = "$1" ]; }
remember_bundles() { bundles | xargs -r sha256sum >"$work/sums"; }
runs_are() { [ "$(runs | wc -l)" = "$1" ]; }
runs() { find "$work/spool" -mindepth 1 -maxdepth 1 -type d ! -name '.*'; }

collected() {  # NUMBER_OF_BUNDLES
  wait_until "empty spool" 30 spool_is_empty
  count_is "$1" || { bundles; fail "there are not $1 bundles"; }
}

check_bundles() {
  local bundle
  [ ! -s "$work/sums" ] || sha256sum --quiet -c "$work/sums" || fail "an earlier bundle was changed or lost"
  for bundle in $(bundles); do
    "$programs/shmrec" bundle verify "$bundle" >"$work/verified" 2>&1 || { cat "$work/verified"; fail "$bundle"; }
  done
}

ends_refusing() {  # CONTAINER TEXT...: it must end with 1 and have said all of that
  local container=$1 text
  shift
  wait_until "end of $container" 20 is_over "$container"
  [ "$(exit_code "$container")" = 1 ] || fail "$container ended with $(exit_code "$container")"
  for text in "$@"; do
    log_has "$text" "$container" || { podman logs "$pod-$container"; fail "$container does not say: $text"; }
  done
}

# The launcher counted as many as the newest bundle has.
accesses_are_whole() {
  local said held
  said=$(sed -nE 's/^shmrec: [0-9]+ recordings?, ([0-9,]+) access.*/\1/p' "$output" | tr -d ,)
  held=$(bundles | xargs ls -t | head -n 1 | xargs "$programs/shmrec" ls --json |
    python3 -c 'import json, sys; print(sum(one["accesses"] for one in json.load(sys.stdin)["recordings"]))')
  [ "$said" -gt 0 ] || fail "the launcher counted nothing"
  [ "$held" = "$said" ] || fail "the launcher counted $said accesses, the bundle has $held"
}

# ---- The conditions

disk_full() {
  mount_small store 16m
  mount_small spool 80m
  make_all 'retention: {free: 0}'
  start_sidecar
  record 3 "sh -c 'exit 3'"
  record 4 "sh -c 'exit 4'"
  collected 2
  remember_bundles

  fill store 65536
  record 5 "sh -c 'exit 5'"
  wait_until "complaint" 10 log_has "No space left on device"
  health_has /readyz 'No space left on device' || fail "/readyz: $(health /readyz)"
  health_has /metrics '^shmrec_bundles_made_total\{outcome="failed"\} [1-9]' || fail "no metric of the failure"
  sidecar_is_ready || fail "it does not live"
  [ "$(runs | wc -l)" = 1 ] || fail "the run is not kept"
  rm "$work/store/.filler"
  collected 3
  is_listed "exit 5" || fail "$(listed)"
  health_has /readyz '^ok' || fail "/readyz: $(health /readyz)"

  fill spool $((4 << 20))
  record 1 /app/shmem_producer_consumer
  says "the command runs unrecorded: "
  says "free, and the log takes at most half"
  says "held 100."  # its own
  record 125 "touch /shared/touched" SHMREC_FAILURE_POLICY=closed
  says "not started, because it cannot be recorded: "
  [ ! -e "$work/shared/touched" ] || fail "it was started"
  rm "$work/spool/.filler"
  fill spool $(((16 << 20) + 65536))
  # Ever more lines of events.jsonl, for which there is no block any more.
  record 1 "sh -c 'cat /dev/zero >/var/spool/shmrec/.more
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /bin/true; done
    /app/shmem_producer_consumer'"
  rm "$work/spool/.more"
  says "held 100."
  says "not kept for the sidecar: "
  says "of events.jsonl would tell: No space left on device"
  says "end.json: No space left on device"
  collected 4
  is_listed "lost: all processes are gone, killed or out of memory" || fail "$(listed)"
  check_bundles
  accesses_are_whole
}

spool_limit() {
  local limit small="SHMREC_SPOOL_SIZE=12MiB SHMREC_RECORDING_SIZE=12MiB"
  make_all 'join: false'
  start_sidecar
  record 3 "sh -c 'exit 3'"
  collected 1
  remember_bundles
  limit=$(($(stat --format %s "$work"/store/*.shmrec.tar.zst) * 5 / 2))
  echo "retention: {bytes: $limit}" >>"$work/config/sidecar.yaml"
  podman restart -t 10 "$pod-sidecar" >/dev/null
  wait_until "health of the sidecar" 20 sidecar_is_ready
  record 3 "sh -c 'exit 3'"
  collected 2
  record 3 "sh -c 'exit 3'"
  collected 2  # the second had to go
  check_bundles
  record 4 "sh -c 'exit 4'"
  record 5 "sh -c 'exit 5'"
  wait_until "complaint" 10 log_has "bundles that are kept for good take"
  collected 3  # first failures
  check_bundles

  hand_in "/shmrec/shmrec run -- sleep 100 & echo \$! >/shared/sleeper"
  wait_until "recorded sleeper" 10 something_is_recorded
  record 1 /app/shmem_producer_consumer "$small"
  says "the command runs unrecorded: "
  says "expected at most spoolSize (12 MiB) in all"
  says "held 100."
  record 125 "touch /shared/touched" "$small SHMREC_FAILURE_POLICY=closed"
  [ ! -e "$work/shared/touched" ] || fail "it was started"
  [ "$(runs | wc -l)" = 1 ] || fail "a run that was refused is in the spool"
  app 0 "kill \$(cat /shared/sleeper)"
  wait_until "empty spool" 30 spool_is_empty
  record 1 /app/shmem_producer_consumer "$small"
  says "is left to the sidecar"
}

read_only() {
  make_all '' -v "$work/spool:/ro-spool:ro"
  as=ro-store create_sidecar 65532 -v "$work/store:/ro:ro" -e SHMREC_STORE=/ro
  as=ro-spool create_sidecar 65532 -v "$work/spool:/ro:ro" -e SHMREC_SPOOL=/ro
  start ro-store
  start ro-spool
  ends_refusing ro-store /ro "Read-only file system"
  ends_refusing ro-spool /ro "Read-only file system"

  record 1 /app/shmem_producer_consumer  # without a sidecar
  "$programs/shmrec" bundle verify "$work"/shared/*.shmrec.tar.zst >/dev/null 2>&1 ||
    { cat "$output"; fail "it was not recorded locally"; }
  app 1 "cd /app && /shmrec/shmrec run -- ./shmem_producer_consumer"
  says "no bundle: "
  says "Read-only file system"
  says "the run is kept in /var/spool/shmrec/"

  start_sidecar
  collected 1
  for spool in /ro-spool /ro-spool/new; do
    record 1 /app/shmem_producer_consumer SHMREC_SPOOL=$spool
    says "the command runs unrecorded: $spool"
    says "Read-only file system"
    says "held 100."
    record 125 "touch /shared/touched" "SHMREC_SPOOL=$spool SHMREC_FAILURE_POLICY=closed"
    says "not started, because it cannot be recorded: $spool"
    [ ! -e "$work/shared/touched" ] || fail "it was started"
  done
  collected 1
  check_bundles
}

answer_is() {  # STATUS TOKEN
  local status
  status=$(nsenter -t "$(pid_1 sidecar)" -n curl -sS -m 5 -o "$work/answer" -w '%{http_code}' \
    -H "Authorization: Bearer $2" http://127.0.0.1:7070/v1/bundles)
  [ "$status" = "$1" ] || { cat "$work/answer"; fail "the server answers $status, not $1"; }
}

missing_token() {
  make_all '' -e SHMREC_LISTEN=127.0.0.1:7070 -e SHMREC_NO_AUTH=0 -e SHMREC_TOKEN_FILE=/etc/shmrec/token
  start_sidecar
  log_has "/etc/shmrec/token: No such file or directory; nobody is let in" || fail "it does not say why"
  answer_is 503 ""
  grep -q token "$work/answer" || { cat "$work/answer"; fail "the answer does not say why"; }
  record 1 /app/shmem_producer_consumer
  collected 1
  answer_is 503 anything
  (umask 027; echo a-token >"$work/config/part"; chgrp 2000 "$work/config/part")
  mv "$work/config/part" "$work/config/token"
  answer_is 200 a-token
  grep -q '"trigger": "exit 1"' "$work/answer" || { cat "$work/answer"; fail "the bundle is not listed"; }
  answer_is 401 another
  answer_is 401 ""
  rm "$work/config/token"
  answer_is 503 a-token
  check_bundles
}

two_sidecars() {
  make_all ''
  mkdir -m 2770 "$work/spool2"
  chgrp 2000 "$work/spool2"
  as=second create_sidecar 65532 -e SHMREC_LISTEN=unix:/var/lib/shmrec/api.sock -e SHMREC_NO_AUTH=1
  as=third create_sidecar 65532 -v "$work/spool2:/spool2" -e SHMREC_SPOOL=/spool2
  start_sidecar
  start second
  start third
  ends_refusing second "/var/spool/shmrec: another sidecar has this spool"
  ends_refusing third "/var/lib/shmrec: another sidecar has this store"
  record 3 "sh -c 'exit 3'"
  collected 1
  remember_bundles

  hand_in "/shmrec/shmrec run -- sh -c 'until [ -e /shared/end ]; do sleep 0.05; done; exit 4'"
  wait_until "recorded command" 10 something_is_recorded
  kill -9 "$(pid_1 sidecar)"
  wait_until "end of the sidecar" 10 is_over sidecar
  start second
  wait_until "health of the second" 20 podman exec "$pod-second" shmrec-sidecar health >/dev/null 2>&1
  touch "$work/shared/end"
  wait_until "end of the command" 20 test -e "$work/shared/$commands.status"
  collected 2
  is_listed "exit 4" || fail "$(listed)"
  check_bundles
  start sidecar
  ends_refusing sidecar "/var/spool/shmrec: another sidecar has this spool"
}

# The sidecar's clock alone: the launcher is a static program, into which nothing can be loaded.
set_clock() {  # DAYS
  echo "$1d" >"$work/clock/part"
  mv "$work/clock/part" "$work/clock/offset"
}

# By the wall clock so many days away; midnight may have passed.
is_dated() {  # DAYS
  listed | grep -E "\"created\": \"($(date -u -d "$1 days" +%F)|$(date -u -d "$1 days 1 minute ago" +%F))" >/dev/null
}
all_are_sent() { [ -z "$(cd "$work/store" && for name in *.zst; do [ -e "../claim/$name" ] || echo "$name"; done)" ]; }
all_are_named() {
  bundles | grep -vE '/[A-Za-z0-9._+]+-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?\.shmrec\.tar\.zst$' && fail "the names above"
  listed_are "$(bundles | wc -l)" || fail "not all are listed: $(listed)"
}
limited_is() { health_has /metrics "^shmrec_bundles_limited_total $1\$"; }

clock_step() {
  [ -e $faketime ] || { echo "skipped: needs the package faketime"; exit 77; }
  mkdir "$work"/{clock,claim}
  set_clock +0
  cat >"$work/app/crash_twice" <<'END'
sh -c 'kill -ABRT $$'
until [ -e /shared/again ]; do sleep 0.05; done
sh -c 'kill -ABRT $$'
exit 9
END
  # Times of files are left alone: what was written before a step lies 40 days away after it.
  make_all 'retention: {age: 30d, free: 0}
join: false
destinations: [{name: claim, directory: /claim}]
rules:
- {name: crashes, trigger: {signal: any, processes: true}}
- {name: ends, trigger: {exitStatus: [0]}, limit: {count: 3, per: 7s}}' \
    -v $faketime:/faketime.so:ro -v "$work/clock:/clock:ro" -v "$work/claim:/claim" \
    -e LD_PRELOAD=/faketime.so -e FAKETIME_TIMESTAMP_FILE=/clock/offset -e FAKETIME_NO_CACHE=1 \
    -e FAKETIME_DONT_FAKE_MONOTONIC=1 -e NO_FAKE_STAT=1
  chmod 700 "$work/claim"  # and root's: sending fails
  start_sidecar
  # A limit holds for failures only while the store is full: these end well.
  local well="sh -c 'exit 0'" limited
  record 0 "$well"
  record 0 "$well"
  collected 2

  set_clock +40
  hand_in "/shmrec/shmrec run -- sh /app/crash_twice &"
  record 0 "$well"
  wait_until "bundle" 5 listed_are 3
  is_dated +40 || fail "the sidecar's clock was not set: $(listed)"
  remember_bundles
  record 0 "$well"
  wait_until "limit that holds" 5 limited_is 1
  limited=$SECONDS
  wait_until "bundle of the first crash" 10 listed_are 4
  check_bundles

  set_clock -40
  chown 65532 "$work/claim"
  remember_bundles
  sleep $((limited + 8 > SECONDS ? limited + 8 - SECONDS : 0))
  record 0 "$well"
  wait_until "bundle, the limit's time being over" 5 listed_are 5
  is_dated -40 || fail "the sidecar's clock was not set: $(listed)"
  wait_until "copies of all" 10 all_are_sent

  # What it takes up again is from times that seem to lie ahead.
  kill -9 "$(pid_1 sidecar)"
  wait_until "end of the sidecar" 10 is_over sidecar
  start_sidecar
  record 0 "$well"
  wait_until "bundle after the restart" 5 listed_are 6
  touch "$work/shared/again"
  wait_until "bundle of the second crash" 10 listed_are 7
  sidecar_is_ready || fail "it does not live"
  collected 7
  check_bundles
  all_are_named
}

# The command runs and is recorded whatever is wrong with the policy, or is refused where asked for.
mistakes() {
  install -m 644 -o 65532 /dev/null "$work/message"
  make_all 'retentoin: {count: 1}' -v "$work/message:/dev/termination-log"
  printf 'apiVersion: shmrec/v1\nkind: Policy\nlimits: {log: 64MiB}\n' >"$work/app/typo.yaml"
  start_sidecar
  health_has /readyz '^ok; 1 mistakes in the configuration: .*retentoin' || fail "/readyz: $(health /readyz)"
  health_has /metrics '^shmrec_configuration_errors 1$' || fail "no metric of the configuration"
  log_has "THE CONFIGURATION HAS MISTAKES" || fail "the log does not say it"
  grep -q retentoin "$work/message" || fail "the termination message: $(cat "$work/message")"
  local variable
  for variable in SHMREC_POLICY=/app/typo.yaml SHMREC_POLICY=/app/none.yaml SHMREC_XYZZY=1; do
    record 1 /app/shmem_producer_consumer $variable
    says "THE POLICY HAS MISTAKES"
    says "held 100."
    record 2 "touch /shared/touched" "$variable SHMREC_FAILURE_POLICY=closed"
    says "not started, because the policy has mistakes"
    [ ! -e "$work/shared/touched" ] || fail "it was started"
  done
  collected 3
  health_has /metrics '^shmrec_policy_mistakes_total 3$' || fail "no metric of the policies"
  grep -q 'none.yaml: No such file' "$work/message" || fail "the termination message: $(cat "$work/message")"
  check_bundles
}

# A bundle for which memory may not do is not made, and the run stays; others are.
store_memory() {
  mount_small store 512m
  cp "$programs/use_memory" "$work/app"
  make_all 'retention: {free: 0}' --memory 64m --memory-swap 64m
  start_sidecar
  log_has "/var/lib/shmrec: in memory, so its bundles take at most " || fail "it does not say what it keeps"
  record 7 "/app/use_memory 1 600000" "SHMREC_LOG_SIZE=64MiB SHMREC_SPOOL_SIZE=1GiB"
  wait_until "complaint" 20 log_has "for the log in a bundle and a copy meanwhile, which is in memory"
  health_has /readyz 'which is in memory' || fail "/readyz: $(health /readyz)"
  record 3 "sh -c 'exit 3'"
  wait_until "bundle of another" 10 is_listed "exit 3"
  wait_until "end of the other" 10 runs_are 1
  is_over sidecar && fail "the sidecar has ended"
  check_bundles
}

taken_port() {
  make_all ''
  hand_in "perl -MIO::Socket::INET -e '\$s = IO::Socket::INET->new(Listen => 5, LocalAddr => \"0.0.0.0:7071\") or die;
    open(F, \">/shared/taken\"); close(F); sleep 1 until -e \"/shared/end\"' >/dev/null 2>&1 &"
  wait_until "listener" 10 test -e "$work/shared/taken"
  start sidecar
  wait_until "complaint" 10 log_has "0.0.0.0:7071: Address already in use; runs are collected without this server"
  record 1 /app/shmem_producer_consumer
  says "held 100."
  collected 1
  is_listed "exit 1" || fail "$(listed)"
  touch "$work/shared/end"
  wait_until "health of the sidecar" 20 sidecar_is_ready
  check_bundles
}

# The first of each kind stays, one bundle for each failure, and each that goes is told with its rule.
twenty_failures() {
  local rule dropped all=0
  cp "$programs/victims/crash" "$work/app"
  make_all 'retention: {count: 5}'
  start_sidecar
  app 0 'for i in 1 2 3 4; do
    for kind in null-store null-from-shared illegal abort; do /shmrec/shmrec run -- /app/crash $kind; done
    /shmrec/shmrec run -- sh -c "exit 3"
  done
  true'
  [ "$(grep -c "is left to the sidecar" "$output")" = 20 ] || { cat "$output"; fail "there were not 20 runs"; }
  collected 5
  python3 -c 'import glob, json, sys
records = [json.load(open(path)) for path in glob.glob(sys.argv[1] + "/*.json")]
print(*(record["kinds"][0] for record in records), sep="\n")
sys.exit(not all(record["keep"] and len(record["kinds"]) == 1 for record in records))' "$work/store" >"$work/kinds" ||
    { cat "$work/kinds"; fail "not all are first ones, of one kind each"; }
  [ "$(sort -u "$work/kinds" | wc -l)" = 5 ] || { cat "$work/kinds"; fail "there are not five kinds"; }
  # By the count of the store, and by the limit of the default rule, which holds while it is full.
  for rule in retention.count crashes; do
    dropped=$(podman logs "$pod-sidecar" 2>&1 | grep -c "dropped by rule $rule:")
    all=$((all + dropped))
    health_has /metrics "^shmrec_bundles_dropped_total\\{rule=\"$rule\"\\} $dropped\$" ||
      fail "the log tells of $dropped by $rule: $(health /metrics | grep dropped)"
  done
  [ "$all" = 15 ] || fail "the log tells of $all that were dropped"
  check_bundles
}

make_volumes 65532
"$condition"
