#!/usr/bin/env python3
"""Programs are recorded at level replay, and executed again from their bundles.

usage: replay.py --shmrec PATH PRODUCER_CONSUMER
Real programs replay equal, the example with both of its processes; the bundle alone is enough; what was changed
in a recording is found, with its event; what cannot be replayed, or not here, is refused with its reason.
Exit status: 0 if so, 1 if not.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

# What is said of them is said of all their processes. None needs more than a minimal Debian has.
PROGRAMS = {
    "list": ["ls", "-lR", "/usr/share/doc"],
    "search": ["grep", "-rc", "root", "/etc"],
    "find": ["find", "/usr/share", "-name", "*a*"],
    "sum": ["sha256sum", "/usr/bin/perl"],
    "archive": ["tar", "cf", "/dev/null", "/usr/share/doc"],
    "compress": ["sh", "-c", "gzip -c /usr/bin/perl | gunzip | sha256sum"],
    "sort": ["sh", "-c", "ls -R /usr/share | sort | uniq -c | sort -rn | head -3"],
    "perl": ["perl", "-e", 'my %h; $h{$_ % 97} .= $_ for 1..20000; print join(",", map { length $h{$_} } sort keys %h), "\\n"'],
    "subshells": ["bash", "-c", "for i in {1..30}; do (exit $i); echo $?; done; wait"],
    "traps": ["bash", "-c", 'trap "echo usr1" USR1; kill -USR1 $$; sleep 0.05 & wait; echo done'],
    "alarm": ["perl", "-e", '$SIG{ALRM} = sub { $n++ }; for (1..3) { alarm 1; sleep 5 } print "$n\\n"'],
    "segv": ["sh", "-c", "kill -SEGV $$"],
    "sort with threads": ["sh", "-c", "seq 100000 | sort -R --random-source=/usr/bin/perl | sort --parallel=4 -S 1M | sha256sum"],
    "threads": ["python3", "-c", """
import queue, subprocess, threading
q, lock, seen = queue.Queue(), threading.Lock(), []
def put(n):
    for i in range(100):
        with lock: q.put((n, i))
def get():
    while (item := q.get()) is not None: seen.append(item)
threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
reader = threading.Thread(target=get)
for t in [reader] + threads: t.start()
for t in threads: t.join()
q.put(None), reader.join()
print(len(seen), subprocess.run(["echo", "sub"], stdout=subprocess.PIPE).stdout)
"""],
    "time": ["bash", "-c", 'echo $EPOCHREALTIME $RANDOM $$ $SECONDS'],
}


def record(shmrec, top, command, *options):
    bundle = os.path.join(top, "bundle.shmrec.tar.zst")
    recorded = subprocess.run([shmrec, "run", "-q", "--wait-all", "--level", "replay", "--checksums", "--spool",
                               os.path.join(top, "spool"), "-o", bundle, *options, "--", *command],
                              cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=60)
    return bundle, recorded


def replay(shmrec, bundle, *arguments, status=0):
    done = subprocess.run([shmrec, "replay", "--check", "--json", bundle, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
    said = done.stdout.decode() + done.stderr.decode(errors="replace")
    assert done.returncode == status, "exit status %d, expected %d: %s" % (done.returncode, status, said[:3000])
    return json.loads(done.stdout)["recordings"] if done.stdout else done.stderr.decode()


def programs(shmrec):
    for name, command in PROGRAMS.items():
        if shutil.which(command[0]) is None:
            continue
        with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
            alone = subprocess.run(command, cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, timeout=60)
            bundle, recorded = record(shmrec, top, command)
            if name != "time":  # which is another one each time
                assert recorded.stdout == alone.stdout, (name, recorded.stdout[:500], alone.stdout[:500])
            expected = alone.returncode if alone.returncode >= 0 else 128 - alone.returncode
            assert recorded.returncode == expected, (name, recorded.returncode, expected)
            rows = replay(shmrec, bundle)
            whole = [row for row in rows if "up to here" not in row["text"]]
            assert len(whole) == len(rows) > 0, (name, [row["text"] for row in rows])
            print("%s: %d recordings, %d events, %.2f s" %
                  (name, len(rows), sum(row["event"] for row in rows), sum(row["seconds"] for row in rows)))


def example(shmrec, program):
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        copy = shutil.copy(program, top)  # gone when it is replayed
        bundle, recorded = record(shmrec, top, [copy])
        os.unlink(copy)
        assert recorded.returncode == 1, recorded.stderr
        rows = {row["name"]: row for row in replay(shmrec, bundle)}
        assert set(rows) == {"producer", "consumer"}, rows
        assert "exit 1" in rows["producer"]["text"] and "SIGABRT" in rows["consumer"]["text"], rows
        assert rows["producer"]["checks"] == 1 and rows["producer"]["memoryPages"] > 0, rows
        assert [row["name"] for row in replay(shmrec, bundle, "consumer")] == ["consumer"]
        assert [row["event"] for row in replay(shmrec, bundle, "producer", "--until", "20")] < [21]
        assert "no recording is called 'nobody'" in replay(shmrec, bundle, "nobody", status=2)


def stream_of(run):
    recordings = os.path.join(run, "recordings")
    return os.path.join(recordings, os.listdir(recordings)[0], "0.stream")


def records_of(data):
    """Place, type and event of each record."""
    at, end = 64, struct.unpack_from("<Q", data, 24)[0]
    while at < end:
        length, kind, _, event = struct.unpack_from("<IHHQ", data, at)
        yield at, kind, event
        at += length


def changed(shmrec):
    """A recording that was changed does not replay, and it is said where."""
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        record(shmrec, top, ["perl", "-e", "print 12"], "--keep-spool")
        run = os.path.join(top, "spool", next(n for n in os.listdir(os.path.join(top, "spool")) if n[0] != "."))
        replay(shmrec, run)
        path = stream_of(run)
        whole = open(path, "rb").read()
        calls = [(at, event) for at, kind, event in records_of(whole) if kind == 5]
        at, event = calls[len(calls) // 2]

        def with_bytes(place, value):
            with open(path, "wb") as file:
                file.write(whole[:place] + value + whole[place + len(value):])

        with_bytes(at + 16 + 16, b"\x01\x02\x03\x04")  # the hash of its registers
        row, = replay(shmrec, run, status=1)
        assert row["result"] == "diverged" and "registers" in row["text"], row
        assert event - 3 <= row["event"] < event, (row, event)
        with_bytes(at + 16, struct.pack("<H", 300))  # its number
        row, = replay(shmrec, run, status=1)
        assert "number of a syscall" in row["text"], row
        with_bytes(at, struct.pack("<I", 4))  # the length of its record
        row, = replay(shmrec, run, status=2)
        assert row["result"] == "refused" and "damaged" in row["text"], row
        with_bytes(64 + 16 + 216, struct.pack("<Q", 1 << 18 | 7))  # a processor that this one is not
        row, = replay(shmrec, run, status=2 if "amx_tile" not in open("/proc/cpuinfo").read() else 0)
        assert "AMX" in row["text"] or row["result"] == "equal", row
        with_bytes(0, b"no stream")
        row, = replay(shmrec, run, status=2)
        assert row["result"] == "refused", row


def computing(shmrec):
    """Threads that make no event for long are stopped where they compute, and again in replay."""
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        bundle, recorded = record(shmrec, top, ["perl", "-e", """
            use threads;
            sub compute { my $sum = 0; $sum += $_ for 1..3e7; $sum }
            print join ",", map { $_->join } map { threads->create(\\&compute) } 1..2"""])
        if b"threads" in recorded.stderr:
            return  # a perl without them
        assert recorded.stdout == b"450000015000000,450000015000000", recorded
        row, = replay(shmrec, bundle)
        assert row["text"] == "equal, exit 0" and row["visits"] >= row["stops"] > 0, row


INTERRUPTED = [
    ["perl", "-e", """
        $SIG{ALRM} = sub { push @come, $sum };
        alarm 1;
        $sum++ until @come;
        print "@come\n";"""],
    ["python3", "-c", """if True:
        import signal
        come, sum = [], 0
        signal.signal(signal.SIGALRM, lambda *_: come.append(sum))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(come) < 100: sum += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(*come)"""],
]


def interrupted(shmrec):
    """A signal comes to what computes, and again in replay: to the very same iteration."""
    for command in INTERRUPTED:
        with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
            bundle, recorded = record(shmrec, top, command)
            assert int(recorded.stdout.split()[-1]) > 0, recorded
            row, = replay(shmrec, bundle)
            assert row["text"] == "equal, exit 0" and row["visits"] >= row["stops"] > 0, row


def up_to(shmrec):
    """What cannot be replayed ends the recording there; the program goes on."""
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        bundle, recorded = record(shmrec, top, ["python3", "-c", """if True:
            from mmap import *
            mmap(-1, 4096, MAP_SHARED, PROT_READ | PROT_WRITE | PROT_EXEC)
            print('done')"""])
        assert recorded.stdout == b"done\n", recorded
        row, = replay(shmrec, bundle)
        assert "up to here: shared memory that may be executed" in row["text"], row
        listed = subprocess.run([shmrec, "ls", bundle], stdout=subprocess.PIPE, check=True).stdout.decode()
        assert "replay ends at event" in listed, listed


def nothing(shmrec):
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        bundle = os.path.join(top, "b.shmrec.tar.zst")
        subprocess.run([shmrec, "run", "-q", "--spool", os.path.join(top, "spool"), "-o", bundle, "--", "true"],
                       check=True, timeout=60)
        assert "record with --level replay" in replay(shmrec, bundle, status=2)


def asked_by_policy(shmrec):
    """The policy's level holds, unless the command line says another one."""
    with tempfile.TemporaryDirectory(prefix="shmrec-replay-test-") as top:
        policy, bundle = os.path.join(top, "policy.yaml"), os.path.join(top, "b.shmrec.tar.zst")
        with open(policy, "w") as file:
            file.write("apiVersion: shmrec/v1\nkind: Policy\nlevel: replay\n")
        run = [shmrec, "run", "-q", "-p", policy, "--spool", os.path.join(top, "spool"), "-o", bundle]
        subprocess.run([*run, "--", "true"], check=True, timeout=60)
        row, = replay(shmrec, bundle)
        assert row["text"] == "equal, exit 0", row
        subprocess.run([*run, "--level", "accesses", "--", "true"], check=True, timeout=60)
        replay(shmrec, bundle, status=2)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program")
    arguments = parser.parse_args()
    programs(arguments.shmrec)
    example(arguments.shmrec, arguments.program)
    changed(arguments.shmrec)
    computing(arguments.shmrec)
    interrupted(arguments.shmrec)
    up_to(arguments.shmrec)
    nothing(arguments.shmrec)
    asked_by_policy(arguments.shmrec)


if __name__ == "__main__":
    sys.exit(main())
