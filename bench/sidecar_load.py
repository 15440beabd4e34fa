#!/usr/bin/env python3
"""Loads a sidecar and measures whether collecting keeps up.

usage: bench/sidecar_load.py [--short] [--json FILE] [options] DIRECTORY_OF_PROGRAMS

One recorded run, the crowd, keeps many processes at work on shared memory; they end and crash at random,
and are replaced. Beside it, smaller runs fail one after another. All the while clients list and download
bundles, one of them slowly, and another asks /healthz and /readyz ten times a second. At the end the
crowd's run fails too. Build first:

  cmake --preset dev && cmake --build --preset dev && bench/sidecar_load.py build/dev/bin

Exit status: 0; 1 if a failed run has no bundle within --within seconds, a run is left behind in the
spool, a bundle does not verify, a download differs from its SHA-256, or health does not answer with 200.
The directory with the logs is kept then.
"""
import argparse
import collections
import datetime
import glob
import hashlib
import http.client
import json
import multiprocessing
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOKEN = "an-unguessable-token"
STATUS_OF_CROWD, STATUS_OF_RUN = 3, 4
CONFIG = """apiVersion: shmrec/v1
kind: Sidecar
spool: {top}/spool
store: {top}/store
join: false  # each failing run is to have a bundle of its own
http: {{listen: 'unix:{top}/http.sock', tokenFile: {top}/token}}
health: {{listen: 'unix:{top}/health.sock'}}
retention: {{count: 0, bytes: 0}}
rules:
- {{name: crashes, trigger: {{signal: any, processes: true, lost: true}}, limit: {{count: {crash_bundles}, per: 1h}}}}
- {{name: failures, trigger: {{exitStatus: nonzero}}}}
"""
SHORT = {"processes": 20, "runs": 2, "run_processes": 5, "clients": 2, "seconds": 8, "life": 3,
         "crash_bundles": 2}


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--processes", type=int, default=200, help="alive in the crowd")
    parser.add_argument("--runs", type=int, default=10, help="that fail one after another")
    parser.add_argument("--run-processes", type=int, default=10, help="in each of those")
    parser.add_argument("--clients", type=int, default=8, help="that download; the last is slow")
    parser.add_argument("--seconds", type=int, default=60, help="of the crowd")
    parser.add_argument("--rate", type=int, default=100, help="accesses a second of each process")
    parser.add_argument("--life", type=float, default=10, help="seconds a process lives")
    parser.add_argument("--crash-percent", type=int, default=20)
    parser.add_argument("--crash-bundles", type=int, default=10, help="limit of the rule for crashes")
    parser.add_argument("--within", type=float, default=30, help="seconds from a run's end to its bundle")
    parser.add_argument("--log-size", default="128MiB")
    parser.add_argument("--short", action="store_true", help="the form that runs as a test: %s" % SHORT)
    parser.add_argument("--json", metavar="FILE", help="the figures, - for standard output")
    parser.add_argument("programs", nargs="?", default="build/dev/bin")
    options = parser.parse_args()
    if options.short:
        vars(options).update(SHORT)
    options.programs = os.path.abspath(options.programs)
    return options


# ---- Clients: each a process of its own, so that none waits for another's interpreter ------------

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(path, target, timeout=60):
    connection = UnixConnection(path, timeout)
    connection.request("GET", target, headers={"Authorization": "Bearer " + TOKEN})
    return connection, connection.getresponse()


def listed(top):
    connection, answer = get(top + "/http.sock", "/v1/bundles")
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise OSError("GET /v1/bundles: %d" % answer.status)
    found = json.loads(data)
    return found["bundles"] if isinstance(found, dict) else found


def download(top, bundle, pause):
    """Bytes and errors of one download; `pause` seconds after each 64 KiB."""
    connection, answer = get(top + "/http.sock", "/v1/bundles/%s/content" % bundle["name"])
    digest, size = hashlib.sha256(), 0
    while piece := answer.read(65536):
        digest.update(piece)
        size += len(piece)
        time.sleep(pause)
    connection.close()
    return size, 0 if answer.status == 200 and digest.hexdigest() == bundle["sha256"] else 1


