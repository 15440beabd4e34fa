#!/usr/bin/env python3
"""Runs a real program alone and recorded: it must behave the same, and blame must name its writes.

usage: blamed.py --shmrec PATH php | java
  php   workers that run code compiled into shared memory (opcache's JIT)
  java  threads that count in a mapped file
Exit status: 0 right, 1 wrong, 77 the program is not installed.
"""

import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77


def php(top):
    if not shutil.which("php") or not glob.glob("/usr/lib/php/*/opcache.so"):
        return None
    settings = ["enable_cli=1", "file_update_protection=0", "jit=tracing", "jit_buffer_size=64M"]
    options = [word for setting in settings for word in ("-d", "opcache." + setting)]
    return ["php", *options, os.path.join(HERE, "jit_shared.php")]


def java(top):
    if not shutil.which("java") or not shutil.which("javac"):
        return None
    subprocess.run(["javac", "-d", top, os.path.join(HERE, "SharedMap.java")], check=True)
    return ["java", "-Xshare:off", "-cp", top, "SharedMap", "counters"]


def word(number, order):
    return number.to_bytes(4, order).hex()


# Command; kind of the segment, its size; what blame says of some bytes: offset, value, recordings that
# are not the writer (the first is the parent).
PROGRAMS = {
    "php": (php, "sysv", 4096, [(1024, word(4711, "little"), "parent"), (20, word(1, "little"), "child"),
                                (36, word(2, "little"), "child")]),
    "java": (java, "file", 8192, [(64, word(4711, "big"), "parent"), (0, word(12000, "big"), "parent"),
                                  (4096, word(12000, "big"), "parent")]),
}


def run(command, cwd):
    os.makedirs(cwd)
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300)
    return done.returncode, done.stdout.decode()


def ask(shmrec, *arguments):
    return json.loads(subprocess.run([shmrec, *arguments], check=True, stdout=subprocess.PIPE).stdout)


def wrong_answers(shmrec, bundle, kind, size, questions):
    listed = ask(shmrec, "ls", "--json", bundle)
    found = [recording for recording in listed["recordings"] if recording["ended"] != "exit 0"]
    wrong = ["a recording ended %s" % recording["ended"] for recording in found]
    segments = [s for s in listed["segments"] if s["kind"] == kind and s["bytes"] == size]
    if len(segments) != 1:
        return wrong + ["not one segment but %s" % segments]
    parent = listed["recordings"][0]["id"]
    for offset, value, who in questions:
        answer = ask(shmrec, "blame", "--json", "--len", "4", bundle, "%d+%d" % (segments[0]["number"], offset))
        writes = [row for row in answer["rows"] if row["type"] == "write"]
        last = writes[-1] if writes else None
        # A longer write has the bytes somewhere in it.
        right = last and value in last["value"] and (last["recording"] == parent) == (who == "parent")
        if not right:
            wrong.append("bytes at %d: %s by the %s expected, blame says %s" % (offset, value, who, last))
    return wrong


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program", choices=PROGRAMS)
    options = parser.parse_args()
    make, kind, size, questions = PROGRAMS[options.program]
    with tempfile.TemporaryDirectory(prefix="shmrec-blamed-") as top:
        command = make(top)
        if not command:
            print("skipped: %s is not installed" % options.program)
            return SKIPPED
        alone = run(command, os.path.join(top, "alone"))
        bundle = os.path.join(top, "bundle.shmrec.tar.zst")
        recorded = run([options.shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--",
                        *command], os.path.join(top, "recorded"))
        wrong = [] if alone == recorded else ["alone: %s\nrecorded: %s" % (alone, recorded)]
        wrong += wrong_answers(options.shmrec, bundle, kind, size, questions)
    print("\n".join(wrong) or alone[1] + "the same recorded, and blame names the writers")
    return 1 if wrong or alone[0] else 0


if __name__ == "__main__":
    sys.exit(main())
