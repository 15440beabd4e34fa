#!/usr/bin/env python3
"""Are cores of processes taken that run on, as if nothing had been?

usage: core_request.py --shmrec PATH DEADLOCK CALLS_WAIT CRASHES
- DEADLOCK (deadlock.c) hangs; cores of its three processes show the cycle; then one is killed and the others go on.
- CALLS_WAIT (calls_wait.c) waits in calls that a stop would end; they wait on.
- A script that executes program after program is recorded in whole while cores are taken of it.
- A process that exits with a status other than 0 leaves one where the policy says so.
- What cannot be asked for has a clear answer.
Exit status: 0 if so, 1 if not.
"""

import argparse
import contextlib
import glob
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time


def same(what, found, expected):
    assert found == expected, "%s: %r, expected %r" % (what, found, expected)


def expect(pattern, text):
    found = re.search(pattern, text, re.M)
    assert found, "no %r in:\n%s" % (pattern, text)
    return found


class Run:
    """A command that is recorded, and spoken to."""

    def __init__(self, shmrec, top, command, policy=None):
        self.shmrec, self.spool, self.bundle = shmrec, os.path.join(top, "spool"), os.path.join(top, "bundle.tar.zst")
        words = [shmrec, "run", "--spool", self.spool, "-o", self.bundle]
        if policy is not None:
            path = os.path.join(top, "policy.yaml")
            with open(path, "w") as out:
                out.write("apiVersion: shmrec/v1\nkind: Policy\n" + policy)
            words += ["--policy", path]
        self.process = subprocess.Popen([*words, "--", *command], cwd=top, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True)

    def core(self, *arguments):
        done = subprocess.run([self.shmrec, "core", "--spool", self.spool, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=100)
        return done

    def cores(self, *arguments):
        done = self.core("--json", *arguments)
        return json.loads(done.stdout)["cores"] if done.stdout else []

    def end(self, line=None):
        out, report = self.process.communicate(line, timeout=100)
        return self.process.returncode, out, report

    def ask(self, command, *arguments):
        return subprocess.run([self.shmrec, command, self.bundle, *arguments], check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=100).stdout


@contextlib.contextmanager
def recorded(shmrec, command, policy=None):
    with tempfile.TemporaryDirectory(prefix="shmrec-core-") as top:
        run = Run(shmrec, top, command, policy)
        try:
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):  # what hangs ends with the launcher
                os.killpg(run.process.pid, signal.SIGKILL)
            run.process.communicate()


def pause_of(core):
    return int(expect(r" in (\d+) ms", core["how"]).group(1))


def the_cycle(shmrec, deadlock):
    with recorded(shmrec, [deadlock]) as run:
        pids = dict(re.findall(r"(\w+) (\d+)", run.process.stdout.readline()))
        time.sleep(0.5)
        cores = run.cores()
        same("cores", sorted(core["name"] for core in cores), ["audit", "deadlock", "transfer"])
        for core in cores:
            assert core["taken"], core
            same("file", os.path.basename(core["file"]), core["recording"] + ".core")
            assert os.stat(core["file"]).st_size < 5 << 20
        one = run.cores(pids["audit"])
        same("by pid", [core["name"] for core in one], ["audit"])
        live = subprocess.run([shmrec, "backtrace", os.path.dirname(os.path.dirname(one[0]["file"]))], check=True,
                              stdout=subprocess.PIPE, text=True, timeout=100).stdout
        expect(r"^audit \(pid \d+\) was in lock \(deadlock\.c:\d+\), called from audit", live)
        os.kill(int(pids["audit"]), signal.SIGKILL)
        status, out, report = run.end()
        same("status", (status, out), (0, "moved 1 audited 0\n"))
        assert "died of" not in report, report
        listed = run.ask("ls")
        for name, place in (("transfer", "transfer"), ("audit", "audit"), ("deadlock", "main")):
            expect(r"^  %s \(pid \d+\) was in lock \(deadlock\.c:\d+\), called from %s, rec" % (name, place), listed)
        # Who holds what each waits for.
        for name, mutex, holder in (("transfer", "journal", "audit"), ("audit", "accounts", "transfer")):
            said = run.ask("gdb", name, "--", "-batch", "-nx", "-ex", "frame function " + name, "-ex",
                           "print bank->%s.__data.__owner" % mutex, "-ex", "ublame &bank->%s" % mutex)
            same("owner of " + mutex, expect(r"^\$1 = (\d+)", said).group(1), pids[holder])
            # As of then: nothing of what happened when it was killed.
            expect(r"^ +%s .* 0 -> %s +%s +pthread_mutex_lock from lock " % (pids[holder], pids[holder], holder), said)
            assert "pthread_mutex_consistent" not in said, said
        print("deadlock: pauses %s ms" % sorted(pause_of(core) for core in cores))


