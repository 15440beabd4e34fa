#!/usr/bin/env python3
"""Records a program that asks for io_uring and userfaultfd: both are refused, and the coverage list says so.

usage: refused.py --shmrec PATH
Exit status: 0 if the program was refused and the list has one line for each; 1 if not.
"""

import argparse
import ctypes
import errno
import json
import os
import subprocess
import sys
import tempfile

IO_URING_SETUP, IO_URING_ENTER, USERFAULTFD = 425, 426, 323


def ask():
    """What the recorded program does: prints the error of each call."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (IO_URING_SETUP, IO_URING_ENTER, USERFAULTFD):
        result = libc.syscall(number, 0, 0, 0, 0, 0, 0)
        print(result if result >= 0 else errno.errorcode[ctypes.get_errno()])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec")
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask()
        return 0
    with tempfile.TemporaryDirectory(prefix="shmrec-refused-") as top:
        bundle = os.path.join(top, "bundle")
        told = subprocess.run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--",
                               sys.executable, os.path.abspath(__file__), "--ask"],
                              check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        listed = json.loads(subprocess.run([options.shmrec, "ls", "--json", bundle], check=True,
                                           stdout=subprocess.PIPE).stdout)
    lines = [json.dumps(line) for line in listed["coverage"]]
    said = [sum(name in line for line in lines) for name in ("io_uring", "userfaultfd")]
    print("told: %s\ncoverage: %s" % (told, lines))
    return 0 if told == ["ENOSYS"] * 3 and said == [1, 1] else 1


if __name__ == "__main__":
    sys.exit(main())
