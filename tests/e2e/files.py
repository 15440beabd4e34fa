#!/usr/bin/env python3
"""Records the victim file_roles and compares what is in the log with what it did to its files.

usage: files.py --shmrec PATH VICTIM paths | joins | apart | waits | aio | untouched | removes | makers |
    descriptors | killed
Exit status: 0 if the log says what was done, and no more; 1 if not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

import shmlog

PAGE = 4096
PWRITE, MADVISE, IO_GETEVENTS, IO_SUBMIT = 18, 28, 208, 209
KILLS = 5
ENVIRONMENT = dict(os.environ, SHMREC_LOG_SIZE="16MiB")


class Run:
    """A finished recording of the victim, in `directory`."""

    def __init__(self, shmrec, directory, log):
        self.shmrec, self.directory, self.log = shmrec, directory, log
        self.records = sorted((r for records in log.threads.values() for r in records), key=lambda r: r.event)

    def ask(self, *arguments):
        return json.loads(subprocess.run([self.shmrec, *arguments], check=True, stdout=subprocess.PIPE).stdout)

    def listed(self):
        return self.ask("ls", "--json", os.path.join(self.directory, "bundle"))

    def segment(self, suffix):
        """The one segment whose name ends so."""
        found = [s for s in self.log.segments.values() if s.name.endswith(suffix)]
        assert len(found) == 1, "%d segments are named %s: %s" % (len(found), suffix, found)
        return found[0].index

    def writes(self, segment):
        return [(r.offset, r.after, r.syscall) for r in self.records if r.segment == segment and r.after]

    def reads(self, segment):
        return [(r.offset, r.before) for r in self.records if r.segment == segment and r.before]


def command(shmrec, directory, victim, mode):
    return [shmrec, "run", "-q", "--keep-spool", "-o", os.path.join(directory, "bundle"), "--spool",
            os.path.join(directory, "spool"), "--", victim, mode]


def finished(shmrec, directory):
    spool = os.path.join(directory, "spool")
    logs = [os.path.join(spool, run, "run.shmlog") for run in os.listdir(spool)]
    return Run(shmrec, directory, shmlog.Log(next(log for log in logs if os.path.exists(log))))


def word(value):
    return value.to_bytes(4, "little")


def same(what, found, expected):
    assert found == expected, "%s: %.500r\nexpected: %.500r" % (what, found, expected)


def natively_read(listed):
    return [line for line in listed["coverage"] if "read natively" in json.dumps(line)]


# ---- What each must have left --------------------------------------------------------------------


def paths(run):
    for name, words in (("data/file", 5), ("/paths-", 3)):
        segments = [s for s in run.log.segments.values() if name in s.name]
        same("segments of " + name, len(segments), 1)
        same("stores into " + name, sorted(run.writes(segments[0].index)),
             [(4 * i, word(100 + i), 0) for i in range(1, words + 1)])
        same("loads of " + name, {offset for offset, _ in run.reads(segments[0].index)},
             {4 * i for i in range(1, words + 1)})
    same("segments", len(run.log.segments), 2)


def joins(run):
    segment = run.segment("/shared")
    same("stores", sorted(run.writes(segment)),
         [(4 * i, word(1000 + i), PWRITE + 1 if i == 1 else 0) for i in range(1, 6)])
    same("loads since somebody wrote", run.reads(segment), [(4 * i, word(1000 + i)) for i in range(1, 6)])
    same("intervals that are not recorded", len(natively_read(run.listed())), 1)
    blamed = run.ask("blame", "--json", "--len", "4", os.path.join(run.directory, "bundle"), "%d+4" % segment)
    writer, reader = blamed["rows"][-2:]
    assert writer["type"] == "write" and writer["recording"] != reader["recording"], blamed["rows"]


def apart(run):
    segment = run.segment("/shared")
    same("stores", run.writes(segment), [(8, word(1234), PWRITE + 1)])
    same("loads since somebody wrote", run.reads(segment), [(8, word(1234))])


def waits(run):
    segment = run.segment("/shared")
    same("stores", run.writes(segment), [(3 * PAGE + 5, b"z", 0)])
    same("loads after the call", run.reads(segment), [(3 * PAGE + 5, b"z")])
    same("intervals that are not recorded", len(natively_read(run.listed())), 1)


def aio(run):
    anonymous = next(s.index for s in run.log.segments.values() if s.kind == shmlog.SEGMENT_ANONYMOUS)
    arrived = sorted((offset, value) for offset, value, call in run.writes(anonymous) if call == IO_GETEVENTS + 1)
    same("what the kernel has put into memory", arrived,
         [(0, b"abcdefgh"), (16, b"efgh"), (32, b"abc"), (48, b"defgh")])
    shared = run.segment("/shared")
    same("what the kernel has put into the file", sorted(run.writes(shared)),
         [(64, b"abcdefgh", IO_SUBMIT + 1), (128, b"abcdefgh", IO_SUBMIT + 1)])
    bundle = os.path.join(run.directory, "bundle")
    rows = run.ask("blame", "--json", "--len", "4", bundle, "%d+16" % anonymous)["rows"]
    same("rows without an address", [row for row in rows if int(row["address"], 16) < PAGE], [])
    same("what is not recorded", run.listed()["coverage"], [])


def untouched(run):
    same("records", run.records, [])
    listed = run.listed()
    same("segments that are native", [(s["label"][-5:], s["native"]) for s in listed["segments"]],
         [("/data", True)])


def removes(run):
    same("segments", len(run.log.segments), 1)
    segment = next(iter(run.log.segments))
    same("what the kernel wrote", [(offset, value, call) for offset, value, call in run.writes(segment) if call],
         [(0, bytes(PAGE), MADVISE + 1)])
    same("kinds of record", {r.kind for r in run.records if r.syscall}, {shmlog.KIND_WRITE_BETWEEN})
    same("loads", sorted(run.reads(segment)), [(20, word(0)), (PAGE, word(66))])
    last = run.ask("blame", "--json", "--len", "4", os.path.join(run.directory, "bundle"), "%d+20" % segment)
    same("what explains the zero", [row["type"] for row in last["rows"][-2:]], ["write", "read"])


def makers(run):
    listed = run.listed()
    parent = "file_roles " + listed["recordings"][0]["id"]
    same("who made them", [(s["label"].split("#")[0], s["creator"], len(s["users"])) for s in listed["segments"]],
         [("memfd:buffer", "first mapped by mmap in map_fd, " + parent, 2),
          ("memfd:buffer", "first mapped by mmap in make_table, " + parent, 2),
          ("sysv", "first mapped by shmat in make_counter, " + parent, 2), ("sysv", "made by " + parent, 1)])


def descriptors(run):
    shared = run.writes(run.segment("/shared"))
    turns = [(offset, value, call) for offset, value, call in shared if offset < PAGE]
    same("stores by descriptors that led elsewhere before", turns,
         [(4 * i, word(1000 + i), PWRITE + 1) for i in range(100)])
    logged = {(offset, value) for offset, value, _ in shared}
    with open(os.path.join(run.directory, "shared"), "rb") as file:
        content = file.read()
    raced = [(at, content[at:at + 4]) for at in range(PAGE, 2 * PAGE, 4) if content[at] & 1]
    same("stores after the descriptor was moved that are not logged", [r for r in raced if r not in logged], [])
    assert raced, "no store came after a move"
    same("stores into what was no segment before", run.writes(run.segment("/late")),
         [(4, word(1), 0), (28, word(7), PWRITE + 1)])


CHECKS = {check.__name__: check
          for check in (paths, joins, apart, waits, aio, untouched, removes, makers, descriptors)}


# ---- Kills ---------------------------------------------------------------------------------------


def await_change(file, times):
    seen = os.pread(file, 1, 0)
    while times:
        now = os.pread(file, 1, 0)
        times, seen = times - (now != seen), now


def kill_in_call(shmrec, victim, directory):
    launcher = subprocess.Popen(command(shmrec, directory, victim, "killed"), cwd=directory,
                                env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    pid = int(launcher.stdout.readline().split()[0])
    file = os.open(os.path.join(directory, "shared"), os.O_RDONLY)
    await_change(file, random.randrange(2, 30))
    os.kill(pid, 9)
    same("status", launcher.wait(), 128 + 9)
    launcher.stdout.close()
    content = os.pread(file, 1 << 20, 0)
    os.close(file)
    return content


def killed(shmrec, victim, top):
    """All that a killed writer has left in its file is in the log, as done or as what may be. Says how many
    kills came within a call."""
    within = 0
    for attempt in range(KILLS):
        directory = os.path.join(top, str(attempt))
        os.mkdir(directory)
        content = kill_in_call(shmrec, victim, directory)
        run = finished(shmrec, directory)
        segment = run.segment("/shared")
        written = [r for r in run.records if r.segment == segment and r.after and r.state != shmlog.ABORTED]
        within += any(r.state == shmlog.BEGUN for r in written)
        for at in range(0, len(content), PAGE):
            known = any(r.offset <= at < r.offset + r.length and r.after[at - r.offset] == content[at]
                        for r in written)
            assert known, "attempt %d: nobody wrote %r at %d" % (attempt, content[at:at + 1], at)
        last = run.ask("blame", "--json", "--len", "1", os.path.join(directory, "bundle"),
                       "%d+%d" % (segment, len(content) - PAGE))["rows"][-1]
        same("last writer", (last["type"], last["name"]), ("write", "file_roles"))
    return within


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    parser.add_argument("mode", choices=[*CHECKS, "killed"])
    options = parser.parse_args()
    victim = os.path.abspath(options.victim)
    with tempfile.TemporaryDirectory(prefix="shmrec-files-") as top:
        try:
            if options.mode == "killed":
                print("%d kills, %d within a call" % (KILLS, killed(options.shmrec, victim, top)))
                return 0
            subprocess.run(command(options.shmrec, top, victim, options.mode), check=True, cwd=top,
                           env=ENVIRONMENT, stdout=subprocess.DEVNULL)
            run = finished(options.shmrec, top)
            CHECKS[options.mode](run)
            print("%d records" % len(run.records))
        except AssertionError as wrong:
            print(wrong)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
