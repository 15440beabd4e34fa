#!/usr/bin/env python3
"""shmrec export: what other tools get of a run equals what dump, ls and blame say of it.

usage: export.py --shmrec PATH PRODUCER_CONSUMER LIBSHMREC SOURCES
Records the producer/consumer example until it fails, and a program that puts marks and maps a file of an
awkward name; reads their CSV and their trace events; then those of a log of the fuzzer's corpus, which
docs/export.md shows, and what is said of wrong arguments and of a full disk. Exit status: 0 if so.
"""

import argparse
import collections
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile

AWKWARD = 'we"ird, na\nme'
MARKS = """
import ctypes, mmap, os, sys
library = ctypes.CDLL(sys.argv[1])
file = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(file, 4096)
memory = mmap.mmap(file, 4096)
library.shmrec_event(b'a "mark", or so')
for i in range(10):
    memory[i] = i + 1
os.kill(os.getpid(), 9)
"""
# The fields that an event must have by its phase, with their types; see docs/export.md.
NUMBER, TEXT = (int, float), str
SCHEMA = {
    "M": {"pid": int, "tid": int, "name": TEXT, "args": dict},
    "X": {"pid": int, "tid": int, "name": TEXT, "cat": TEXT, "ts": NUMBER, "dur": NUMBER, "args": dict},
    "C": {"pid": int, "name": TEXT, "cat": TEXT, "ts": NUMBER, "args": dict},
    "i": {"pid": int, "tid": int, "name": TEXT, "cat": TEXT, "ts": NUMBER, "s": TEXT, "args": dict},
}


def run(*words, status=0):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
    assert done.returncode == status, "%s: exit status %d\n%s" % (words, done.returncode, done.stderr.decode())
    return done.stdout.decode(), done.stderr.decode()


def same(what, found, expected):
    assert found == expected, "%s: %.500r, expected %.500r" % (what, found, expected)


class Run:
    """A bundle, its log, and what dump and ls say of them."""

    def __init__(self, shmrec, top, *command):
        self.shmrec = shmrec
        self.bundle = os.path.join(top, "bundle.shmrec.tar.zst")
        subprocess.run([shmrec, "run", "--spool", os.path.join(top, "spool"), "-o", self.bundle, "--", *command], cwd=top,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        run(shmrec, "bundle", "extract", self.bundle, "-C", os.path.join(top, "extracted"))
        self.log, = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(top, "extracted"))
                     for name in names if name == "run.shmlog"]
        self.listing = json.loads(run(shmrec, "ls", "--json", self.bundle)[0])
        self.dump = [json.loads(line) for line in run(shmrec, "dump", "--json", self.log)[0].splitlines()]

    def export(self, form, *options):
        return run(self.shmrec, "export", self.bundle, "--format", form, *options)[0]

    def accesses(self):
        """(chunk, record) of dump, of all that happened."""
        chunk = None
        for item in self.dump:
            if item["type"] == "chunk":
                chunk = item
            elif item["type"] == "record" and item["outcome"] != "not done":
                yield chunk, item


# ---- CSV ----------------------------------------------------------------------------------------

def value_matches(cell, said):
    """Bytes in the CSV, and how dump prints them: a number, or digits."""
    raw = bytes.fromhex(cell)
    try:
        number = int(said, 0)
    except (TypeError, ValueError):
        return said is None and not raw or said is not None and cell == re.sub(r"0x|\W", "", said)
    return int.from_bytes(raw, "little") == number % (1 << 8 * len(raw))


def check_csv(tested):
    text = tested.export("csv")
    assert text.count("\n") == text.count("\r\n"), "a line does not end by RFC 4180"
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    names = {r["id"]: r for r in tested.listing["recordings"]}
    labels = {s["number"]: s["label"] for s in tested.listing["segments"]}
    processes = {p["number"]: p["id"] for p in tested.dump if p["type"] == "process"}
    accesses = list(tested.accesses())
    same("rows", len(rows), len(accesses))
    assert rows, "nothing was recorded"
    for row, (chunk, record) in zip(rows, accesses):
        same("recording", row["recording"], processes[chunk["process"]])
        same("pid", row["pid"], str(names[row["recording"]]["pid"]))
        for key in ("tid", "lane"):
            same(key, row[key], str(chunk[key]))
        for key in ("kind", "outcome", "pc"):
            same(key, row[key], record[key])
        for key in ("segment", "length", "event"):
            same(key, row[key], str(record[key]))
        same("offset", int(row["offset"]), int(record["offset"], 0))
        same("address", int(row["address"] or "0", 0), int(record["address"], 0))
        same("syscall", row["syscall"], record.get("syscall", ""))
        same("label", row["label"], labels[record["segment"]].replace("\n", "\\x0a"))
        for column, key in (("versions", "versions"), ("write_versions", "writeVersions"),
                            ("first_versions", "firstVersions")):
            same(column, row[column].split(), [str(v) for v in record.get(key, [])])
        for column, key in (("read", "read"), ("written", "written")):
            assert value_matches(row[column], record.get(key)), "%s: %r, %r" % (key, row[column], record.get(key))
        float(row["time_us"])
    return rows


