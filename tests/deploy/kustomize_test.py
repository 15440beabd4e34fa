#!/usr/bin/env python3
"""deploy/kustomize: what comes out is valid, restricted, and has the same sidecar as `shmrec inject`.

expected/*.yaml are the outputs of kubectl kustomize; they are checked everywhere, and compared with what
kubectl says where there is one. usage:
  kustomize_test.py SHMREC            checks expected/
  kustomize_test.py --kubectl SHMREC  compares kubectl's output with expected/ (77: no kubectl)
  kustomize_test.py --write           writes expected/ anew
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import yaml
except ImportError:
    print("skipped: needs python3-yaml")
    sys.exit(77)

import fields
import restricted

HERE = pathlib.Path(__file__).resolve().parent
KUSTOMIZE = HERE.parent.parent / "deploy" / "kustomize"
KUBECTL = os.environ.get("KUBECTL", "kubectl")

# A workload of each kind, as a user's own folder has it.
WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {shmrec.dev/record: "true"}}
spec:
  selector: {matchLabels: {app: web}}
  template: &template
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: example/app:1
        command: [/shmrec/shmrec, run, --, /app]
        env: [{name: SHMREC_SPOOL, value: /var/spool/shmrec}]
        volumeMounts:
        - {name: shmrec-tools, mountPath: /shmrec, readOnly: true}
        - {name: shmrec-spool, mountPath: /var/spool/shmrec}
        - {name: data, mountPath: /data}
      volumes:
      - {name: data, emptyDir: {}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, labels: {shmrec.dev/record: "true"}}
spec: {serviceName: db, selector: {matchLabels: {app: web}}, template: TEMPLATE}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, labels: {shmrec.dev/record: "true"}}
spec: {selector: {matchLabels: {app: web}}, template: TEMPLATE}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {shmrec.dev/record: "true"}}
spec: SPEC
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: often, labels: {shmrec.dev/record: "true"}}
spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: JOBSPEC}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: unlabelled}
spec:
  selector: {matchLabels: {app: u}}
  template:
    metadata: {labels: {app: u}}
    spec: {containers: [{name: app, image: example/other}]}
"""


def workloads(mode):
    documents = []
    template = None
    for text in WORKLOADS.split("---\n"):
        document = yaml.safe_load(text)
        template = template or document["spec"]["template"]
        fill(document, {"TEMPLATE": template, "SPEC": template["spec"],
                        "JOBSPEC": {**template["spec"], "restartPolicy": "Never"}})
        if mode == "native-sidecar" or document["kind"] != "CronJob":
            documents.append(document)
    Plain = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    return yaml.dump_all(documents, Dumper=Plain, sort_keys=False)


def fill(value, words):
    for key, each in value.items():
        if isinstance(each, str) and each in words:
            value[key] = words[each]
        elif isinstance(each, dict):
            fill(each, words)


# File in expected/: components on top of the workloads, or a folder as it is.
OVERLAYS = {
    "native": ["native-sidecar", "restricted"],
    "classic": ["classic-sidecar", "restricted"],
    "artefact-port": ["native-sidecar", "artefact-port", "restricted"],
    "job": KUSTOMIZE / "examples" / "job",
}


def build(name):
    """kubectl's output."""
    source = OVERLAYS[name]
    with tempfile.TemporaryDirectory() as copy:
        root = pathlib.Path(copy)
        shutil.copytree(KUSTOMIZE, root / "kustomize")  # kustomize wants all below one root
        folder = root / "kustomize" / "examples" / "job"
        if isinstance(source, list):
            folder = root / "kustomize" / "overlay"
            folder.mkdir()
            (folder / "workloads.yaml").write_text(workloads(source[0]))
            (folder / "kustomization.yaml").write_text(yaml.safe_dump({
                "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                "resources": ["../base", "workloads.yaml"],
                "components": [f"../components/{each}" for each in source]}))
        done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True,
                              timeout=120)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout


def expected(name):
    return (HERE / "expected" / f"{name}.yaml").read_text()


def pods(text):
    return [(document, *pod) for document in yaml.safe_load_all(text) for pod in fields.pods(document)]


def container(spec, name):
    return next((each for each in restricted.containers(spec) if each["name"] == name), None)


