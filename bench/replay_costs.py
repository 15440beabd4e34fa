#!/usr/bin/env python3
"""What level replay costs: programs alone, recorded at level replay, and executed again.

usage: replay_costs.py [--rounds N] [--programs REGEX] DIRECTORY_OF_PROGRAMS

Each round runs each program in each way, one after the other; the medians' ratios are printed, as Markdown.
Processor time is that of the program and all its descendants, of the launcher too when it is recorded.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

C_LOOPS = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char** argv) {
  long n = atol(argv[2]);
  volatile unsigned long x = 1;
  struct timespec t;
  volatile unsigned long* shared = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (long i = 0; i < n; ++i) {
    if (!strcmp(argv[1], "getppid")) syscall(SYS_getppid);
    else if (!strcmp(argv[1], "clock")) clock_gettime(CLOCK_MONOTONIC, &t);
    else if (!strcmp(argv[1], "shared")) shared[i % 8192] += i;
    else x = x * 6364136223846793005 + 1442695040888963407;
  }
  return x == 0;
}
"""


def programs(top):
    source = os.path.join(top, "loops.c")
    open(source, "w").write(C_LOOPS)
    subprocess.run(["gcc", "-O1", "-o", os.path.join(top, "loops"), source], check=True)
    loops = os.path.join(top, "loops")
    sql = "create table t(a); " + "".join("insert into t values(%d); " % i for i in range(2000)) + "select sum(a) from t;"
    return {
        "true": ["/bin/true"],
        "getppid": [loops, "getppid", "2000000"],
        "clock_gettime": [loops, "clock", "2000000"],
        "traced accesses": [loops, "shared", "2000000"],
        "CPU-bound C": [loops, "compute", "300000000"],
        "ls -lR": ["ls", "-lR", "/usr/include"],
        "gcc -c": ["gcc", "-c", "-O2", "-o", os.path.join(top, "loops.o"), source],
        "python loop": ["/usr/bin/python3", "-c", "sum(i * i for i in range(3000000))"],
        "bash, 100 forks": ["bash", "-c", "for i in {1..100}; do (exit 0); done"],
        "sqlite": ["sqlite3", ":memory:", sql],
    }


def run(command, top):
    """Wall and processor seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert done.returncode == 0, (command, done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(shmrec, name, command, rounds, top):
    spool = os.path.join(top, "spool")
    alone, recorded, replayed, events, stream = [], [], [], 0, 0
    for _ in range(rounds):
        alone.append(run(command, top))
        shutil.rmtree(spool, ignore_errors=True)
        bundle = os.path.join(top, "bundle.shmrec.tar.zst")
        recorded.append(run([shmrec, "run", "-q", "--wait-all", "--keep-spool", "--level", "replay", "--spool", spool,
                             "-o", bundle, "--", *command], top))
        directory = os.path.join(spool, next(n for n in os.listdir(spool) if n[0] != "."))
        checked = subprocess.run([shmrec, "replay", "--check", "--json", directory], stdout=subprocess.PIPE)
        rows = json.loads(checked.stdout)["recordings"]
        assert all(row["result"] == "equal" for row in rows), (name, rows)
        replayed.append(sum(row["seconds"] for row in rows))
        events = sum(row["event"] for row in rows)
        stream = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(os.path.join(directory, "recordings"))
                     for f in fs)
    middle = lambda values, index: statistics.median(value[index] for value in values)
    return {"name": name, "alone_s": middle(alone, 1), "cpu_ratio": middle(recorded, 1) / max(middle(alone, 1), 1e-4),
            "cpu_more_ms": 1000 * (middle(recorded, 1) - middle(alone, 1)),
            "wall_ratio": middle(recorded, 0) / middle(alone, 0), "replay_s": statistics.median(replayed),
            "recorded_wall_s": middle(recorded, 0), "events": events, "stream_bytes": stream}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", default="")
    parser.add_argument("directory")
    arguments = parser.parse_args()
    shmrec = os.path.join(os.path.abspath(arguments.directory), "shmrec")
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print("%s, %d processors, Linux %s, %s, load %.1f, medians of %d\n" %
          (model, os.cpu_count(), platform.release(), datetime.date.today(), os.getloadavg()[0], arguments.rounds))
    print("| | alone, CPU s | recorded, CPU times | more, ms | wall times | replay s | events | stream MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-costs-") as top:
        for name, command in programs(top).items():
            if not re.search(arguments.programs, name) or not shutil.which(command[0]):
                continue
            row = measure(shmrec, name, command, arguments.rounds, top)
            print("| %s | %.3f | %.2f | %.0f | %.2f | %.2f | %d | %.1f |" %
                  (name, row["alone_s"], row["cpu_ratio"], row["cpu_more_ms"], row["wall_ratio"], row["replay_s"],
                   row["events"], row["stream_bytes"] / 2**20), flush=True)


if __name__ == "__main__":
    sys.exit(main())
