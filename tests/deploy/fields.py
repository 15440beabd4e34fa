"""Strict check of manifests, as a server with strict field validation makes it: only fields that a release
of Kubernetes knows, with values of their type, and none missing that it requires.

kubernetes_schema.json has the fields of each release; tools/kubernetes-schema makes it and says how it is
read. Rules between fields are here, only those that tests need.
"""
import functools
import json
import pathlib
import re

import yaml

SCHEMA = pathlib.Path(__file__).parent / "kubernetes_schema.json"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
# Fields that an older release knows and ignores, unless its administrator says otherwise.
OFF_BEFORE = {("core.v1.Container", "restartPolicy"): 29}

QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
TESTS = {  # a bool is no integer here
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "boolean": lambda value: type(value) is bool,
    "time": lambda value: type(value) is str,
    "any": lambda value: True,
    "int-or-string": lambda value: type(value) in (int, str),
    "quantity": lambda value: type(value) in (int, float, str) and QUANTITY.fullmatch(str(value)),
}


class Loader(yaml.SafeLoader):
    """Refuses keys that stand twice; leaves times alone."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands twice", key.start_mark)
        return super().construct_mapping(node, deep)


Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_yaml_str)


def load(text):
    return list(yaml.load_all(text, Loader))


def within(word, release):
    """Whether "1.30-" (since) or "-1.30" (until) holds."""
    return release >= int(word[2:-1]) if word.endswith("-") else release <= int(word[3:])


@functools.cache
def data():
    return json.loads(SCHEMA.read_text())


@functools.cache
def releases():
    return sorted(int(name[2:]) for name in data()["source"])


@functools.cache
def kinds():
    """{kind: type} of what a document may be."""
    return {name.split(".")[-1]: name for name in data()["kinds"]}


@functools.cache
def schema(release):
    """{type: {field: (type, required)}} of 1.`release`."""
    types = {}
    for name, fields in data()["types"].items():
        types[name] = {}
        for field, texts in fields.items():
            for kind, *words in map(str.split, [texts] if isinstance(texts, str) else texts):
                if all(within(word, release) for word in words if word != "required"):
                    types[name][field] = (kind, "required" in words)
    return types


class Checker:
    def __init__(self, release):
        self.release = release
        self.types = schema(release)
        self.errors = []
        self.claims = []  # names of volumes that a StatefulSet makes for each of its pods

    def error(self, path, text):
        self.errors.append(f"1.{self.release}: {path}: {text}")

    def check(self, value, kind, path):
        if kind[0] == "[":
            self.each(value, list, kind[1:-1], path)
        elif kind[0] == "{":
            self.each(value, dict, kind[1:-1], path)
        elif kind not in TESTS:
            self.object(value, kind, path)
        elif not TESTS[kind](value):
            self.error(path, f"{value!r} is no {kind}")

    def each(self, value, container, item, path):
        if not isinstance(value, container):
            return self.error(path, f"is no {container.__name__}")
        pairs = value.items() if container is dict else enumerate(value)
        names = [x.get("name") for x in value if isinstance(x, dict)] if container is list else []
        for name in {n for n in names if n is not None and names.count(n) > 1}:
            if item != "core.v1.VolumeMount":
                self.error(path, f"has {name} twice")
        for key, each in pairs:
            self.check(each, item, f"{path}[{key}]")

    def object(self, value, kind, path):
        if not isinstance(value, dict):
            return self.error(path, f"is no {kind}")
        before = len(self.errors)
        if kind == "apps.v1.StatefulSetSpec":
            self.claims = [each["metadata"]["name"] for each in value.get("volumeClaimTemplates") or []]
        value = {key: each for key, each in value.items() if each is not None}  # null: as if absent
        for field, (_, required) in self.types[kind].items():
            if required and field not in value:
                self.error(path, f"has no {field}")
        for field, each in value.items():
            where = f"{path}.{field}"
            if field not in self.types[kind]:
                self.error(where, self.why_unknown(kind, field))
                continue
            if self.release < OFF_BEFORE.get((kind, field), 0):
                self.error(where, f"ignored before 1.{OFF_BEFORE[kind, field]}")
            self.check(each, self.types[kind][field][0], where)
        if kind == "core.v1.PodSpec" and len(self.errors) == before:
            self.pod(value, path)

    def why_unknown(self, kind, field):
        known = [each for each in releases() if field in schema(each)[kind]]
        if not known:
            return f"unknown field of {kind}"
        when = f"since 1.{known[0]}" if known[0] > self.release else f"until 1.{known[-1]}"
        return f"field of {kind} {when}"

    def pod(self, spec, path):
        """Rules between fields that a server checks too. REQUIRES: fields of the right type."""
        volumes = {volume.get("name") for volume in spec.get("volumes") or []} | set(self.claims)
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
        self.claims = []
        if isinstance(value, dict) and "." in str(value.get("apiVersion")).split("/")[0]:
            return  # foreign
        kind = value.get("kind") if isinstance(value, dict) else None
        name = str(kind).removesuffix("List")
        if kind != "List" and name not in kinds():
            return self.error(path, f"kind {kind!r} is not in the table")
        group, version, _ = kinds().get(name, "core.v1.").split(".")
        wanted = version if group == "core" else f"{group}/{version}"
        if value.get("apiVersion") != wanted:
            self.error(path, f"{kind} of {value.get('apiVersion')!r}, not {wanted!r}")
        if name == kind:
            self.object(value, kinds()[name], f"{path}{kind}")
        else:
            self.list(value, kinds().get(name), f"{path}{kind}")

    def list(self, value, kind, path):
        """Of one kind, whose items need not say it again, or of any. No schema has the latter."""
        for field in set(value) - {"apiVersion", "kind", "metadata", "items"}:
            self.error(f"{path}.{field}", "unknown field of a list")
        self.check(value.get("metadata") or {}, "meta.v1.ListMeta", f"{path}.metadata")
        for number, item in enumerate(value.get("items") or []):
            where = f"{path}.items[{number}]"
            if kind is None:
                self.document(item, where + " ")
            else:
                self.object(item, kind, where)


def check(documents, release):
    """The errors of `documents` for Kubernetes 1.`release`. Empty ones are none; those of groups such as
    example.com/v1 are not looked into."""
    checker = Checker(release)
    for number, document in enumerate(documents):
        if document is not None:
            checker.document(document, f"document {number + 1}: ")
    return checker.errors


def pods(document):
    """(metadata, spec) of all pods of a document."""
    if document is None:
        return []
    kind = document.get("kind", "")
    if kind.endswith("List"):
        return [pod for item in document["items"] for pod in pods(item)]
    owner = document
    for step in {"Pod": (), "CronJob": ("spec", "jobTemplate", "spec", "template"),
                 "PodTemplate": ("template",)}.get(kind, ("spec", "template")):
        owner = owner.get(step) if isinstance(owner, dict) else None
    if not isinstance(owner, dict) or "containers" not in owner.get("spec", {}):
        return []
    return [(owner.get("metadata") or {}, owner["spec"])]
