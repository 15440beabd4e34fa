#!/usr/bin/env python3
"""Records exec_ways, in which every image counts itself, and asks blame how the count came about: each
step is another recording's, in order, with its program and its function. The function of a program
that was executed from memory is not known: there is no file of it to be kept.

usage: images.py --shmrec PATH VICTIM
Exit status: 0 if no image is missing; 1 if one is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-images-") as top:
        bundle = os.path.join(top, "images.shmrec.tar.zst")
        run = subprocess.run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"),
                              "--", os.path.abspath(options.victim)],
                             check=True, stdout=subprocess.PIPE, text=True, cwd=top)
        # The images end with statuses of their own, so none but the first can be asked for all of them.
        listed = subprocess.run([options.shmrec, "ls", "--json", bundle], check=True, stdout=subprocess.PIPE)
        first = json.loads(listed.stdout)["recordings"][0]["id"]
        blame = subprocess.run([options.shmrec, "blame", bundle, "memfd:board+0", "--json", "--recording", first],
                               check=True, stdout=subprocess.PIPE, text=True)
    images = int(re.findall(r": (\d+)$", run.stdout, re.MULTILINE)[-1])
    rows = [row for row in json.loads(blame.stdout)["rows"] if row["type"] == "read/write"]
    counts = [int.from_bytes(bytes.fromhex(row["value"]), "little") for row in rows]
    recordings = {row["recording"] for row in rows}
    named = [row for row in rows
             if row["name"] and (row.get("function") or row["module"].startswith("/memfd:"))]
    print("%d images; blame names %d accesses by %d recordings, %d of them with program and function"
          % (images, len(rows), len(recordings), len(named)))
    complete = counts == list(range(1, images + 1)) and len(recordings) == len(named) == images
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
