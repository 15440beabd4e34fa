#!/usr/bin/env python3
"""Runs the victim code_shared recorded and compares the log with the accesses that it makes.

usage: executable.py --shmrec PATH VICTIM
While memory may be executed, writes are logged and reads are not, which the coverage list says; before
and after, both are. Exit status: 0 if that is what the log has, 1 if not.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile

EXPECTED = {"write": 10 + 3 + 4 + 1, "read": 5 + 1}
UNSEEN = "reads of segment 1, bytes 0x0 to 0x1000, while they may be executed, from event "


def items_of_run(shmrec, victim, top):
    bundle = os.path.join(top, "code.shmrec.tar.zst")
    subprocess.run([shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--", victim,
                    "counted"], check=True, stdout=subprocess.DEVNULL, cwd=top)
    subprocess.run([shmrec, "bundle", "extract", "-C", top, bundle], check=True, stdout=subprocess.DEVNULL)
    dump = subprocess.run([shmrec, "dump", "--json", os.path.join(top, "run.shmlog")], check=True,
                          stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in dump.splitlines()]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-executable-") as top:
        items = items_of_run(options.shmrec, os.path.abspath(options.victim), top)
    counts = collections.Counter(item["kind"] for item in items
                                 if item["type"] == "record" and item["segment"] == 1)
    said = [item["text"] for item in items if item["type"] == "journal" and item["what"] == "coverage"]
    print("accesses: %s\ncoverage: %s" % (dict(counts), said))
    right = counts == EXPECTED and len(said) == 1 and said[0].startswith(UNSEEN)
    if not right:
        print("expected: %s, and once: %s" % (EXPECTED, UNSEEN))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
