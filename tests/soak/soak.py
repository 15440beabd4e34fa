#!/usr/bin/env python3
"""Records a server under load for a while and looks whether it stands it.

usage: soak.py --shmrec PATH [--seconds N] [--log-size SIZE] SOAK_SERVER

Looked at while it runs: memory (Pss) of the launcher and of the server's first process. At the end:
  - the server's own checks: exit status 0
  - memory in the last quarter is not above that of the second by more than 5 % and 1 MiB
    (4 MiB in a run of less than 300 s)
  - accesses: what the log holds and says to have overwritten is what the server counted
  - the log's losses: none but what was overwritten
  - the last process that was started is in the log with its executable
A short run belongs to every test run; the long one is `soak.py --seconds 2700`.
Exit status: 0 all of it holds, 1 something does not.
"""

import argparse
import glob
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import shmlog  # noqa: E402


def pss_kib(pid):
    """What the process takes of the machine's memory, the log's shared pages aside; None: it is gone."""
    total, of_log = 0, False
    try:
        for line in open("/proc/%d/smaps" % pid):
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                of_log = "run.shmlog" in line
            elif line.startswith("Pss:") and not of_log:
                total += int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return total


def first_child(pid):
    try:
        children = open("/proc/%d/task/%d/children" % (pid, pid)).read().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def watch(launcher, pause):
    """[(KiB of the launcher, KiB of the server)] while it runs."""
    samples = []
    while launcher.poll() is None:
        time.sleep(pause)
        server = first_child(launcher.pid)
        sample = (pss_kib(launcher.pid), pss_kib(server) if server else None)
        if None not in sample:
            samples.append(sample)
    return samples


# What is needed once, such as some MiB of the launcher's, may come late in a short run on a busy machine.
ONCE_SHORT_KIB, LONG_SECONDS = 4096, 300


def growth(samples, which, seconds):
    values = [sample[which] for sample in samples]
    quarter = max(1, len(values) // 4)
    before = statistics.median(values[quarter:2 * quarter] or values)
    after = statistics.median(values[-quarter:])
    once = ONCE_SHORT_KIB if seconds < LONG_SECONDS else 1024
    return before, after, after <= before * 1.05 + once


def read_log(spool):
    found = glob.glob(os.path.join(spool, "*", "run.shmlog"))
    return shmlog.Log(found[0]) if len(found) == 1 else None


def conclude(failed, top):
    """Says what failed and where the files are, or removes them. Returns the exit status."""
    for line in failed:
        print("FAILED: " + line)
    if failed:
        print("kept: %s" % top)
        return 1
    shutil.rmtree(top)
    return 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--log-size", default="64MiB")
    parser.add_argument("server")
    options = parser.parse_args()
    top = tempfile.mkdtemp(prefix="shmrec-soak-")
    policy = os.path.join(top, "policy.yaml")
    with open(policy, "w") as out:
        out.write("apiVersion: shmrec/v1\nkind: Policy\nlimits:\n  logSize: %s\n" % options.log_size)
    spool = os.path.join(top, "spool")
    with open(os.path.join(top, "stdout"), "wb") as out, open(os.path.join(top, "stderr"), "wb") as err:
        launcher = subprocess.Popen([options.shmrec, "run", "--keep-spool", "--policy", policy, "--spool", spool,
                                     "-o", os.path.join(top, "soak.shmrec.tar.zst"), "--",
                                     options.server, str(options.seconds)], stdout=out, stderr=err)
        samples = watch(launcher, max(0.2, options.seconds / 200))
    said = open(os.path.join(top, "stdout")).read()
    failed = []
    if launcher.returncode != 0:
        failed.append("exit status %d: %s" % (launcher.returncode, open(os.path.join(top, "stderr")).read()[-2000:]))
    counted = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", said)}
    log = read_log(spool)
    if log is None:
        failed.append("there is not one log in %s" % spool)
    if not failed:
        held = sum(len(records) for records in log.threads.values())
        gone = log.losses["records overwritten"]
        print("%s held %d overwritten %d losses %s" %
              (said.strip(), held, gone, {k: v for k, v in log.losses.items() if v}))
        if held + gone != counted["accesses"]:
            failed.append("accesses: the server made %d, the log knows %d" % (counted["accesses"], held + gone))
        for loss, number in log.losses.items():
            if number and "overwritten" not in loss and loss != "stripes recovered":
                failed.append("%s: %d" % (loss, number))
        if not any("soak_" in process.name for process in log.processes.values()):
            failed.append("no process of the server is in the log")
    for which, name in enumerate(("launcher", "server")):
        if len(samples) >= 8:
            before, after, steady = growth(samples, which, options.seconds)
            print("%s: %.0f KiB, at the end %.0f KiB" % (name, before, after))
            if not steady:
                failed.append("%s grows: %.0f KiB to %.0f KiB" % (name, before, after))
    return conclude(failed, top)


if __name__ == "__main__":
    sys.exit(main())