def client(top, number, slow, stop, results):
    figures = collections.Counter(downloads=0, bytes=0, errors=0)
    start, messages = time.monotonic(), set()
    while not stop.is_set():
        try:
            bundles = listed(top)
            if not bundles:
                time.sleep(0.1)
                continue
            # Slow, but above the 32 KiB a second below which the server cuts a client (docs/http.md).
            size, bad = download(top, bundles[(number + figures["downloads"]) % len(bundles)], 0.5 if slow else 0)
            figures.update(downloads=1, bytes=size, errors=bad)
        except (OSError, http.client.HTTPException) as error:
            figures.update(errors=1)
            messages.add(str(error))
    results.put(("slow" if slow else "client", dict(figures, seconds=time.monotonic() - start,
                                                    messages=sorted(messages))))


def prober(top, stop, results):
    """Milliseconds to each answer, a connection each, as a kubelet asks."""
    took, bad = {"/healthz": [], "/readyz": []}, []
    while not stop.is_set():
        for target in took:
            start = time.monotonic()
            try:
                connection, answer = get(top + "/health.sock", target, timeout=5)
                text = answer.read().decode()
                connection.close()
                if answer.status != 200:
                    bad.append("%s: %d %s" % (target, answer.status, text.strip()))
            except (OSError, http.client.HTTPException) as error:
                bad.append("%s: %s" % (target, error))
            took[target].append(1000 * (time.monotonic() - start))
        time.sleep(0.1)
    results.put(("health", {"milliseconds": took, "bad": bad}))


# ---- The load ------------------------------------------------------------------------------------

