#!/usr/bin/env python3
"""A Pod, or the pod of a Job, as `podman kube play` can run it: what kubelet would do and podman 4.3 does
not is done here. usage: as_kubelet.py NAME VOLUMES <MANIFEST >POD

emptyDir: a directory of the node's, in VOLUMES, that any user may write. A native sidecar: the first of the
containers; who starts the pod ends it when the others have ended. $(VARIABLE): the pod's name. The
termination message: a file. Probes and resources are left out."""
import json
import pathlib
import sys

try:
    import yaml
except ImportError:
    print("skipped: needs python3-yaml", file=sys.stderr)
    sys.exit(77)

name, volumes = sys.argv[1], pathlib.Path(sys.argv[2])
manifest = next(yaml.safe_load_all(sys.stdin))
pod = manifest["spec"]["template"] if manifest["kind"] == "Job" else manifest
spec = pod["spec"]


def host_path(path, is_file):
    if is_file:
        path.touch()
    else:
        path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o666 if is_file else 0o777)
    return {"path": str(path), "type": "File" if is_file else "Directory"}


for volume in spec["volumes"]:
    if volume.pop("emptyDir", None) is not None:
        volume["hostPath"] = host_path(volumes / volume["name"], False)
spec["volumes"].append({"name": "termination-log", "hostPath": host_path(volumes / "termination-log", True)})
native = [each for each in spec.get("initContainers", []) if each.pop("restartPolicy", None)]
spec["initContainers"] = [each for each in spec.get("initContainers", []) if each not in native]
spec["containers"] = native + spec["containers"]
for container in spec["initContainers"] + spec["containers"]:
    for field in ("startupProbe", "livenessProbe", "readinessProbe", "resources", "ports"):
        container.pop(field, None)
    for variable in container.get("env", []):
        variable["value"] = name if "valueFrom" in variable else (
            variable["value"].replace("$(SHMREC_POD_NAME)", name))
        variable.pop("valueFrom", None)
    if container["name"] == "shmrec-sidecar":
        container["volumeMounts"].append({"name": "termination-log", "mountPath": "/dev/termination-log"})
print(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                  "spec": {**spec, "restartPolicy": "Never"}}, indent=1))
