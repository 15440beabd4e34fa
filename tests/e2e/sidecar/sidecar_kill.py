#!/usr/bin/env python3
"""Kills the sidecar, the launcher, the recorded processes, or several of them, by SIGKILL at random
moments under load, again and again.

usage: sidecar_kill.py BIN_DIRECTORY [--times N] [--seed N] [--only WHAT]
  --times  how often (default: $E2E_SIDECAR_KILLS, else 30)
  --only   one or several of app, launcher, sidecar, joined by '+'

One spool and one store serve all the times. Each time: the oracle is recorded, the victims die, then the
rest is killed, a sidecar is there again; a bundle comes into the store and the spool is emptied; it
verifies; its log holds every access that a thread completed (oracle.py --killed); and all bundles of
the times before are there, unchanged.
Exit status: 0 all well, 1 not; the files are kept then.
"""

import argparse
import glob
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BIN = os.path.abspath(sys.argv[1])
import kill  # noqa: E402
import oracle  # noqa: E402
from sidecar_test import Failed, Setting, wait_for  # noqa: E402

WHAT = ("app", "launcher", "sidecar", "app+launcher", "app+sidecar", "launcher+sidecar",
        "app+launcher+sidecar")


class Run(kill.Run):
    """The oracle under a launcher that leaves its run to the sidecar."""

    def __init__(self, setting, seed):
        self.top = os.path.join(setting.top, "run-%d" % seed)
        self.traces = os.path.join(self.top, "traces")
        os.makedirs(self.traces)
        self.output = open(os.path.join(self.top, "output"), "wb")
        command = [BIN + "/shmrec", "run", "--", BIN + "/victims/oracle", self.traces, str(seed),
                   str(kill.PROCESSES), str(kill.THREADS), "0"]
        self.launcher = subprocess.Popen(command, cwd=self.top, stdout=self.output, stderr=self.output,
                                         start_new_session=True,
                                         env=dict(setting.environment, SHMREC_LOG_SIZE="32MiB"))
        self.pids = []


def sums(setting):
    return {path: hashlib.sha256(open(path, "rb").read()).hexdigest() for path in setting.bundles()}


def one_time(setting, seed, what):
    chance = random.Random(seed)
    before = sums(setting)
    run = Run(setting, seed)
    setting.processes.append(run.launcher)
    run.wait_for_load()
    time.sleep(chance.uniform(0, 0.3))
    victims = {"app": run.tree(), "launcher": [run.launcher.pid], "sidecar": [setting.sidecar.pid]}
    for name in chance.sample(what.split("+"), len(what.split("+"))):
        for pid in victims[name]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(chance.choice((0, 0.005)))
    run.end()
    run.output.close()
    if "sidecar" in what:
        setting.sidecar.wait(timeout=10)
        setting.start_sidecar()
    new = wait_for("bundle", lambda: set(setting.bundles()) - set(before), 60)
    wait_for("empty spool", lambda: not setting.runs(), 60)
    after = sums(setting)
    if any(after.get(path) != before[path] for path in before):
        raise Failed("a bundle of before is gone or changed")
    results = []
    for bundle in sorted(new):
        setting.shmrec("bundle", "verify", bundle)
        into = os.path.join(run.top, "extracted-%d" % len(results))
        setting.shmrec("bundle", "extract", "-C", into, bundle, "run.shmlog")
        results.append(into + "/run.shmlog")
    agreed = oracle.check(newest(results, new), run.traces, killed=True)
    shutil.rmtree(run.top)
    return "%s; %d bundles" % (agreed, len(new))


def newest(logs, bundles):
    """The log of the bundle that was made last."""
    return max(zip(sorted(bundles), logs), key=lambda pair: os.path.getmtime(pair[0]))[1]


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("bin")
    parser.add_argument("--times", type=int, default=int(os.environ.get("E2E_SIDECAR_KILLS", "30")))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=WHAT)
    options = parser.parse_args()
    setting = Setting("retention: {count: 1000, bytes: 0, free: 0}\n"
                      "rules:\n- {name: all, trigger: {exitStatus: nonzero, signal: any, lost: true}}\n")
    failed = 0
    setting.start_sidecar()
    for seed in range(options.seed, options.seed + options.times):
        what = options.only or WHAT[seed % len(WHAT)]
        try:
            print("seed %d, %s killed: %s" % (seed, what, one_time(setting, seed, what)), flush=True)
        except (Failed, oracle.Wrong, ValueError, OSError, subprocess.SubprocessError) as wrong:
            failed = 1
            print("FAILED, seed %d, %s killed: %s\nfiles: %s" % (seed, what, str(wrong)[:2000], setting.top), flush=True)
            break
    leftovers = glob.glob(setting.store + "/incoming/*")
    if not failed and leftovers:
        failed = 1
        print("FAILED: left in the store: %s" % leftovers)
    setting.close(keep=failed)
    return failed


if __name__ == "__main__":
    sys.exit(main())
