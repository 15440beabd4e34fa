#!/usr/bin/env python3
"""deploy/kubectl-shmrec against a server that answers as the sidecar does, by a kubectl that runs `exec`
and `port-forward` on this machine. usage: plugin_test.py SHMREC"""
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PLUGIN = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kubectl-shmrec"
TOKEN = "secret-token"

# kubectl [ACCESS] exec POD -c CONTAINER -- PROGRAM..., port-forward POD :PORT, and get. It writes down how
# it was called.
KUBECTL = """#!/bin/bash
printf '%s\\n' "$*" >>"$CALLS"
while [[ $1 != exec && $1 != port-forward && $1 != get ]]; do shift; done
if [ "$1" = get ]; then
  case $2 in
    pods) [ "$4" = app=web,tier=a ] && [ "$6" = status.phase=Running ] || exit 9; printf '%s' "$PODS" ;;
    deploy/web) echo app=web,tier=a, ;;
    cronjob/often) ;;
    *) echo "Error from server (NotFound): ${2%/*} \\"${2#*/}\\" not found" >&2; exit 1 ;;
  esac
  exit
fi
case ${2#pod/} in
  web-*) ;;
  *) echo "Error from server (NotFound): pods \\"$2\\" not found" >&2; exit 1 ;;
esac
if [ "$1" = exec ]; then
  [ "$3" = -c ] && [ "$5" = -- ] || exit 9
  PATH=$PROGRAMS:$PATH
  exec "${@:6}"
fi
echo "Forwarding from 127.0.0.1:$SERVER_PORT -> ${3#:}"
exec sleep 60
"""
# shmrec-sidecar request [-X METHOD] [-d BODY] PATH
SIDECAR = """#!/bin/bash
[ "$1" = request ] && [ "$2" = -X ] || exit 9
method=$3; shift 3; data=()
if [ "$1" = -d ]; then data=(--data-binary "$2"); shift 2; fi
exec curl -sS --fail-with-body -X "$method" -H "Authorization: Bearer $SERVER_TOKEN" "${data[@]}" \\
  "http://127.0.0.1:$SERVER_PORT$1"
"""


class Sidecar(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        data = body if isinstance(body, bytes) else (json.dumps(body, indent=2) + "\n").encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        state = self.server.state
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"title": "Unauthorized", "detail": "no token"})
        if self.path == "/v1/bundles":
            return self.answer(200, {"bundles": [
                {"name": name, "bytes": len(data), "trigger": "a \"name\": \"b\"", "created": "t"}
                for name, data in state["bundles"].items()]})
        if self.path.startswith("/v1/operations/"):
            state["asked"] += 1
            if state["asked"] < 3:
                return self.answer(200, {"id": "7f", "state": "running", "started": "t"})
            return self.answer(200, state["operation"])
        name = self.path.removeprefix("/v1/bundles/").removesuffix("/content")
        if name in state["bundles"]:
            return self.answer(200, state["bundles"][name])
        if self.path == "/v1/info":
            return self.answer(200, {"version": "1.2", "hostname": "h", "started": "t", "spoolBytes": 1,
                                     "spoolLimit": 0, "storeBytes": 2, "storeLimit": 3})
        if self.path == "/v1/processes":
            return self.answer(200, {"processes": [
                {"run": "r", "id": "i", "name": "app", "pid": 7, "state": "running", "accesses": 8,
                 "container": "c"}]})
        self.answer(404, {"title": "Not Found", "detail": "There is no such bundle."})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.state["posted"] = body
        if self.server.state["busy"]:
            return self.answer(429, {"title": "Too Many Requests", "detail": "Another bundle is made."})
        self.answer(202, {"id": "7f", "state": "running", "started": "t"}, Location="/v1/operations/7f")


