#!/usr/bin/env python3
"""Compiles callers.c in several ways, records it, and asks blame who wrote what the C library stored:
the row must name the function of the program that called, with its line.

usage: callers.py --shmrec PATH
Exit status: 0 if each answer is right, 1 if one is not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import built

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "callers.c")

# offset in the segment, the comment on the line, the function, what it called
QUESTIONS = [
    (64 + 10, "fills", "reset_table", "memset"),
    (8, "names", "name_table", "strcpy"),
    (512 + 1, "loads", "load_table", "fread"),
    (1024 + 1, "asks", "ask_kernel", "read"),
    (0, "sets", "set", None),
]
BUILDS = [
    ("gcc", ["gcc", "-O1", "-g"]),
    ("gcc -O2 -fno-plt", ["gcc", "-O2", "-fno-plt", "-g"]),
    ("gcc -O0, lazy binding, no CET", ["gcc", "-O0", "-g", "-Wl,-z,lazy", "-fcf-protection=none"]),
    ("gcc, position dependent", ["gcc", "-O1", "-g", "-no-pie", "-fno-pie"]),
    ("gcc -fno-omit-frame-pointer", ["gcc", "-O1", "-g", "-fno-omit-frame-pointer"]),
    ("clang", ["clang", "-O1", "-g", "-fno-builtin"]),
    ("clang lld", ["clang", "-O1", "-g", "-fuse-ld=lld"]),
    ("gcc -static", ["gcc", "-O1", "-g", "-static"]),
]


def writer(shmrec, bundle, offset):
    blame = subprocess.run([shmrec, "blame", bundle, "anon#1+%d" % offset, "--json"], check=True,
                           stdout=subprocess.PIPE)
    return [row for row in json.loads(blame.stdout)["rows"] if "write" in row["type"]][-1]


def wrong_answers(shmrec, top, command):
    bundle = built.record(shmrec, top, command, SOURCE)
    static = "-static" in command
    for offset, comment, function, called in QUESTIONS:
        if static and comment == "loads":
            continue  # memcpy's caller there is fread's, which only its symbol tells from the program's
        row = writer(shmrec, bundle, offset)
        right = row.get("function") == function and row.get("line") == built.line_of(SOURCE, comment)
        if called and not static:
            right = right and (row.get("called") == called or row.get("syscall") == called or
                               (called == "memset" and "called" not in row))  # made in line
        if comment == "sets":
            right = right and [frame["function"] for frame in row.get("callers", [])][:1] in (["fail_over"], [])
        if not right:
            yield "%s: %s" % (comment, row)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    failed = 0
    for name, command in BUILDS:
        command = built.compiler_of(command)
        if command is None:
            print("%s: not there" % name)
            continue
        with tempfile.TemporaryDirectory(prefix="shmrec-callers-") as top:
            wrong = list(wrong_answers(options.shmrec, top, command))
        print("%s: %s" % (name, "right" if not wrong else "\n  ".join(["wrong"] + wrong)))
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
