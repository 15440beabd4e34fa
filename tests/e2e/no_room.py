#!/usr/bin/env python3
"""Records a program executed where its address space has no room for the log: it runs as it does alone, and the
coverage list says that it is not recorded.

usage: no_room.py --shmrec PATH
Exit status: 0 if it ran and the list has one line for it; 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

COMMAND = "ulimit -v 150000; exec /bin/sh -c 'echo it runs; exit 7'"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-no-room-") as top:
        bundle = os.path.join(top, "bundle")
        ran = subprocess.run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--",
                              "/bin/sh", "-c", COMMAND], stdout=subprocess.PIPE, text=True)
        subprocess.run([options.shmrec, "bundle", "extract", "-C", top, bundle], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(top, "coverage.json")) as file:
            items = json.load(file)["items"]
    lines = [item for item in items if "could not start" in item["why"]]
    print("exit %d, said: %s\ncoverage: %s" % (ran.returncode, ran.stdout, lines))
    return 0 if (ran.returncode, ran.stdout, len(lines)) == (7, "it runs\n", 1) else 1


if __name__ == "__main__":
    sys.exit(main())
