#!/usr/bin/env python3
"""Records names.c, whose files change their names and sizes, and asks for them by each name they had.

usage: names.py --shmrec PATH
Exit status: 0 if each is found or said to be ambiguous, and its history is told; 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names.c")

# First name, then what is told of it, in order.
HISTORIES = [
    ("index", ["name index taken"]),
    ("left", ["renamed to right"]),
    ("right", ["renamed to left"]),
    ("kept", ["linked as linked"]),
    ("gone", ["name gone removed"]),
    ("cut", ["resized from 4,096 to 0 bytes", "resized from 0 to 8,192 bytes"]),
    ("emptied", ["emptied by an open with O_TRUNC", "resized from 0 to 4,096 bytes"]),
    ("SYSV", ["name SYSV0x5e9 removed"]),
    ("index.tmp", ["renamed to index", "name index taken"]),
    ("index.tmp", ["renamed to index"]),
]
# What is asked for, and the number of the segment in the order above; several: ambiguous.
ASKED = [("linked", [3]), ("gone", [4]), ("index", [0, 8, 9]), ("index.tmp", [8, 9]), ("left", [1, 2]),
         ("cut", [5])]


class Failed(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Failed(what)


def shmrec_json(*command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def histories(listing, top):
    """(number, first name, what happened) of each segment that was written, paths below top without it."""
    for segment in listing["segments"]:
        if not any(user["writes"] for user in segment["users"]):
            continue
        told = [item["what"].replace(os.path.realpath(top) + "/", "") for item in segment["history"]]
        yield segment["number"], os.path.basename(segment["name"]), told[1:]


def check_bundle(shmrec, bundle, top):
    found = list(histories(shmrec_json(shmrec, "ls", "--json", bundle), top))
    for number, name, told in found:
        print(number, name, told)
    check(len(found) == len(HISTORIES), "%d segments, not %d" % (len(found), len(HISTORIES)))
    for (number, name, told), (first, expected) in zip(found, HISTORIES):
        fits = name.startswith(first) and len(told) == len(expected)
        check(fits and all(e in t for e, t in zip(expected, told)), "%s: %s, expected %s" % (name, told, expected))
    for name, places in ASKED:
        numbers = [found[place][0] for place in places]
        asked = subprocess.run([shmrec, "blame", bundle, name + "+0", "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
        if len(numbers) == 1:
            check(json.loads(asked.stdout)["segment"]["number"] == numbers[0], "%s: another segment" % name)
            continue
        check(asked.returncode == 2, "%s: not said to be ambiguous" % name)
        check(all("\n  %d+0x0  first mapped as" % number in asked.stderr for number in numbers), asked.stderr)
    # A truncation is a write of zeros.
    last = shmrec_json(shmrec, "blame", bundle, "cut+0", "--json")["rows"][-2]
    check(last.get("syscall") == "truncate" and last["value"] == "00000000", "cut: %s" % last)
    check(last.get("function") == "main", "cut: not made in main: %s" % last)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-names-") as top:
        program, bundle = os.path.join(top, "names"), os.path.join(top, "names.shmrec.tar.zst")
        subprocess.run(["gcc", "-O1", "-g", "-o", program, SOURCE], check=True)
        run = subprocess.run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--",
                              program], cwd=top)
        try:
            check(run.returncode == 1, "the program ended with %d" % run.returncode)
            check_bundle(options.shmrec, bundle, top)
        except Failed as failed:
            print("wrong:", failed)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
