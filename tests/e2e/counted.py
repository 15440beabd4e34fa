#!/usr/bin/env python3
"""Runs a victim that prints "N accesses" recorded, and compares N with what the log has.

usage: counted.py --shmrec PATH -- VICTIM ARGUMENT...
Exit status: 0 if the log counts as many accesses; 1 if not.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

from shmlog import Log


def record(shmrec, command, top):
    """Returns the output of a recorded run, and its log."""
    bundle = os.path.join(top, "counted.shmrec.tar.zst")
    run = subprocess.run([shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--"] + command,
                         check=True, stdout=subprocess.PIPE, text=True, cwd=top)
    subprocess.run([shmrec, "bundle", "extract", "-C", top, bundle], check=True, stdout=subprocess.DEVNULL)
    return run.stdout, Log(os.path.join(top, "run.shmlog"))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    command = [os.path.abspath(options.command[0])] + options.command[1:]
    with tempfile.TemporaryDirectory(prefix="shmrec-counted-") as top:
        output, log = record(options.shmrec, command, top)
    made = int(re.search(r"^(\d+) accesses$", output, re.MULTILINE).group(1))
    logged = sum(entry.reads + entry.writes for entry in log.usage)
    if made != logged:
        print("%s\nmade %d accesses, %d are in the log" % (output, made, logged))
        return 1
    print("%d accesses" % logged)
    return 0


if __name__ == "__main__":
    sys.exit(main())
