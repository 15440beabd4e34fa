#!/usr/bin/env python3
"""Runs the victim writes_only recorded by a policy that has only the writes of a segment recorded.

usage: writes_only.py --shmrec PATH VICTIM
The log has all writes to the segment in their order and with their values, and no read but what was
read to be written; another segment has both. A million reads cost no event. What is said of the segment
does not take reads that were not recorded for reads that were not made. Exit status: 0 if so, 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import shmlog

POLICY = """apiVersion: shmrec/v1
kind: Policy
segments:
  - match: {memfd: both}
    accesses: all
defaults:
  accesses: writes
"""
BAD = POLICY.replace("accesses: writes", "accesses: wrties")
READS, READ = 1000000, 0
TEXT = b"fifteen letters\0"
SAID = "this segment records writes only (accesses: writes in the policy)"


def word(value):
    return value.to_bytes(4, "little")


def expected_writes():
    """(offset, value before or None, value after, syscall + 1) in the order of each process."""
    parent = [(4 * i, None, word(1000 + i), 0) for i in range(64)]
    parent += [(1024, word(i), word(i + 1), 0) for i in range(5)]
    parent += [(1024, word(5 + 10 * i), word(15 + 10 * i), 0) for i in range(5)]
    parent += [(1024, word(55), word(55), 0)]  # the comparison that fails writes what was there
    parent += [(1536, None, TEXT, READ + 1)]
    parent += [(2048, None, TEXT, 0)]
    parent += [(256, None, word(5000), 0), (260, None, word(5001), 0)]
    parent += [(264, None, word(12000), 0)]
    return parent, [(264, None, word(6000), 0)]


def same(what, found, expected):
    if isinstance(found, list):
        for mine, theirs in zip(found, expected):
            assert mine == theirs, "%s: %.900r\nexpected: %.900r" % (what, mine, theirs)
    assert found == expected, "%s: %.900r\nexpected: %.900r" % (what, found, expected)


class Run:
    def __init__(self, shmrec, victim, top):
        self.shmrec, self.bundle, self.top = shmrec, os.path.join(top, "bundle"), top
        policy = os.path.join(top, "policy.yaml")
        with open(policy, "w") as file:
            file.write(POLICY)
        subprocess.run([shmrec, "run", "-q", "--keep-spool", "--policy", policy, "--spool", os.path.join(top, "spool"),
                        "-o", self.bundle, "--", victim], check=True, stdout=subprocess.DEVNULL, cwd=top)
        spool = os.path.join(top, "spool")
        log = next(path for path in (os.path.join(spool, run, "run.shmlog") for run in os.listdir(spool))
                   if os.path.exists(path))
        self.log = shmlog.Log(log)
        self.segment = next(s.index for s in self.log.segments.values() if s.kind == shmlog.SEGMENT_ANONYMOUS)
        self.both = next(s.index for s in self.log.segments.values() if s.name == "both")

    def text(self, *arguments):
        done = subprocess.run([self.shmrec, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.stdout.decode() + done.stderr.decode()

    def ask(self, *arguments):
        return json.loads(subprocess.run([self.shmrec, *arguments], check=True, stdout=subprocess.PIPE).stdout)

    def records(self, segment):
        """Of each process in its order; the parent's first."""
        threads = sorted(self.log.threads.items(), key=lambda item: item[0][1])
        return [[r for r in records if r.segment == segment] for _, records in threads]


def log_has_writes_alone(run):
    found = [[(r.offset, r.before, r.after, r.syscall) for r in records] for records in run.records(run.segment)]
    same("processes", len(found), 2)
    for mine, theirs in zip(found, expected_writes()):
        same("records of the segment", mine, theirs)
    parent = run.records(run.both)[0]
    same("records of the other segment", [(r.offset, r.before, r.after) for r in parent],
         [(4, None, word(77))] + 10 * [(4, word(77), None)])


def reads_cost_nothing(run):
    recordings = run.ask("ls", "--json", run.bundle)["recordings"]
    same("recordings", len(recordings), 2)
    for recording in recordings:
        assert recording["events"] < 1000, "%d reads, %d events" % (READS, recording["events"])