class Plugin(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        for name, text in (("kubectl", KUBECTL), ("shmrec-sidecar", SIDECAR)):
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o755)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sidecar)
        self.state = self.server.state = {
            "bundles": {}, "asked": 0, "busy": False,
            "operation": {"id": "7f", "state": "succeeded", "bundle": "new.shmrec.tar.zst"}}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.out = self.directory / "out"
        self.out.mkdir()

    def plugin(self, *arguments, **environment):
        return subprocess.run(
            [PLUGIN, *arguments], capture_output=True, text=True, timeout=60, cwd=self.out,
            env={**os.environ, "KUBECTL": str(self.directory / "kubectl"), "SHMREC": "/no/shmrec",
                 "PODS": "pod/web-1\n", "CALLS": str(self.directory / "calls"),
                 "PROGRAMS": str(self.directory),
                 "SERVER_PORT": str(self.server.server_port), "SERVER_TOKEN": TOKEN,
                 "SHMREC_POLL_SECONDS": "0.01", **environment})

    def calls(self):
        return (self.directory / "calls").read_text()

    WAYS = ([], ["--port", "7070"])

    def test_status_and_bundles_are_tables(self):
        self.state["bundles"] = {"old.shmrec.tar.zst": b"old", "new-1.shmrec.tar.zst": b""}
        for way in self.WAYS:
            done = self.plugin("status", "web-1", *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual([line.split() for line in done.stdout.splitlines()], [
                ["POD", "SIDECAR", "STARTED", "SPOOL", "SPOOL-LIMIT", "STORE", "STORE-LIMIT"],
                ["web-1", "1.2", "t", "1", "0", "2", "3"], [],
                ["POD", "PID", "NAME", "STATE", "ACCESSES", "CONTAINER", "RUN"],
                ["web-1", "7", "app", "running", "8", "c", "r"]])
            done = self.plugin("bundles", "web-1", *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, (
                'POD     BUNDLE                 BYTES   CREATED   TRIGGER\n'
                'web-1   old.shmrec.tar.zst     3       t         a "name": "b"\n'
                'web-1   new-1.shmrec.tar.zst   0       t         a "name": "b"\n'), ""))

    def test_no_bundles_is_no_failure(self):
        done = self.plugin("bundles", "web-1")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", "no bundles in web-1\n"))

    def test_json_is_what_the_sidecar_says(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        for way in self.WAYS:
            done = self.plugin("bundles", "web-1", "--json", *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual(json.loads(done.stdout)["bundles"][0]["bytes"], 1)
            done = self.plugin("status", "web-1", "--json", *way, SHMREC_TOKEN=TOKEN)
            info, processes = done.stdout.split("}\n{", 1)
            self.assertEqual(json.loads(info + "}")["version"], "1.2")
            self.assertEqual(json.loads("{" + processes)["processes"][0]["pid"], 7)

    def test_all_pods_of_a_workload_are_shown(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        for way in self.WAYS:
            done = self.plugin("bundles", "deploy/web", *way, SHMREC_TOKEN=TOKEN,
                               PODS="pod/web-1\npod/web-2\n")
            self.assertEqual([line.split()[0] for line in done.stdout.splitlines()],
                             ["POD", "web-1", "web-2"], done.stderr)

    def test_a_pod_without_sidecar_hides_no_other(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        done = self.plugin("bundles", "deploy/web", PODS="pod/old-1\npod/web-2\n")
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], ["POD", "web-2"])
        self.assertEqual((done.returncode, done.stderr), (1,
            'Error from server (NotFound): pods "pod/old-1" not found\n'))

    def test_what_needs_one_pod_takes_a_workload_of_one(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        self.assertEqual(self.plugin("pull", "deploy/web").stdout, "b.shmrec.tar.zst\n")
        for command in ("pull", "trigger"):
            done = self.plugin(command, "deploy/web", PODS="pod/web-1\npod/web-2\n")
            self.assertEqual((done.returncode, done.stderr), (2,
                "kubectl-shmrec: deploy/web has 2 pods; name one: pod/web-1 pod/web-2\n"))
        self.assertNotIn("posted", self.state)

    def test_a_pod_that_is_not_there_is_said_by_kubectl(self):
        for command in ("status", "bundles", "pull", "trigger"):
            for name, word in (("gone", "pods"), ("deploy/gone", "deploy")):
                done = self.plugin(command, name)
                self.assertEqual((done.returncode, done.stdout), (1, ""), command)
                self.assertRegex(done.stderr, f'^Error from server .NotFound.: {word} "gone" not found\n$')
        self.assertEqual(list(self.out.iterdir()), [])
        done = self.plugin("status", "deploy/web", PODS="")
        self.assertEqual((done.returncode, done.stderr), (1,
            "kubectl-shmrec: deploy/web has no running pod\n"))
        done = self.plugin("status", "cronjob/often")
        self.assertEqual(done.returncode, 1)
        self.assertIn("name a pod", done.stderr)

    def test_pull_takes_the_newest_byte_for_byte(self):
        data = bytes(range(256)) * 5000 + b"\r\n\0"
        self.state["bundles"] = {"old.shmrec.tar.zst": b"old", "new-1.shmrec.tar.zst": data}
        for way in self.WAYS:
            done = self.plugin("pull", "web-1", *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "new-1.shmrec.tar.zst\n", ""))
            self.assertEqual((self.out / "new-1.shmrec.tar.zst").read_bytes(), data)
            (self.out / "new-1.shmrec.tar.zst").unlink()
        done = self.plugin("pull", "web-1", "old.shmrec.tar.zst", "-o", "here")
        self.assertEqual((done.stdout, (self.out / "here").read_bytes()), ("here\n", b"old"))

    def test_pull_leaves_nothing_behind_when_it_fails(self):
        for way in self.WAYS:
            done = self.plugin("pull", "web-1", "none.shmrec.tar.zst", *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(list(self.out.iterdir()), [])
        self.assertIn("There is no such bundle.", done.stderr)
        self.assertIn("web-1 has no bundle", self.plugin("pull", "web-1").stderr)

    def test_pull_takes_no_path_from_the_sidecar(self):
        for name in ("../evil", "/etc/evil", ".hidden", "-o"):
            self.state["bundles"] = {name: b"x"}
            done = self.plugin("pull", "web-1")
            self.assertEqual((done.returncode, list(self.out.iterdir())), (2, []), done.stderr)

    def test_pull_says_where_it_cannot_write(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        done = self.plugin("pull", "web-1", "-o", "no/such/name")
        self.assertEqual((done.returncode, done.stderr), (1,
            "kubectl-shmrec: no/such/name cannot be written\n"))

    def test_pull_follows_links_and_writes_into_what_is_no_file(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"new"}
        (self.out / "file").write_bytes(b"old")
        (self.out / "link").symlink_to("file")
        done = self.plugin("pull", "web-1", "-o", "link")
        self.assertEqual((done.returncode, (self.out / "file").read_bytes()), (0, b"new"), done.stderr)
        self.assertTrue((self.out / "link").is_symlink())
        os.mkfifo(self.out / "pipe")
        got = []
        reader = threading.Thread(target=lambda: got.append((self.out / "pipe").read_bytes()))
        reader.start()
        done = self.plugin("pull", "web-1", "-o", "pipe")
        reader.join()
        self.assertEqual((done.returncode, done.stdout, got), (0, "", [b"new"]), done.stderr)
        (self.out / "dangling").symlink_to("nowhere")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.out / "socket"))
            for name in ("dangling", "socket"):
                self.assertEqual(self.plugin("pull", "web-1", "-o", name).returncode, 2)
        self.assertEqual({entry.name for entry in self.out.iterdir()},
                         {"file", "link", "pipe", "dangling", "socket"})
        self.assertTrue((self.out / "pipe").is_fifo())

    def test_pull_names_what_it_verified_as_it_is_called_in_the_end(self):
        verifier = self.directory / "shmrec"
        verifier.write_text('#!/bin/sh\n[ "$1 $2" = "bundle verify" ] && echo "$3: ok, 12 files"\n')
        verifier.chmod(0o755)
        (self.out / "a & b").mkdir()
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        done = self.plugin("pull", "web-1", "-o", "a & b", SHMREC=str(verifier))
        self.assertEqual((done.stdout, done.stderr),
                         ("a & b/b.shmrec.tar.zst\n", "a & b/b.shmrec.tar.zst: ok, 12 files\n"))

    def test_pull_verifies_where_shmrec_is(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"no bundle"}
        done = self.plugin("pull", "web-1", SHMREC=SHMREC)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not whole", done.stderr)
        self.assertFalse((self.out / "b.shmrec.tar.zst").exists())

    def test_trigger_waits_for_the_bundle(self):
        for way in self.WAYS:
            self.state["asked"] = 0
            done = self.plugin("trigger", "web-1", "-r", "run-1", 'looks "wrong"', *way, SHMREC_TOKEN=TOKEN)
            self.assertEqual((done.returncode, done.stdout), (0, "new.shmrec.tar.zst\n"), done.stderr)
            self.assertEqual(self.state["posted"], {"run": "run-1", "trigger": 'looks "wrong"'})
            self.assertEqual(self.state["asked"], 3)

    def test_trigger_says_why_there_is_no_bundle(self):
        self.state["operation"] = {"id": "7f", "state": "failed", "error": "disk full"}
        done = self.plugin("trigger", "web-1")
        self.assertEqual((done.returncode, done.stderr), (1, "kubectl-shmrec: disk full\n"))
        self.state["busy"] = True
        done = self.plugin("trigger", "web-1", "--port", SHMREC_TOKEN=TOKEN)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Another bundle is made.", done.stderr)

    def test_access_options_go_to_kubectl_and_the_token_does_not(self):
        self.plugin("bundles", "-n", "prod", "--context=c", "web-1", "-c", "side")
        self.assertEqual(self.calls(), "-n prod --context c exec web-1 -c side -- "
                                       "shmrec-sidecar request -X GET /v1/bundles\n")
        self.plugin("bundles", "web-1", "--port", "99", SHMREC_TOKEN=TOKEN)
        self.assertIn("port-forward web-1 :99\n", self.calls())
        self.assertNotIn(TOKEN, self.calls())

    def test_a_wrong_token_is_refused(self):
        done = self.plugin("bundles", "web-1", "--port", SHMREC_TOKEN="x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Unauthorized", done.stderr)
        done = self.plugin("bundles", "web-1", "--port")
        self.assertEqual(done.returncode, 2)
        self.assertIn("SHMREC_TOKEN", done.stderr)

    def test_bad_usage(self):
        for arguments in ([], ["x"], ["status"], ["pull", "p", "--what"], ["pull", "p", "-o"],
                          ["status", "p", "q"], ["bundles", "p", "q"], ["pull", "p", "b", "c"],
                          ["pull", "p", "--json"], ["status", "p", "--port=x"]):
            done = self.plugin(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertNotEqual(done.stderr, "")
        self.assertFalse((self.directory / "calls").exists())
        for arguments in (["--help"], ["help"], ["pull", "--help"], ["pull", "-h"]):
            done = self.plugin(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith("kubectl plugin for pods"))
            self.assertTrue(done.stdout.endswith("2 bad usage.\n"), done.stdout)

    def test_options_are_written_as_for_kubectl(self):
        self.plugin("trigger", "-nprod", "--container=side", "--as=me", "web-1", "--run=r", "--", "-x", "y")
        self.assertEqual(self.state["posted"], {"run": "r", "trigger": "-x y"})
        self.assertTrue(self.calls().startswith("-n prod --as me exec web-1 -c side -- "))

    def test_without_kubectl(self):
        done = self.plugin("status", "web-1", KUBECTL="no-kubectl")
        self.assertEqual((done.returncode, done.stderr), (1, "kubectl-shmrec: needs no-kubectl in PATH\n"))

    def test_inject_is_that_of_shmrec(self):
        done = self.plugin("inject", "-f", "/dev/null", "--explain", SHMREC=SHMREC)
        self.assertEqual((done.returncode, done.stdout.splitlines()[0]), (0, "nothing is added"))


if __name__ == "__main__":
    SHMREC = sys.argv.pop(1)
    if shutil.which("curl") is None:
        print("skipped: needs curl")
        sys.exit(77)
    unittest.main()
