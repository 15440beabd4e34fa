#!/usr/bin/env python3
"""Does a program that dies leave a core that shows it as if shmrec had not been there?

usage: cores.py --shmrec PATH [--rust SOURCE] CRASHES [WAY...]
Runs CRASHES (crashes.cc) alone and recorded, for each way to die: the backtraces that gdb gives of all threads
from the core that the kernel writes (where it pipes cores to a program: from the process itself) and from
shmrec's are the same, function by function, as are locals and the signal, and shared memory in the core
holds what the program stored. The exit status is the signal's. With --rust likewise a Rust program that panics
with panic=abort, if rustc is there. Exit status: 0 if so, 1 if not.
"""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

WAYS = {"abort": "SIGABRT", "store": "SIGSEGV", "truncation": "SIGBUS", "handler": "SIGSEGV", "call": "SIGXFSZ",
        "exception": "SIGABRT", "thread": "SIGABRT", "quit": "SIGQUIT", "division": "SIGFPE"}
# Run by gdb: a line for each thread, its functions from the innermost on; the signal; locals; memory.
IN_GDB = """
import gdb, struct
def names():
    found, frame = [], gdb.newest_frame()
    while frame is not None and len(found) < 40:
        found.append(frame.name() or '?')
        frame = frame.older()
    return found
def fall_of(thread):
    thread.switch()
    frame = gdb.newest_frame()
    while frame is not None and not (frame.name() or '').startswith('fall'):
        frame = frame.older()
    return frame
dead = gdb.selected_thread()
print('DEAD', *names())
print('SIGNAL', int(gdb.parse_and_eval('$_siginfo.si_signo')), int(gdb.parse_and_eval('$_siginfo.si_code')))
frame = fall_of(dead)
if frame is not None:
    frame.select()
    local = gdb.parse_and_eval('local')
    print('LOCAL', int(local['number']), local['text'].string())
for thread in gdb.selected_inferior().threads():
    if thread.num != dead.num:
        thread.switch()
        print('OTHER', *names())
words = gdb.parse_and_eval('shared->words')
memory = gdb.selected_inferior().read_memory(int(words.address), 4096)
values = struct.unpack('1024i', memory)
print('BSS', int(gdb.parse_and_eval('zero_at_first[1000]')))
print('WORDS', sum(values[i] == 3 * i for i in range(1024) if i != 100))
"""


def same(what, found, expected):
    assert found == expected, "%s: %.2000r\nexpected: %.2000r" % (what, found, expected)


def gdb(top, before, *program):
    """What IN_GDB prints after the commands `before`, by its first word."""
    script = os.path.join(top, "in_gdb.py")
    with open(script, "w") as out:
        out.write(IN_GDB)
    command = ["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off"]
    done = subprocess.run([*command, *before, "-x", script, *program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100, cwd=top)
    said = {}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("DEAD", "SIGNAL", "LOCAL", "OTHER", "BSS", "WORDS"):
            said.setdefault(word, []).append(rest)
    assert "DEAD" in said, done.stdout
    return said


def kernel_core(top, command):
    """The core that the kernel writes of the program alone; None: it writes none to the working directory."""
    with open("/proc/sys/kernel/core_pattern") as pattern:
        if not pattern.read().startswith("core"):
            return None
    folder = os.path.join(top, "alone")
    os.mkdir(folder)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)))
    cores = os.listdir(folder)
    return os.path.join(folder, cores[0]) if len(cores) == 1 else None


def alone(top, command, way=""):
    # SIGXFSZ comes of a limit that cuts the kernel's core too.
    core = kernel_core(top, command) if way != "call" else None
    if core:
        return gdb(top, [], command[0], core)
    # gdb stops at the signal of the handler's way too, which is none that kills.
    return gdb(top, ["-ex", "handle SIGUSR1 nostop noprint pass", "-ex", "run"], "--args", *command)