def check_code(tested, rows):
    """Function and line are those that blame names, of every access to the places that are asked."""
    by_time = {(r["recording"], r["event"], r["pc"], r["offset"]): r for r in rows}
    places = {(r["segment"], r["offset"], r["length"]) for r in rows}
    asked = 0
    for segment, offset, length in sorted(places)[:5]:
        answer = json.loads(run(tested.shmrec, "timeline", tested.bundle, "%s+%s" % (segment, offset), "--len", length,
                                "--json")[0])
        for one in answer["rows"]:
            row = by_time[one["recording"], str(one["event"]), one["pc"], str(one["offset"])]
            same("source", row["source"], "%s:%d" % (one["file"], one["line"]) if "file" in one else one["place"])
            if not one.get("syscall") and not one.get("called"):
                same("function", row["function"], one.get("function", row["function"]))
            asked += 1
    assert asked > 5, "blame was asked of %d accesses" % asked


def check_filters(tested, rows):
    consumer = next(r["id"] for r in tested.listing["recordings"] if r["name"] == "consumer")
    mine = list(csv.DictReader(io.StringIO(tested.export("csv", "--recording", consumer))))
    same("of one recording", mine, [r for r in rows if r["recording"] == consumer])
    assert 0 < len(mine) < len(rows)
    for segment in tested.listing["segments"]:
        some = list(csv.DictReader(io.StringIO(tested.export("csv", "--segment", str(segment["number"])))))
        same("of one segment", some, [r for r in rows if r["segment"] == str(segment["number"])])
    events = json.loads(tested.export("perfetto", "--recording", consumer))["traceEvents"]
    same("of one recording", {e["pid"] for e in events if e["name"] == "process_name"}, {e["pid"] for e in events})


# ---- Trace events -------------------------------------------------------------------------------

def check_schema(document):
    assert set(document) == {"displayTimeUnit", "otherData", "traceEvents"}, set(document)
    for event in document["traceEvents"]:
        fields = SCHEMA[event["ph"]]
        same("fields", set(event) - {"ph"}, set(fields))
        for key, kind in fields.items():
            assert isinstance(event[key], kind), "%s in %r" % (key, event)
        assert event.get("ts", 0) >= 0 and event.get("dur", 0) >= 0 and event.get("s", "p") == "p", event
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and event["args"]["name"], event
        if event["ph"] == "C":
            assert set(event["args"]) == {"reads", "writes"}, event


def check_nesting(events):
    """Slices of a thread do not overlap but by nesting, as the format has it."""
    threads = collections.defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            begin = round(event["ts"] * 1000)
            threads[event["pid"], event["tid"]].append((begin, -(begin + round(event["dur"] * 1000))))
    for slices in threads.values():
        open_until = []
        for begin, end in sorted(slices):
            while open_until and open_until[-1] <= begin and -end > open_until[-1]:
                open_until.pop()
            assert not open_until or -end <= open_until[-1], "overlapping slices: %r" % slices
            open_until.append(-end)


def check_perfetto(tested):
    document = json.loads(tested.export("perfetto"))
    check_schema(document)
    events = document["traceEvents"]
    check_nesting(events)
    named = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    same("processes", sorted(named.values()),
         sorted("%s (%s)" % (r["name"], r["id"]) for r in tested.listing["recordings"]))
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    same("threads with slices", {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} - threads, set())
    width = document["otherData"]["binMicroseconds"]
    counted = collections.Counter()
    for event in events:
        if event["ph"] == "C":
            same("a bin's start", event["ts"] % width, 0)
            for kind, number in event["args"].items():
                counted[named[event["pid"]], event["name"], kind] += number
    expected = collections.Counter()
    processes = {p["number"]: "%s (%s)" % (p["name"], p["id"]) for p in tested.dump if p["type"] == "process"}
    labels = {s["number"]: s["label"] for s in tested.listing["segments"]}
    for chunk, record in tested.accesses():
        for kind in ("reads", "writes"):
            expected[processes[chunk["process"]], labels[record["segment"]], kind] += kind.rstrip("s") in record["kind"]
    same("counters", +counted, +expected)
    return events


