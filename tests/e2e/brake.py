#!/usr/bin/env python3
"""Runs the victim brake recorded by a policy with limits.maxSlowdown.

usage: brake.py --shmrec PATH VICTIM
While the victim is busy less of its segment is recorded, first its writes and then a sample, and when it
has calmed all of it again; coverage list, listings, report and blame say so. Without the key, and where
the limit is high, nothing is said. Exit status: 0 if so, 1 if not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

POLICY = """apiVersion: shmrec/v1
kind: Policy
limits: {maxSlowdown: %s}
"""


def same(what, found, expected):
    assert found == expected, "%s: %.2000r\nexpected: %.900r" % (what, found, expected)


class Run:
    def __init__(self, shmrec, top, limit, command):
        self.shmrec, self.bundle = shmrec, os.path.join(top, "bundle-%s-%s" % (limit, command[-1]))
        policy = os.path.join(top, "policy.yaml")
        with open(policy, "w") as file:
            file.write(POLICY % limit)
        done = subprocess.run([shmrec, "run", "--policy", policy, "--spool", os.path.join(top, "spool"), "-o",
                               self.bundle, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=top)
        self.report = done.stderr.decode()
        same("exit status and output", (done.returncode, done.stdout), (0, b"brake\n"))
        self.stats = self.ask("ls", "--json", "--stats", self.bundle)
        self.segment = next(s["number"] for s in self.stats["segments"] if s["label"] == "memfd:busy"
                            or "busy" in s["label"])
        self.brakes = [b for b in self.stats["stats"]["brakes"] if b["segment"] == self.segment]
        self.said = [i["what"] for i in self.stats["coverage"] if "maxSlowdown" in i["why"]]

    def text(self, *arguments):
        return subprocess.run([self.shmrec, *arguments], check=True, stdout=subprocess.PIPE).stdout.decode()

    def ask(self, *arguments):
        return json.loads(self.text(*arguments))


def braked_run(shmrec, top, victim):
    """Where other programs have most of the machine a release may come late, or too soon and be taken back,
    after which the next is tried only after twice the time: such a run is made again with more calm."""
    for calm_ms in ("5500", "20000"):
        run = Run(shmrec, top, "1.1", [victim, "2500", calm_ms])
        if all("toSeconds" in brake for brake in run.brakes):
            break
        print("not released in %s ms of calm: %r" % (calm_ms, run.brakes))
    return run


def brakes_and_releases(run):
    levels = [brake["level"] for brake in run.brakes]
    same("first and second level", levels[:2], ["writes", "sampled"])
    assert run.brakes[0]["slowdown"] > 1.1, run.brakes
    for brake in run.brakes:
        assert brake["fromSeconds"] < brake.get("toSeconds", 1e9), run.brakes
    assert all("toSeconds" in brake for brake in run.brakes), "not released: %r" % run.brakes


def everybody_says_so(run):
    assert len(run.said) >= 2 and "only writes recorded from" in run.said[0], run.said
    same("complete", run.stats["complete"], False)
    assert "shmrec: braked: 1 segment " in run.report, run.report
    text = run.text("ls", "--stats", run.bundle)
    assert "\nBrake\n" in text and "brake released: recorded as the policy says" in text, text
    blamed = run.ask("blame", "--json", "--last", run.bundle, "%d+12288" % run.segment)
    assert any("was braked" in note for note in blamed["notes"]), blamed["notes"]


def log_is_sound(run):
    out = run.text("bundle", "verify", run.bundle)
    assert "damage" not in out, out


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("victim")
    options = parser.parse_args()
    victim = os.path.abspath(options.victim)
    with tempfile.TemporaryDirectory(prefix="shmrec-brake-") as top:
        run = braked_run(options.shmrec, top, victim)
        for check in (brakes_and_releases, everybody_says_so, log_is_sound):
            check(run)
            print("%s: right" % check.__name__)
        calm = Run(options.shmrec, top, "1000", [victim, "300", "100"])
        same("brakes under a high limit", (calm.brakes, calm.said), ([], []))
        assert "braked" not in calm.report, calm.report
    return 0


if __name__ == "__main__":
    sys.exit(main())
