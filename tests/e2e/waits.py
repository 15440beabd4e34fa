#!/usr/bin/env python3
"""Runs the victim wait_forms recorded and compares the ends of children in the journal with what it did.

usage: waits.py --shmrec PATH VICTIM
Exit status: 0 if the journal has each child that was reaped, once and with its status; 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

WAIT4 = [0x500, 0xF, 0x900]
WAITID = [0x600, 0xA, 0x900]
NOWHERE = [0x100, 0x200, 0x300, 0x400, 0x500]
EXPECTED = 2 * WAIT4 + 2 * WAITID + 2 * NOWHERE


def record(shmrec, victim, top):
    """Returns the path of the log of a recorded run."""
    bundle = os.path.join(top, "waits.shmrec.tar.zst")
    subprocess.run([shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--", victim],
                   check=True, stdout=subprocess.DEVNULL, cwd=top)
    subprocess.run([shmrec, "bundle", "extract", "-C", top, bundle], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(top, "run.shmlog")


def child_exits(shmrec, log):
    dump = subprocess.run([shmrec, "dump", "--json", log], check=True, stdout=subprocess.PIPE).stdout
    items = map(json.loads, dump.splitlines())
    return [(int(item["a"], 16), int(item["b"], 16)) for item in items
            if item["type"] == "journal" and item["what"] == "child exit"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-waits-") as top:
        exits = child_exits(options.shmrec, record(options.shmrec, os.path.abspath(options.victim), top))
    statuses = [status for _, status in exits]
    if statuses != EXPECTED or len({pid for pid, _ in exits}) != len(exits):
        print("in the journal: %s\nexpected statuses: %s" % (exits, EXPECTED))
        return 1
    print("%d ends of children in the journal" % len(exits))
    return 0


if __name__ == "__main__":
    sys.exit(main())
