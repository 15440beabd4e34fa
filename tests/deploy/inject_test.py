#!/usr/bin/env python3
"""`shmrec inject` on manifests/*.yaml: what comes out is valid, restricted, stable, and the input plus
what --explain says. usage: inject_test.py SHMREC"""
import pathlib
import subprocess
import sys
import unittest

try:
    import yaml
except ImportError:
    print("skipped: needs python3-yaml")
    sys.exit(77)

import fields
import restricted

MANIFESTS = pathlib.Path(__file__).parent / "manifests"
PREFIX = ["/shmrec/shmrec", "run", "--"]


def inject(text, *arguments):
    done = subprocess.run([SHMREC, "inject", "-f", "-", *arguments], input=text, capture_output=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def load(text):
    return [document for document in yaml.safe_load_all(text) if document is not None]


def name_of(item, position):
    return item["name"] if isinstance(item, dict) and "name" in item else str(position)


def key_of(item, position):  # a volume may be mounted twice
    return (name_of(item, position), item.get("mountPath") if isinstance(item, dict) else None)


def differences(before, after, path):
    """Paths that were added; "-PATH" for what was removed or changed."""
    if before is None and after is not None:
        before = type(after)() if isinstance(after, (dict, list)) else before
    if isinstance(before, dict) and isinstance(after, dict):
        out = ["-" + path + "." + key for key in before if key not in after]
        for key, value in after.items():
            where = f"{path}.{key}" if path else key
            if key in before:
                out += differences(before[key], value, where)
            elif key in ("metadata", "annotations", "env", "volumeMounts", "volumes", "initContainers"):
                out += differences(type(value)(), value, where)
            else:
                out.append(where)
        return out
    if isinstance(before, list) and isinstance(after, list):
        if path.endswith("].command"):
            return [path] if after == PREFIX + before else [] if after == before else ["-" + path]
        known = {key_of(item, i): item for i, item in enumerate(before)}
        kept = [key_of(item, i) for i, item in enumerate(after) if key_of(item, i) in known]
        out = [] if kept == list(known) else ["-" + path]
        for i, item in enumerate(after):
            key, where = key_of(item, i), f"{path}[{name_of(item, i)}]"
            out += differences(known[key], item, where) if key in known else [where]
        return out
    return [] if before == after else ["-" + path]


def objects(document):
    return document["items"] if document["kind"] == "List" else [document]


def explained(text):
    """[(workload, [path])] of --explain."""
    out = []
    for line in text.decode().splitlines():
        if line.startswith("  + "):
            out[-1][1].append(line[4:].split(": ")[0])
        elif not line.startswith("permissions added: none"):
            out.append((line, []))
    return out


class Inject(unittest.TestCase):
    def runs(self):
        for path in sorted(MANIFESTS.glob("*.yaml")):
            jobs = b"kind: Job" in path.read_bytes()
            for arguments in ([], ["--policy-configmap", "policy"], ["--container", "app"],
                              ["--mode", "classic"]):
                if jobs and "classic" in arguments:
                    continue
                with self.subTest(file=path.name, arguments=arguments):
                    text = path.read_bytes()
                    code, out, err = inject(text, *arguments)
                    self.assertEqual(code, 0, err)
                    # Of Jobs it says that their bundles go with them.
                    self.assertTrue(all(jobs and "its bundles go" in line for line in err.splitlines()))
                    yield text, out, arguments

    def test_every_field_is_known_to_its_release(self):
        for _, out, arguments in self.runs():
            for release in range(28 if "classic" in arguments else 29, 34):
                self.assertEqual(fields.check(fields.load(out), release), [])

    def test_what_was_restricted_is_so_still(self):
        for text, out, _ in self.runs():
            pods = [pod for document in load(out) for pod in fields.pods(document)]
            self.assertTrue(pods)
            for metadata, spec in pods:
                self.assertEqual(restricted.violations(metadata, spec), [])

    def test_what_is_added_is_restricted_by_itself(self):
        """In a pod that says nothing of security."""
        pod = b"apiVersion: v1\nkind: Pod\nspec: {containers: [{name: app, image: i, command: [a]}]}\n"
        for mode in ("native", "classic"):
            code, out, _ = inject(pod, "--mode", mode)
            self.assertEqual(code, 0)
            spec = load(out)[0]["spec"]
            spec["containers"] = [each for each in spec["containers"] if each["name"] != "app"]
            self.assertEqual(restricted.violations({}, spec), [])
            for container in restricted.containers(spec):
                self.assertEqual(set(container["resources"]), {"requests", "limits"})
                self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])

    def test_a_second_run_changes_nothing(self):
        for _, out, arguments in self.runs():
            self.assertEqual(inject(out, *arguments)[:2], (0, out))

    def test_the_difference_is_what_explain_says(self):
        for text, out, arguments in self.runs():
            before = [each for document in load(text) for each in objects(document)]
            after = [each for document in load(out) for each in objects(document)]
            self.assertEqual(len(before), len(after))
            found = []
            for old, new in zip(before, after):
                paths = differences(old, new, "")
                meta = new.get("metadata", {})
                if paths:
                    found.append((f"{new['kind']}/{meta.get('name') or meta.get('generateName')}",
                                  sorted(paths)))
            said = [(name, sorted(paths)) for name, paths in
                    explained(inject(text, *arguments, "--explain")[1])]
            self.assertEqual(found, said)

    def test_comments_stay_in_their_order(self):
        for text, out, _ in self.runs():
            comments = [line for line in text.splitlines() if line.lstrip().startswith(b"#")]
            self.assertEqual([line for line in out.splitlines() if line in comments], comments)

    def test_bad_input_is_named_with_its_place(self):
        for text, message, out in (
                (b"a: [", "stdin:1:1: ", b""), (b"\x00", "stdin:1:1: ", b""),
                (b"a: &a [*a]", "stdin:1:8: ", b""), (b"a: {{ b }}", "stdin:1:4: this is a template", b""),
                (b"a:\n\t- b", "stdin:2:", b""),
                (b"apiVersion: v1\nkind: Pod\nspec: 3\n", "stdin:3:7: spec is a number", None)):
            code, found, err = inject(text)
            self.assertEqual((code, found), (2, text if out is None else out), text)
            self.assertTrue(err.startswith("shmrec: " + message), err)
        self.assertEqual(inject(b"", "--mode", "other")[0], 2)


if __name__ == "__main__":
    SHMREC = sys.argv.pop(1)
    unittest.main()
