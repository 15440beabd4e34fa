#!/usr/bin/env python3
"""`shmrec inject` and `uninject` on charts/*: manifests in the style of public charts.

Each is injected as its first line says (# inject: OPTIONS), read by another YAML parser, held against
the fields of each release of Kubernetes, and taken back; the same after another program has written it
anew, as a cluster does. usage: charts_test.py SHMREC"""
import copy
import json
import pathlib
import re
import shlex
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

CHARTS = sorted((pathlib.Path(__file__).parent / "charts").iterdir())
PREFIX = ["/shmrec/shmrec", "run", "--"]
ANNOTATIONS = ("shmrec.dev/injected", "shmrec.dev/version", "shmrec.dev/state")
# {file: (options, recorded)} of those that can say nothing of themselves.
JSON_CHARTS = {
    "deployment.json": ('--entrypoint bare=["/bare"]', "Deployment/json-web web bare"),
    "deployment-tabs.json": ("", "Deployment/json-web web"),
    "compact.json": ("--claim kept", "Deployment/json-web web"),
    "list.json": ("--sidecar-config c", "Pod/listed app Job/once- job"),
}
ENDS = ("Job", "CronJob")


def run(command, text, *arguments):
    done = subprocess.run([SHMREC, command, "-f", "-", *arguments], input=text, capture_output=True,
                          timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


def remark(path, name):
    if path.name in JSON_CHARTS:
        return JSON_CHARTS[path.name][name == "recorded"]
    found = re.search(rf"^# {name}:(.*?)\r?$", path.read_text(), re.M)
    return found[1].strip() if found else ""


def options(path):  # of shlex's JSON would lose its quotes
    return re.findall(r"\S+=\[.*?\](?=\s|$)|\S+", remark(path, "inject"))


def expected(path):
    """{"Deployment/web": [container]}"""
    out = {}
    for word in remark(path, "recorded").split():
        if "/" in word:
            containers = out.setdefault(word, [])
        else:
            containers.append(word)
    return out


def load(text):
    """JSON by its own parser: PyYAML takes no tabs."""
    out = []
    for part in re.split(r"^(?=---)", text.decode(), flags=re.M):
        try:
            out.append(json.loads(part.removeprefix("---")))
        except json.JSONDecodeError:
            out += yaml.load_all(part, fields.Loader)
    return [document for document in out if document is not None]


def workloads(documents):
    """(name, metadata, spec) of each pod."""
    for document in documents:
        kind = document.get("kind", "")
        if kind.endswith("List"):
            yield from workloads([{"kind": kind[:-4], **item} for item in document["items"]])
            continue
        for metadata, spec in fields.pods(document):
            own = document.get("metadata") or {}
            yield f"{kind}/{own.get('name') or own.get('generateName')}", metadata, spec


def is_sidecar_volume(item):
    return item["name"].startswith("shmrec-")


def without_sidecar(documents, added):
    """What is left of injected documents, found by other means than uninject's. `added`: containers
    whose command was added."""
    documents = copy.deepcopy(documents)
    for name, metadata, spec in workloads(documents):
        for key in ANNOTATIONS:
            (metadata.get("annotations") or {}).pop(key, None)
        for key in ("initContainers", "containers"):
            for container in spec.get(key) or []:
                if container.get("command", [])[:3] != PREFIX:
                    continue
                container["command"] = [] if container["name"] in added else container["command"][3:]
                container["env"] = [x for x in container["env"] if x["name"] != "SHMREC_SPOOL"]
                container["volumeMounts"] = [x for x in container["volumeMounts"]
                                             if not is_sidecar_volume(x)]
            spec[key] = [x for x in spec.get(key) or [] if not is_sidecar_volume(x)]
        spec["volumes"] = [x for x in spec.get("volumes") or [] if not is_sidecar_volume(x)]
    return documents


def normal(value):
    """Without what is empty: absent, null, [] and {} say the same to Kubernetes."""
    if isinstance(value, dict):
        out = {key: normal(each) for key, each in value.items()}
        return {key: each for key, each in out.items() if each not in (None, [], {})}
    return [normal(each) for each in value] if isinstance(value, list) else value


class Charts(unittest.TestCase):
    def runs(self):
        for path in CHARTS:
            text = path.read_bytes()
            ends = any(f"kind: {kind}" in text.decode() or f'"kind": "{kind}"' in text.decode()
                       for kind in ENDS)
            for mode in ([], ["--mode", "classic"]):
                if ends and mode:
                    continue
                arguments = [*options(path), *mode]
                with self.subTest(file=path.name, arguments=arguments):
                    code, out, err = run("inject", text, *arguments)
                    self.assertEqual(code, 0, err)
                    yield path, text, out, arguments

    def test_there_are_enough(self):
        self.assertGreaterEqual(len(CHARTS), 30)

    def test_what_is_expected_is_recorded_and_nothing_else(self):
        for path, text, out, arguments in self.runs():
            found, before = {}, dict.fromkeys(name for name, _, _ in workloads(load(text)))
            for name, metadata, spec in workloads(load(out)):
                ours = [x["name"] for key in ("initContainers", "containers")
                        for x in spec.get(key) or [] if x.get("command", [])[:3] == PREFIX]
                if ours:
                    found[name] = ours
                names = [x["name"] for x in restricted.containers(spec)]
                self.assertEqual("shmrec-sidecar" in names, bool(ours), name)
                self.assertEqual(names.count("shmrec-install"), bool(ours), name)
            self.assertEqual(found, expected(path))
            self.assertEqual(list(before), [name for name, _, _ in workloads(load(out))])

    def test_every_field_is_known_to_its_release(self):
        for path, text, out, arguments in self.runs():
            checked = 0
            for release in range(28 if "classic" in arguments else 29, 34):
                if not fields.check(load(text), release):  # a native sidecar of its own is of 1.29
                    self.assertEqual(fields.check(load(out), release), [], path.name)
                    checked += 1
            self.assertGreaterEqual(checked, 5)

    def test_uninject_gives_the_same_bytes(self):
        for path, text, out, _ in self.runs():
            code, back, err = run("uninject", out)
            self.assertEqual((code, err), (0, ""))
            if not text.endswith(b"\n") and out != text and path.suffix == ".yaml":
                text += b"\n"
            self.assertEqual(back.decode(), text.decode())

    def test_injecting_again_changes_nothing(self):
        for _, text, out, arguments in self.runs():
            self.assertEqual(run("inject", out, *arguments)[:2], (0, out))
            self.assertEqual(run("inject", out)[:2], (0, out))  # what was given stays
            code, renewed, _ = run("inject", out, "--image", "another:2")
            self.assertEqual((code, renewed), run("inject", text, *arguments, "--image", "another:2")[:2])

    def test_only_what_is_of_the_sidecar_is_added(self):
        for path, text, out, arguments in self.runs():
            added = [word.split("=")[0] for word in arguments if "=" in word]
            added += re.findall(r"shmrec.dev/entrypoint\.(\w+)", text.decode())
            self.assertEqual(normal(without_sidecar(load(out), added)), normal(load(text)))

    def test_it_is_taken_back_from_what_a_cluster_gives(self):
        """Keys sorted, everything in blocks or in JSON, comments and anchors gone."""
        for path, text, out, arguments in self.runs():
            before, after = load(text), load(out)
            block = yaml.dump_all(after, default_flow_style=False, Dumper=yaml.SafeDumper).encode()
            one_list = json.dumps({"apiVersion": "v1", "kind": "List", "items": after}, indent=4,
                                  sort_keys=True).encode()
            for written, wanted in ((block, before),
                                    (one_list, [{"apiVersion": "v1", "kind": "List", "items": before}])):
                code, back, err = run("uninject", written)
                self.assertEqual((code, err), (0, ""))
                self.assertEqual(normal(load(back)), normal(wanted))
                code, again, _ = run("inject", written, *arguments)
                self.assertEqual(code, 0)
                self.assertEqual(normal(without_sidecar(load(again), [])),
                                 normal(without_sidecar(load(written), [])))

    def test_what_was_restricted_is_so_still(self):
        for path, text, out, _ in self.runs():
            for (_, metadata, spec), (_, *before) in zip(workloads(load(out)), workloads(load(text))):
                if not restricted.violations(*before):
                    self.assertEqual(restricted.violations(metadata, spec), [])

    def test_comments_stay_in_their_order(self):
        for path, text, out, _ in self.runs():
            comments = [line for line in text.splitlines() if line.lstrip().startswith(b"#")]
            self.assertEqual([line for line in out.splitlines() if line in comments], comments)

    def test_json_stays_json(self):
        for path, text, out, _ in self.runs():
            if path.suffix == ".json":
                json.loads(out)
                self.assertEqual(out.count(b"\n") > 1, text.count(b"\n") > 1)

    def test_no_port_is_used_twice(self):
        for path, _, out, _ in self.runs():
            for name, _, spec in workloads(load(out)):
                ports = [port["containerPort"] for each in restricted.containers(spec)
                         for port in each.get("ports") or []]
                self.assertEqual(len(ports), len(set(ports)), name)
                sidecar = [x for x in restricted.containers(spec) if x["name"] == "shmrec-sidecar"]
                for each in sidecar:
                    said = {word.split(":")[-1] for probe in ("startupProbe", "livenessProbe")
                            if probe in each for word in each[probe]["exec"]["command"][2:]}
                    said |= {word.split(":")[-1] for word in each["command"][2:]}
                    said |= {str(port["containerPort"]) for port in each.get("ports") or []}
                    self.assertLessEqual(len(said), 1, name)
                    self.assertFalse(spec.get("hostNetwork") and "7071" in said, name)

    def test_all_of_them_at_once(self):
        """-f DIR, and as many files."""
        files = [word for path in CHARTS for word in ("-f", str(path))]
        code, out, err = run_files(*files)
        self.assertEqual(code, 0, err)
        of_directory = run_files("-f", str(CHARTS[0].parent))
        self.assertEqual(of_directory, (code, out, err))
        documents = sum((load(path.read_bytes()) for path in CHARTS), [])
        self.assertEqual(len(load(out)), len(documents))
        self.assertEqual([x["kind"] for x in load(out)], [x["kind"] for x in documents])


def run_files(*arguments, command="inject"):
    done = subprocess.run([SHMREC, command, *arguments], capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr.decode()


class Files(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: a, command: [a]}]}\n"
        (self.root / "below").mkdir()
        for name in ("b.yaml", "a.yml", "below/c.yaml", "no.txt"):
            (self.root / name).write_text(pod % pathlib.Path(name).stem)
        (self.root / "j.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}}')

    def names(self, out):
        return [document["metadata"]["name"] for document in load(out)]

    def test_a_directory_is_read_as_kubectl_reads_it(self):
        code, out, _ = run_files("-f", str(self.root))
        self.assertEqual((code, self.names(out)), (0, ["a", "b", "j"]))
        code, out, _ = run_files("-R", "-f", str(self.root))
        self.assertEqual((code, self.names(out)), (0, ["a", "b", "j", "c"]))
        code, out, _ = run_files("-f", str(self.root / "b.yaml"), "-f", str(self.root / "b.yaml"),
                                 "-f", str(self.root / "below"))
        self.assertEqual((code, self.names(out)), (0, ["b", "c"]))
        code, back, _ = run_files("-f", str(self.root), command="uninject")
        self.assertEqual((code, self.names(back)), (0, ["a", "b", "j"]))

    def test_a_bad_file_stops_no_other(self):
        (self.root / "bad.yaml").write_text("a: [")
        code, out, err = run_files("-f", str(self.root), "-f", str(self.root / "gone.yaml"))
        self.assertEqual((code, self.names(out)), (2, ["a", "b", "j"]))
        self.assertIn("bad.yaml:1:1: ", err)
        self.assertIn("gone.yaml: No such file or directory", err)

    def test_an_empty_directory_is_a_mistake(self):
        (self.root / "empty").mkdir()
        code, out, err = run_files("-f", str(self.root / "empty"))
        self.assertEqual((code, out), (2, b""))
        self.assertIn("no manifests in it", err)

    def test_names_that_are_nowhere_are_mistakes(self):
        for option in (["--container", "aa"], ["--entrypoint", "aa=/x"]):
            code, out, err = run_files("-f", str(self.root), *option)
            self.assertEqual((code, out), (2, b""))
            self.assertIn("no container 'aa' (did you mean 'a'?)", err)
        for word in ("a", "=x", "a=", "a=[", "a=[]", "a=[1]", "a=/x y"):
            self.assertEqual(run_files("-f", str(self.root), "--entrypoint", word)[0], 2, word)

    def test_text_of_manifests_does_not_steer_the_terminal(self):
        bad = "\u009b2J\u202e\u200b"
        text = (f'kind: "R{bad}"\napiVersion: "{bad}"\nspec: {{containers: []}}\n---\n'
                f'apiVersion: v1\nkind: Pod\nmetadata: {{name: "{bad}"}}\n'
                f'spec: {{containers: [{{name: "{bad}"}}, {{name: a, command: "{bad}"}}]}}\n---\n'
                f'apiVersion: v1\nkind: Pod\nmetadata: {{name: "{bad}"}}\n'
                f'spec: {{containers: [{{name: "{bad}", command: [a]}}]}}\n---\na: *{bad}\n')
        code, _, err = run("inject", text.encode())
        self.assertEqual(code, 2)
        code, explained, _ = run("inject", text.encode(), "--explain")
        for said in (err, explained.decode(), run_files("-f", f"/{bad}")[2]):
            self.assertIn("\\u009b2J\\u202e\\u200b", said)
            self.assertFalse(set(bad[:1] + bad[3:]) & set(said), said)


if __name__ == "__main__":
    SHMREC = sys.argv.pop(1)
    unittest.main()
