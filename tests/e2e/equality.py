#!/usr/bin/env python3
"""Runs a command on its own and recorded, and compares all that can be seen of it.

usage: equality.py [--shmrec PATH] [--native] [--slow] [--replay] [--policy FILE] [--timeout SECONDS] [--keep] -- COMMAND...

Compared: standard output, standard error, exit status (signal and core flag included) and the files
left in the working directory, a fresh one for each run. The native run itself must succeed, or end by
the same signal. --native does no more than that; --slow records without patching anything; --replay
records at level replay, and then executes all recordings again. On a difference the directory with both runs is kept
and the commands that repeat them are printed. Exit status: 0 equal, 1 different, 2 bad usage.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def run(command, directory, timeout, files=True):
    """Runs `command` in `directory`/cwd as its own session. Returns what can be seen of it, with the
    content of what it left there if `files`."""
    cwd = os.path.join(directory, "cwd")
    os.makedirs(cwd)
    out_path, err_path = os.path.join(directory, "stdout"), os.path.join(directory, "stderr")
    start = time.monotonic()
    with open(out_path, "wb") as out, open(err_path, "wb") as err:
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                 start_new_session=True)
        status = wait_until(child.pid, start + timeout)
        if status is None:
            kill_session(child.pid)
            _, status = os.waitpid(child.pid, 0)
            status = "no end after %g s" % timeout
    child.returncode = 0  # reaped above
    return {
        "status": describe(status),
        "stdout": open(out_path, "rb").read(),
        "stderr": open(err_path, "rb").read(),
        "files": files_below(cwd) if files else {},
        "seconds": time.monotonic() - start,
    }


def kill_session(session):
    """Kills all that still belongs to the run, whatever process group it has put itself into."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == session:
                os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_until(pid, deadline):
    pause = 0.001
    while time.monotonic() < deadline:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            return status
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return None


def describe(status):
    if isinstance(status, str):
        return status
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    return "exit %d" % os.WEXITSTATUS(status)


def as_shell_would(described):
    """A recorder reports a command killed by a signal as exit status 128+n."""
    if described.startswith("signal "):
        return "exit %d" % (128 + int(described.split()[1]))
    return described


def files_below(top):
    found = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = b"-> " + os.readlink(path).encode()
            elif not os.path.isfile(path):
                found[key] = b"(special)"
            elif name.startswith("core"):
                found[key] = b"(core)"  # a core dump: that it exists
            else:
                found[key] = open(path, "rb").read()
    return found


def differences(native, recorded):
    found = []
    if as_shell_would(native["status"]) != recorded["status"]:
        found.append("status: native %s, recorded %s" % (native["status"], recorded["status"]))
    for stream in "stdout", "stderr":
        if native[stream] != recorded[stream]:
            found.append("%s:\n--- native\n%s\n--- recorded\n%s"
                         % (stream, text(native[stream]), text(recorded[stream])))
    for name in sorted(native["files"].keys() | recorded["files"].keys()):
        if native["files"].get(name) != recorded["files"].get(name):
            found.append("file %s differs" % name)
    return found


def replay(shmrec, bundle, timeout):
    """What went wrong when all recordings of the bundle were executed again, and a summary."""
    done = subprocess.run([shmrec, "replay", "--check", "--json", bundle], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    if done.returncode > 1 and not done.stdout:
        return ["replay: exit status %d: %s" % (done.returncode, text(done.stderr))], ""
    rows = json.loads(done.stdout)["recordings"]
    failed = ["replay of %s %s: %s at event %d" % (row["name"], row["recording"], row["text"], row["event"])
              for row in rows if row["result"] != "equal"]
    ends = collections.Counter(row["text"].partition("up to here: ")[2] for row in rows if "up to here" in row["text"])
    return failed, "%d recordings, %d events replayed in %.2f s%s" % (
        len(rows), sum(row["event"] for row in rows), sum(row["seconds"] for row in rows),
        "".join("; %d up to: %s" % (count, why) for why, count in ends.items()))


def text(data, limit=3000):
    return data.decode(errors="replace")[:limit]


def main():
    if "--" not in sys.argv:
        print(__doc__, file=sys.stderr)
        return 2
    split = sys.argv.index("--")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--policy")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args(sys.argv[1:split])
    command = sys.argv[split + 1:]
    top = tempfile.mkdtemp(prefix="shmrec-equality-")
    native = run(command, os.path.join(top, "native"), options.timeout)
    failed = []
    if native["status"].startswith("no end") or native["stderr"]:
        failed.append("the native run fails: %s\n%s%s"
                      % (native["status"], text(native["stdout"]), text(native["stderr"])))
    recorder = [options.shmrec, "run", "-q", "-o", os.path.join(top, "bundle.shmrec.tar.zst"),
                "--spool", os.path.join(top, "spool")]
    if options.slow:
        recorder.append("--slow")
    if options.replay:
        recorder += ["--level", "replay", "--checksums"]
    if options.policy:
        recorder += ["--policy", options.policy]
    recorded_command = recorder + ["--"] + command
    seconds = "%.2f s" % native["seconds"]
    if not failed and not options.native:
        recorded = run(recorded_command, os.path.join(top, "recorded"), options.timeout)
        failed = differences(native, recorded)
        seconds += ", recorded %.2f s" % recorded["seconds"]
    if not failed and options.replay:
        failed, replayed = replay(options.shmrec, os.path.join(top, "bundle.shmrec.tar.zst"), 2 * options.timeout)
        seconds += "; " + replayed
    if not failed:
        print("%s: equal (%s; native %s)" % (" ".join(command), native["status"], seconds))
        if not options.keep:
            shutil.rmtree(top)
        return 0
    print("%s: DIFFERENT" % " ".join(command))
    for line in failed:
        print(line)
    print("kept: %s\nrepeat: %s\n    or: %s --keep %s" % (top, " ".join(recorded_command), sys.argv[0],
                                                    " ".join(sys.argv[1:])))
    return 1


if __name__ == "__main__":
    sys.exit(main())