def recorded(shmrec, top, command, number):
    spool, bundle = os.path.join(top, "spool"), os.path.join(top, "bundle")
    done = subprocess.run([shmrec, "run", "--spool", spool, "-o", bundle, "--", *command], cwd=top,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    same("exit status", done.returncode, 128 + number)
    subprocess.run([shmrec, "bundle", "verify", bundle], check=True, stdout=subprocess.DEVNULL)
    unpacked = os.path.join(top, "unpacked")
    subprocess.run([shmrec, "bundle", "extract", bundle, "-C", unpacked], check=True, stdout=subprocess.DEVNULL)
    cores = os.listdir(os.path.join(unpacked, "cores"))
    same("number of cores", len(cores), 1)
    return os.path.join(unpacked, "cores", cores[0]), bundle, done.stderr.decode(errors="replace")


def own(functions):
    """Of the program's own: what libc's are called differs with the reader."""
    return [name for name in functions if re.match(r"by_|fall|main$|in_handler|diver", name)]


def without_gdb(shmrec, bundle, report, way, functions, name):
    """`shmrec backtrace` sees the same functions, and the report names the innermost of them."""
    said = subprocess.run([shmrec, "backtrace", "--json", bundle], check=True, stdout=subprocess.PIPE).stdout
    threads = json.loads(said)["processes"][0]["threads"]
    same(way + ": shmrec backtrace", own([frame["function"] for frame in threads[0]["frames"]]), own(functions))
    same(way + ": threads", len(threads), 5 if way == "thread" else 4)
    where = r" in %s \(crashes\.cc:\d+\)" % own(functions)[0]
    for text in (report, subprocess.run([shmrec, "ls", bundle], check=True, stdout=subprocess.PIPE, text=True).stdout):
        assert re.search(r"crashes\w* \(pid \d+\) died of %s%s" % (name, where), text), text


# Of the thread that counts, the function is the same and the place in it another; of those that wait, libc's
# own functions may differ by where they were stopped.
def outermost(threads):
    return sorted(re.sub(r".*\b(holder|locker|counter|main)\b.*", r"\1", names) for names in threads)


def compare(shmrec, program, way):
    name = WAYS[way]
    with tempfile.TemporaryDirectory(prefix="shmrec-cores-") as top:
        command = [program, way]
        native = alone(top, command, way)
        core, bundle, report = recorded(shmrec, top, command, getattr(signal, name))
        found = gdb(top, [], program, core)
        for key in ("DEAD", "SIGNAL", "LOCAL", "BSS"):
            same("%s: %s" % (way, key), found.get(key), native.get(key))
        same(way + ": other threads", outermost(found["OTHER"]), outermost(native["OTHER"]))
        same(way + ": words of shared memory", found["WORDS"], ["1023"])
        same(way + ": words alone", native["WORDS"], ["1023"])
        without_gdb(shmrec, bundle, report, way, found["DEAD"][0].split(), name)
        size = os.stat(core).st_size
        assert size < 5 << 20, "core of %d bytes" % size
        print("%s: %s, core of %d KiB" % (way, found["DEAD"][0], size >> 10))


def rust(shmrec, source):
    if not shutil.which("rustc"):
        print("rust: no rustc")
        return
    with tempfile.TemporaryDirectory(prefix="shmrec-cores-") as top:
        program = os.path.join(top, "panics")
        subprocess.run(["rustc", "-g", "-C", "panic=abort", "-o", program, source], check=True, timeout=100)
        native = alone(top, [program])
        core, bundle, report = recorded(shmrec, top, [program], signal.SIGABRT)
        found = gdb(top, [], program, core)
        same("rust: backtrace", found["DEAD"], native["DEAD"])
        same("rust: signal", found["SIGNAL"], native["SIGNAL"])
        assert found["DEAD"][0].count("panics::fall") == 3, found
        pattern = r"panics \(pid \d+\) died of SIGABRT in fall \(panics\.rs:\d+\), called from fall"
        assert re.search(pattern, report), report
        said = subprocess.run([shmrec, "backtrace", bundle], check=True, stdout=subprocess.PIPE, text=True).stdout
        same("rust: shmrec backtrace", len(re.findall(r" in fall \(\) at .*panics\.rs:\d+", said)), 3)
        print("rust: %s" % found["DEAD"][0])


def off(shmrec, program):
    """By the policy none is taken."""
    with tempfile.TemporaryDirectory(prefix="shmrec-cores-") as top:
        policy, bundle = os.path.join(top, "policy.yaml"), os.path.join(top, "bundle")
        with open(policy, "w") as out:
            out.write("apiVersion: shmrec/v1\nkind: Policy\ncollect: {core: {on: []}}\n")
        subprocess.run([shmrec, "run", "--policy", policy, "--spool", os.path.join(top, "spool"), "-o", bundle, "--",
                        program, "abort"], cwd=top, stderr=subprocess.DEVNULL, timeout=60)
        files = subprocess.run(["tar", "--zstd", "-tf", bundle], check=True, stdout=subprocess.PIPE, text=True).stdout
        assert "cores/" not in files, files


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--rust")
    parser.add_argument("program")
    parser.add_argument("ways", nargs="*", default=list(WAYS))
    options = parser.parse_args()
    program = os.path.abspath(options.program)
    for way in options.ways:
        compare(options.shmrec, program, way)
    off(options.shmrec, program)
    if options.rust:
        rust(options.shmrec, os.path.abspath(options.rust))
    return 0


if __name__ == "__main__":
    sys.exit(main())