class Load:
    def __init__(self, options):
        self.options = options
        self.top = tempfile.mkdtemp(prefix="shmrec-load-")
        os.mkdir(self.top + "/spool")
        for name, mode, text in (("token", 0o600, TOKEN + "\n"),
                                 ("sidecar.yaml", 0o644, CONFIG.format(top=self.top, crash_bundles=options.crash_bundles))):
            with open(os.path.join(self.top, name), "w") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
        self.environment = dict(os.environ, SHMREC_SPOOL=self.top + "/spool", SHMREC_LOG_SIZE=options.log_size)
        self.ended = {}    # launcher's pid: when it ended
        self.appeared = {}  # file in the store: when it was seen first
        self.anonymous = 0
        self.running = []
        self.failures = []
        self.done = threading.Event()
        self.sidecar = None

    def start_sidecar(self):
        with open(self.top + "/sidecar.log", "wb") as log:
            self.sidecar = subprocess.Popen([self.options.programs + "/shmrec-sidecar", "-c", self.top + "/sidecar.yaml"],
                                            stdout=log, stderr=log)
        for _ in range(200):
            time.sleep(0.05)
            try:
                if get(self.top + "/health.sock", "/readyz")[1].status == 200:
                    return
            except OSError:
                pass
        sys.exit("the sidecar does not become ready; see %s/sidecar.log" % self.top)

    def start_run(self, processes, seconds, status, seed):
        options = self.options
        victim = [options.programs + "/sidecar_victim", processes, seconds, status, options.rate,
                  options.life if processes == options.processes else 1, options.crash_percent, seed]
        log = open(self.top + "/output-%d" % seed, "wb")
        run = subprocess.Popen([options.programs + "/shmrec", "run", "--", *map(str, victim)], stdout=log,
                               stderr=log, cwd=self.top, env=self.environment)
        self.running.append(run)
        return run

    def wait_run(self, run, status, seconds):
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.failures.append("a run does not end")
            run.kill()
            run.wait()
        self.ended[run.pid] = time.monotonic()
        if run.returncode != status:
            self.failures.append("a run ended with %d, not %d" % (run.returncode, status))

    def watch_store(self):
        while not self.done.is_set():
            self.watch_memory()
            for path in glob.glob(self.top + "/store/*.shmrec.tar.zst"):
                self.appeared.setdefault(os.path.basename(path), time.monotonic())
            time.sleep(0.02)

    def watch_memory(self):
        """The peak of memory of its own; the rest of the RSS are files, which the kernel can take back."""
        with open("/proc/%d/status" % self.sidecar.pid) as file:
            lines = dict(line.split(":", 1) for line in file)
        if "RssAnon" in lines:  # else it is a zombie
            self.anonymous = max(self.anonymous, 1024 * int(lines["RssAnon"].split()[0]))

    def runs_left(self):
        return [path for path in glob.glob(self.top + "/spool/*") if os.path.isdir(path)]

    def wait_for_bundles(self):
        """Seconds from each run's end to its bundle, None where there is none."""
        deadline = max(self.ended.values()) + self.options.within
        while time.monotonic() < deadline:
            seconds = self.seconds_to_bundle()
            if None not in seconds.values() and not self.runs_left():
                break
            time.sleep(0.2)
        return self.seconds_to_bundle()

    def seconds_to_bundle(self):
        """Run directories end in the launcher's pid. A bundle of a crash on the way is not that of the end."""
        made = {}
        for bundle in listed(self.top):
            if bundle["trigger"] in ("exit %d" % STATUS_OF_CROWD, "exit %d" % STATUS_OF_RUN):
                made[int(bundle["run"].rsplit("-", 1)[1])] = self.appeared.get(bundle["name"])
        return {pid: made[pid] - end if made.get(pid) else None for pid, end in self.ended.items()}

    def crowd(self):
        options = self.options
        run = self.start_run(options.processes, options.seconds, STATUS_OF_CROWD, 1)
        for number in range(options.runs):
            small = self.start_run(options.run_processes, 2, STATUS_OF_RUN, 1000 * (number + 1))
            self.wait_run(small, STATUS_OF_RUN, 60)
        self.wait_run(run, STATUS_OF_CROWD, options.seconds + 120)

    def verify(self):
        for path in sorted(glob.glob(self.top + "/store/*.shmrec.tar.zst")):
            result = subprocess.run([self.options.programs + "/shmrec", "bundle", "verify", path],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
            if result.returncode != 0:
                self.failures.append("%s: %s" % (os.path.basename(path), result.stdout.decode().strip()))

    def sidecar_figures(self, seconds):
        fields = open("/proc/%d/stat" % self.sidecar.pid).read().rsplit(")", 1)[1].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = dict(line.split(":", 1) for line in open("/proc/%d/status" % self.sidecar.pid))
        connection, answer = get(self.top + "/health.sock", "/metrics")
        metrics = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        connection.close()
        return {"cpu_seconds": cpu, "cpu_percent": 100 * cpu / seconds,
                "peak_rss_bytes": 1024 * int(status["VmHWM"].split()[0]), "peak_anonymous_bytes": self.anonymous,
                "looks": float(metrics["shmrec_looks_total"]) if "shmrec_looks_total" in metrics else None,
                "longest_look_ms": 1000 * float(metrics["shmrec_look_longest_seconds"])
                if "shmrec_look_longest_seconds" in metrics else None,
                "metrics": {name: float(value) for name, value in metrics.items()}}

    def measure(self):
        stop, results = multiprocessing.Event(), multiprocessing.Queue()
        self.start_sidecar()
        helpers = [multiprocessing.Process(target=prober, args=(self.top, stop, results))]
        helpers += [multiprocessing.Process(target=client, args=(self.top, number, number == self.options.clients - 1, stop, results))
                    for number in range(self.options.clients)]
        for helper in helpers:
            helper.start()
        watcher = threading.Thread(target=self.watch_store)
        watcher.start()
        start = time.monotonic()
        try:
            self.crowd()
            to_bundle = self.wait_for_bundles()
            seconds = time.monotonic() - start
            figures = self.sidecar_figures(seconds)
            stop.set()
            parts = [results.get(timeout=90) for _ in helpers]
        finally:
            stop.set()
            self.done.set()
            watcher.join()
            for helper in helpers:
                helper.join(timeout=5)
                helper.kill()
        self.verify()
        return self.report(seconds, to_bundle, figures, parts)

    def report(self, seconds, to_bundle, sidecar, parts):
        of = lambda kind: [figures for name, figures in parts if name == kind]
        health = of("health")[0]
        missing = [pid for pid, value in to_bundle.items() if value is None or value > self.options.within]
        self.failures += ["no bundle within %g s of the run of launcher %d" % (self.options.within, pid) for pid in missing]
        self.failures += ["left behind in the spool: " + os.path.basename(path) for path in self.runs_left()]
        self.failures += health["bad"][:5]
        errors = sum(figures["errors"] for figures in of("client") + of("slow"))
        if errors:
            self.failures.append("%d downloads failed: %s" % (
                errors, sorted({text for figures in of("client") + of("slow") for text in figures["messages"]})))
        crowd = open(self.top + "/output-1").read().split("children ")[-1].split()
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "machine": machine(),
            "options": {name: value for name, value in vars(self.options).items() if name not in ("json", "programs")},
            "seconds": seconds, "children": int(crowd[0]), "crashed": int(crowd[2]), "accesses": int(crowd[4]),
            "highest": int(crowd[6]), "failed_runs": len(self.ended), "bundles": len(self.appeared),
            "bundle_bytes": sum(os.path.getsize(path) for path in glob.glob(self.top + "/store/*.shmrec.tar.zst")),
            "seconds_to_bundle": sorted(value for value in to_bundle.values() if value is not None),
            "seconds_to_bundle_of_crowd": list(to_bundle.values())[-1],
            "downloads": sum(figures["downloads"] for figures in of("client") + of("slow")),
            "download_bytes_per_second": sum(figures["bytes"] / figures["seconds"] for figures in of("client") + of("slow")),
            "slow_client_bytes_per_second": sum(figures["bytes"] / figures["seconds"] for figures in of("slow")),
            "health_ms": health["milliseconds"], "sidecar": sidecar, "failures": self.failures}

    def close(self, keep):
        for run in self.running:  # something failed while it went on
            if run.poll() is None:
                run.terminate()
                run.wait()
        if self.sidecar and self.sidecar.poll() is None:
            self.sidecar.terminate()
            try:
                if self.sidecar.wait(timeout=40) != 0:
                    self.failures.append("the sidecar ended with %d" % self.sidecar.returncode)
            except subprocess.TimeoutExpired:
                self.sidecar.kill()
        if keep:
            print("files: " + self.top, file=sys.stderr)
        else:
            shutil.rmtree(self.top, ignore_errors=True)