# ---- What is tested -----------------------------------------------------------------------------

def failed_run(shmrec, program):
    with tempfile.TemporaryDirectory(prefix="shmrec-export-") as top:
        tested = Run(shmrec, top, program)
        rows = check_csv(tested)
        assert any(r["function"] == "consumer_run" and r["source"].split(":")[0].endswith(".c") for r in rows), rows[0]
        check_code(tested, rows)
        check_filters(tested, rows)
        events = check_perfetto(tested)
        death, = [e for e in events if e["ph"] == "i" and e["cat"] == "death"]
        same("death", death["name"], "died of SIGABRT")
        assert "consumer_run" in death["args"]["where"], death
        assert any(e["ph"] == "i" and e["cat"] == "signal" and e["name"] == "SIGABRT" for e in events), events
        assert any(e["ph"] == "i" and e["cat"] == "exit" and e["name"].startswith("exit ") for e in events), events
        outputs(tested, top)


def awkward_names(shmrec, library):
    with tempfile.TemporaryDirectory(prefix="shmrec-export-") as top:
        tested = Run(shmrec, top, sys.executable, "-c", MARKS, library, os.path.join(top, AWKWARD))
        rows = check_csv(tested)
        mine = [r for r in rows if "we" in r["label"]]
        assert len(mine) >= 10 and all(r["label"].endswith('we"ird, na\\x0ame') for r in mine), mine
        line = next(l for l in tested.export("csv").split("\r\n") if "ird" in l)
        assert 'we""ird, na\\x0ame"' in line, line
        events = check_perfetto(tested)
        assert any(e["ph"] == "C" and e["name"].endswith(AWKWARD) for e in events), "no counter of the file"
        mark, = [e for e in events if e["ph"] == "i" and e["cat"] == "mark"]
        same("mark", mark["name"], 'a "mark", or so')
        death, = [e for e in events if e["ph"] == "i" and e["cat"] == "death"]
        same("death", death["name"], "died of SIGKILL")


def outputs(tested, top):
    """A file, standard output, and what cannot be written."""
    path = os.path.join(top, "out")
    text = tested.export("csv")
    same("standard output, said", tested.export("csv", "-o", "-"), text)
    same("printed", tested.export("csv", "-o", path), "")
    with open(path, newline="") as file:
        same("file", file.read(), text)
    _, said = run(tested.shmrec, "export", tested.bundle, "--format", "csv", "-o", "/dev/full", status=1)
    assert "/dev/full: cannot write it: No space left on device" in said, said
    with open("/dev/full", "w") as full:
        done = subprocess.run([tested.shmrec, "export", tested.bundle, "--format", "perfetto"], stdout=full,
                              stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and b"standard output: cannot write it: No space left" in done.stderr, done
    for words, expected in ((["--format", "xml"], "xml"), ([], "--format"),
                            (["--format", "csv", "--segment", "none"], "--segment none: no segment 'none'"),
                            (["--format", "csv", "--recording", "none"], "no such recording"),
                            (["--format", "csv", "-o", top], "a directory")):
        _, said = run(tested.shmrec, "export", tested.bundle, *words, status=2)
        assert expected in said, said
    _, said = run(tested.shmrec, "export", os.path.join(top, "nothing"), "--format", "csv", status=2)
    assert "nothing" in said, said


def documented(shmrec, sources):
    """The examples in docs/export.md are what the program prints."""
    with open(os.path.join(sources, "docs", "export.md")) as file:
        text = file.read()
    examples = re.findall(r"```\n\$ shmrec (export [^\n]*)\n(.*?)```", text, re.S)
    same("examples", len(examples), 2)
    for command, expected in examples:
        done = subprocess.run([shmrec, *command.split()], cwd=sources, stdout=subprocess.PIPE, timeout=60)
        same(command, done.stdout.decode().replace("\r\n", "\n").splitlines(), expected.splitlines())


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--shmrec", required=True)
    parser.add_argument("program")
    parser.add_argument("library")
    parser.add_argument("sources")
    options = parser.parse_args()
    documented(options.shmrec, options.sources)
    failed_run(options.shmrec, os.path.abspath(options.program))
    awkward_names(options.shmrec, os.path.abspath(options.library))
    return 0


if __name__ == "__main__":
    sys.exit(main())
