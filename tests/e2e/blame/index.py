#!/usr/bin/env python3
"""Records a program that makes many accesses, and asks its bundle, which has an index then, and the same
run without: blame, timeline and ls answer the same, and so they do when the index is damaged, with a warning.

usage: index.py --shmrec PATH
Exit status: 0 if each answer is the same, 1 if one is not.
"""

import argparse
import os
import subprocess
import sys
import tempfile

# Two processes over 1 MiB: words at random, and one that both count in.
PROGRAM = """
import mmap, os, random, sys
file = os.memfd_create("table")
os.ftruncate(file, 1 << 20)
memory = memoryview(mmap.mmap(file, 1 << 20)).cast("Q")
child = os.fork() == 0
source = random.Random(child)
for i in range(120000):
    memory[source.randrange(1 << 17)] = i
    if i % 50 == 0:
        memory[7] = memory[7] + 1
if not child:
    os.wait()
"""
QUESTIONS = [
    ["blame", "memfd:table+56"],
    ["blame", "memfd:table+56", "--last"],
    ["blame", "memfd:table+56", "--history", "5", "--at", "27000"],
    ["blame", "memfd:table+56", "--len", "256", "--history", "2"],
    ["blame", "memfd:table+56", "--len", "64", "--forward", "--at", "27000"],
    ["timeline", "memfd:table+0x8000", "--len", "512"],
    ["ls"],
    ["ls", "memfd:table", "--limit", "0"],
]


def ask(shmrec, bundle, question):
    return subprocess.run([shmrec, question[0], bundle] + question[1:], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def differences(shmrec, top):
    bundle = os.path.join(top, "run.shmrec.tar.zst")
    subprocess.run([shmrec, "run", "-q", "-o", bundle, "--spool", os.path.join(top, "spool"), "--", sys.executable,
                    "-c", PROGRAM], check=True)
    with open(bundle, "rb") as file:
        content = bytearray(file.read())
    if content[-8:] != b"SHMRIDXE":
        yield "the bundle has no index"
    subprocess.run([shmrec, "bundle", "verify", bundle], check=True, stdout=subprocess.DEVNULL)
    plain = os.path.join(top, "plain")
    subprocess.run([shmrec, "bundle", "extract", "-C", plain, bundle], check=True, stdout=subprocess.DEVNULL)
    content[-40] ^= 1  # in the directory
    damaged = os.path.join(top, "damaged.shmrec.tar.zst")
    with open(damaged, "wb") as file:
        file.write(content)
    if subprocess.run([shmrec, "bundle", "verify", damaged], stderr=subprocess.DEVNULL).returncode != 2:
        yield "verify lets a damaged index pass"
    for question in QUESTIONS:
        expected = ask(shmrec, plain, question)
        if expected.returncode != 0 or not expected.stdout:
            yield "%s: %s" % (question, expected.stderr)
        answer = ask(shmrec, bundle, question)
        if (answer.stdout, answer.stderr) != (expected.stdout, expected.stderr):
            yield "%s: by the index:\n%s%s\nwithout:\n%s%s" % (question, answer.stdout, answer.stderr,
                                                               expected.stdout, expected.stderr)
        answer = ask(shmrec, damaged, question)
        warned = "warning: the bundle's index is not used" in answer.stderr
        if answer.stdout != expected.stdout or not warned:
            yield "%s: with a damaged index:\n%s%s" % (question, answer.stdout, answer.stderr)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-index-") as top:
        found = list(differences(options.shmrec, top))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
