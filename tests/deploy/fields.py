"""Strict check of manifests: only fields that a release of Kubernetes knows, with values of their type.

The table holds the fields that shmrec's manifests use and those that tests need, not all there are; a
field that is missing here is an error, as it is for a server with strict field validation. Source: the
API reference and the change logs of Kubernetes.
"""

# Field types: a Python type, "quantity", "port" (number or name), a name of TYPES, [T] a list, {T} a map.
# (T, RELEASE): since 1.RELEASE; without, older than 1.28.
S, I, B = str, int, bool

TYPES = {
    "ObjectMeta": {"name": S, "generateName": S, "namespace": S, "labels": {S}, "annotations": {S}},
    "LabelSelector": {"matchLabels": {S}},
    "List": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "items": ["Object"]},
    "ConfigMap": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "data": {S}},
    "Pod": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "PodSpec"},
    "PodTemplate": {"metadata": "ObjectMeta", "spec": "PodSpec"},
    "Deployment": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "DeploymentSpec"},
    "DeploymentSpec": {"replicas": I, "selector": "LabelSelector", "template": "PodTemplate"},
    "StatefulSet": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "StatefulSetSpec"},
    "StatefulSetSpec": {"replicas": I, "selector": "LabelSelector", "serviceName": S,
                        "template": "PodTemplate"},
    "DaemonSet": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "DaemonSetSpec"},
    "DaemonSetSpec": {"selector": "LabelSelector", "template": "PodTemplate"},
    "ReplicaSet": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "ReplicaSetSpec"},
    "ReplicaSetSpec": {"replicas": I, "selector": "LabelSelector", "template": "PodTemplate"},
    "Job": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "JobSpec"},
    "JobSpec": {"backoffLimit": I, "completions": I, "parallelism": I, "template": "PodTemplate",
                "ttlSecondsAfterFinished": I},
    "CronJob": {"apiVersion": S, "kind": S, "metadata": "ObjectMeta", "spec": "CronJobSpec"},
    "CronJobSpec": {"schedule": S, "concurrencyPolicy": S, "jobTemplate": "JobTemplate"},
    "JobTemplate": {"metadata": "ObjectMeta", "spec": "JobSpec"},
    "PodSpec": {
        "containers": ["Container"], "initContainers": ["Container"], "volumes": ["Volume"],
        "restartPolicy": S, "nodeName": S, "nodeSelector": {S}, "hostname": S, "hostNetwork": B,
        "hostPID": B, "hostIPC": B, "shareProcessNamespace": B, "serviceAccountName": S,
        "automountServiceAccountToken": B, "terminationGracePeriodSeconds": I,
        "securityContext": "PodSecurityContext",
        "resources": ("Resources", 32),
    },
    "Container": {
        "name": S, "image": S, "imagePullPolicy": S, "command": [S], "args": [S], "workingDir": S,
        "env": ["EnvVar"], "ports": ["ContainerPort"], "resources": "Resources",
        "volumeMounts": ["VolumeMount"], "securityContext": "SecurityContext",
        "startupProbe": "Probe", "livenessProbe": "Probe", "readinessProbe": "Probe",
        "terminationMessagePath": S, "terminationMessagePolicy": S, "tty": B, "stdin": B,
        "restartPolicy": (S, 29),  # of init containers; on by default since 1.29
    },
    "EnvVar": {"name": S, "value": S, "valueFrom": "EnvVarSource"},
    "EnvVarSource": {"fieldRef": "FieldRef", "secretKeyRef": "KeyRef", "configMapKeyRef": "KeyRef"},
    "FieldRef": {"apiVersion": S, "fieldPath": S},
    "KeyRef": {"name": S, "key": S, "optional": B},
    "ContainerPort": {"name": S, "containerPort": I, "hostPort": I, "protocol": S},
    "Resources": {"requests": {"quantity"}, "limits": {"quantity"}},
    "VolumeMount": {"name": S, "mountPath": S, "readOnly": B, "subPath": S,
                    "recursiveReadOnly": (S, 30)},
    "Volume": {"name": S, "emptyDir": "EmptyDir", "configMap": "ConfigMapVolume",
               "secret": "SecretVolume", "persistentVolumeClaim": "Claim", "hostPath": "HostPath",
               "image": ("ImageVolume", 31)},
    "EmptyDir": {"medium": S, "sizeLimit": "quantity"},
    "ConfigMapVolume": {"name": S, "optional": B, "defaultMode": I},
    "SecretVolume": {"secretName": S, "optional": B, "defaultMode": I},
    "Claim": {"claimName": S, "readOnly": B},
    "HostPath": {"path": S, "type": S},
    "ImageVolume": {"reference": S, "pullPolicy": S},
    "Probe": {"exec": "Exec", "httpGet": "HttpGet", "initialDelaySeconds": I, "periodSeconds": I,
              "timeoutSeconds": I, "failureThreshold": I, "successThreshold": I},
    "Exec": {"command": [S]},
    "HttpGet": {"path": S, "port": "port", "host": S, "scheme": S},
    "SecurityContext": {
        "runAsUser": I, "runAsGroup": I, "runAsNonRoot": B, "privileged": B,
        "allowPrivilegeEscalation": B, "readOnlyRootFilesystem": B, "procMount": S,
        "capabilities": "Capabilities", "seccompProfile": "Profile", "seLinuxOptions": "SELinux",
        "appArmorProfile": ("Profile", 30),
    },
    "PodSecurityContext": {
        "runAsUser": I, "runAsGroup": I, "runAsNonRoot": B, "fsGroup": I, "fsGroupChangePolicy": S,
        "supplementalGroups": [I], "seccompProfile": "Profile", "seLinuxOptions": "SELinux",
        "sysctls": ["Sysctl"], "appArmorProfile": ("Profile", 30), "supplementalGroupsPolicy": (S, 31),
    },
    "Capabilities": {"add": [S], "drop": [S]},
    "Profile": {"type": S, "localhostProfile": S},
    "SELinux": {"type": S, "user": S, "role": S, "level": S},
    "Sysctl": {"name": S, "value": S},
}

