#!/usr/bin/env python3
"""Runs a public test suite alone and recorded, and prints the table of differences.

usage: compare.py SUITE --source DIR --work DIR [--shmrec PATH] [--jobs N] [--timeout SECONDS]
                  [--only REGEX] [--limit N] [--again]

SUITE is one of:
  rr      the test programs of the record-and-replay debugger rr (src/test/*.c, *.cc)
  ltp     the Linux Test Project's syscalls, IPC, mm and scheduler tests
  posix   the open POSIX test suite (a folder of the Linux Test Project's sources)

--source is a checkout of the suite. It stays where it is: none of its code belongs to this project.
--work receives the built programs and the results (results.json); what is built is not built again.
--again runs only what results.json does not call equal or skipped, and keeps the other verdicts.

Each run happens in sandbox.sh, as root in namespaces of its own, so that it cannot change the machine;
what even that does not hold back, or what says nothing about recording, is named in denied.txt with the
reason and not run. All but built programs and scratch is read-only there, and /tmp is each run's own:
--source, --work and --shmrec are elsewhere.

A program counts as usable if it ends in the same way twice alone, and does not say that this machine is
not for it. What it then does recorded is compared: exit status or signal, and for rr and
posix the lines of standard output, sorted, after numbers and addresses are replaced. A difference is
tried again, alone and recorded, before it is called one; programs that differ only at times are listed
as unsteady. documented.txt, beside this file, has the differences that are known, with their reasons:
they are counted apart. The table begins with what the recordings themselves say that they have missed.

Exit status: 0 no undocumented difference, 1 there are some, 2 bad usage or nothing could be run.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import equality  # noqa: E402  (one way of running a program and seeing how it ended)

NUMBERS = re.compile(rb"0x[0-9a-fA-F]+|\d+(\.\d+)?")


class Program:
    """One test of a suite: how it is called."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.command = command
        self.environment = environment or {}


# ---- The suites ---------------------------------------------------------------------------------


