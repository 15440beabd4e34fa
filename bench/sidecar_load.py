#!/usr/bin/env python3
"""Loads a sidecar and measures whether collecting keeps up.

usage: bench/sidecar_load.py [--short] [--json FILE] [options] DIRECTORY_OF_PROGRAMS
       bench/sidecar_load_pod [options] DIRECTORY_OF_PROGRAMS

The second form, as root, has the sidecar in a container of a pod, and all that is recorded in another.

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
FIRST_STATUS = 3  # of the crowd; the runs beside it end with those that follow, so that their bundles are known by it
CONFIG = """apiVersion: shmrec/v1
kind: Sidecar
spool: {spool}
store: {store}
join: false  # each failing run is to have a bundle of its own
http: {{listen: 'unix:{store}/http.sock', tokenFile: {config}/token}}
health: {{listen: 'unix:{store}/health.sock'}}
retention: {{count: 0, bytes: 0}}
rules:
- {{name: crashes, trigger: {{signal: any, processes: true, lost: true}}}}
- {{name: failures, trigger: {{exitStatus: nonzero}}}}
"""
SHORT = {"processes": 20, "runs": 2, "run_processes": 5, "clients": 2, "seconds": 8, "life": 3}
SHORT_IN_POD = {"runs": 3, "seconds": 10, "life": 5, "log_size": "32MiB"}


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
    parser.add_argument("--within", type=float, default=30, help="seconds from a run's end to its bundle")
    parser.add_argument("--log-size", default="128MiB")
    parser.add_argument("--short", action="store_true",
                        help="the form that runs as a test: %s, in a pod %s" % (SHORT, SHORT_IN_POD))
    parser.add_argument("--pod", nargs=2, metavar=("NAME", "DIRECTORY"), help="given by bench/sidecar_load_pod")
    parser.add_argument("--json", metavar="FILE", help="the figures, - for standard output")
    parser.add_argument("programs", nargs="?", default="build/dev/bin")
    options = parser.parse_args()
    if options.short:
        vars(options).update(SHORT_IN_POD if options.pod else SHORT)
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
    connection, answer = get(top + "/store/http.sock", "/v1/bundles")
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise OSError("GET /v1/bundles: %d" % answer.status)
    found = json.loads(data)
    return found["bundles"] if isinstance(found, dict) else found


def download(top, bundle, pause):
    """Bytes and errors of one download; `pause` seconds after each 64 KiB."""
    connection, answer = get(top + "/store/http.sock", "/v1/bundles/%s/content" % bundle["name"])
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
                connection, answer = get(top + "/store/health.sock", target, timeout=5)
                text = answer.read().decode()
                connection.close()
                if answer.status != 200:
                    bad.append("%s: %d %s" % (target, answer.status, text.strip()))
            except (OSError, http.client.HTTPException) as error:
                bad.append("%s: %s" % (target, error))
            took[target].append(1000 * (time.monotonic() - start))
        time.sleep(0.1)
    results.put(("health", {"milliseconds": took, "bad": bad}))


# ---- Where the load is ---------------------------------------------------------------------------
# Both have `top` with spool/, store/ and config/, and the sidecar's `pid` as seen from here.

class Processes:
    def __init__(self, options):
        self.programs = options.programs
        self.top = tempfile.mkdtemp(prefix="shmrec-load-")
        for name in "spool", "store", "config":
            os.mkdir(os.path.join(self.top, name))
        self.inside = {name: os.path.join(self.top, name) for name in ("spool", "store", "config")}
        self.environment = dict(os.environ, SHMREC_SPOOL=self.top + "/spool", SHMREC_LOG_SIZE=options.log_size)
        self.sidecar = self.pid = None

    def start_sidecar(self):
        with open(self.top + "/sidecar.log", "wb") as log:
            self.sidecar = subprocess.Popen(
                [self.programs + "/shmrec-sidecar", "-c", self.top + "/config/sidecar.yaml"], stdout=log, stderr=log)
        self.pid = self.sidecar.pid

    def start_run(self, victim, log):
        return subprocess.Popen([self.programs + "/shmrec", "run", "--", self.programs + "/sidecar_victim", *victim],
                                stdout=log, stderr=log, cwd=self.top, env=self.environment)

    def application_cpu_seconds(self):
        return None  # that of its processes and the clients' is one

    def stop_sidecar(self):
        """Its exit status, None if it had to be killed."""
        if not self.sidecar:
            return 0
        self.sidecar.terminate()
        try:
            return self.sidecar.wait(timeout=40)
        except subprocess.TimeoutExpired:
            self.sidecar.kill()
            return None

    def remove(self):
        shutil.rmtree(self.top, ignore_errors=True)


class Pod:
    """Its containers are made, the application's runs; who made them removes them."""
    inside = {"spool": "/var/spool/shmrec", "store": "/var/lib/shmrec", "config": "/etc/shmrec"}

    def __init__(self, options):
        self.pod, self.top = options.pod
        self.log_size = options.log_size
        self.pid = None

    def podman(self, *arguments):
        return subprocess.run([self.top + "/podman", *arguments], stdout=subprocess.PIPE, check=True,
                              timeout=60).stdout.decode().strip()

    def start_sidecar(self):
        self.podman("start", self.pod + "-sidecar")
        self.pid = self.pid_of("sidecar")

    def pid_of(self, container):
        return int(self.podman("inspect", "--format", "{{.State.Pid}}", "%s-%s" % (self.pod, container)))

    def application_cpu_seconds(self):
        pid = self.pid_of("app")
        ns = control_group(pid, "cpuacct", "cpuacct.usage", "-")
        us = control_group(pid, "cpu", "-", "cpu.stat")
        return ns / 1e9 if ns else us / 1e6 if us else None

    def start_run(self, victim, log):
        return subprocess.Popen(
            [self.top + "/podman", "exec", "-e", "SHMREC_LOG_SIZE=" + self.log_size, self.pod + "-app",
             "/shmrec/shmrec", "run", "--", "/app/sidecar_victim", *victim], stdout=log, stderr=log)

    def stop_sidecar(self):
        if not self.pid:
            return 0
        self.podman("stop", "-t", "40", self.pod + "-sidecar")
        with open(self.top + "/sidecar.log", "wb") as log:
            subprocess.run([self.top + "/podman", "logs", self.pod + "-sidecar"], stdout=log, stderr=log, timeout=60)
        return int(self.podman("inspect", "--format", "{{.State.ExitCode}}", self.pod + "-sidecar"))

    def remove(self):
        pass


