#!/usr/bin/env python3
"""Compiles where.cc in several ways, records it, and asks who wrote by all the forms that WHERE has.

usage: where.py --shmrec PATH
Prints a table of forms against compilers, as docs/blame.md has it. Exit status: 0 if each answer is
right, 1 if one is not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import built

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "where.cc")

# What is asked, the comment on the line that wrote it, its value as blame prints it.
FORMS = [
    ("plain->item[2].tag", "tag", 41),
    ("&plain->item[2].number", "number", 42),
    ("(*plain).item[2].high", "high", None),
    ("of_file->item[2].name", "name", None),
    ("unnamed->item[2].colour", "colour", "kGreen"),
    ("outer::in_namespace->item[2].rate", "rate", -2.5),
    ("in_namespace->item[2].rate", "rate", -2.5),
    ("outer::inner::deep->item[2].next", "next", None),
    ("deep->more[1].number", "more", 45),
    ("Holder::declared->grid[1][2]", "grid", 46),
    ("Holder::defined->used", "used", 47),
    ("holder.member->used", "used", 47),
    ("Single::pointer->used", "used", 47),
    ("several[1]->grid[1][2]", "grid", 46),
    ("unique->item[2].real", "number", None),
    ("(*unique).used", "used", 47),
    ("of_function::kept->used", "used", 47),
    ("kept->item[2].tag", "tag", 41),
]
BUILDS = [
    ("gcc -O0", ["g++", "-O0", "-g"]),
    ("gcc -O1 -gdwarf-4", ["g++", "-O1", "-gdwarf-4"]),
    ("gcc -O2", ["g++", "-O2", "-g"]),
    ("gcc -O1 -gsplit-dwarf", ["g++", "-O1", "-g", "-gsplit-dwarf"]),
    ("gcc -O2 -flto", ["g++", "-O2", "-g", "-flto"]),
    ("gcc -no-pie", ["g++", "-O1", "-g", "-no-pie"]),
    ("clang -O0", ["clang++", "-O0", "-g"]),
    ("clang -O1 -gdwarf-4", ["clang++", "-O1", "-gdwarf-4"]),
    ("clang -O2", ["clang++", "-O2", "-g"]),
    ("clang -O1 -gsplit-dwarf", ["clang++", "-O1", "-g", "-gsplit-dwarf"]),
    ("clang -flto lld", ["clang++", "-O1", "-g", "-flto", "-fuse-ld=lld"]),
]
# What is not answered with these, as docs/blame.md says under Limits.
UNKNOWN = {
    "gcc -O2 -flto": {"used"},  # by a function of the standard library, in line
    "clang -O1 -gdwarf-4": {"of_function::kept->used"},  # known as `kept` alone
    "clang -O2": {"of_function::kept->used"},
    "clang -O1 -gsplit-dwarf": {"of_function::kept->used"},
    "clang -flto lld": {"of_function::kept->used"},
}


def wrong(shmrec, bundle, form):
    where, comment, value = form
    asked = subprocess.run([shmrec, "blame", bundle, where, "--last", "--json"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    if asked.returncode:
        return asked.stderr.splitlines()[0]
    rows = json.loads(asked.stdout)["rows"]
    row = next((row for row in rows if row.get("line") == built.line_of(SOURCE, comment)), None)
    if row is None:
        return "%s: lines %s, not %d" % (where, [row.get("line") for row in rows], built.line_of(SOURCE, comment))
    if value is not None and row["number"] != value:
        return "%s: %s, not %s" % (where, row["number"], value)
    return ""


def build_and_ask(shmrec, command):
    with tempfile.TemporaryDirectory(prefix="shmrec-where-") as top:
        bundle = built.record(shmrec, top, command + ["-std=c++17"], SOURCE)
        return [wrong(shmrec, bundle, form) for form in FORMS]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    failed = False
    for name, command in BUILDS:
        command = built.compiler_of(command)
        if command is None:
            print("| %s | not there |" % name)
            continue
        answers = build_and_ask(options.shmrec, command)
        unknown = UNKNOWN.get(name, set())
        answers = ["" if answer and unknown.intersection(form[:2]) else answer
                   for answer, form in zip(answers, FORMS)]
        print("| %s | %d of %d |" % (name, answers.count(""), len(answers)))
        for answer in filter(None, answers):
            print("   " + answer)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