def compiled(work, name, arguments, log):
    """Path of a program, built once; None if it does not build here."""
    path = os.path.join(work, "bin", name)
    failed = path + ".failed"
    if os.path.exists(path):
        return path
    if os.path.exists(failed):
        return None
    os.makedirs(os.path.dirname(path), exist_ok=True)
    done = subprocess.run(arguments + ["-o", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return path
    with open(failed, "wb") as out:
        out.write(done.stdout)
    log.append(name)
    return None


def build_all(work, jobs, sources):
    """`sources`: (name, compiler arguments). Returns (programs' paths by name, what did not build)."""
    missing = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        paths = list(pool.map(lambda item: compiled(work, item[0], item[1], missing), sources))
    return {name: path for (name, _), path in zip(sources, paths) if path}, missing


def rr_suite(source, work, jobs):
    folder = os.path.join(source, "src", "test")
    generated = os.path.join(work, "generated")
    os.makedirs(generated, exist_ok=True)
    for header in re.findall(r"\bSyscallEnums\w+\.generated",
                             open(os.path.join(source, "CMakeLists.txt")).read()):
        subprocess.run([sys.executable, os.path.join(source, "src", "generate_syscalls.py"),
                        os.path.join(generated, header)], check=True)
    flags = ["-pthread", "-O0", "-g", "-w", "-D_FILE_OFFSET_BITS=64", "-I", folder, "-I", generated,
             "-I", os.path.join(source, "include"), "-I", os.path.join(source, "src", "preload"),
             "-I", os.path.join(source, "src")]
    sources = []
    for file in sorted(os.listdir(folder)):
        name, suffix = os.path.splitext(file)
        compiler = {".c": "gcc", ".cc": "g++"}.get(suffix)
        text = open(os.path.join(folder, file), errors="replace").read() if compiler else ""
        if re.search(r"\bmain\s*\(", text):
            sources.append((name, [compiler] + flags + [os.path.join(folder, file), "-ldl", "-lrt"]))
    paths, missing = build_all(work, jobs, sources)
    return [Program(name, [path]) for name, path in sorted(paths.items())], missing


def posix_suite(source, work, jobs):
    top = source
    for inner in ("testcases/open_posix_testsuite", "."):
        if os.path.isdir(os.path.join(source, inner, "conformance")):
            top = os.path.join(source, inner)
            break
    sources = []
    for directory, _, files in sorted(os.walk(os.path.join(top, "conformance"))):
        for file in sorted(files):
            path = os.path.join(directory, file)
            if not file.endswith(".c") or "main" not in open(path, errors="replace").read():
                continue
            name = os.path.relpath(path, os.path.join(top, "conformance"))[:-2].replace("/", ".")
            sources.append((name, ["gcc", "-std=c99", "-w", "-D_POSIX_C_SOURCE=200809L", "-D_XOPEN_SOURCE=700",
                                   "-D_GNU_SOURCE", "-I", os.path.join(top, "include"), "-I", directory, path,
                                   os.path.join(top, "lib", "common.c"), "-pthread", "-lrt", "-lm"]))
    paths, missing = build_all(work, jobs, sources)
    return [Program(name, [path]) for name, path in sorted(paths.items())], missing


LTP_FOLDERS = ("kernel/syscalls", "kernel/mem", "kernel/sched", "kernel/pty", "kernel/ipc",
               "kernel/containers")
# Sources that ask for a block device to format and mount: there is none in the sandbox.
WANTS_DEVICE = re.compile(r"\.(needs_device|format_device|mount_device|all_filesystems)\s*=\s*1")


# Its lists of command lines: NAME COMMAND ARGUMENTS.
LTP_LISTS = ("syscalls", "syscalls-ipc", "mm", "sched", "nptl", "pty", "containers")


def ltp_command_lines(top):
    """[(name, program, arguments)] of the lists' programs that are given arguments and no shell."""
    found = []
    for file in LTP_LISTS:
        for line in open(os.path.join(top, "runtest", file)):
            words = line.split()
            if len(words) > 2 and not line.startswith("#") and not re.search(r"[;&|<>$`\"'\\]", line):
                found.append((" ".join(words[1:]), words[1], words[2:]))
    return found


def ltp_suite(source, work, jobs):
    """The programs as their makefiles build them in a copy of the sources, without arguments and with
    those of the suite's lists."""
    copy = os.path.join(work, "ltp")
    if not os.path.exists(os.path.join(copy, "built")):
        if not os.path.exists(copy):
            shutil.copytree(source, copy, symlinks=True)
        script = ("make -s autotools && ./configure --without-tirpc >/dev/null && make -s -C lib -j%d" % jobs
                  + "".join(" && make -s -k -C testcases/%s -j%d" % (folder, jobs)
                            for folder in LTP_FOLDERS if os.path.isdir(os.path.join(copy, "testcases", folder))))
        with open(os.path.join(work, "build.log"), "wb") as log:
            subprocess.run(["sh", "-c", script.replace(" && make -s -k", "; make -s -k")], cwd=copy,
                           stdout=log, stderr=subprocess.STDOUT)
        open(os.path.join(copy, "built"), "w").close()
    programs = []
    for folder in LTP_FOLDERS:
        for directory, _, files in sorted(os.walk(os.path.join(copy, "testcases", folder))):
            for file in sorted(files):
                path = os.path.join(directory, file)
                if not os.path.exists(path + ".c") or not os.access(path, os.X_OK):
                    continue
                if WANTS_DEVICE.search(open(path + ".c", errors="replace").read()):
                    continue
                programs.append(Program(file, [path], environment={
                    "PATH": directory + ":" + os.path.join(copy, "testcases/lib") + ":" + os.environ["PATH"],
                    "LTPROOT": copy, "LTP_COLORIZE_OUTPUT": "n", "LTP_TIMEOUT_MUL": "3"}))
    plain = {program.name: program for program in programs}
    for name, of, arguments in ltp_command_lines(copy):
        if of in plain:
            programs.append(Program(name, plain[of].command + arguments, plain[of].environment))
    return programs, []


SUITES = {"rr": rr_suite, "ltp": ltp_suite, "posix": posix_suite}
OUTPUT_COUNTS = {"rr", "posix"}
# Exit statuses that mean "not for this machine".
SKIPPED = {"rr": set(), "ltp": {"exit 32"}, "posix": {"exit 4", "exit 5"}}

# ---- Running ------------------------------------------------------------------------------------


SANDBOX = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net",
           os.path.join(HERE, "sandbox.sh")]


class Runner:
    def __init__(self, options):
        self.options = options
        self.scratch = os.path.join(options.work, "scratch")
        os.makedirs(self.scratch, exist_ok=True)
        self.output_counts = options.suite in OUTPUT_COUNTS

    def run(self, program, recorded):
        top = tempfile.mkdtemp(prefix="run-", dir=self.scratch)
        os.chmod(top, 0o777)
        command, bundle = program.command, os.path.join(top, "b.shmrec.tar.zst")
        if recorded:
            command = [self.options.shmrec, "run", "-q", "-o", bundle,
                       "--spool", os.path.join(top, "spool"), "--"] + command
        command = ["env"] + ["%s=%s" % item for item in program.environment.items()] + command
        try:
            timeout = self.options.timeout * (4 if recorded else 1)  # a syscall costs microseconds more
            seen = equality.run(SANDBOX + [top] + command, top, timeout, files=False)
            status = seen["status"]
            output = NUMBERS.sub(b"N", seen["stdout"].replace(top.encode(), b"TOP"))
            # In which order threads and processes write is nobody's promise.
            lines = b"\n".join(sorted(output.split(b"\n"))) if self.output_counts else b""
            return status, lines, self.gaps(bundle) if recorded else []
        finally:
            shutil.rmtree(top, ignore_errors=True)

    def gaps(self, bundle):
        """What the recording says that it has missed."""
        listing = subprocess.run([self.options.shmrec, "ls", "--json", bundle],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if listing.returncode != 0:
            return ["no bundle that opens: " + listing.stdout.decode(errors="replace").strip()[-200:]]
        return sorted({NUMBERS.sub(b"N", item["what"].encode()).decode()
                       for item in json.loads(listing.stdout)["coverage"] if item["source"] == "journal"})

    def judge(self, program):
        """(verdict, detail, gaps): verdict is skipped, equal, different or unsteady."""
        alone = self.run(program, False)
        if alone[0].startswith("no end") or alone[0] in SKIPPED[self.options.suite]:
            return "skipped", alone[0], []
        again = self.run(program, False)
        if again[0] != alone[0]:
            return "skipped", "unsteady alone", []
        compare_output = alone == again
        different = 0
        for attempt in range(3):
            recorded = self.run(program, True)
            if recorded[0] == alone[0] and (recorded[1] == alone[1] or not compare_output):
                verdict = ("unsteady", detail) if different else ("equal", alone[0])
                return verdict + (recorded[2],)
            detail = self.describe(alone, recorded)
            different += 1
            if self.run(program, False)[0] != alone[0]:
                return "skipped", "unsteady alone", []
        return "different", detail, recorded[2]

    @staticmethod
    def describe(alone, recorded):
        if alone[0] != recorded[0]:
            return "alone %s, recorded %s" % (alone[0], recorded[0])
        before, after = alone[1].splitlines(), recorded[1].splitlines()
        for number, (a, b) in enumerate(zip(before + [b"(end)"], after + [b"(end)"])):
            if a != b:
                return "line %d: alone %r, recorded %r" % (number + 1, a[:80], b[:80])
        return "output differs"


def listed(file, suite):
    """[(pattern, reason)] of a list beside this file: lines `SUITE REGEX REASON`, # comments."""
    found = []
    for line in open(os.path.join(HERE, file)):
        parts = line.split(None, 2)
        if len(parts) == 3 and not line.startswith("#") and parts[0] == suite:
            found.append((re.compile(parts[1]), parts[2].strip()))
    return found


def reason_for(name, patterns):
    return next((reason for pattern, reason in patterns if pattern.fullmatch(name)), None)


def report(results, known, missing):
    count = lambda verdict: sum(1 for result in results.values() if result[0] == verdict)
    print("\n%d programs, %d did not build here, %d not usable here" %
          (len(results) + len(missing), len(missing), count("skipped")))
    usable = len(results) - count("skipped")
    failing = sum(1 for verdict, detail, _ in results.values()
                  if verdict == "equal" and detail != "exit 0")
    reasons = {name: reason_for(name, known) for name in results}
    explained = sum(1 for name, reason in reasons.items()
                    if reason and results[name][0] == "different")
    undocumented = count("different") - explained
    gaps = collections.Counter(gap for _, _, said in results.values() for gap in said)
    print("missing from recordings, as they say themselves: programs, what")
    for gap, times in gaps.most_common():
        print("  %4d  %s" % (times, gap))
    for name, (verdict, detail, _) in sorted(results.items()):
        if verdict in ("different", "unsteady"):
            reason = "  [%s]" % reasons[name] if reasons[name] else ""
            print("  %-9s %-40s %s%s" % (verdict, name, detail, reason))
    print("usable %d, equal %d (%d of them end otherwise than with success), equal at times %d, "
          "documented differences %d" %
          (usable, count("equal"), failing, count("unsteady"), explained))
    print("undocumented differences: %d" % undocumented)
    return usable, undocumented


def judge_all(runner, programs, results, path):
    """Fills `results` ({name: (verdict, detail, what was missed)}) and keeps them in `path` as they come."""
    with concurrent.futures.ThreadPoolExecutor(runner.options.jobs) as pool:
        waiting = {pool.submit(runner.judge, program): program for program in programs}
        for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
            name = waiting[future].name
            try:
                results[name] = future.result()
            except (OSError, MemoryError) as error:
                results[name] = ("skipped", "harness: %r" % error, [])
            print("%4d/%d %s: %s (%s)" % ((done, len(programs), name) + results[name][:2]),
                  file=sys.stderr, flush=True)
            with open(path, "w") as out:
                json.dump(results, out, indent=1, sort_keys=True)


def main():
    parser = argparse.ArgumentParser(usage=__doc__, add_help=False)
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--source", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--only")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    options.work, options.shmrec = os.path.abspath(options.work), os.path.abspath(options.shmrec)
    if os.geteuid() != 0 or any(path.startswith("/tmp/") for path in (options.work, options.shmrec)):
        print("compare.py: as root, with --work and --shmrec elsewhere than in /tmp", file=sys.stderr)
        return 2
    os.makedirs(options.work, exist_ok=True)
    programs, missing = SUITES[options.suite](os.path.abspath(options.source), options.work, options.jobs)
    denied = listed("denied.txt", options.suite)
    programs = [p for p in programs if not reason_for(os.path.basename(p.command[0]), denied)]
    programs = [p for p in programs if not options.only or re.search(options.only, p.name)][: options.limit]
    path, results = os.path.join(options.work, "results.json"), {}
    if options.again:
        results = json.load(open(path))
        programs = [p for p in programs if results.get(p.name, [""])[0] not in ("equal", "skipped")]
    judge_all(Runner(options), programs, results, path)
    usable, undocumented = report(results, listed("documented.txt", options.suite), missing)
    return 1 if undocumented else 0 if usable else 2


if __name__ == "__main__":
    sys.exit(main())
