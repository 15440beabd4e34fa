#!/usr/bin/env python3
"""Runs Firefox ESR alone and recorded: each run must leave the same picture of a local page.

usage: firefox.py --shmrec PATH [--times N] [--user UID] [--without-sandbox]
Not among the tests, since a run takes minutes of processor time. Prints how long each took. Exit
status: 0 all pictures are there and equal, 1 not, 77 Firefox is not installed.
"""

import argparse
import os
import shutil
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


def environment(home, sandboxed):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MOZ_", "DISPLAY"))}
    kept.update(HOME=home, MOZ_CRASHREPORTER_DISABLE="1")
    if not sandboxed:
        kept.update({"MOZ_DISABLE_%s_SANDBOX" % name: "1" for name in SANDBOXES})
    return kept


def own(path, user):
    for directory, _, names in os.walk(path):
        for name in [""] + names:
            os.chown(os.path.join(directory, name), user, user, follow_symlinks=False)


def picture(options, recorder, top, name):
    """Exit status, picture or None, output, seconds and processor seconds of one run."""
    here = os.path.join(top, name)
    os.makedirs(os.path.join(here, "home"))
    os.makedirs(os.path.join(here, "profile"))
    page, shot = os.path.join(here, "page.html"), os.path.join(here, "shot.png")
    with open(page, "w", encoding="ascii") as out:
        out.write(PAGE)
    command = [*recorder, "firefox-esr", "--headless", "--no-remote", "--profile", os.path.join(here, "profile"),
               "--screenshot", shot, "file://" + page]
    if options.user:
        os.chown(top, options.user, options.user)
        own(here, options.user)
        command = ["setpriv", "--reuid", str(options.user), "--regid", str(options.user), "--clear-groups",
                   *command]
    start, used = time.monotonic(), os.times()
    done = subprocess.run(command, env=environment(os.path.join(here, "home"), not options.without_sandbox),
                          cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=options.timeout)
    now = os.times()
    processor = now.children_user - used.children_user + now.children_system - used.children_system
    content = open(shot, "rb").read() if os.path.exists(shot) else None
    return done.returncode, content, done.stdout.decode(errors="replace"), time.monotonic() - start, processor


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--user", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=900)
    parser.add_argument("--without-sandbox", action="store_true")
    options = parser.parse_args()
    if not shutil.which("firefox-esr"):
        print("skipped: firefox-esr is not installed")
        return SKIPPED
    top = tempfile.mkdtemp(prefix="shmrec-firefox-")
    os.chmod(top, 0o755)
    failures = 0
    status, alone, output, seconds, processor = picture(options, [], top, "alone")
    print("alone: exit %d, %.1f s, %.1f s of processor time" % (status, seconds, processor), flush=True)
    if status or not alone:
        print(output)
        return 1
    for i in range(options.times):
        name = "recorded%d" % i
        recorder = [os.path.abspath(options.shmrec), "run", "-o", os.path.join(top, name + ".shmrec.tar.zst"),
                    "--spool", os.path.join(top, "spool"), "--"]
        status, shot, output, seconds, processor = picture(options, recorder, top, name)
        right = status == 0 and shot == alone
        what = "the same picture" if right else "no picture" if shot is None else "another picture"
        print("%s: exit %d, %s, %.1f s, %.1f s of processor time" % (name, status, what, seconds, processor),
              flush=True)
        if not right:
            failures += 1
            print(output)
    if failures == 0:
        shutil.rmtree(top, ignore_errors=True)
    else:
        print("kept: %s" % top)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
