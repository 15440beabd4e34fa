#!/bin/bash
# A Job whose program fails, with `shmrec inject --claim`: its pod ends, its volumes go, and the bundle is
# in the claim; `kubectl shmrec pull` brings it out by a pod of its own, and it names the bug.
# usage: pod_claim.sh DIRECTORY_OF_PROGRAMS
# The claim is a named volume of podman's, as `podman kube play` makes of a PersistentVolumeClaim; what
# kubelet does more than podman is in as_kubelet.py. Exit status 77: not root, or what is needed is not there.
set -euo pipefail
programs=$1
pod=shmrec-pod-claim
. "$(dirname "$0")/pod.sh"
skip_unless_possible
python3 -c 'import yaml' 2>/dev/null || { echo "skipped: needs python3-yaml"; exit 77; }
claim=$pod-bundles reader=$pod-reader

remove_pod() {
  podman pod rm -f -t 0 "$pod" >/dev/null 2>&1 || true
  podman pod rm -f -t 0 "$reader" >/dev/null 2>&1 || true
  podman volume rm -f "$claim" >/dev/null 2>&1 || true
}

begin "$programs"
mkdir "$work/app" "$work/volumes"
chmod 755 "$work" "$work/app"
cp "$programs/shmem_producer_consumer" "$work/app"
podman volume create --opt o=uid=1000,gid=1000 "$claim" >/dev/null

# ---- The Job, which is told to end when its containers have ended

cat >"$work/job.yaml" <<END
apiVersion: batch/v1
kind: Job
metadata: {name: example}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}
      containers:
      - name: app
        image: $image
        command: [/app/shmem_producer_consumer]
        workingDir: /work
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
        volumeMounts: [{name: app, mountPath: /app}, {name: work, mountPath: /work}]
      volumes: [{name: app, hostPath: {path: $work/app}}, {name: work, emptyDir: {}}]
END
play_injected job.yaml --claim "$claim"
[ ! -s "$work/notes" ] || { cat "$work/notes"; fail "inject has something to say of a Job with a claim"; }
"$programs/shmrec" uninject -f "$work/injected.yaml" | cmp - "$work/job.yaml" || fail "uninject"
start app
await_example
grep -q "is left to the sidecar" "$work/output" ||
  { cat "$work/output"; fail "the sidecar did not have the run"; }
podman stop -t 30 "$pod-$sidecar" >/dev/null
ended=$(podman inspect --format '{{.State.ExitCode}}' "$pod-$sidecar")
[ "$ended" = 0 ] || { podman logs "$pod-$sidecar"; fail "the sidecar ended with $ended"; }
grep -q "^shmrec: exit 1 in run .*: bundle /var/lib/shmrec/$pod/.*\.shmrec\.tar\.zst" \
  "$work/volumes/termination-log" || { cat "$work/volumes/termination-log"; fail "the termination message"; }

# ---- Nothing is left of the pod but the claim

podman pod rm -f -t 0 "$pod" >/dev/null
rm -rf "$work/volumes"
mkdir "$work/volumes" "$work/pull"

# ---- kubectl shmrec pull, by a kubectl that does with podman what it would do with a pod

write_podman "$work/podman"
cat >"$work/kubectl" <<END
#!/bin/bash
set -e
case \$1 in
  create)
    python3 "$containers/as_kubelet.py" "$reader" "$work/volumes" >"$work/reader.json"
    "$work/podman" kube play --network none "$work/reader.json" >"$work/played" 2>&1 ||
      { cat "$work/played" >&2; exit 1; } ;;
  wait)
    for ((i = 0; i < 200; i++)); do
      "$work/podman" exec "$reader-shmrec-sidecar" shmrec-sidecar request /v1/info >/dev/null 2>&1 && exit
      sleep 0.1
    done
    "$work/podman" logs "$reader-shmrec-sidecar" >&2
    exit 1 ;;
  exec) exec "$work/podman" exec "$reader-shmrec-sidecar" "\${@:6}" ;;
  delete) "$work/podman" pod rm -f -t 5 "$reader" >/dev/null ;;
  *) echo "kubectl \$*: not expected" >&2; exit 9 ;;
esac
END
chmod 755 "$work/kubectl"
cd "$work/pull"
KUBECTL=$work/kubectl SHMREC=$programs/shmrec "$containers/../../deploy/kubectl-shmrec" \
  pull "$pod" --claim "$claim" --image "$sidecar_image" --uid 1000 >name 2>said ||
  { cat said; fail "kubectl shmrec pull"; }
bundle=$(cat name)
podman pod exists "$reader" && fail "the pod that read the claim is still there"

# ---- The answer

blame_example "$bundle"
echo "\$ kubectl shmrec pull $pod --claim $claim --image $sidecar_image --uid 1000"
cat said name
echo "\$ shmrec blame $bundle --recording consumer $address"
cat "$work/blame"
