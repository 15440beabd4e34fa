#!/usr/bin/env python3
"""Kills the oracle, the launcher or both by SIGKILL at random moments under load, again and again.

usage: kill.py [--shmrec PATH] [--times N] [--seed N] [--only WHAT] ORACLE
  --times  how often (default: $E2E_KILLS, else 100)
  --only   target (one process of the oracle), tree (all of them), launcher, both

Each time: those that were not killed go on making accesses (none waits for a dead holder of a stripe or
lock); then everything is killed; a bundle comes out, made by the launcher or, if that is dead, by
`shmrec bundle create`; it verifies and opens; the log holds every access that a thread completed, with
its value, in an order that explains every value read (oracle.py --killed).
Exit status: 0 all well, 1 not; the files of a failed time are kept and its seed is printed.
"""

import argparse
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import oracle

PROCESSES, THREADS = 3, 2
WHAT = ("target", "tree", "launcher", "both")


class Run:
    """One recorded oracle in a directory of its own."""

    def __init__(self, options, seed):
        self.options = options
        self.top = tempfile.mkdtemp(prefix="shmrec-kill-")
        self.traces, self.spool = os.path.join(self.top, "traces"), os.path.join(self.top, "spool")
        self.bundle = os.path.join(self.top, "bundle.shmrec.tar.zst")
        os.makedirs(self.traces)
        command = [options.shmrec, "run", "-q", "--keep-spool", "-o", self.bundle, "--spool", self.spool,
                   *(["--slow"] if seed % 4 == 0 else []), "--", os.path.abspath(options.oracle), self.traces, str(seed), str(PROCESSES),
                   str(THREADS), "0"]
        environment = dict(os.environ, SHMREC_LOG_SIZE="32MiB")
        self.output = open(os.path.join(self.top, "output"), "wb")
        self.launcher = subprocess.Popen(command, cwd=self.top, env=environment, stdout=self.output,
                                         stderr=self.output, start_new_session=True)
        self.pids = []

    def sizes(self):
        return {path: os.path.getsize(path) for path in glob.glob(os.path.join(self.traces, "trace.*"))}

    def wait_for_load(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            sizes = self.sizes()
            if len(sizes) == PROCESSES * THREADS and min(sizes.values()) > oracle.HEAD.size:
                self.pids = sorted({int(path.split(".")[-2]) for path in sizes})
                self.parent = parent_of(self.pids[0])
                return
            if self.launcher.poll() is not None:
                raise oracle.Wrong("ended before any load, status %d" % self.launcher.returncode)
            time.sleep(0.005)
        raise oracle.Wrong("no load after 20 s")

    def tree(self):
        return self.pids + [self.parent]

    def kill(self, what, chance):
        victims = {"target": [chance.choice(self.pids)], "tree": self.tree(), "launcher": [self.launcher.pid],
                   "both": self.tree() + [self.launcher.pid]}[what]
        chance.shuffle(victims)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return [pid for pid in self.pids if pid not in victims]

    def check_progress(self, survivors):
        """Every thread of the survivors makes another access within some seconds."""
        before = self.sizes()
        waiting = {path for path in before if int(path.split(".")[-2]) in survivors}
        deadline = time.monotonic() + 10
        while waiting:
            if time.monotonic() > deadline:
                raise oracle.Wrong("no progress in %s" % ", ".join(map(os.path.basename, sorted(waiting))))
            waiting = {path for path in waiting if os.path.getsize(path) == before[path]}
            time.sleep(0.005)

    def end(self):
        for pid in self.tree():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        launcher_killed = self.launcher.poll() == -signal.SIGKILL
        try:
            self.launcher.wait(timeout=30)
        except subprocess.TimeoutExpired:
            raise oracle.Wrong("the launcher does not end")
        deadline = time.monotonic() + 10
        while any(alive(pid) for pid in self.tree()):
            if time.monotonic() > deadline:
                raise oracle.Wrong("a killed process does not end")
            time.sleep(0.002)
        return launcher_killed or self.launcher.returncode == -signal.SIGKILL

    def check(self, launcher_killed):
        directory = oracle.run_directory(self.spool)
        if launcher_killed:
            self.shmrec("bundle", "create", "--no-libraries", "--no-binaries", "-o", self.bundle, directory)
        elif not os.path.exists(self.bundle):
            raise oracle.Wrong("the launcher left no bundle: %s" % open(self.output.name).read())
        self.shmrec("bundle", "verify", self.bundle)
        self.shmrec("ls", self.bundle)
        return oracle.check(os.path.join(directory, "run.shmlog"), self.traces, killed=True)

    def shmrec(self, *arguments):
        result = subprocess.run([self.options.shmrec, *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=60)
        if result.returncode != 0:
            raise oracle.Wrong("shmrec %s: exit %d\n%s" % (" ".join(arguments), result.returncode,
                                                         result.stdout.decode(errors="replace")))


def parent_of(pid):
    return int(open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[1])


def alive(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def one_time(options, seed):
    chance = random.Random(seed)
    what = options.only or chance.choice(WHAT)
    run = Run(options, seed)
    try:
        run.wait_for_load()
        time.sleep(chance.uniform(0, 0.06))
        survivors = run.kill(what, chance)
        run.check_progress(survivors)
        result = run.check(run.end())
        print("seed %d, %s killed: %s" % (seed, what, result), flush=True)
        shutil.rmtree(run.top)
        return True
    except (oracle.Wrong, ValueError, OSError, subprocess.TimeoutExpired) as wrong:
        print("FAILED, seed %d, %s killed: %s\nkept: %s\nrepeat: %s --shmrec %s --times 1 --seed %d --only %s %s" % (
            seed, what, str(wrong)[:2000], run.top, sys.argv[0], options.shmrec, seed, what, options.oracle),
            flush=True)
        return False
    finally:
        for pid in run.pids and run.tree() or []:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        if run.launcher.poll() is None:
            run.launcher.kill()
            run.launcher.wait()
        run.output.close()


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("--times", type=int, default=int(os.environ.get("E2E_KILLS", "100")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=WHAT)
    parser.add_argument("oracle", nargs="?")
    options = parser.parse_args()
    if not options.oracle:
        print(__doc__, file=sys.stderr)
        return 2
    options.shmrec = os.path.abspath(shutil.which(options.shmrec) or options.shmrec)
    failed = sum(not one_time(options, options.seed + i) for i in range(options.times))
    print("%d of %d failed" % (failed, options.times))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
