#!/usr/bin/env python3
"""The checkers find what they are for: one damage each to a manifest that passes."""
import copy
import sys
import unittest

try:
    import yaml
except ImportError:
    print("skipped: needs python3-yaml")
    sys.exit(77)

import fields
import restricted

GOOD = yaml.safe_load("""
apiVersion: v1
kind: Pod
metadata: {name: p, annotations: {}}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  initContainers:
  - name: init
    image: i
    restartPolicy: Always
    startupProbe: {exec: {command: [a]}, periodSeconds: 1}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  containers:
  - name: app
    image: i
    ports: [{containerPort: 1}]
    volumeMounts: [{name: v, mountPath: /v}]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes:
  - name: v
    emptyDir: {sizeLimit: 1Gi}
""")
APP = ("spec", "containers", 0)
INIT = ("spec", "initContainers", 0)
OWN = (*APP, "securityContext")
POD = ("spec", "securityContext")


def damaged(path, value):
    pod = copy.deepcopy(GOOD)
    at = pod
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return pod


class Restricted(unittest.TestCase):
    # control, where, what (None: removed)
    DAMAGES = [
        ("host_process", (*OWN, "windowsOptions"), {"hostProcess": True}),
        ("host_process", (*POD, "windowsOptions"), {"hostProcess": True}),
        ("host_namespaces", ("spec", "hostNetwork"), True),
        ("host_namespaces", ("spec", "hostPID"), True),
        ("host_namespaces", ("spec", "hostIPC"), True),
        ("privileged", (*OWN, "privileged"), True),
        ("capabilities", (*OWN, "capabilities"), None),
        ("capabilities", (*OWN, "capabilities", "drop"), ["NET_RAW"]),
        ("capabilities", (*INIT, "securityContext", "capabilities", "drop"), []),
        ("capabilities", (*OWN, "capabilities", "add"), ["SYS_PTRACE"]),
        ("host_ports", (*APP, "ports", 0, "hostPort"), 80),
        ("app_armor", (*OWN, "appArmorProfile"), {"type": "Unconfined"}),
        ("app_armor", ("metadata", "annotations", restricted.APPARMOR_ANNOTATION + "app"), "unconfined"),
        ("selinux", (*OWN, "seLinuxOptions"), {"type": "spc_t"}),
        ("selinux", (*POD, "seLinuxOptions"), {"user": "u"}),
        ("selinux", (*POD, "seLinuxOptions"), {"role": "r"}),
        ("proc_mount", (*OWN, "procMount"), "Unmasked"),
        ("sysctls", (*POD, "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
        ("volume_types", ("spec", "volumes", 0), {"name": "v", "nfs": {}}),
        ("privilege_escalation", (*OWN, "allowPrivilegeEscalation"), None),
        ("privilege_escalation", (*OWN, "allowPrivilegeEscalation"), True),
        ("non_root", (*POD, "runAsNonRoot"), None),
        ("non_root", (*OWN, "runAsNonRoot"), False),
        ("non_root_user", (*POD, "runAsUser"), 0),
        ("non_root_user", (*OWN, "runAsUser"), 0),
        ("seccomp", (*POD, "seccompProfile"), None),
        ("seccomp", (*OWN, "seccompProfile"), {"type": "Unconfined"}),
        ("seccomp", (*INIT, "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ]

    def test_a_good_pod_passes(self):
        self.assertEqual(restricted.violations(GOOD["metadata"], GOOD["spec"]), [])

    def test_each_damage_is_named(self):
        for control, path, value in self.DAMAGES:
            with self.subTest(control=control, path=path):
                pod = damaged(path, value)
                self.assertEqual(restricted.violations(pod["metadata"], pod["spec"]), [control])

    def test_a_host_path_is_two_controls(self):
        pod = damaged(("spec", "volumes", 0), {"name": "v", "hostPath": {"path": "/"}})
        self.assertEqual(restricted.violations(pod["metadata"], pod["spec"]), ["host_path", "volume_types"])

    def test_every_control_has_a_damage(self):
        named = {control for control, _, _ in self.DAMAGES} | {"host_path"}
        self.assertEqual(named, {control.__name__ for control in restricted.CONTROLS})

    def test_what_the_pod_lacks_containers_may_say(self):
        pod = damaged((*POD, "seccompProfile"), None)
        for container in restricted.containers(pod["spec"]):
            container["securityContext"]["seccompProfile"] = {"type": "RuntimeDefault"}
        self.assertEqual(restricted.violations(pod["metadata"], pod["spec"]), [])


class Fields(unittest.TestCase):
    # what is said, where, what (None: removed), for 1.29
    DAMAGES = [
        ("unknown field of core.v1.PodSpec", ("spec", "volume"), []),
        ("unknown field of core.v1.Container", (*APP, "cmd"), ["a"]),
        ("unknown field of meta.v1.ObjectMeta", ("metadata", "label"), {}),
        ("is no string", (*APP, "image"), 1),
        ("is no integer", ("spec", "terminationGracePeriodSeconds"), "30"),
        ("is no integer", ("spec", "terminationGracePeriodSeconds"), 0.5),
        ("is no integer", (*POD, "runAsUser"), True),
        ("is no boolean", (*OWN, "allowPrivilegeEscalation"), "false"),
        ("is no int-or-string", (*APP, "livenessProbe"), {"httpGet": {"port": 1.5}}),
        ("is no list", (*APP, "command"), "a"),
        ("is no dict", ("metadata", "annotations"), ["a"]),
        ("is no core.v1.EmptyDirVolumeSource", ("spec", "volumes", 0, "emptyDir"), "1Gi"),
        ("is no string", ("metadata", "annotations", "a"), 1),
        ("is no string", (*APP, "command"), ["a", None]),
        ("is no quantity", ("spec", "volumes", 0, "emptyDir", "sizeLimit"), "1GiB"),
        ("is no quantity", (*APP, "resources"), {"limits": {"memory": True}}),
        ("has no containers", ("spec", "containers"), None),
        ("has no mountPath", (*APP, "volumeMounts", 0, "mountPath"), None),
        ("has no port", (*APP, "livenessProbe"), {"httpGet": {"path": "/"}}),
        ("has v twice", ("spec", "volumes"), [{"name": "v"}, {"name": "v"}]),
        ("restartPolicy is for init containers", (*APP, "restartPolicy"), "Always"),
        ("has no probes", (*INIT, "restartPolicy"), None),
        ("is no volume", (*APP, "volumeMounts", 0, "name"), "w"),
        ("two containers of one name", (*INIT, "name"), "app"),
        ("has no image", (*APP, "image"), None),
        ("not 'v1'", ("apiVersion",), "v2"),
        ("not in the table", ("kind",), "Pot"),
    ]
    # where, what, the releases that know it
    TIMES = [
        ((*OWN, "appArmorProfile"), {"type": "RuntimeDefault"}, range(30, 34)),
        ((*APP, "volumeMounts", 0, "recursiveReadOnly"), "Disabled", range(30, 34)),
        ((*POD, "supplementalGroupsPolicy"), "Strict", range(31, 34)),
        (("spec", "volumes", 0), {"name": "v", "image": {"reference": "i"}}, range(31, 34)),
        (("spec", "resources"), {"limits": {"cpu": 0.5}}, range(32, 34)),
        ((*APP, "lifecycle"), {"stopSignal": "SIGTERM"}, range(33, 34)),
        (("spec", "resourceClaims"), [{"name": "c", "source": {}}], range(29, 31)),
    ]

    def test_a_good_pod_passes(self):
        for release in range(29, 34):
            self.assertEqual(fields.check([GOOD], release), [])

    def test_each_damage_is_named(self):
        for message, path, value in self.DAMAGES:
            with self.subTest(message=message, path=path):
                errors = fields.check([damaged(path, value)], 29)
                self.assertTrue(any(message in error for error in errors), errors)

    def test_a_field_is_known_to_its_releases_only(self):
        for path, value, known in self.TIMES:
            for release in range(29, 34):
                with self.subTest(path=path, release=release):
                    errors = fields.check([damaged(path, value)], release)
                    if release in known:
                        self.assertEqual(errors, [])
                    else:
                        word = "since 1." if release < known[0] else "until 1."
                        self.assertEqual([word in error for error in errors], [True], errors)

    def test_a_native_sidecar_is_ignored_before_1_29(self):
        self.assertEqual(fields.check([GOOD], 28),
                         ["1.28: document 1: Pod.spec.initContainers[0].restartPolicy: "
                          "ignored before 1.29"])

    def test_lists_are_looked_into(self):
        bad = damaged((*APP, "cmd"), ["a"])
        for kind in ("List", "PodList"):
            manifest = {"apiVersion": "v1", "kind": kind, "items": [GOOD, bad]}
            self.assertEqual(len(fields.check([manifest], 29)), 1)
            self.assertEqual(fields.check([{**manifest, "items": [GOOD]}], 29), [])

    def test_a_claim_of_a_stateful_set_is_a_volume_of_its_pods(self):
        template = damaged(("spec", "volumes"), None)
        claim = {"metadata": {"name": "v"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
        spec = {"serviceName": "s", "selector": {}, "volumeClaimTemplates": [claim],
                "template": {"metadata": template["metadata"], "spec": template["spec"]}}
        manifest = {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": spec}
        self.assertEqual(fields.check([manifest], 29), [])
        claim["metadata"]["name"] = "w"
        self.assertEqual(len(fields.check([manifest], 29)), 1)

    def test_foreign_groups_pass_and_misspelt_ones_do_not(self):
        self.assertEqual(fields.check([None, {"apiVersion": "example.com/v1", "kind": "Thing"}], 29), [])
        self.assertEqual(len(fields.check([{"apiVersion": "app/v1", "kind": "Deploymnet"}], 29)), 1)

    def test_null_is_as_if_absent(self):
        self.assertEqual(fields.check([{**GOOD, "status": None}], 29), [])
        self.assertEqual(len(fields.check([{**GOOD, "spec": {"containers": None}}], 29)), 1)

    def test_a_key_that_stands_twice_is_refused(self):
        with self.assertRaisesRegex(yaml.YAMLError, "a stands twice"):
            fields.load("m: {a: 1, b: 2, a: 1}")


if __name__ == "__main__":
    unittest.main()
