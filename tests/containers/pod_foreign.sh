#!/bin/bash
# A pod whose sidecar is another user than its containers, and no group that they share: what inject makes
# of a manifest that does not say one runAsUser and fsGroup. Either the sidecar can read what they record,
# or it says no to their launchers, which make the bundles themselves; no run piles up, none goes without
# its bundle, and /readyz tells.
# usage: pod_foreign.sh VARIANT DIRECTORY_OF_PROGRAMS
#   root  as most public charts are: root, with the capabilities that a runtime gives; and root without any
#   user  two users, neither of them the sidecar's
# Exit status 77: not root, or what is needed is not there. A failure keeps its files and says where.
set -euo pipefail
variant=$1 programs=$2
pod=shmrec-pod-foreign-$variant
. "$(dirname "$0")/pod.sh"
skip_unless_possible
python3 -c 'import yaml' 2>/dev/null || { echo "skipped: needs python3-yaml"; exit 77; }
case $variant in
  root) contexts=('' 'securityContext: {capabilities: {drop: [ALL]}}') ;;
  user) contexts=('securityContext: {runAsUser: 1000}' 'securityContext: {runAsUser: 1001}') ;;
  *) echo "no such variant: $variant" >&2; exit 2 ;;
esac

begin "$variant" "$programs"
mkdir "$work/app" "$work/volumes"
chmod 755 "$work" "$work/app"
cp "$programs/shmem_producer_consumer" "$work/app"
spool=$work/volumes/shmrec-spool store=$work/volumes/shmrec-store

# ---- The pod

container() {  # NAME LINE
  cat <<END
  - name: $1
    image: $image
    command: [/app/shmem_producer_consumer]
    workingDir: /work
    volumeMounts: [{name: app, mountPath: /app}, {name: work, mountPath: /work}]
${2:+    $2}
END
}

cat >"$work/web.yaml" <<END
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  restartPolicy: Never
  containers:
$(container app "${contexts[0]}")
$(container other "${contexts[1]}")
  volumes: [{name: app, hostPath: {path: $work/app}}, {name: work, emptyDir: {}}]
END
play_injected web.yaml
grep -q "so the sidecar runs as the user of its image" "$work/notes" ||
  { cat "$work/notes"; fail "inject does not say that the users differ"; }
[ "$(stat --format %a "$spool")" = 777 ] || fail "the spool is not as kubelet makes an emptyDir"

# ---- What happens to the bundles

bundles() { find "$1" -maxdepth 1 -name '*.shmrec.tar.zst' -printf '%T@ %p\n' | sort -n | cut -d ' ' -f 2; }
count_is() { [ "$(bundles "$1" | wc -l)" = "$2" ]; }  # DIRECTORY NUMBER
is_ready() { health_has /readyz '^ok$'; }
says() { grep -qF "$1" "$work/output" || { cat "$work/output"; fail "the launcher does not say: $1"; }; }
metric_is() { health_has /metrics "^$1 $2\$" || fail "$1 is not $2"; }

whole() {  # BUNDLE: nothing is missing for want of permission, and it answers
  "$programs/shmrec" bundle verify "$1" >"$work/verified" 2>&1 || { cat "$work/verified"; fail "verify"; }
  "$programs/shmrec" bundle ls "$1" | grep 'binaries/.*/shmem_producer_consumer' >/dev/null ||
    fail "the program is not in $1"
  blame_example "$1"
}

taken() {  # CONTAINER NUMBER_OF_BUNDLES: the sidecar has them
  start "$1"
  await_example "$1"
  says "is left to the sidecar"
  wait_until "empty spool" 30 spool_is_empty "$spool"
  count_is "$store" "$2" || fail "not $2 bundles in the store: $(bundles "$store")"
  whole "$(bundles "$store" | tail -n 1)"
  is_ready || fail "/readyz: $(health /readyz)"
}

refused() {  # CONTAINER USER NUMBER_OF_BUNDLES: they are in the spool
  start "$1"
  await_example "$1"
  says "recording without the sidecar: "
  says "user 65532, group 65532 does not collect what user $2 records: it cannot read what it makes there"
  says "give the pod a securityContext.fsGroup, or both one runAsUser"
  says "shmrec: bundle /var/spool/shmrec/"
  spool_is_empty "$spool" || fail "there is a run in the spool: $(ls -A "$spool")"
  count_is "$spool" "$3" || fail "not $3 bundles in the spool: $(ls -A "$spool")"
  whole "$(bundles "$spool" | tail -n 1)"
  health_has /readyz "does not collect what user [0-9]+ records" || fail "/readyz: $(health /readyz)"
  [ "$(health /readyz -o /dev/null -w '%{http_code}')" = 503 ] || fail "it says that it is ready"
  podman logs "$pod-$sidecar" 2>&1 | grep "launcher refused: .* what user $2 records" >/dev/null ||
    fail "the sidecar's log does not say it"
}

root() {
  taken app 1
  refused other 0 1
  refused other 0 2  # as in a crash loop
  metric_is shmrec_launchers_refused_total 2
  taken app 2
  metric_is shmrec_runs_unreadable 0
}

user() {
  refused app 1000 1
  refused other 1001 2
  refused app 1000 3
  metric_is shmrec_launchers_refused_total 3
  metric_is shmrec_runs_unreadable 0
  count_is "$store" 0 || fail "the store has bundles: $(bundles "$store")"
}

"$variant"
sidecar_is_ready || fail "the sidecar does not live"
