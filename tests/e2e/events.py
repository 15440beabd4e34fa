#!/usr/bin/env python3
"""Records programs and checks how their events are numbered (agent/process/event.h).

usage: events.py [--shmrec PATH] PROGRAM [ARGUMENT...] [-- PROGRAM [ARGUMENT...]]...

For each program, in the log: event numbers never fall within a thread; no two threads of a process
have an event in common; records of one thread with the same number follow one another and are of one
instruction. Exit status: 0 all hold, 1 not, 2 bad usage.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import shmlog


def split(words):
    programs, program = [], []
    for word in words + ["--"]:
        if word != "--":
            program.append(word)
        elif program:
            programs.append(program)
            program = []
    return programs


def record(shmrec, program, directory):
    spool = os.path.join(directory, "spool")
    subprocess.run([shmrec, "run", "-q", "--keep-spool", "-o", os.path.join(directory, "bundle"), "--spool",
                    spool, "--", *program], cwd=directory, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, env=dict(os.environ, SHMREC_LOG_SIZE="64MiB"), check=False)
    runs = [os.path.join(spool, run, "run.shmlog") for run in os.listdir(spool)]
    return shmlog.Log(next(log for log in runs if os.path.exists(log)))


def problems(log):
    """(how many records, what is wrong)"""
    wrong, owner, count = [], {}, 0
    for thread, records in log.threads.items():
        before = None
        for r in records:
            count += 1
            what = "process %d tid %d event %d pc %#x" % (thread[0], thread[2], r.event, r.pc)
            if r.event == 0:
                wrong.append(what + ": no event")
            if before and r.event < before.event:
                wrong.append(what + ": after event %d" % before.event)
            if before and r.event == before.event and r.pc != before.pc:
                wrong.append(what + ": event of pc %#x" % before.pc)
            if owner.setdefault((thread[0], r.event), thread) != thread:
                wrong.append(what + ": also of tid %d" % owner[thread[0], r.event][2])
            before = r
    return count, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    programs = split(options.words)
    if not programs:
        parser.error("no program")
    failed = False
    for program in programs:
        with tempfile.TemporaryDirectory(prefix="shmrec-events-") as directory:
            count, wrong = problems(record(options.shmrec, program, directory))
        print("%s: %d records, %d wrong" % (" ".join(program), count, len(wrong)))
        print("".join("  %s\n" % line for line in wrong[:10]), end="")
        failed |= bool(wrong) or count == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
