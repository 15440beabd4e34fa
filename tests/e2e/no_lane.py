#!/usr/bin/env python3
"""Records more threads than a small log has lanes: what they do is not logged, and all are counted, each once.

usage: no_lane.py --shmrec PATH
Exit status: 0 if the threads and accesses that were lost are the right number; 1 if not; 77 if so many
threads cannot be had here.
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading

THREADS, ACCESSES = 4200, 3
LANES = 4095  # of a log below 64 MiB


def work():
    """What the recorded program does: threads that all live until the last has had its accesses."""
    shared = mmap.mmap(-1, THREADS)
    threading.stack_size(128 * 1024)
    done = threading.Barrier(THREADS + 1)

    def access(i):
        for _ in range(ACCESSES):
            shared[i] = 1
        done.wait()

    threads = [threading.Thread(target=access, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    done.wait()
    for thread in threads:
        thread.join()
    print(sum(shared[:]))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return 0
    alone = [sys.executable, os.path.abspath(__file__), "--work"]
    if subprocess.run(alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        print("no %d threads can be had here" % THREADS)
        return 77
    with tempfile.TemporaryDirectory(prefix="shmrec-no-lane-") as top:
        bundle = os.path.join(top, "bundle")
        ran = subprocess.run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--",
                              *alone],
                             env={**os.environ, "SHMREC_LOG_SIZE": "16MiB"}, stdout=subprocess.PIPE, text=True)
        listed = json.loads(subprocess.run([options.shmrec, "ls", "--json", bundle], check=True,
                                           stdout=subprocess.PIPE).stdout)
    found = [(row.get("count", 1), row["what"]) for row in listed["coverage"] if row["source"] == "log"]
    print(ran.returncode, ran.stdout, found)
    lost = THREADS - LANES
    said = [(lost, "threads that ran unrecorded"), (lost * ACCESSES, "accesses made but not logged")]
    right = (ran.returncode, ran.stdout) == (0, "%d\n" % THREADS)
    return 0 if right and all(row in found for row in said) and not listed["complete"] else 1


if __name__ == "__main__":
    sys.exit(main())
