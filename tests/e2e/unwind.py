#!/usr/bin/env python3
"""Does a debugger that is not recorded see the program behind the agent, with cli/share/shmrec-gdb.py?

usage: unwind.py --shmrec PATH --script SHMREC-GDB.PY [--stops N] [--without] UNWOUND

Attaches gdb to UNWOUND (unwound.c) again and again, and reads a core that gcore made of it: the backtrace
of each thread leads to its outermost function in at least 95 % of the stops, and of the core's threads.
--without: does not load the script, to see what gdb finds by itself.
Exit status: 0 if so, 1 if not, 77: gdb may not attach.
"""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

WORKS = "load_and_store wander exchange copy fault call wait_for_it".split()
# Run by gdb: prints a line for each thread of each stop, its functions from the innermost on.
IN_GDB = """
import gdb, time
def names():
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        found, frame = [], gdb.newest_frame()
        while frame is not None and len(found) < 30:
            found.append(frame.name() or '?')
            try:
                frame = frame.older()
            except gdb.error:
                break
        print('STOP', *found)
for stop in range(%(stops)d):
    gdb.execute('attach %(pid)d', to_string=True)
    names()
    gdb.execute('detach', to_string=True)
    time.sleep(0.01 + stop %% 7 * 0.003)
"""
OF_CORE = "import gdb\n" + IN_GDB.split("import gdb, time\n")[1].split("for stop")[0] + "names()\n"


def gdb(top, script, commands, *arguments):
    """The functions of each thread that gdb prints of."""
    path = os.path.join(top, "in_gdb.py")
    with open(path, "w") as out:
        out.write(commands)
    command = ["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off"]
    command += (["-x", script] if script else []) + ["-x", path, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=200)
    return [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("STOP")], done.stderr


def judge(stops, what):
    """Prints and returns how many of them lead to the outermost function."""
    good, seen = collections.Counter(), collections.Counter()
    for names in stops:
        ends = [name for name in ("thread_outer", "main") if name in names]
        work = next((work for work in WORKS if work in names), "main" if "main" in ends else "lost")
        seen[work] += 1
        good[work] += bool(ends)
    total = sum(good.values()) / max(1, len(stops))
    print("%s: %.1f %% of %d: %s" % (what, 100 * total, len(stops),
                                     " ".join("%s %d/%d" % (name, good[name], seen[name]) for name in sorted(seen))))
    return total


def child_of(pid):
    for task in os.listdir("/proc/%d/task" % pid):
        children = open("/proc/%d/task/%s/children" % (pid, task)).read().split()
        if children:
            return int(children[0])
    return None


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--script", required=True)
    parser.add_argument("--stops", type=int, default=15)
    parser.add_argument("--without", action="store_true")
    parser.add_argument("unwound")
    options = parser.parse_args()
    script = None if options.without else os.path.abspath(options.script)
    top = tempfile.mkdtemp(prefix="shmrec-unwind-")
    launcher = subprocess.Popen([os.path.abspath(options.shmrec), "run", "-q", "-o", os.path.join(top, "b.tar.zst"),
                                 "--spool", os.path.join(top, "spool"), "--", os.path.abspath(options.unwound)],
                                cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not os.path.exists(os.path.join(top, "ready")) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # what can be patched is
        pid = child_of(launcher.pid)
        stops, errors = gdb(top, script, IN_GDB % {"stops": options.stops, "pid": pid})
        if re.search(r"ptrace: Operation not permitted", errors):
            print("gdb may not attach")
            return 77
        core = subprocess.run(["gcore", "-o", os.path.join(top, "core"), str(pid)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
        of_core, core_errors = gdb(top, script, OF_CORE, options.unwound, os.path.join(top, "core.%d" % pid))
    finally:
        launcher.stdin.close()
        said = launcher.stdout.read()
        status = launcher.wait()
    good = judge(stops, "attached"), judge(of_core, "core")
    ok = status == 0 and said == b"unwound\n" and len(of_core) == len(WORKS) + 1
    ok = ok and len(stops) == options.stops * (len(WORKS) + 1) and min(good) >= 0.95
    if not ok:
        print("status %d, said %r\n%s\n%s\n%s" % (status, said, errors[-2000:], core.stdout[-500:], core_errors[-1000:]))
    shutil.rmtree(top)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