GROUPS = {"Pod": "v1", "ConfigMap": "v1", "List": "v1", "Deployment": "apps/v1", "StatefulSet": "apps/v1",
          "DaemonSet": "apps/v1", "ReplicaSet": "apps/v1", "Job": "batch/v1", "CronJob": "batch/v1"}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def is_quantity(value):
    import re
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(
        re.fullmatch(r"\d+(\.\d+)?(m|k|[MGTPE]|[KMGTPE]i)?", str(value)))


class Checker:
    def __init__(self, release):
        self.release = release
        self.errors = []

    def error(self, path, text):
        self.errors.append(f"1.{self.release}: {path}: {text}")

    def check(self, value, kind, path):
        if kind == "Object":
            self.document(value, path)
        elif kind == "quantity":
            if not is_quantity(value):
                self.error(path, f"{value!r} is no quantity")
        elif kind == "port":
            if type(value) not in (int, str):
                self.error(path, f"{value!r} is no port")
        elif isinstance(kind, list):
            self.each(value, list, kind[0], path)
        elif isinstance(kind, set):
            self.each(value, dict, next(iter(kind)), path)
        elif isinstance(kind, type):
            if type(value) is not kind:  # a bool is no int here
                self.error(path, f"{value!r} is no {kind.__name__}")
        else:
            self.object(value, kind, path)

    def each(self, value, container, item, path):
        if not isinstance(value, container):
            return self.error(path, f"is no {container.__name__}")
        pairs = value.items() if container is dict else enumerate(value)
        names = [x.get("name") for x in value if isinstance(x, dict)] if container is list else []
        for name in {n for n in names if n is not None and names.count(n) > 1}:
            if item != "VolumeMount":
                self.error(path, f"has {name} twice")
        for key, each in pairs:
            self.check(each, item, f"{path}[{key}]")

    def object(self, value, kind, path):
        if not isinstance(value, dict):
            return self.error(path, f"is no {kind}")
        for key, each in value.items():
            if key not in TYPES[kind]:
                self.error(f"{path}.{key}", f"unknown field of {kind}")
                continue
            field = TYPES[kind][key]
            field, since = field if isinstance(field, tuple) else (field, 0)
            if since > self.release:
                self.error(f"{path}.{key}", f"field of {kind} since 1.{since}")
            self.check(each, field, f"{path}.{key}")
        if kind == "PodSpec":
            self.pod(value, path)

    def pod(self, spec, path):
        """Rules between fields that a server checks too."""
        volumes = {volume.get("name") for volume in spec.get("volumes") or []}
        names = []
        for field in ("initContainers", "containers"):
            for container in spec.get(field) or []:
                where = f"{path}.{field}[{container.get('name')}]"
                names.append(container.get("name"))
                goes_on = container.get("restartPolicy") == "Always"
                if field == "containers" and "restartPolicy" in container:
                    self.error(where, "restartPolicy is for init containers")
                if field == "initContainers" and not goes_on and any(p in container for p in PROBES):
                    self.error(where, "an init container that ends has no probes")
                if not container.get("image"):
                    self.error(where, "has no image")
                mounts = container.get("volumeMounts") or []
                for mount in mounts:
                    if mount.get("name") not in volumes:
                        self.error(where, f"mounts {mount.get('name')}, which is no volume")
                paths = [mount.get("mountPath") for mount in mounts]
                if len(set(paths)) != len(paths):
                    self.error(where, "mounts two volumes at one path")
        if len(set(names)) != len(names):
            self.error(path, "has two containers of one name")

    def document(self, value, path):
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind not in GROUPS:
            return self.error(path, f"kind {kind!r} is not in the table")
        if value.get("apiVersion") != GROUPS[kind]:
            self.error(path, f"{kind} of {value.get('apiVersion')!r}, not {GROUPS[kind]!r}")
        self.object(value, kind, f"{path}{kind}")


def check(documents, release):
    """The errors of `documents` for Kubernetes 1.`release`."""
    checker = Checker(release)
    for number, document in enumerate(documents):
        checker.document(document, f"document {number + 1}: ")
    return checker.errors


def pods(document):
    """(metadata, spec) of all pods of a document."""
    kind = document.get("kind", "")
    if kind.endswith("List"):
        return [pod for item in document["items"] for pod in pods(item)]
    owner = document
    for step in {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template")}.get(
            kind, ("spec", "template")):
        owner = owner.get(step) if isinstance(owner, dict) else None
    if not isinstance(owner, dict) or "containers" not in owner.get("spec", {}):
        return []
    return [(owner.get("metadata") or {}, owner["spec"])]
