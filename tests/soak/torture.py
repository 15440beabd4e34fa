#!/usr/bin/env python3
"""Records a program whose code is executed while it is patched, in every way that could show.

usage: torture.py --shmrec PATH [--seconds N] [--slow] TORTURE TRACER

TORTURE (torture.c) knows what each of its instructions must find, and ends with 0 if all did. TRACER
(torture_tracer.c) steps one of its threads from outside, through stubs and the agent, and sends it a
signal at each instruction. Also looked at:
  - memory for stubs does not grow while libraries come and go
  - what was patched and what was not (ls --stats)
A short run belongs to every test run; before a release `torture.py --seconds 600`, results in
tests/soak/README.md.
Exit status: 0 all of it holds, 1 something does not.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from equality import kill_session  # noqa: E402
from soak import conclude  # noqa: E402


def arenas_of(pid):
    """How many mappings of 64 KiB there are that are executable and of no file; None: it is gone."""
    found = 0
    try:
        for line in open("/proc/%d/maps" % pid):
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp 0+ 00:00 0\s*$", line)
            if match:
                found += (int(match.group(2), 16) - int(match.group(1), 16)) // 65536
    except (FileNotFoundError, ProcessLookupError):
        return None
    return found


def watch(program, tracee_file, tracer, seconds, deadline):
    """Runs the tracer as soon as there is a thread for it. Returns it, and the arenas that were seen."""
    tracing, arenas = None, []
    while program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        if tracing is None and os.path.exists(tracee_file) and open(tracee_file).read().endswith("\n"):
            tracing = subprocess.Popen([tracer, tracee_file, str(seconds)], stdout=subprocess.PIPE, text=True)
        if tracing is not None:
            count = arenas_of(int(open(tracee_file).read().split()[0]))
            if count:
                arenas.append(count)
    return tracing, arenas


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("torture")
    parser.add_argument("tracer")
    options = parser.parse_args()
    for name in "shmrec", "torture", "tracer":
        setattr(options, name, os.path.abspath(getattr(options, name)))
    top = tempfile.mkdtemp(prefix="shmrec-torture-")
    bundle, tracee = os.path.join(top, "torture.shmrec.tar.zst"), os.path.join(top, "tracee")
    policy = os.path.join(top, "policy.yaml")
    with open(policy, "w") as out:
        out.write("apiVersion: shmrec/v1\nkind: Policy\nlimits:\n  logSize: 64MiB\n")
    command = [options.shmrec, "run", "-q", "--policy", policy, "--spool", os.path.join(top, "spool"), "-o", bundle]
    command += ["--slow"] if options.slow else []
    with open(os.path.join(top, "stdout"), "wb") as out, open(os.path.join(top, "stderr"), "wb") as err:
        program = subprocess.Popen(command + ["--", options.torture, str(options.seconds), tracee], cwd=top,
                                   stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        tracing, arenas = watch(program, tracee, options.tracer, max(1, options.seconds - 2),
                                time.monotonic() + 2 * options.seconds + 60)
    failed = []
    if program.poll() is None:
        failed.append("it does not end")
        kill_session(program.pid)
        program.wait()
    said = open(os.path.join(top, "stdout")).read() + open(os.path.join(top, "stderr")).read()
    print(said.strip())
    if program.returncode:
        failed.append("exit status %d" % program.returncode)
    if tracing is None:
        failed.append("no thread was to be traced")
    else:
        print("tracer: " + (tracing.communicate()[0].strip() or "exit status %d" % tracing.returncode))
        if tracing.returncode not in (0, 77):
            failed.append("the traced thread has gone")
    quarter = max(1, len(arenas) // 4)
    if arenas:
        print("arenas: %d, at the end %d" % (max(arenas[:quarter]), max(arenas[-quarter:])))
        # Each library needs one or two: if they were not given back, there would be hundreds. Some 50 stay,
        # as jumps of which several bytes must trap lead to few places; a short run has not met all of these.
        if len(arenas) >= 8 and max(arenas[-quarter:]) > max(arenas[quarter:2 * quarter]) + 16:
            failed.append("the memory for stubs grows")
    listing = subprocess.run([options.shmrec, "ls", bundle, "--stats"], stdout=subprocess.PIPE, text=True).stdout
    left = [line.strip() for line in listing.splitlines() if "degraded" in line or "inside the" in line]
    failed += ["the recording ended early: " + line for line in left]
    if not failed:
        listing = subprocess.run([options.shmrec, "ls", bundle, "--stats", "--json"], check=True,
                                 stdout=subprocess.PIPE)
        patches = json.loads(listing.stdout)["stats"]["patches"]
        print(patches)
        if not options.slow and patches["direct"] + patches["relocated"] < patches["left"]:
            failed.append("most sites were left")
    return conclude(failed, top)


if __name__ == "__main__":
    sys.exit(main())