class Expected(unittest.TestCase):
    def recorded(self):
        for name in OVERLAYS:
            for document, metadata, spec in pods(expected(name)):
                if document["metadata"]["name"] != "unlabelled":
                    with self.subTest(file=name, kind=document["kind"]):
                        yield name, metadata, spec

    def test_every_field_is_known_to_its_release(self):
        for name in OVERLAYS:
            for release in range(28 if name == "classic" else 29, 34):
                self.assertEqual(fields.check(fields.load(expected(name)), release), [])

    def test_pods_are_restricted(self):
        for _, metadata, spec in self.recorded():
            self.assertEqual(restricted.violations(metadata, spec), [])

    def test_without_the_component_the_workload_is_what_violates(self):
        for _, metadata, spec in self.recorded():
            spec = {**spec, "securityContext": {}}
            self.assertIn("non_root", restricted.violations(metadata, spec))
            spec["containers"] = [each for each in spec["containers"] if each["name"] != "app"]
            self.assertEqual(restricted.violations(metadata, spec), [])

    def test_the_installer_comes_before_the_sidecar(self):
        for name, _, spec in self.recorded():
            names = [each["name"] for each in spec["initContainers"]]
            self.assertEqual(names, ["shmrec-install"] + ([] if name == "classic" else ["shmrec-sidecar"]))

    def test_unlabelled_workloads_stay_as_they_are(self):
        for name in ("native", "classic", "artefact-port"):
            spec = next(spec for document, _, spec in pods(expected(name))
                        if document["metadata"]["name"] == "unlabelled")
            self.assertEqual(spec, {"containers": [{"name": "app", "image": "example/other"}]})

    def test_the_sidecar_is_the_one_of_inject(self):
        pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: app, command: [a]}]}\n"
        for name, mode in (("native", "native"), ("classic", "classic")):
            out = subprocess.run([SHMREC, "inject", "-f", "-", "--mode", mode, "--image", "shmrec-sidecar"],
                                 input=pod, capture_output=True, text=True, check=True).stdout
            injected = yaml.safe_load(out)["spec"]
            for _, metadata, spec in pods(expected(name)):
                if "shmrec.dev/injected" not in metadata.get("annotations", {}):
                    continue
                for each in ("shmrec-install", "shmrec-sidecar"):
                    ours = dict(container(spec, each))
                    if "env" in ours:
                        ours["env"] = [variable for variable in ours["env"]
                                       if variable["name"] != "SHMREC_SIDECAR_CONFIG"]
                    ours["volumeMounts"] = [mount for mount in ours["volumeMounts"]
                                            if mount["name"] != "shmrec-config"]
                    self.assertEqual(ours, container(injected, each))
                volumes = [volume for volume in spec["volumes"] if volume in injected["volumes"]]
                self.assertEqual(len(volumes), len(injected["volumes"]))


class Kubectl(unittest.TestCase):
    def test_the_output_is_the_expected_one(self):
        for name in OVERLAYS:
            with self.subTest(file=name):
                self.assertEqual(list(yaml.safe_load_all(build(name))),
                                 list(yaml.safe_load_all(expected(name))))

    def test_kubectl_drops_no_field(self):
        """It drops what its release does not know."""
        for name in OVERLAYS:
            for document in yaml.safe_load_all(expected(name)):
                if document["kind"] == "ConfigMap":
                    continue
                done = subprocess.run(
                    [KUBECTL, "set", "image", "--local", "-f", "-", "app=z", "-o", "yaml"],
                    input=yaml.safe_dump(document), capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.dropped(document, yaml.safe_load(done.stdout), ""), [])

    def dropped(self, before, after, path):
        if isinstance(before, dict):
            return [lost for key, value in before.items()
                    for lost in (self.dropped(value, after[key], f"{path}.{key}")
                                 if key in (after or {}) else [f"{path}.{key}"])]
        if isinstance(before, list):
            return [lost for i, value in enumerate(before)
                    for lost in self.dropped(value, after[i], f"{path}[{i}]")]
        return []


def has_kubectl():
    """With a kustomize that knows components (1.21; Debian 12 has an older one)."""
    if shutil.which(KUBECTL) is None:
        return False
    try:
        return bool(build("job"))
    except (RuntimeError, subprocess.TimeoutExpired):
        version = subprocess.run([KUBECTL, "version", "--client"], capture_output=True, text=True).stdout
        return not any(f"v1.{old}." in version or f'GitVersion:"v1.{old}' in version for old in range(10, 21))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for overlay in OVERLAYS:
            (HERE / "expected" / f"{overlay}.yaml").write_text(build(overlay))
        sys.exit(0)
    with_kubectl = sys.argv[1] == "--kubectl"
    SHMREC = sys.argv[-1]
    if with_kubectl and not has_kubectl():
        print("skipped: needs kubectl 1.21 or later")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], defaultTest="Kubectl" if with_kubectl else "Expected")
