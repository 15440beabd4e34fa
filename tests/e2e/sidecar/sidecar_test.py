#!/usr/bin/env python3
"""The sidecar beside launchers on one spool: what it collects, when, and what it survives.

usage: sidecar_test.py BIN_DIRECTORY [NAME]...
Each test has a spool, a store and a sidecar of its own. A failed one keeps its files and says where.
Exit status: 0 all passed, 1 some failed, 77 those named cannot run here.
"""

import glob
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BIN = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
TOKEN = "an-unguessable-token"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def wait_for(what, condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise Failed("after %d s still no %s" % (seconds, what))


class Setting:
    """A directory with spool, store, configuration, and the programs run in it."""

    def __init__(self, config=""):
        self.top = tempfile.mkdtemp(prefix="shmrec-sidecar-")
        self.spool, self.store = os.path.join(self.top, "spool"), os.path.join(self.top, "store")
        self.sockets = os.path.join(self.top, "http.sock"), os.path.join(self.top, "health.sock")
        os.mkdir(self.spool)
        with open(os.path.join(self.top, "token"), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(TOKEN + "\n")
        self.config = os.path.join(self.top, "sidecar.yaml")
        with open(self.config, "w") as file:
            file.write("""apiVersion: shmrec/v1
kind: Sidecar
spool: %s
store: %s
http: {listen: 'unix:%s', tokenFile: %s/token}
health: {listen: 'unix:%s'}
%s""" % (self.spool, self.store, self.sockets[0], self.top, self.sockets[1],
         config.replace("@TOP@", self.top)))
        self.environment = dict(os.environ, SHMREC_SPOOL=self.spool, SHMREC_LOG_SIZE="16MiB")
        self.log = open(os.path.join(self.top, "sidecar.log"), "ab")
        self.processes = []
        self.sidecar = None

    def start_sidecar(self, ready=True, *options):
        self.sidecar = subprocess.Popen([BIN + "/shmrec-sidecar", "-c", self.config, *options],
                                        stdout=self.log, stderr=self.log)
        self.processes.append(self.sidecar)
        if ready:
            wait_for("answer to /readyz", self.is_ready)
        return self

    def is_ready(self):
        if self.sidecar.poll() is not None:
            raise Failed("the sidecar ended with %d" % self.sidecar.returncode)
        try:
            return self.ask("GET", "/readyz", socket=1)[0] == 200
        except OSError:
            return False

    def kill_sidecar(self, number=signal.SIGKILL):
        self.sidecar.send_signal(number)
        return self.sidecar.wait(timeout=40)

    def run(self, *command, wait=True):
        output = open(os.path.join(self.top, "output"), "ab")
        process = subprocess.Popen([BIN + "/shmrec", "run", "--", *command], cwd=self.top, stdout=output,
                                   stderr=output, env=self.environment, start_new_session=True)
        self.processes.append(process)
        if wait:
            process.wait(timeout=60)
        return process

    def run_sleep(self):
        """A run that goes on, and that the sidecar knows."""
        run = self.run("sleep", "60", wait=False)
        wait_for("process", lambda: b"sleep" in self.ask("GET", "/v1/processes")[1])
        return run

    def shmrec(self, *arguments):
        result = subprocess.run([BIN + "/shmrec", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                timeout=60, env=self.environment, cwd=self.top)
        if result.returncode != 0:
            raise Failed("shmrec %s: %d\n%s" % (" ".join(arguments), result.returncode, result.stdout.decode()))
        return result.stdout.decode()

    def ask(self, method, path, body=None, socket=0, token=TOKEN):
        import socket as sockets
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = sockets.socket(sockets.AF_UNIX)
        connection.sock.settimeout(30)
        connection.sock.connect(self.sockets[socket])
        headers = {"Authorization": "Bearer " + token}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, data, dict(answer.getheaders())

    def bundles(self):
        return sorted(glob.glob(self.store + "/*.shmrec.tar.zst"))

    def listed(self):
        status, data, _ = self.ask("GET", "/v1/bundles")
        if status != 200:
            raise Failed("GET /v1/bundles: %d %s" % (status, data))
        listed = json.loads(data)
        return listed["bundles"] if isinstance(listed, dict) else listed

    def records(self):
        """What the store notes of its bundles, in order of arrival."""
        records = [json.load(open(path)) for path in glob.glob(self.store + "/*.json")]
        return sorted(records, key=lambda record: record["sequence"])

    def dropped(self):
        """By rule, of the metrics; those that dropped nothing left out."""
        lines = self.ask("GET", "/metrics", socket=1)[1].decode().split("\n")
        found = [line.split('"')[1::2] + [line.split()[-1]] for line in lines
                 if line.startswith("shmrec_bundles_dropped_total{")]
        return {rule: int(float(number)) for rule, number in found if float(number) > 0}

    def runs(self):
        return [path for path in glob.glob(self.spool + "/*") if os.path.isdir(path)]

    def one_bundle(self, reason, seconds=30):
        """Waits until the spool is empty; there must be one bundle, made for `reason`, and sound."""
        wait_for("bundle", self.bundles, seconds)
        wait_for("empty spool", lambda: not self.runs(), seconds)
        triggers = [bundle["trigger"] for bundle in self.listed()]
        if len(triggers) != 1 or reason not in triggers[0]:
            raise Failed("expected one bundle for %r, but there are %s" % (reason, triggers))
        self.shmrec("bundle", "verify", self.bundles()[0])
        return self.bundles()[0]

    def settle(self):
        """Nothing is left in the spool."""
        wait_for("empty spool", lambda: not self.runs())

    def close(self, keep):
        for process in self.processes:
            for kill in (lambda: os.killpg(process.pid, signal.SIGKILL), process.kill):
                try:
                    kill()
                except OSError:
                    pass
            process.wait()
        self.log.close()
        if not keep:
            shutil.rmtree(self.top, ignore_errors=True)


def pid_of(setting, text):
    """The recorded process whose command line holds `text`."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = open(path).read()
            if text in line and "shmrec" not in line.split("\0")[0] and setting.top in os.readlink(
                    os.path.dirname(path) + "/cwd"):
                return int(path.split("/")[2])
        except OSError:
            pass
    return None


# ---- What is collected ---------------------------------------------------------------------------

def test_failure_is_found(setting):
    setting.start_sidecar()
    status = setting.run(BIN + "/shmem_producer_consumer").wait()
    if status != 1:
        raise Failed("exit status %d, alone it is 1" % status)
    bundle = setting.one_bundle("exit 1")
    address = [line.split(" at ")[1].split()[0] for line in open(setting.top + "/output") if " held 100." in line][0]
    blame = setting.shmrec("blame", bundle, "--recording", "consumer", address)
    if "shmem_producer_consumer.c:102" not in blame:
        raise Failed("blame does not find line 102:\n" + blame)


def test_success_leaves_nothing(setting):
    setting.start_sidecar()
    setting.run("true")
    setting.settle()
    if setting.bundles():
        raise Failed("a bundle of a success")


def test_signal(setting):
    setting.start_sidecar()
    setting.run("sh", "-c", "kill -SEGV $$")
    setting.one_bundle("signal 11 (SIGSEGV)")


def test_one_bundle_under_load(setting):
    """However late the sidecar gets to look, and in whatever order it sees what there is to be seen."""
    with open(setting.config, "a") as file:
        file.write("join: false\n")  # two launchers of one run that end together have one bundle
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * os.cpu_count())]
    setting.processes += busy
    setting.start_sidecar()
    os.setpriority(os.PRIO_PROCESS, setting.sidecar.pid, 10)
    commands = ("kill -SEGV $$", "sh -c 'kill -ABRT $$'; exit $?", "sh -c 'sh -c \"kill -BUS \$\$\"; exit $?'; exit $?")
    runs = [setting.run("sh", "-c", commands[i % 3], wait=False) for i in range(9)]
    for run in runs:
        run.wait(timeout=120)
    wait_for("empty spool", lambda: not setting.runs(), 120)
    listed = setting.listed()
    bundled = [bundle["run"] for bundle in listed]
    if len(bundled) != len(runs) or len(set(bundled)) != len(runs):
        raise Failed("%d failed runs, but %s" % (len(runs), [(b["run"], b["trigger"]) for b in listed]))
    for bundle in setting.bundles():
        setting.shmrec("bundle", "verify", bundle)


# Five kinds: two places of one signal, two other signals, a status.
KINDS = [[BIN + "/victims/crash", name] for name in ("null-store", "null-from-shared", "illegal", "abort")] + [
    ["sh", "-c", "exit 3"]]


def fail_twenty_times(setting):
    """Twenty failures in short time, the kinds after one another."""
    for i in range(20):
        setting.run(*KINDS[i % len(KINDS)])
    setting.settle()


def test_all_failures_are_kept_while_there_is_room(setting):
    setting.start_sidecar()
    fail_twenty_times(setting)
    records = setting.records()
    kinds = {}
    for record in records:
        kinds.setdefault(tuple(record["kinds"]), []).append(record["keep"])
    if [(len(bundles), sum(bundles)) for bundles in kinds.values()] != 5 * [(4, 1)] or any(
            len(kind) != 1 for kind in kinds):
        raise Failed("expected 4 bundles of each of 5 kinds, one of them kept: %s" % kinds)
    if sum(" at crash+0x" in kind[0] for kind in kinds) != 3 or sum(" at " in kind[0] for kind in kinds) != 4:
        raise Failed("places of death: %s" % list(kinds))
    if setting.dropped():
        raise Failed("dropped: %s" % setting.dropped())


def test_first_of_each_kind_is_kept_in_a_small_store(setting):
    with open(setting.config, "a") as file:
        file.write("retention: {count: 5}\n"
                   "rules:\n- {name: crashes, trigger: {signal: any, processes: true}, limit: {count: 8, per: 1h}}\n"
                   "- {name: failures, trigger: {exitStatus: nonzero}}\n")
    setting.start_sidecar()
    fail_twenty_times(setting)
    records = setting.records()
    if len(records) != 5 or len({record["kinds"][0] for record in records}) != 5 or \
            not all(record["keep"] for record in records):
        raise Failed("expected the first of each kind: %s" % [(r["kinds"], r["keep"]) for r in records])
    dropped, log = setting.dropped(), open(setting.top + "/sidecar.log").read()
    said = {rule: log.count("dropped by rule %s:" % rule) for rule in ("crashes", "retention.count")}
    if dropped != said or sum(said.values()) != 15 or 0 in said.values():
        raise Failed("metric %s, log %s" % (dropped, said))


# ---- Another user's files ------------------------------------------------------------------------

def foreign(setting):
    """The sidecar as inject's: not the application's user. Its volume is as an emptyDir without fsGroup."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        raise Skipped("needs root and setpriv")
    os.chmod(setting.top, 0o755)
    os.chmod(setting.spool, 0o777)
    for path in (setting.top + "/token", setting.store):
        os.makedirs(setting.store, exist_ok=True)
        os.chown(path, 65532, 65532)
    sockets = setting.top + "/sockets"
    os.mkdir(sockets)
    os.chown(sockets, 65532, 65532)
    with open(setting.config) as file:
        text = file.read().replace(setting.top + "/http.sock", sockets + "/http.sock").replace(
            setting.top + "/health.sock", sockets + "/health.sock")
    with open(setting.config, "w") as file:
        file.write(text)
    setting.sockets = sockets + "/http.sock", sockets + "/health.sock"
    setting.sidecar = subprocess.Popen(
        ["setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", BIN + "/shmrec-sidecar", "-c",
         setting.config], stdout=setting.log, stderr=setting.log)
    setting.processes.append(setting.sidecar)
    wait_for("answer to /readyz", setting.is_ready)


def test_root_application_is_read_by_another_user(setting):
    foreign(setting)
    setting.run(BIN + "/shmem_producer_consumer")
    bundle = setting.one_bundle("exit 1")
    if "shmem_producer_consumer.c" not in setting.shmrec("ls", bundle) and \
            "binaries/" not in setting.shmrec("bundle", "ls", bundle):
        raise Failed("the binaries are not in the bundle")
    if not setting.is_ready():
        raise Failed("not ready")


def test_unreadable_run_is_refused_at_its_hello(setting):
    foreign(setting)
    output = open(setting.top + "/output", "ab")
    run = subprocess.run(["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown", BIN + "/shmrec", "run",
                          "--", "sh", "-c", "kill -SEGV $$"], cwd=setting.top, stdout=output, stderr=output,
                         env=setting.environment, timeout=60)
    text = open(setting.top + "/output").read()
    if run.returncode != 139 or "does not collect what user 0 records" not in text:
        raise Failed("exit status %d\n%s" % (run.returncode, text))
    kept = glob.glob(setting.spool + "/*.shmrec.tar.zst")
    if len(kept) != 1 or setting.runs() or setting.bundles():
        raise Failed("in the spool %s, in the store %s" % (os.listdir(setting.spool), setting.bundles()))
    setting.shmrec("bundle", "verify", kept[0])
    status, data, _ = setting.ask("GET", "/readyz", socket=1)
    if status != 503 or b"user 65532" not in data or b"user 0" not in data:
        raise Failed("/readyz: %d %s" % (status, data))
    metrics = setting.ask("GET", "/metrics", socket=1)[1].decode()
    if not re.search(r"^shmrec_launchers_refused_total [1-9]", metrics, re.M):
        raise Failed(metrics)
    if "launcher refused" not in open(setting.top + "/sidecar.log").read():
        raise Failed("nothing in the log")
    setting.run("true")  # one that it can read
    wait_for("readiness", setting.is_ready)


def test_run_that_became_unreadable_stays(setting):
    foreign(setting)
    run = setting.run_sleep()
    os.chmod(setting.runs()[0] + "/events.jsonl", 0o600)
    run.send_signal(signal.SIGKILL)
    os.kill(pid_of(setting, "sleep"), signal.SIGKILL)
    wait_for("bundle", setting.bundles)
    wait_for("trouble", lambda: setting.ask("GET", "/readyz", socket=1)[0] == 503)
    data = setting.ask("GET", "/readyz", socket=1)[1]
    if b"events.jsonl" not in data or len(setting.runs()) != 1:
        raise Failed("%s, %s" % (data, setting.runs()))


def test_all_killed(setting):
    setting.start_sidecar()
    run = setting.run("sleep", "100", wait=False)
    sleeper = wait_for("process", lambda: pid_of(setting, "sleep"))
    for pid in (run.pid, sleeper):
        os.kill(pid, signal.SIGKILL)
    setting.one_bundle("")
    if "SIGKILL" not in setting.listed()[0]["trigger"] and "lost" not in setting.listed()[0]["trigger"]:
        raise Failed("trigger: %s" % setting.listed()[0]["trigger"])


def test_crash_in_a_run_that_goes_on(setting):
    setting.start_sidecar()
    run = setting.run("sh", "-c", "sh -c 'kill -ABRT $$'; exec sleep 60", wait=False)
    wait_for("bundle", setting.listed)
    if "signal 6" not in setting.listed()[0]["trigger"] or not setting.runs():
        raise Failed("%s, runs %s" % (setting.listed(), setting.runs()))
    setting.shmrec("bundle", "verify", setting.bundles()[0])
    run.terminate()
    setting.settle()


def test_requests(setting):
    setting.start_sidecar()
    run = setting.run_sleep()
    status, data, headers = setting.ask("POST", "/v1/bundles", {"trigger": "I want it"})
    if status != 202:
        raise Failed("POST: %d %s" % (status, data))
    operation = wait_for("end of the operation",
                         lambda: json.loads(setting.ask("GET", headers["Location"])[1]).get("bundle"))
    status, data, _ = setting.ask("GET", "/v1/bundles/%s/content" % operation)
    with open(setting.top + "/downloaded.shmrec.tar.zst", "wb") as file:
        file.write(data)
    setting.shmrec("bundle", "verify", setting.top + "/downloaded.shmrec.tar.zst")
    if "I want it" not in setting.shmrec("bundle", "show", setting.top + "/downloaded.shmrec.tar.zst"):
        raise Failed("the bundle does not say why it was made")
    setting.shmrec("trigger", "--wait", "asked on the socket")
    if len(setting.bundles()) != 2:
        raise Failed("bundles: %s" % setting.bundles())
    if setting.ask("GET", "/v1/bundles", token="wrong")[0] != 401:
        raise Failed("a wrong token is let in")
    if setting.ask("DELETE", "/v1/bundles/" + operation)[0] != 204 or len(setting.bundles()) != 1:
        raise Failed("not deleted")
    run.terminate()
    setting.settle()


def test_request_from_within(setting):
    setting.start_sidecar()
    run = setting.run_sleep()
    listed = subprocess.run([BIN + "/shmrec-sidecar", "-c", setting.config, "request", "/v1/processes"],
                            stdout=subprocess.PIPE, timeout=30)
    if listed.returncode != 0 or b"sleep" not in listed.stdout:
        raise Failed("request: %d %s" % (listed.returncode, listed.stdout))
    missing = subprocess.run([BIN + "/shmrec-sidecar", "-c", setting.config, "request", "/v1/nothing"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    if missing.returncode != 1 or missing.stdout or b"404" not in missing.stderr:
        raise Failed("request of nothing: %s" % (missing,))
    run.terminate()


def test_two_launchers_in_one_run(setting):
    """As two containers of a pod: one log, and the end of each is seen while the other goes on."""
    setting.start_sidecar()
    first = setting.run_sleep()
    end = setting.top + "/end"
    second = setting.run("sh", "-c", "until [ -e %s ]; do sleep 0.1; done; exit 9" % end, wait=False)
    events = wait_for("member", lambda: glob.glob(setting.spool + "/*/members/*/events.jsonl"))[0]
    # The line that the second launcher writes when its cgroup's counter rises.
    with open(events, "a") as file:
        file.write('{"time":"2026-01-01T00:00:00Z","type":"oom","count":1}\n')
    wait_for("bundle of the second launcher's loss of memory", setting.listed)
    if "memory" not in setting.listed()[0]["trigger"]:
        raise Failed("%s" % setting.listed())
    record = json.load(open(setting.bundles()[0].replace(".shmrec.tar.zst", ".json")))
    if "exit 9" not in record["command"]:
        raise Failed("not the second launcher's command: %s" % record)
    open(end, "w").close()
    second.wait(timeout=30)
    wait_for("second bundle", lambda: len(setting.listed()) == 2)
    newest = setting.listed()[-1]
    if len(setting.runs()) != 1 or "exit 9" not in newest["trigger"]:
        raise Failed("%s, runs %s" % (setting.listed(), setting.runs()))
    bundle = setting.store + "/" + newest["name"]
    listing = setting.shmrec("ls", bundle)
    if "sleep" not in listing or "sh" not in listing:
        raise Failed("not both in the bundle:\n" + listing)
    setting.shmrec("bundle", "verify", bundle)
    first.terminate()
    setting.settle()


# ---- Rules and ways out --------------------------------------------------------------------------

def test_out_of_memory(setting):
    setting.start_sidecar()
    run = setting.run_sleep()
    # The line that the launcher writes when its cgroup's counter rises (launcher.oom_test).
    with open(setting.runs()[0] + "/events.jsonl", "a") as events:
        events.write('{"time":"2026-01-01T00:00:00Z","type":"oom","count":1}\n')
    wait_for("bundle", setting.listed)
    if "memory" not in setting.listed()[0]["trigger"]:
        raise Failed("%s" % setting.listed())
    run.terminate()
    setting.settle()


def test_mark(setting):
    with open(setting.config, "a") as file:
        file.write("rules:\n- {name: marked, trigger: {mark: 'phase-*'}}\n")
    setting.start_sidecar()
    program = ("import ctypes, sys, time\n"
               "library = ctypes.CDLL(sys.argv[1])\n"
               "library.shmrec_event(b'other')\n"
               "time.sleep(2)\n"
               "library.shmrec_event(b'phase-2')\n"
               "time.sleep(60)")
    library = glob.glob(os.path.dirname(BIN) + "/lib/libshmrec.so*")[0]
    run = setting.run(sys.executable, "-c", program, library, wait=False)
    wait_for("bundle", setting.listed)
    if "phase-2" not in setting.listed()[0]["trigger"] or len(setting.listed()) != 1:
        raise Failed("%s" % setting.listed())
    run.terminate()
    setting.settle()


OTHER_RULES = """
rules:
- {name: touched, trigger: {file: '@TOP@/please'}}
- {name: broken, trigger: {readiness: {url: 'http://127.0.0.1:%d/', failures: 2, period: 1s}}}
"""


def test_file_and_readiness(setting):
    class Unwell(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(Unwell.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unwell)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(setting.config, "a") as file:
        file.write((OTHER_RULES % server.server_address[1]).replace("@TOP@", setting.top))
    setting.start_sidecar()
    run = setting.run_sleep()
    time.sleep(2.5)
    if setting.bundles():
        raise Failed("a bundle, and nothing has happened: %s" % setting.listed())
    open(setting.top + "/please", "w").close()
    wait_for("bundle of the touched file", lambda: len(setting.listed()) == 1)
    Unwell.status = 503
    wait_for("bundle of the failed readiness", lambda: len(setting.listed()) == 2)
    if sorted(bundle["rule"] for bundle in setting.listed()) != ["broken", "touched"]:
        raise Failed("%s" % setting.listed())
    server.shutdown()
    run.terminate()
    setting.settle()


DEADLOCK_RULES = """
rules:
- {name: hangs, trigger: {readiness: {url: 'http://127.0.0.1:%d/', failures: 2, period: 1s}}}
- {name: asked, trigger: {request: true}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_deadlock_that_readiness_finds(setting):
    """Three processes hang on two mutexes: the rule has cores of all, and they run on."""
    port = free_port()
    with open(setting.config, "a") as file:
        file.write(DEADLOCK_RULES % port)
    setting.start_sidecar()
    run = setting.run(BIN + "/victims/deadlock", str(port), wait=False)
    wait_for("bundle", setting.listed, 60)
    bundle = setting.bundles()[0]
    setting.shmrec("bundle", "verify", bundle)
    text = setting.shmrec("backtrace", bundle)
    for name, caller in (("transfer", "transfer"), ("audit", "audit"), ("deadlock", "main")):
        if not re.search(r"^%s \(pid \d+\) was in lock \(deadlock\.c:\d+\), called from %s" % (name, caller), text, re.M):
            raise Failed(text)
    before = os.stat(glob.glob(setting.runs()[0] + "/cores/*.core")[0]).st_ino
    status, data, _ = setting.ask("POST", "/v1/bundles", {"cores": True})
    if status != 202:
        raise Failed("%d %s" % (status, data))
    wait_for("bundle that was asked for", lambda: len(setting.listed()) == 2)
    if os.stat(glob.glob(setting.runs()[0] + "/cores/*.core")[0]).st_ino == before:
        raise Failed("the cores are those of before")
    audit = re.search(r"audit (\d+)", open(setting.top + "/output").read())
    os.kill(int(audit.group(1)), signal.SIGKILL)
    if run.wait(timeout=60) != 0 or "moved 1 audited 0" not in open(setting.top + "/output").read():
        raise Failed("it did not run on: %d" % run.returncode)


def test_ways_out(setting):
    os.mkdir(setting.top + "/elsewhere")
    open(setting.top + "/termination", "w").close()
    setting.start_sidecar()
    setting.run("sh", "-c", "exit 3")
    bundle = setting.one_bundle("exit 3")
    wait_for("copy", lambda: os.path.exists(setting.top + "/elsewhere/" + os.path.basename(bundle)))
    setting.shmrec("bundle", "verify", setting.top + "/elsewhere/" + os.path.basename(bundle))
    wait_for("line", lambda: os.path.basename(bundle) in open(setting.top + "/termination").read())
    wait_for("hook", lambda: os.path.exists(setting.top + "/hooked"))


test_ways_out.config = """
destinations:
- {name: elsewhere, directory: '@TOP@/elsewhere'}
- {name: line, terminationMessage: '@TOP@/termination'}
- {name: hook, exec: {command: [/bin/sh, -c, 'echo $SHMREC_TRIGGER > @TOP@/hooked']}}
"""


# ---- What it survives ----------------------------------------------------------------------------

def test_sidecar_comes_late(setting):
    setting.environment["SHMREC_SIDECAR_WAIT"] = "20s"
    setting.environment["SHMREC_SOCKET"] = setting.spool + "/sidecar.sock"
    run = setting.run("sh", "-c", "exit 5", wait=False)
    time.sleep(0.5)
    setting.start_sidecar()
    if run.wait(timeout=30) != 5:
        raise Failed("exit status %d" % run.returncode)
    setting.one_bundle("exit 5")


def test_sidecar_is_killed_and_comes_again(setting):
    setting.start_sidecar()
    run = setting.run("sh", "-c", "sleep 2; exit 6", wait=False)
    wait_for("process", lambda: b"sleep" in setting.ask("GET", "/v1/processes")[1])
    setting.kill_sidecar()
    if run.wait(timeout=30) != 6:
        raise Failed("exit status %d" % run.returncode)
    if len(setting.runs()) != 1:
        raise Failed("the run is not kept")
    setting.start_sidecar()
    setting.one_bundle("exit 6")


def test_sidecar_is_told_to_end_at_once(setting):
    setting.start_sidecar()
    setting.run("sh", "-c", "exit 7")
    status = setting.kill_sidecar(signal.SIGTERM)
    if status != 0:
        raise Failed("the sidecar ended with %d" % status)
    if len(setting.bundles()) != 1 or setting.runs():
        raise Failed("%s, %s" % (setting.bundles(), setting.runs()))


def test_second_sidecar(setting):
    setting.start_sidecar()
    second = subprocess.run([BIN + "/shmrec-sidecar", "-c", setting.config], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=30)
    if second.returncode == 0 or b"another" not in second.stdout:
        raise Failed("%d: %s" % (second.returncode, second.stdout.decode()))
    setting.run("sh", "-c", "exit 8")
    setting.one_bundle("exit 8")


def test_no_socket(setting):
    """Somebody has taken the control socket's name: the files are enough."""
    os.makedirs(setting.spool + "/sidecar.sock/full")
    setting.start_sidecar(ready=False)
    wait_for("health socket", lambda: os.path.exists(setting.sockets[1]))
    wait_for("reason in /readyz", lambda: b"sidecar.sock" in setting.ask("GET", "/readyz", socket=1)[1])
    if setting.ask("GET", "/healthz", socket=1)[0] != 200:
        raise Failed("not live, and it only lacks a socket")
    run = setting.run("sleep", "100", wait=False)
    sleeper = wait_for("process", lambda: pid_of(setting, "sleep"))
    for pid in (run.pid, sleeper):
        os.kill(pid, signal.SIGKILL)
    wait_for("bundle", setting.listed)
    shutil.rmtree(setting.spool + "/sidecar.sock")
    wait_for("answer to /readyz", setting.is_ready)
    setting.run("sh", "-c", "exit 4")
    wait_for("second bundle", lambda: len(setting.listed()) == 2)


def test_full_disk(setting):
    if os.getuid() != 0:
        raise Skipped("mounting needs root")
    os.mkdir(setting.store)
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=64k", "none", setting.store]) != 0:
        raise Skipped("mounting is not possible here")
    try:
        setting.start_sidecar()
        setting.run(BIN + "/shmem_producer_consumer")
        wait_for("complaint", lambda: b"No space left" in open(setting.top + "/sidecar.log", "rb").read())
        if not setting.runs():
            raise Failed("the run is gone, and there is no bundle")
        subprocess.check_call(["mount", "-o", "remount,size=64m", setting.store])
        setting.one_bundle("exit 1", 60)
        setting.kill_sidecar(signal.SIGTERM)
    finally:
        if setting.sidecar and setting.sidecar.poll() is None:
            setting.kill_sidecar()
        subprocess.call(["umount", setting.store])


def test_read_only_volume(setting):
    if os.getuid() != 0:
        raise Skipped("mounting needs root")
    for name, path in ("store", setting.store), ("spool", setting.spool):
        os.makedirs(path, exist_ok=True)
        if subprocess.call(["mount", "-t", "tmpfs", "-o", "ro", "none", path]) != 0:
            raise Skipped("mounting is not possible here")
        try:
            result = subprocess.run([BIN + "/shmrec-sidecar", "-c", setting.config], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, timeout=30)
        finally:
            subprocess.call(["umount", path])
        text = result.stdout.decode()
        if result.returncode != 1 or path not in text or "Read-only file system" not in text:
            raise Failed("%s read-only: %d\n%s" % (name, result.returncode, text))


def test_missing_token(setting):
    os.unlink(setting.top + "/token")
    setting.start_sidecar()
    status, data, _ = setting.ask("GET", "/v1/bundles")
    if status != 503 or b"token" not in data:
        raise Failed("%d %s" % (status, data))
    setting.run("sh", "-c", "exit 4")
    wait_for("bundle, token or not", setting.bundles)
    with open(setting.top + "/token", "w") as file:
        file.write(TOKEN)
    if setting.ask("GET", "/v1/bundles")[0] != 200:
        raise Failed("the token that came later does not count")


BAD_LINES = "rules:\n- {name: a, trigger: {signal: [SIGNOTHING]}}\nretentoin: {}\n"


def test_bad_configuration(setting):
    """An edit of the configuration stops neither the pod nor the collecting, and is said everywhere."""
    with open(setting.config, "a") as file:
        file.write(BAD_LINES)
    message = os.path.join(setting.top, "message")
    os.environ["SHMREC_TERMINATION_MESSAGE"] = message
    setting.start_sidecar()
    del os.environ["SHMREC_TERMINATION_MESSAGE"]
    status, page, _ = setting.ask("GET", "/readyz", socket=1)
    if status != 200 or not page.startswith(b"ok; 2 mistakes in the configuration: ") or b"sidecar.yaml:8:32:" not in page:
        raise Failed("/readyz: %d %s" % (status, page))
    if b"\nshmrec_configuration_errors 2\n" not in setting.ask("GET", "/metrics", socket=1)[1]:
        raise Failed("no metric")
    for name in message, setting.top + "/sidecar.log":
        with open(name) as file:
            text = file.read()
        if "sidecar.yaml:8:32:" not in text or "write retention" not in text:
            raise Failed("%s: %s" % (name, text))
    setting.run("sh", "-c", "exit 4")
    setting.one_bundle("exit 4")  # by the default rules
    setting.kill_sidecar(signal.SIGTERM)


def test_bad_configuration_refused(setting):
    with open(setting.config, "a") as file:
        file.write(BAD_LINES)
    def refuses(environment, *options):
        result = subprocess.run([BIN + "/shmrec-sidecar", "-c", setting.config, *options], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=30, env=dict(os.environ, **environment))
        text = result.stdout.decode()
        if result.returncode != 2 or "sidecar.yaml:8:32:" not in text or "write retention" not in text:
            raise Failed("%s %s: %d\n%s" % (environment, options, result.returncode, text))
    refuses({}, "check")
    refuses({}, "--strict")
    refuses({"SHMREC_FAILURE_POLICY": "closed"})
    with open(setting.config, "a") as file:
        file.write("failurePolicy: closed\n")
    refuses({})


def test_policy_mistakes(setting):
    """What a launcher found wrong in its policy, as the sidecar tells it."""
    message = os.path.join(setting.top, "message")
    os.environ["SHMREC_TERMINATION_MESSAGE"] = message
    setting.start_sidecar()
    del os.environ["SHMREC_TERMINATION_MESSAGE"]
    setting.environment["SHMREC_LOGSIZE"] = "1"
    run = setting.run("sh", "-c", "exit 4")
    if run.returncode != 4:
        raise Failed("exit status %d" % run.returncode)
    bundle = setting.one_bundle("exit 4")
    if b"\nshmrec_policy_mistakes_total 1\n" not in setting.ask("GET", "/metrics", socket=1)[1]:
        raise Failed("no metric")
    wait_for("bundle in the termination message", lambda: "bundle " in open(message).read())
    with open(message) as file:
        text = file.read()
    if "SHMREC_LOGSIZE is not known" not in text:
        raise Failed(text)
    for name, key in ("run.json", "policyMistakes"), ("coverage.json", "as the policy was meant"):
        setting.shmrec("bundle", "extract", bundle, name, "-C", setting.top + "/" + name)
        with open(setting.top + "/" + name + "/" + name) as file:
            text = file.read()
        if key not in text or "SHMREC_LOGSIZE is not known" not in text:
            raise Failed("%s: %s" % (name, text))


def test_taken_ports(setting):
    """The pod's programs wait for the sidecar: it collects, and has the ports when they are free."""
    with socket.create_server(("127.0.0.1", 0)) as health, socket.create_server(("127.0.0.1", 0)) as http:
        taken = ["127.0.0.1:%d" % server.getsockname()[1] for server in (health, http)]
        setting.start_sidecar(False, "--health-listen", taken[0], "--listen", taken[1])
        for address in taken:
            text = (address + ": Address already in use; runs are collected without this server").encode()
            wait_for(address, lambda: text in open(setting.top + "/sidecar.log", "rb").read())
        setting.run("sh", "-c", "exit 4")
        wait_for("bundle", setting.bundles)
    wait_for("health", lambda: subprocess.run([BIN + "/shmrec-sidecar", "health", taken[0]]).returncode == 0)
    setting.run("sh", "-c", "exit 5")
    wait_for("second bundle", lambda: len(setting.bundles()) == 2)
    if setting.kill_sidecar(signal.SIGTERM) != 0:
        raise Failed("ended with %d" % setting.sidecar.returncode)


def run_test(name, function):
    setting = Setting(getattr(function, "config", ""))
    try:
        function(setting)
        setting.close(False)
        print("%-45s passed" % name, flush=True)
        return 0
    except Skipped as why:
        setting.close(False)
        print("%-45s skipped: %s" % (name, why), flush=True)
        return 77
    except (Failed, OSError, ValueError, KeyError, IndexError, subprocess.SubprocessError) as wrong:
        setting.close(True)
        print("%-45s FAILED: %s\nfiles: %s" % (name, wrong, setting.top), flush=True)
        return 1


def main():
    tests = {name[5:]: function for name, function in globals().items() if name.startswith("test_")}
    wanted = sys.argv[2:] or list(tests)
    results = [run_test(name, tests[name]) for name in wanted]
    return 1 if 1 in results else 77 if set(results) == {77} else 0


if __name__ == "__main__":
    sys.exit(main())