def they_wait_on(shmrec, calls_wait):
    alone = subprocess.Popen([calls_wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    alone.stdout.readline()
    out, _ = alone.communicate("\n", timeout=100)
    same("alone", (alone.returncode, "as it should" in out), (0, True))
    with recorded(shmrec, [calls_wait]) as run:
        same("first line", run.process.stdout.readline(), "waiting\n")
        for _ in range(10):
            cores = run.cores()
            same("core", [core["taken"] for core in cores], [True])
            assert "without" not in cores[0]["how"], cores
        status, recorded_out, _ = run.end("\n")
        same("status", (status, recorded_out), (0, out))
        threads = json.loads(run.ask("backtrace", "--json"))["processes"][0]["threads"]
        assert len(threads) >= out.count("\n"), "%d threads in the core" % len(threads)  # one may have slept its second


def by_socket(spool):
    """What the launcher answers, without the time that starting `shmrec core` takes."""
    sockets = glob.glob(spool + "/*/cores.sock")
    if not sockets:
        return []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sockets[0])
        client.sendall(b'{"type": "cores"}\n')
        return json.loads(client.makefile().readline())["cores"]


def execs_go_on(shmrec):
    script = "i=0; while [ $i -lt 150 ]; do /bin/echo $i; (exec /bin/true); i=$((i+1)); done"
    with recorded(shmrec, ["/bin/sh", "-c", script]) as run:
        cores = []
        while run.process.poll() is None and len(cores) < 1000:
            with contextlib.suppress(OSError, ValueError):  # it ends
                cores += by_socket(run.spool)
        status, out, _ = run.end()
        same("output", (status, out.split()), (0, [str(i) for i in range(150)]))
        taken = sum(core["taken"] for core in cores)
        assert taken > 10, cores
        # It starts its programs by vfork: their images are not its own.
        assert any(core["name"] == "sh" and core["taken"] for core in cores), cores
        document = json.loads(run.ask("ls", "--json"))
        gaps = [item for item in document["coverage"] if not re.match(r"core of pid ", item["what"])]
        same("what was not recorded", gaps, [])
        programs = [one["name"] for one in document["recordings"]]
        same("recorded programs", (programs.count("echo"), programs.count("true")), (150, 150))
        print("execs: %d cores of %d; %s" % (taken, len(cores), sorted({core["how"] for core in cores if not core["taken"]})))


def at_exit(shmrec, crashes):
    policy = "collect: {core: {on: [exit]}}\n"
    with recorded(shmrec, ["/bin/sh", "-c", "/bin/false; %s exit; exit 7" % crashes], policy) as run:
        status, _, report = run.end()
        same("status", status, 7)
        listed = run.ask("ls")
        for text in (report, listed):
            expect(r"false \(pid \d+\) exited with status 1", text)
            expect(r"crashes \(pid \d+\) exited with status 5 in by_exit \(crashes\.cc:\d+\), called from fall", text)
        said = run.ask("gdb", "crashes", "--", "-batch", "-nx", "-ex", "backtrace", "-ex", "print $_siginfo.si_signo",
                       "-ex", "frame function fall", "-ex", "print depth")
        expect(r"^#\d+ .* in main ", said)
        expect(r"^\$1 = 17$", said)
        expect(r"^\$2 = 0$", said)
        assert "terminated with signal" not in said, said
    with recorded(shmrec, [crashes, "abort"], policy) as run:
        status, _, report = run.end()
        same("status", status, 128 + signal.SIGABRT)
        assert "died of" not in report, report


def answers(shmrec, deadlock):
    with tempfile.TemporaryDirectory(prefix="shmrec-core-") as top:
        for arguments, status, text in (((), 1, "no run goes on there"), (("no-such-run",), 1, "no run 'no-such-run'"),
                                        (("--timeout", "never"), 2, "--timeout"), (("a", "b"), 2, "")):
            done = subprocess.run([shmrec, "core", "--spool", top, *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            same(" ".join(arguments), (done.returncode, text in done.stdout), (status, True))
    with recorded(shmrec, [deadlock], "collect: {core: {on: [signal]}}\n") as run:
        run.process.stdout.readline()
        done = run.core()
        same("refused by the policy", (done.returncode, "collect.core.on" in done.stderr), (1, True))
    with recorded(shmrec, [deadlock]) as run:
        run.process.stdout.readline()
        done = run.core("999999")
        same("no such process", (done.returncode, "has pid 999999" in done.stderr), (1, True))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("programs", nargs=3)
    arguments = parser.parse_args()
    deadlock, calls_wait, crashes = arguments.programs
    the_cycle(arguments.shmrec, deadlock)
    they_wait_on(arguments.shmrec, calls_wait)
    execs_go_on(arguments.shmrec)
    at_exit(arguments.shmrec, crashes)
    answers(arguments.shmrec, deadlock)


if __name__ == "__main__":
    main()
