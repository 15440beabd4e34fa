#!/usr/bin/env python3
"""Firefox ESR takes a screenshot of a local page, alone and recorded: the pictures are the same.

usage: firefox.py --shmrec PROGRAM [--times N] [--user UID] [--without-sandbox]

Not among the tests, since a run takes a minute of processor time. Beside the picture, no recorded
process may have died of a fault or an abort, which Firefox could survive. Prints how long each run
took and what was not recorded. Exit status: 0 equal, 1 not, 77 it is not installed or does not run
alone.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
PAGE = """<html><body style="background: #fed"><h1>A page</h1><p id="made">not made</p>
<div style="width: 300px; height: 120px; background: linear-gradient(90deg, red, blue)"></div>
<script>document.getElementById("made").textContent = [2, 3, 5].map(n => n * n).join(" ")</script>
</body></html>"""
SANDBOXES = ["CONTENT", "GMP", "RDD", "SOCKET_PROCESS", "UTILITY", "GPU"]
CRASH = re.compile(r"SIG(SEGV|ABRT|BUS|ILL|TRAP|FPE|SYS)\b")


class Run:
    """One run of Firefox, in a directory of its own."""

    def __init__(self, options, recorder, here):
        (here / "home").mkdir(parents=True)
        (here / "profile").mkdir()
        (here / "page.html").write_text(PAGE)
        for path in [here, *here.iterdir()]:
            os.chown(path, options.user, options.user)
        command = [*recorder, "firefox-esr", "--headless", "--no-remote", "--profile",
                   str(here / "profile"), "--screenshot", str(here / "shot.png"),
                   f"file://{here}/page.html"]
        start, used = time.monotonic(), os.times()
        with open(here / "output", "wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=here,
                env=environment(here, not options.without_sandbox), start_new_session=True,
                user=options.user, group=options.user, extra_groups=[])
            try:
                self.status = process.wait(timeout=options.timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.status = "none in time"
        now = os.times()
        self.seconds = time.monotonic() - start
        self.processor = (now.children_user - used.children_user +
                          now.children_system - used.children_system)
        shot = here / "shot.png"
        self.picture = shot.read_bytes() if shot.exists() else None
        self.output = (here / "output").read_text(errors="replace")

    def __str__(self):
        return (f"exit {self.status}, {self.seconds:.1f} s, {self.processor:.1f} s of processor "
                "time")


def environment(here, sandboxed):
    kept = {"HOME": str(here / "home"), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
            "MOZ_CRASHREPORTER_DISABLE": "1"}
    if not sandboxed:
        kept.update({f"MOZ_DISABLE_{name}_SANDBOX": "1" for name in SANDBOXES})
    return kept


def what_is_wrong(shmrec, run, alone, bundle):
    """None if a recorded run was as the one alone."""
    if run.status != 0:
        return "another status"
    if run.picture is None:
        return "no picture"
    if run.picture != alone.picture:
        return "another picture"
    if not bundle.exists():
        return "no bundle"
    listing = subprocess.run([shmrec, "ls", bundle], stdout=subprocess.PIPE, check=True)
    recordings = listing.stdout.decode(errors="replace").split("\nSegments")[0]
    crashed = [line for line in recordings.splitlines() if CRASH.search(line)]
    return "crashed: " + "; ".join(crashed) if crashed else None


def compare(options, top):
    """How many of the recorded runs were wrong; None if it does not run alone."""
    shmrec = top / "shmrec"
    shutil.copy(options.shmrec, shmrec)
    alone = Run(options, [], top / "alone")
    print(f"alone: {alone}", flush=True)
    if alone.status != 0 or alone.picture is None:
        print(alone.output)
        return None
    failures = 0
    for i in range(options.times):
        here = top / f"recorded{i}"
        bundle = here / "bundle.tar.zst"
        run = Run(options, [str(shmrec), "run", "-o", str(bundle), "--spool", str(here / "spool"),
                            "--"], here)
        wrong = what_is_wrong(shmrec, run, alone, bundle)
        print(f"{here.name}: {wrong or 'the same picture'}, {run}", flush=True)
        told = run.output if wrong else "\n".join(re.findall("^shmrec: [nl]o.*", run.output, re.M))
        print(told, flush=True)
        failures += bool(wrong)
        if not wrong:
            shutil.rmtree(here)
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--user", type=int, default=os.geteuid())
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--without-sandbox", action="store_true")
    options = parser.parse_args()
    if not shutil.which("firefox-esr"):
        print("skipped: firefox-esr is not installed")
        return SKIPPED
    top = pathlib.Path(tempfile.mkdtemp(prefix="shmrec-firefox-"))
    top.chmod(0o755)
    failures = compare(options, top)
    if failures:
        print(f"kept: {top}")
        return 1
    shutil.rmtree(top)
    return SKIPPED if failures is None else 0


if __name__ == "__main__":
    sys.exit(main())
