#!/usr/bin/env python3
"""Holds the log of processes that copy contended ranges (tests/victims/ranges.c) against itself.

usage: ranges.py [--shmrec PATH] [--seed N] [--processes N] [--threads N] [--operations N]
                 [--kills N] RANGES

Checked as by oracle.py: the versions of each line's writes have no gap and no double, every value read
is the one that the writes before it left, versions never go back within a thread, the usage counters are
the number of records; and the log leads to the memory's content at the end. Also that libc's calls were
performed as a whole: most bytes are in records of more than one line.
--kills N: N runs more, of which one process is killed after some milliseconds; its last access may be
missing. Exit status: 0 all agree, 1 something differs, 2 bad usage. A failed run's files are kept.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import oracle
import shmlog
from oracle import Wrong


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def workers_of(launcher, count, deadline):
    """The processes of RANGES, once all are there."""
    while time.monotonic() < deadline:
        for program in children_of(launcher):
            found = children_of(program)
            if len(found) == count:
                return program, found
        time.sleep(0.002)
    raise Wrong("the processes did not start")


def kill_one(launcher, options, chance):
    program, workers = workers_of(launcher, options.processes, time.monotonic() + 20)
    time.sleep(chance.uniform(0.005, 0.03))
    os.kill(chance.choice(workers), signal.SIGKILL)
    time.sleep(0.02)  # the others meet what it held
    for pid in workers + [program]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def check_long(log):
    """Were libc's calls performed as ranges?"""
    long, all_bytes = 0, 0
    for records in log.threads.values():
        for record in records:
            if record.syscall == 0:
                all_bytes += record.length
                long += record.length if len(record.versions) > 1 else 0
    if long < 0.9 * all_bytes:
        raise Wrong("only %d of %d bytes are in records of several lines" % (long, all_bytes))


def check(path, content_path, killed):
    log = shmlog.Log(path)
    lost = {reason: count for reason, count in log.losses.items() if count and
            not (killed and (reason.startswith("stripes") or reason.endswith("overwritten")))}
    if lost:
        raise Wrong("losses: %s" % lost)
    content = oracle.check_order(log, killed)
    if not killed:
        check_long(log)
        oracle.check_usage(log)
        with open(content_path, "rb") as file:
            final = file.read()
        if not any(bytes(have[:len(final)]) == final for have in content.values()):
            raise Wrong("the content at the end is not what the log leads to")
    return sum(len(records) for records in log.threads.values())


def run(options, seed, kills):
    top = tempfile.mkdtemp(prefix="shmrec-ranges-")
    spool, content = os.path.join(top, "spool"), os.path.join(top, "content")
    command = [options.shmrec, "run", "-q", "--keep-spool", "-o", os.path.join(top, "bundle.tar.zst"),
               "--spool", spool, "--", os.path.abspath(options.ranges), content, str(seed),
               str(options.processes), str(options.threads), "0" if kills else str(options.operations)]
    launcher = subprocess.Popen(command, cwd=top, env=dict(os.environ, SHMREC_LOG_SIZE="512MiB"))
    try:
        if kills:
            kill_one(launcher.pid, options, random.Random(seed))
        status = launcher.wait(options.timeout)
        if status != 0 and not kills:
            raise Wrong("exit status %d" % status)
        log = os.path.join(oracle.run_directory(spool), "run.shmlog")
        print("seed %d%s: %d records agree" % (seed, ", killed" if kills else "",
                                               check(log, content, kills)))
    except (Wrong, subprocess.TimeoutExpired) as wrong:
        launcher.kill()
        print("FAILED: %s\nkept: %s\nrepeat: %s" % (wrong, top, " ".join(command)))
        return 1
    shutil.rmtree(top)
    return 0


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--operations", type=int, default=300)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=100)
    parser.add_argument("ranges", nargs="?")
    options = parser.parse_args()
    if not options.ranges:
        print(__doc__, file=sys.stderr)
        return 2
    failed = run(options, options.seed, False)
    for kill in range(options.kills):
        failed = failed or run(options, options.seed + 1 + kill, True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