def listings_say_so(run):
    listed = run.ask("ls", "--json", run.bundle)
    accesses = {s["number"]: s["accesses"] for s in listed["segments"]}
    same("accesses", (accesses[run.segment], accesses[run.both]), ("writes", "all"))
    same("complete", listed["complete"], False)
    lines = [item for item in listed["coverage"] if item["why"] == SAID]
    same("coverage", [line["what"] for line in lines], ["reads of segment %d (anon#%d)" % (run.segment, run.segment)])
    assert "writes only: reads are not logged" in run.text("ls", run.bundle)
    one = run.text("ls", run.bundle, str(run.segment))
    assert one.startswith("Written bytes") and "not logged" in one and SAID in one, one
    other = run.text("ls", run.bundle, str(run.both))
    assert other.startswith("Accessed bytes") and SAID not in other, other
    run.text("bundle", "extract", "-C", run.top, run.bundle)
    with open(os.path.join(run.top, "coverage.json")) as file:
        assert SAID in file.read()


def blame_names_the_writer(run):
    places = {offset: "%d+%d" % (run.segment, offset) for offset in (8, 264, 512)}
    blamed = run.ask("blame", "--json", "--last", run.bundle, places[264])
    parent, child = (r["id"] for r in run.ask("ls", "--json", run.bundle)["recordings"])
    same("who wrote last", [(r["recording"], r["value"]) for r in blamed["rows"]], [(parent, "e02e0000")])
    # The child has read what the parent wrote.
    blamed = run.ask("blame", "--json", "--recording", child, run.bundle, places[8])
    same("whose value the child saw", [(r["recording"], r["type"], r["value"]) for r in blamed["rows"]],
         [(parent, "write", "ea030000")])
    assert any(SAID in note for note in blamed["notes"]), blamed["notes"]
    # Asked about the end of the child, what came later is apart.
    blamed = run.ask("blame", "--json", "--recording", child, run.bundle, places[264])
    rows = [(r["recording"], r["value"], r.get("later", False)) for r in blamed["rows"]]
    same("the child's own", rows, [(child, "70170000", False), (parent, "e02e0000", True)])
    assert any("is not known" in note and "clock" in note for note in blamed["notes"]), blamed["notes"]
    text = run.text("blame", "--recording", child, run.bundle, places[512])
    assert "no recording wrote these bytes up to that time" in text and "never" not in text, text
    text = run.text("blame", "--forward", "--recording", parent, run.bundle, places[8])
    assert "who read the value is not known" in text, text
    text = run.text("timeline", run.bundle, places[8])
    assert "what only read is not in the log" in text and "never" not in text, text


def asks_at_an_event(run):
    parent, child = (r["id"] for r in run.ask("ls", "--json", run.bundle)["recordings"])
    store = next(r for r in run.records(run.segment)[0] if r.offset == 1024 and r.after == word(3))
    blamed = run.ask("blame", "--json", "--recording", parent, "--at", str(store.event), run.bundle,
                     "%d+1024" % run.segment)
    same("the parent's own, by its event", blamed["rows"][-1]["value"], "03000000")
    assert any("before that event" in note for note in blamed["notes"]), blamed["notes"]


def mistake_is_placed(run):
    bad = os.path.join(run.top, "bad.yaml")
    with open(bad, "w") as file:
        file.write(BAD)
    done = subprocess.run([run.shmrec, "policy", "check", bad], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    same("exit status", done.returncode, 2)
    assert b"bad.yaml:7:13: " in done.stdout and b"did you mean 'writes'?" in done.stdout, done.stdout


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shmrec-writes-") as top:
        run = Run(options.shmrec, os.path.abspath(options.victim), top)
        for check in (log_has_writes_alone, reads_cost_nothing, listings_say_so, blame_names_the_writer,
                      asks_at_an_event, mistake_is_placed):
            check(run)
            print("%s: right" % check.__name__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
