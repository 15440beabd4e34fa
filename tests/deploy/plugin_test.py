#!/usr/bin/env python3
"""deploy/kubectl-shmrec against a server that answers as the sidecar does, by a kubectl that runs `exec`
and `port-forward` on this machine. usage: plugin_test.py SHMREC"""
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

try:
    import fields
except ImportError:
    print("skipped: needs python3-yaml")
    sys.exit(77)
import restricted

PLUGIN = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "kubectl-shmrec"
TOKEN = "secret-token"

# kubectl [ACCESS] exec POD -c CONTAINER -- PROGRAM..., port-forward POD :PORT, and get. It writes down how
# it was called.
KUBECTL = """#!/bin/bash
printf '%s\\n' "$*" >>"$CALLS"
while [[ $1 != exec && $1 != port-forward && $1 != get && $1 != create && $1 != wait && $1 != delete ]]; do
  shift
done
case $1 in
  create) [ "$2 $3" = "-f -" ] || exit 9; cat >"$CALLS.manifest"; exit ;;
  wait) exit "${WAIT_STATUS:-0}" ;;
  delete) exit ;;
esac
if [ "$1" = get ]; then
  case $2 in
    pods) case $4,$6 in
        app=web,tier=a,status.phase=Running) printf '%s' "$PODS" ;;
        job-name=done,status.phase=Running) ;;
        job-name=done,*) echo pod/done-1 ;;
        *) exit 9 ;;
      esac ;;
    deploy/web) echo app=web,tier=a, ;;
    cronjob/often) ;;
    job/done) echo job-name=done, ;;
    pod) case $3 in
        web-* | done-*) [ "$4" = -o ] && printf '%s\\n' "$FACTS" ;;
        *) echo "Error from server (NotFound): pods \\"$3\\" not found" >&2; exit 1 ;;
      esac ;;
    *) echo "Error from server (NotFound): ${2%/*} \\"${2#*/}\\" not found" >&2; exit 1 ;;
  esac
  exit
fi
case ${2#pod/} in
  web-* | shmrec-pull-*) ;;
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
                 "PODS": "pod/web-1\n", "FACTS": "Running", "CALLS": str(self.directory / "calls"),
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

    def test_trigger_with_cores(self):
        done = self.plugin("trigger", "web-1", "--cores")
        self.assertEqual((done.returncode, done.stdout), (0, "new.shmrec.tar.zst\n"), done.stderr)
        self.assertEqual(self.state["posted"], {"run": "", "trigger": "on demand", "cores": True})
        self.assertEqual(self.plugin("pull", "web-1", "--cores").returncode, 2)

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
        asked, calls = self.calls().split("\n", 1)
        self.assertTrue(asked.startswith("-n prod --context c get pod web-1 -o jsonpath="))
        self.assertTrue(calls.endswith("-n prod --context c exec web-1 -c side -- "
                                       "shmrec-sidecar request -X GET /v1/bundles\n"), calls)
        self.plugin("bundles", "web-1", "--port", "99", SHMREC_TOKEN=TOKEN)
        self.assertIn("port-forward web-1 :99\n", self.calls())
        self.assertNotIn(TOKEN, self.calls())

    # phase, claim, configuration, image, security of pod and sidecar, tolerations, secrets, last words
    ENDED = ('Succeeded\nkept\nsettings\nregistry/sidecar:1\n{"fsGroup":7,"runAsUser":7}\n'
             '{"readOnlyRootFilesystem":true}\n[{"operator":"Exists"}]\n[{"name":"pull"}]\n'
             'shmrec: exit 1: bundle /b\x1b[2J')

    def test_pull_reads_the_claim_of_a_pod_that_has_ended(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        for target in ("web-1", "job/done"):
            done = self.plugin("pull", target, "-n", "prod", FACTS=self.ENDED)
            self.assertEqual((done.returncode, done.stdout), (0, "b.shmrec.tar.zst\n"), done.stderr)
            self.assertIn("has ended; reading claim kept by pod/shmrec-pull-", done.stderr)
            pod = json.loads((self.directory / "calls.manifest").read_text())
            spec, name = pod["spec"], pod["metadata"]["name"]
            sidecar = spec["containers"][0]
            self.assertEqual(fields.check([pod], 29) + fields.check([pod], 33), [])
            self.assertEqual(spec["volumes"][2]["persistentVolumeClaim"], {"claimName": "kept"})
            self.assertEqual(spec["volumes"][3]["configMap"], {"name": "settings"})
            self.assertEqual(spec["securityContext"], {"fsGroup": 7, "runAsUser": 7})
            self.assertEqual((sidecar["image"], sidecar["securityContext"]),
                             ("registry/sidecar:1", {"readOnlyRootFilesystem": True}))
            self.assertEqual((spec["tolerations"], spec["imagePullSecrets"]),
                             ([{"operator": "Exists"}], [{"name": "pull"}]))
            of = "web-1" if target == "web-1" else "done-1"
            self.assertIn({"name": "SHMREC_STORE", "value": f"/var/lib/shmrec/{of}"}, sidecar["env"])
            self.assertIn(f"-n prod delete pod {name} --wait=false\n", self.calls())
            self.assertIn(f"-n prod wait --for=condition=Ready pod/{name} --timeout=120s\n", self.calls())

    def test_kubectl_understands_what_it_is_asked_of_a_pod(self):
        """The real one, on a pod as inject makes it."""
        if shutil.which("kubectl") is None:
            self.skipTest("needs kubectl")
        self.plugin("pull", "web-1")
        asked = re.search(r"-o (jsonpath=.*?)\n(?=\S* ?exec )", self.calls(), re.S)[1]
        pod = ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {phase: Failed}\n"
               "spec:\n  securityContext: {runAsUser: 7, fsGroup: 8}\n  tolerations: [{operator: Exists}]\n"
               "  containers: [{name: a, image: i, command: [a]}]\n")
        for mode, options in (("native", ["--claim", "kept", "--sidecar-config", "c"]), ("classic", [])):
            out = subprocess.run([SHMREC, "inject", "-f", "-", "--image", "r/s:1", "--mode", mode, *options],
                                 input=pod, capture_output=True, text=True, check=True).stdout
            done = subprocess.run(["kubectl", "annotate", "--local", "-f", "-", "a=b", "-o", asked], input=out,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = done.stdout.split("\n")
            self.assertEqual(lines[0:4], ["Failed", *(["kept", "c"] if options else ["", ""]), "r/s:1"])
            self.assertEqual(json.loads(lines[4]), {"runAsUser": 7, "fsGroup": 8})
            self.assertEqual(json.loads(lines[5])["runAsUser"], 7)
            self.assertEqual(lines[6:], ['[{"operator":"Exists"}]', "", ""])

    def test_bundles_reads_the_claim_too(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        done = self.plugin("bundles", "web-1", FACTS=self.ENDED)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("b.shmrec.tar.zst", done.stdout)
        self.assertIn("delete pod shmrec-pull-", self.calls())

    def test_a_pod_that_is_gone_is_read_by_the_claim_that_is_named(self):
        self.state["bundles"] = {"b.shmrec.tar.zst": b"x"}
        done = self.plugin("pull", "gone-1", "--claim", "kept", "--image=i:1", "--uid", "1000")
        self.assertEqual((done.returncode, done.stdout), (0, "b.shmrec.tar.zst\n"), done.stderr)
        pod = json.loads((self.directory / "calls.manifest").read_text())
        self.assertEqual(fields.check([pod], 29), [])
        self.assertEqual(restricted.violations({}, pod["spec"]), [])
        self.assertEqual(pod["spec"]["securityContext"], {"runAsUser": 1000, "fsGroup": 1000})
        for bad in (["--claim", "kept"], ["--claim", 'a"', "--image", "i"],
                    ["--claim", "k", "--image", 'i"'], ["--claim", "k", "--image", "i", "--uid", "x"]):
            done = self.plugin("pull", "gone-1", *bad)
            self.assertEqual((done.returncode, done.stdout), (2, ""), bad)
        self.assertEqual(self.plugin("pull", 'a"', "--claim", "k", "--image", "i").returncode, 2)

    def test_without_a_claim_the_last_words_are_said(self):
        for command in ("pull", "bundles"):
            done = self.plugin(command, "web-1", FACTS=self.ENDED.replace("kept", "", 1))
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("web-1 has ended (Succeeded)", done.stderr)
            self.assertIn("\n  shmrec: exit 1: bundle /b[2J\n", done.stderr)
            self.assertIn("shmrec inject --claim NAME", done.stderr)
        self.assertNotIn("create", self.calls())

    def test_a_reader_that_does_not_start_is_removed(self):
        done = self.plugin("pull", "web-1", FACTS=self.ENDED, WAIT_STATUS="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not become ready", done.stderr)
        self.assertIn("delete pod shmrec-pull-", self.calls())

    def test_what_a_pod_says_is_no_part_of_a_manifest(self):
        for old, odd in (("registry/sidecar:1", 'i", "x": "y'), ("kept", 'k"'), ("settings", "s}")):
            done = self.plugin("pull", "web-1", FACTS=self.ENDED.replace(old, odd))
            self.assertEqual(done.returncode, 1)
            self.assertIn("odd names", done.stderr)
        self.assertFalse((self.directory / "calls.manifest").exists())

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
