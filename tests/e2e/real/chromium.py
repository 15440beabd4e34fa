#!/usr/bin/env python3
"""Chromium takes a screenshot of a local page, alone and recorded: the pictures are the same.

usage: chromium.py --shmrec PROGRAM [--times N] [--no-sandbox]

With its sandbox (user namespaces, seccomp filters, PID namespaces) Chromium does not run as root, so
root runs it as another user. Ends with 77, which is "skipped", where it is not installed or does not
run alone.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

USER = 1000
PAGE = """<!doctype html><body style="background:#def"><h1>A page</h1>
<canvas id=c width=300 height=200></canvas><p id=p></p><script>
const x = document.getElementById('c').getContext('2d');
x.fillStyle = '#c30'; x.fillRect(20, 20, 120, 90);
x.fillStyle = '#063'; x.beginPath(); x.arc(200, 100, 60, 0, 7); x.fill();
document.getElementById('p').textContent = 'sum ' + [...Array(1000).keys()].reduce((a, b) => a + b);
</script>"""


def shot(directory, name, recorder, flags, user):
    """Returns the picture's bytes, or None, and how long it took."""
    place = directory / name
    place.mkdir()
    if user is not None:
        os.chown(place, user, user)
    picture = place / "out.png"
    command = recorder + ["chromium", "--headless", *flags, f"--user-data-dir={place}/profile",
                          f"--screenshot={picture}", "--window-size=800,600",
                          f"file://{directory}/page.html"]
    start = time.monotonic()
    with open(place / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            command, stdout=stderr, stderr=stderr, cwd=place, user=user, group=user,
            extra_groups=[] if user is not None else None, start_new_session=True,
            env={"HOME": str(place), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
        try:
            status = process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            status = process.wait()
    seconds = time.monotonic() - start
    if status != 0 or not picture.exists():
        print(f"{name}: status {status} after {seconds:.1f} s")
        print((place / "stderr").read_text(errors="replace")[-2000:])
        return None, seconds
    return picture.read_bytes(), seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--no-sandbox", action="store_true")
    options = parser.parse_args()
    if not shutil.which("chromium"):
        print("skipped: chromium is not installed")
        return 77
    flags = ["--no-sandbox"] if options.no_sandbox else []
    user = USER if os.geteuid() == 0 and not options.no_sandbox else None
    with tempfile.TemporaryDirectory(prefix="shmrec-chromium-") as scratch:
        directory = pathlib.Path(scratch)
        directory.chmod(0o755)
        (directory / "page.html").write_text(PAGE)
        shmrec = directory / "shmrec"
        shutil.copy(options.shmrec, shmrec)
        alone, seconds = shot(directory, "alone", [], flags, user)
        if alone is None:
            print("skipped: chromium does not run here alone")
            return 77
        print(f"alone: {len(alone)} bytes in {seconds:.1f} s")
        for i in range(options.times):
            name = f"recorded{i}"
            bundle = directory / name / "bundle.tar.zst"
            recorder = [str(shmrec), "run", "--spool", str(directory / name / "spool"), "-o",
                        str(bundle), "--"]
            picture, seconds = shot(directory, name, recorder, flags, user)
            if picture != alone or not bundle.exists():
                print(f"{name}: another picture, or no bundle")
                return 1
            print(f"{name}: the same picture in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
