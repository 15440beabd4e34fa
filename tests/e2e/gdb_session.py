#!/usr/bin/env python3
"""The session that shmrec is for, in real gdb: from the crash to the process that wrote the bad value.

usage: gdb_session.py --shmrec PATH [--elsewhere COMMAND] PRODUCER_CONSUMER CRASHES SCRIPTS
Records the producer/consumer example until it fails, moves the bundle to where its program is not, and asks
in `shmrec gdb` as a person would: backtrace, up to consumer_run, print, ublame, ugo; then `shmrec backtrace`
and `shmrec blame` with a local. Then what a bundle without a core, a wrong name, and a wrong expression say.
  --elsewhere  what does there, with a bundle of here, what `shmrec` with these arguments does; the bundle is
               opened by it alone, and what is about this machine or a wrong call is left out
Exit status: 0 if so, 1 if not, 77: no gdb.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

UNPACKED = r"/\S*/shmrec-(gdb-)?\w{6}/"  # where a bundle's files are while it is open


def record(shmrec, top, program, *arguments):
    """The bundle of a run from a copy of the program that is gone afterwards."""
    home = os.path.join(top, "home")
    os.makedirs(home)
    copy = shutil.copy(program, home)
    bundle = os.path.join(top, "bundle.shmrec.tar.zst")
    done = subprocess.run([shmrec, "run", "--spool", os.path.join(top, "spool"), "-o", bundle, "--", copy, *arguments],
                          cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    shutil.rmtree(home)
    return bundle, done.returncode, done.stdout.decode(errors="replace")


def run(*words, status=0):
    # From /, below which a library's path would lead to this machine's.
    done = subprocess.run(words, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=100)
    text = done.stdout.decode(errors="replace")
    assert done.returncode == status, "exit status %d\n%s" % (done.returncode, text)
    return text


def gdb(opener, bundle, *commands, recording=(), status=0):
    """What gdb prints for the commands, by command."""
    words = [*opener, "gdb", bundle, *recording, "--", "-batch", "-nx", "-ex", "set width 0"]
    for command in commands:
        words += ["-ex", "echo \\n=== %s\\n" % command, "-ex", command]
    words += ["-ex", "echo \\n=== the end\\n"]  # else the exit status is the last command's
    text = run(*words, status=status)
    parts = re.split(r"^=== (.*)$", text, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}, text


def same(what, found, expected):
    assert found == expected, "%s: %r, expected %r" % (what, found, expected)


def expect(pattern, text):
    found = re.search(pattern, text, re.M)
    assert found, "no %r in:\n%s" % (pattern, text)
    return found


def all_of_the_bundle(libraries):
    """No library is the machine's on which gdb runs."""
    files = re.findall(r"\s(/\S+)$", libraries, re.M)
    assert any(file.endswith("/libc.so.6") for file in files), libraries
    assert all(re.match(UNPACKED, file) for file in files), libraries


def without_gdb(opener, bundle, value):
    stack = run(*opener, "backtrace", bundle)
    expect(r"^consumer \(pid \d+\) died of SIGABRT in consumer_run", stack)
    expect(r"^#\d+ .* in consumer_run \(\) at \S*shmem_producer_consumer\.c:\d+", stack)
    table = run(*opener, "blame", bundle, "consumer_run:&shmem_data_array[index]")
    expect(r"^  .* write +0x\S+ +4  %s +producer +producer_run" % value, table)
    expect(r"^\* .* read +0x\S+ +4  %s +consumer" % value, table)


def the_story(shmrec, opener, program):
    with tempfile.TemporaryDirectory(prefix="shmrec-gdb-test-") as top:
        bundle, status, _ = record(shmrec, top, program)
        assert status != 0, "the example did not fail"
        said, text = gdb(opener, bundle, "backtrace", "info recordings", "info segments", "frame function consumer_run",
                         "print value", "ublame &shmem_data_array[index]", "ublame shmem_data_array[index]",
                         "ublame &shmem_data_array[index] --history 2", "ublame value", "shmprint shmem_data_array[index]",
                         "help shmrec", "pwd", "info inferiors", "info sharedlibrary", "ugo inferior producer", "ugo inferior nobody")
        expect(r"^#0 .*", said["backtrace"])
        expect(r"^#\d+ .* in consumer_run .*shmem_producer_consumer\.c:\d+", said["backtrace"])
        expect(r"^#\d+ .* in main ", said["backtrace"])
        assert "Could not load shared library" not in text, text
        current = expect(r"^\*\s+(\S+)\s+\d+\s+consumer\s+SIGABRT\s+yes", said["info recordings"]).group(1)
        expect(r"^\s+\S+\s+\d+\s+producer\s+\S.*no", said["info recordings"])
        expect(r"^  \* %s  \d+ reads, \d+ writes  0x" % current, said["info segments"])
        value = expect(r"^\$1 = (-?\d+)", said["print value"]).group(1)
        for question in ("ublame &shmem_data_array[index]", "ublame shmem_data_array[index]"):
            expect(r"^ +PID  Recording ID +Time in recording +Type +Address +Len", said[question])
            expect(r"^  +\d+  \S+ +[\d,]+:0x\S+ +write +0x\S+ +4  %s +producer +producer_run" % value, said[question])
            expect(r"^\* +\d+  %s +[\d,]+:0x\S+ +read +0x\S+ +4  %s +consumer" % (current, value), said[question])
            expect(r"^producer \(pid \d+, recording \S+\) wrote it in producer_run "
                   r"\(shmem_producer_consumer\.c:\d+\) at [\d,]+:0x", said[question])
        # The producer may have written there again before the consumer died: then the table says so, too.
        now = expect(r"\] = (-?\d+)$", said["shmprint shmem_data_array[index]"]).group(1)
        stale = "<stale> (all)" in said["shmprint shmem_data_array[index]"]
        same("stale", stale, ">" in said["ublame shmem_data_array[index]"])
        assert stale or now == value, said["shmprint shmem_data_array[index]"]
        assert "<never" not in said["shmprint shmem_data_array[index]"], said["shmprint shmem_data_array[index]"]
        expect("is not in traced shared memory", said["ublame value"])
        expect("^ublame EXPR", said["help shmrec"])
        expect(r"^Working directory /\.$", said["pwd"])
        expect(r"^\* 1 .*%s\S*binaries/" % UNPACKED, said["info inferiors"])
        all_of_the_bundle(said["info sharedlibrary"])
        expect("left no core", said["ugo inferior producer"])
        expect("no such recording", said["ugo inferior nobody"])
        print(text)
        without_gdb(opener, bundle, value)


