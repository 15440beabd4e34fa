#!/usr/bin/env python3
"""Does `shmrec ls --stats` tell how instructions were recorded: as jumps, or, with --slow, by faults alone?

usage: patch_counts.py --shmrec PATH [--kinds KIND,...] -- COMMAND...
The command accesses shared memory again and again; KIND: what must be among its jumps (direct,relocated,calls).
Exit status: 0 if it does, 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile


def counts(shmrec, command, *options):
    with tempfile.TemporaryDirectory(prefix="shmrec-patch-counts-") as top:
        bundle = os.path.join(top, "run.shmrec.tar.zst")
        subprocess.run([shmrec, "run", "-q", *options, "-o", bundle, "--", *command], check=True,
                       stdout=subprocess.DEVNULL)
        listing = subprocess.run([shmrec, "ls", bundle, "--stats", "--json"], check=True, stdout=subprocess.PIPE)
        text = subprocess.run([shmrec, "ls", bundle, "--stats"], check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(listing.stdout)["stats"]["patches"]
        for count in found.values():
            if f"  {count:,}  " not in text.stdout:
                print("%d is not in the listing:\n%s" % (count, text.stdout))
                sys.exit(1)
        return found


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--kinds", default="direct,relocated,calls")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    patched = counts(options.shmrec, options.command)
    slow = counts(options.shmrec, options.command, "--slow")
    print(patched, slow)
    jumps = all(patched[kind] for kind in options.kinds.split(","))
    return 0 if jumps and not any(slow.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