# ---- What is printed -----------------------------------------------------------------------------

def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    return "%s, %d processors, Linux %s" % (model, os.cpu_count(), platform.release())


def spread(values, unit):
    if not values:
        return "none"
    values = sorted(values)
    return "%.2f %s median, %.2f 99 %%, %.2f worst (of %d)" % (
        statistics.median(values), unit, values[min(len(values) - 1, int(0.99 * len(values)))], values[-1], len(values))


def table(figures):
    sidecar, mib = figures["sidecar"], 1 << 20
    rows = [
        ("Crowd", "%d processes at a time, %d in all, %d crashed, %s accesses" % (
            figures["highest"], figures["children"], figures["crashed"], format(figures["accesses"], ","))),
        ("Failed runs", "%d, left behind: %d" % (
            figures["failed_runs"], sum("left behind" in text for text in figures["failures"]))),
        ("Bundles", "%d, %.1f MiB" % (figures["bundles"], figures["bundle_bytes"] / mib)),
        ("From a run's end to its bundle", spread(figures["seconds_to_bundle"], "s")),
        ("The crowd's", "none" if figures["seconds_to_bundle_of_crowd"] is None
         else "%.2f s" % figures["seconds_to_bundle_of_crowd"]),
        ("Downloads", "%d, %.1f MiB/s; the slow client %.0f KiB/s" % (
            figures["downloads"], figures["download_bytes_per_second"] / mib, figures["slow_client_bytes_per_second"] / 1024)),
        ("`/healthz`", spread(figures["health_ms"]["/healthz"], "ms")),
        ("`/readyz`", spread(figures["health_ms"]["/readyz"], "ms")),
        ("Sidecar's CPU time", "%.1f s in %.0f s (%.0f %% of one processor)" % (
            sidecar["cpu_seconds"], figures["seconds"], sidecar["cpu_percent"])),
        ("Sidecar's peak RSS", "%.1f MiB, without pages of files %.1f MiB" % (
            sidecar["peak_rss_bytes"] / mib, sidecar["peak_anonymous_bytes"] / mib)),
    ]
    if sidecar["looks"] is not None:
        rows.append(("Looks at the spool", "%d, the longest %.0f ms" % (sidecar["looks"], sidecar["longest_look_ms"] or 0)))
    print("%s, %s\n\n| | |\n|---|---|" % (figures["machine"], figures["date"]))
    for row in rows:
        print("| %s | %s |" % row)


def main():
    options = arguments()
    load = Load(options)
    figures = None
    try:
        figures = load.measure()
    except (OSError, http.client.HTTPException) as error:
        load.failures.append("the sidecar does not answer: %s" % error)
    finally:
        load.close(keep=figures is None or bool(load.failures))
    if figures is None:
        pass
    elif options.json == "-":
        json.dump(figures, sys.stdout, indent=1)
    else:
        table(figures)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(figures, file, indent=1)
    for failure in load.failures:
        print("FAILED: " + failure, file=sys.stderr)
    return 1 if load.failures else 0


if __name__ == "__main__":
    sys.exit(main())