def another_inferior(shmrec, opener, crashes):
    """Two processes that die, each with its core; one is gone to, and back."""
    script = "%s abort & %s division & wait"
    with tempfile.TemporaryDirectory(prefix="shmrec-gdb-test-") as top:
        bundle = os.path.join(top, "bundle.shmrec.tar.zst")
        subprocess.run([shmrec, "run", "--wait-all", "--spool", os.path.join(top, "spool"), "-o", bundle, "--",
                        "/bin/sh", "-c", script % (crashes, crashes)], cwd=top, stderr=subprocess.DEVNULL, timeout=60)
        listed, _ = gdb(opener, bundle, "info recordings")
        ids = dict(re.findall(r"(\S+)  +\d+ +crashes +(SIG\w+) +yes", listed["info recordings"])[::-1])
        names = {signal: recording for recording, signal in ids.items()}
        assert set(names) == {"SIGABRT", "SIGFPE"}, listed
        said, text = gdb(opener, bundle, "backtrace", "ugo inferior %s" % names["SIGFPE"], "backtrace 3",
                         "info recordings", "print shared->words[5]", "ublame shared->words[5]", "inferior 1",
                         "info threads", recording=[names["SIGABRT"]])
        expect("by_abort", said["backtrace"])
        expect("by_division", said["backtrace 3"])
        expect(r"^\*\s+%s " % names["SIGFPE"], said["info recordings"])
        expect(r"^\$\d+ = 15$", said["print shared->words[5]"])
        expect("This process wrote it in main", said["ublame shared->words[5]"])
        expect(r"^\*?\s*1\.1 ", said["info threads"])


def scripts_in_binaries(shmrec, scripts):
    """gdb would run them; nothing of a bundle is."""
    with tempfile.TemporaryDirectory(prefix="shmrec-gdb-test-") as top:
        mark = os.environ["SHMREC_TEST_MARK"] = os.path.join(top, "mark")
        subprocess.run(["gdb", "-q", "-nx", "-batch", "-iex", "set auto-load safe-path /", "-ex", "info line main", scripts],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)
        assert os.path.exists(mark), "gdb as it is does not run the script: this shows nothing"
        os.unlink(mark)
        bundle, _, report = record(shmrec, top, scripts)
        expect("died of SIGABRT in main", report)
        said, _ = gdb([shmrec], bundle, "backtrace", "info auto-load")
        expect(r"^#\d+ .* in main ", said["backtrace"])
        subprocess.run([shmrec, "blame", bundle, "main:argc"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=100)
        subprocess.run([shmrec, "backtrace", bundle], check=True, stdout=subprocess.DEVNULL)
        assert not os.path.exists(mark), "a script of the bundle was run"


def errors(shmrec, program):
    with tempfile.TemporaryDirectory(prefix="shmrec-gdb-test-") as top:
        bundle, _, _ = record(shmrec, top, "/bin/true")
        _, said = gdb([shmrec], bundle, status=2)
        expect("no process left a core", said)
        _, said = gdb([shmrec], bundle, recording=["nobody"], status=2)
        expect("no recording is called 'nobody'", said)
        said, text = gdb([shmrec], bundle, "info recordings", "ublame 1 +", "ublame", "ublame 0x1000", recording=["true"])
        expect("left no core", text)
        expect(r"^\*\s+\S+\s+\d+\s+true\s+exit 0\s+no", said["info recordings"])
        expect("A syntax error|syntax", said["ublame 1 +"])
        expect("Usage: ublame", said["ublame"])
        nothing = os.path.join(top, "nothing")
        _, said = gdb([shmrec], nothing, status=2)
        expect("nothing", said)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("--elsewhere", type=shlex.split)
    parser.add_argument("program")
    parser.add_argument("crashes")
    parser.add_argument("scripts")
    options = parser.parse_args()
    if not options.elsewhere and not shutil.which("gdb"):
        return 77
    opener = options.elsewhere or [options.shmrec]
    the_story(options.shmrec, opener, os.path.abspath(options.program))
    another_inferior(options.shmrec, opener, os.path.abspath(options.crashes))
    if options.elsewhere:
        return 0
    scripts_in_binaries(options.shmrec, os.path.abspath(options.scripts))
    errors(options.shmrec, os.path.abspath(options.program))
    return 0


if __name__ == "__main__":
    sys.exit(main())