# ---- The load ------------------------------------------------------------------------------------

class Load:
    def __init__(self, options):
        self.options = options
        self.place = Pod(options) if options.pod else Processes(options)
        self.top = self.place.top
        config = CONFIG.format(**self.place.inside)
        for name, mode, text in ("token", 0o640, TOKEN + "\n"), ("sidecar.yaml", 0o644, config):
            with open(os.path.join(self.top, "config", name), "w") as file:
                os.fchmod(file.fileno(), mode)
                os.fchown(file.fileno(), -1, os.stat(self.top + "/spool").st_gid)
                file.write(text)
        self.ended = set()  # exit statuses
        self.last_end = 0
        self.appeared = {}  # file in the store: when it was seen first, by the wall clock
        self.anonymous = 0
        self.running = []
        self.failures = []
        self.done = threading.Event()

    def start_sidecar(self):
        self.place.start_sidecar()
        for _ in range(200):
            time.sleep(0.05)
            try:
                if get(self.top + "/store/health.sock", "/readyz")[1].status == 200:
                    return
            except OSError:
                pass
        sys.exit("the sidecar does not become ready; see %s/sidecar.log" % self.top)

    def start_run(self, processes, seconds, status, seed):
        options = self.options
        victim = [processes, seconds, status, options.rate, options.life if processes == options.processes else 1,
                  options.crash_percent, seed]
        with open(self.top + "/output-%d" % status, "wb") as log:
            run = self.place.start_run(list(map(str, victim)), log)
        self.running.append(run)
        return run

    def wait_run(self, run, status, seconds):
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.failures.append("a run does not end")
            run.kill()
            run.wait()
        self.ended.add(status)
        self.last_end = time.monotonic()
        if run.returncode != status:
            self.failures.append("a run ended with %d, not %d" % (run.returncode, status))

    def watch_store(self):
        while not self.done.is_set():
            self.watch_memory()
            for path in glob.glob(self.top + "/store/*.shmrec.tar.zst"):
                self.appeared.setdefault(os.path.basename(path), time.time())
            time.sleep(0.02)

    def watch_memory(self):
        """The peak of memory of its own; the rest of the RSS are files, which the kernel can take back."""
        with open("/proc/%d/status" % self.place.pid) as file:
            lines = dict(line.split(":", 1) for line in file)
        if "RssAnon" in lines:  # else it is a zombie
            self.anonymous = max(self.anonymous, 1024 * int(lines["RssAnon"].split()[0]))

    def runs_left(self):
        return [path for path in glob.glob(self.top + "/spool/*") if os.path.isdir(path)]

    def wait_for_bundles(self):
        deadline = self.last_end + self.options.within
        while time.monotonic() < deadline and (len(self.bundles_of_ends()) < len(self.ended) or self.runs_left()):
            time.sleep(0.2)

    def bundles_of_ends(self):
        """By exit status. A bundle of a crash on the way is not that of the end."""
        triggers = {"exit %d" % status: status for status in self.ended}
        return {triggers[bundle["trigger"]]: bundle["name"] for bundle in listed(self.top) if bundle["trigger"] in triggers}

    def seconds_to_bundle(self, names):
        """From each run's end to its bundle, None where there is none. The launcher says when it ended."""
        seconds = dict.fromkeys(sorted(self.ended))
        for status, name in names.items():
            shown = subprocess.run([self.options.programs + "/shmrec", "bundle", "show", self.top + "/store/" + name],
                                   stdout=subprocess.PIPE, check=True, timeout=60).stdout
            ended = json.loads(shown)["endTime"]
            ended = datetime.datetime.fromisoformat(ended[:26] + "+00:00").timestamp()
            seconds[status] = self.appeared[name] - ended
        return seconds

    def crowd(self):
        options = self.options
        run = self.start_run(options.processes, options.seconds, FIRST_STATUS, 1)
        for status in range(FIRST_STATUS + 1, FIRST_STATUS + 1 + options.runs):
            small = self.start_run(options.run_processes, 2, status, 1000 * status)
            self.wait_run(small, status, 60)
        self.wait_run(run, FIRST_STATUS, options.seconds + 120)

    def verify(self):
        for path in sorted(glob.glob(self.top + "/store/*.shmrec.tar.zst")):
            result = subprocess.run([self.options.programs + "/shmrec", "bundle", "verify", path],
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
            if result.returncode != 0:
                self.failures.append("%s: %s" % (os.path.basename(path), result.stdout.decode().strip()))

    def sidecar_figures(self, seconds):
        fields = open("/proc/%d/stat" % self.place.pid).read().rsplit(")", 1)[1].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = dict(line.split(":", 1) for line in open("/proc/%d/status" % self.place.pid))
        connection, answer = get(self.top + "/store/health.sock", "/metrics")
        metrics = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
        connection.close()
        return {"cpu_seconds": cpu, "cpu_percent": 100 * cpu / seconds,
                "peak_rss_bytes": 1024 * int(status["VmHWM"].split()[0]), "peak_anonymous_bytes": self.anonymous,
                "memory_limit_bytes": control_group(self.place.pid, "memory", "memory.limit_in_bytes", "memory.max"),
                "peak_charged_bytes": control_group(self.place.pid, "memory", "memory.max_usage_in_bytes", "memory.peak"),
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
            self.wait_for_bundles()
            names = self.bundles_of_ends()
            seconds = time.monotonic() - start
            figures = self.sidecar_figures(seconds)
            application_cpu = self.place.application_cpu_seconds()
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
        return self.report(seconds, self.seconds_to_bundle(names), figures, application_cpu, parts)

    def report(self, seconds, to_bundle, sidecar, application_cpu, parts):
        of = lambda kind: [figures for name, figures in parts if name == kind]
        health = of("health")[0]
        missing = [status for status, value in to_bundle.items() if value is None or value > self.options.within]
        self.failures += ["no bundle within %g s of the run that ended with %d" % (self.options.within, status)
                          for status in missing]
        self.failures += ["left behind in the spool: " + os.path.basename(path) for path in self.runs_left()]
        self.failures += health["bad"][:5]
        errors = sum(figures["errors"] for figures in of("client") + of("slow"))
        if errors:
            self.failures.append("%d downloads failed: %s" % (
                errors, sorted({text for figures in of("client") + of("slow") for text in figures["messages"]})))
        crowd = open(self.top + "/output-%d" % FIRST_STATUS).read().split("children ")[-1].split()
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "machine": machine(),
            "options": {name: value for name, value in vars(self.options).items() if name not in ("json", "pod", "programs")},
            "in_pod": self.options.pod is not None, "load_average": os.getloadavg()[0],
            "application_cpu_seconds": application_cpu,
            "seconds": seconds, "children": int(crowd[0]), "crashed": int(crowd[2]), "accesses": int(crowd[4]),
            "highest": int(crowd[6]), "failed_runs": len(self.ended), "bundles": len(self.appeared),
            "bundle_bytes": sum(os.path.getsize(path) for path in glob.glob(self.top + "/store/*.shmrec.tar.zst")),
            "seconds_to_bundle": sorted(value for value in to_bundle.values() if value is not None),
            "seconds_to_bundle_of_crowd": to_bundle[FIRST_STATUS],
            "downloads": sum(figures["downloads"] for figures in of("client") + of("slow")),
            "download_bytes_per_second": sum(figures["bytes"] / figures["seconds"] for figures in of("client") + of("slow")),
            "slow_client_bytes_per_second": sum(figures["bytes"] / figures["seconds"] for figures in of("slow")),
            "health_ms": health["milliseconds"], "sidecar": sidecar, "failures": self.failures}

    def close(self, keep):
        for run in self.running:  # something failed while it went on
            if run.poll() is None:
                run.terminate()
                run.wait()
        status = self.place.stop_sidecar()
        if status != 0:
            self.failures.append("the sidecar does not end in order: %s" % status)
        if keep or self.failures:
            print("files: " + self.top, file=sys.stderr)
        else:
            self.place.remove()


# ---- What is printed -----------------------------------------------------------------------------

def control_group(pid, controller, name_v1, name_v2):
    """The first number in a file of the process's control group; None: no limit, or not to be had."""
    for line in open("/proc/%d/cgroup" % pid):
        _, controllers, path = line.strip().split(":", 2)
        if controller not in controllers.split(",") and controllers:
            continue
        place = "/sys/fs/cgroup%s/%s" % (path, name_v2) if not controllers else \
            "/sys/fs/cgroup/%s%s/%s" % (controllers, path, name_v1)
        if os.path.exists(place):
            numbers = [int(word) for word in open(place).read().split() if word.isdigit()]
            return numbers[0] if numbers and numbers[0] < 1 << 60 else None
    return None


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
    sidecar, options, mib = figures["sidecar"], figures["options"], 1 << 20
    rows = [
        ("Crowd", "%d processes at a time, %d in all, %d crashed, %s accesses, %.0f %% of those asked for" % (
            figures["highest"], figures["children"], figures["crashed"], format(figures["accesses"], ","),
            100 * figures["accesses"] / (options["processes"] * options["rate"] * options["seconds"]))),
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
            sidecar["cpu_seconds"], figures["seconds"], sidecar["cpu_percent"])
         + (", %.2f of the application's" % (sidecar["cpu_seconds"] / figures["application_cpu_seconds"])
            if figures["application_cpu_seconds"] else "")),
        ("Sidecar's peak RSS", "%.1f MiB, without pages of files %.1f MiB" % (
            sidecar["peak_rss_bytes"] / mib, sidecar["peak_anonymous_bytes"] / mib)),
    ]
    if figures["in_pod"]:
        limit, peak = sidecar["memory_limit_bytes"], sidecar["peak_charged_bytes"]
        rows.append(("Memory charged to its container", "at most %s MiB, limit %s" % (
            "?" if peak is None else peak // mib, "none" if limit is None else "%d MiB" % (limit // mib))))
    print("%s, %s, load average %.1f\n\n| | |\n|---|---|" % (
        figures["machine"], figures["date"], figures["load_average"]))
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
