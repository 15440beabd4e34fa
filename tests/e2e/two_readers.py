#!/usr/bin/env python3
"""Both readers of the log's format, shmrec's and shmlog.py, say the same of a fuzzer's corpus.

usage: two_readers.py SHMREC CORPUS"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import shmlog

SOUND = ["every-kind", "every-state", "every-journal-entry", "producer-consumer", "short-records"]
LYING = ["place-", "short-"]  # what their names begin with
KINDS = ["read", "write", "read-write", "read-then-write", "clock", "read-between", "write-between"]
STATES = ["none", "begun", "committed", "aborted", "inferred"]


def lines_of_dump(shmrec, data):
    with tempfile.NamedTemporaryFile(suffix=".shmlog") as file:
        file.write(data)
        file.flush()
        run = subprocess.run([shmrec, "dump", "--json", file.name], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def by_dump(lines):
    keys = ["at", "kind", "state", "segment", "offset", "length", "address", "pc", "event", "versions",
            "writeVersions", "callers"]
    return [[line.get(key) for key in keys] + [number(line, "read"), number(line, "written")]
            for line in lines if line["type"] == "record"]


def number(line, key):
    """None: no value. The dump shows those of other lengths in other ways, they are not compared."""
    return None if key not in line else int(line[key], 0) if line["length"] in (4, 8) else ...


def value_of(value):
    return None if value is None else int.from_bytes(value, "little") if len(value) in (4, 8) else ...


def by_script(log):
    start, size = log.chunk_area()
    for r in log.records():
        two = r.kind == shmlog.KIND_READ_THEN_WRITE
        between = r.kind in (shmlog.KIND_READ_BETWEEN, shmlog.KIND_WRITE_BETWEEN)
        last = [b or a for a, b in zip(r.versions, r.write_versions)]
        callers = ["%#x@%d" % (word & 2**48 - 1, word >> 48) for word in r.callers]
        yield [(r.at - start) % size, KINDS[r.kind - 1], STATES[r.state], r.segment, "%#x" % r.offset, r.length,
               "%#x" % r.address, "%#x" % r.pc, r.event, last if between else list(r.versions),
               list(r.write_versions) if two else None, callers or None, value_of(r.before), value_of(r.after)]


def padded(path):
    """The corpus files end where the rest of the log is zero."""
    data = open(path, "rb").read()
    return data + bytes(struct.unpack_from("<Q", data, 16)[0] - len(data))


def check_sound(shmrec, path):
    data = padded(path)
    expected = by_dump(lines_of_dump(shmrec, data))
    found = list(by_script(shmlog.Log(data)))
    if len(expected) != len(found):
        sys.exit("%s: %d records by dump, %d by shmlog.py" % (path, len(expected), len(found)))
    for one, other in zip(expected, found):
        if one != other:
            sys.exit("%s:\n%s by dump,\n%s by shmlog.py" % (path, one, other))
    return len(found)


def check_lying(shmrec, path):
    reasons = [line["reason"] for line in lines_of_dump(shmrec, padded(path)) if line["type"] == "damage"]
    if not any(word in reason for reason in reasons for word in ("place", "record", "access")):
        sys.exit("%s: dump sees no damage in it: %s" % (path, reasons))
    try:
        shmlog.Log(padded(path))
    except ValueError:
        return
    sys.exit("%s: shmlog.py sees no damage in it" % path)


def main():
    shmrec, corpus = sys.argv[1:]
    records = sum(check_sound(shmrec, os.path.join(corpus, name)) for name in SOUND)
    lying = [name for name in os.listdir(corpus) if name.startswith(tuple(LYING)) and name not in SOUND]
    for name in lying:
        check_lying(shmrec, os.path.join(corpus, name))
    if records < 30 or len(lying) < 10:
        sys.exit("only %d records and %d damaged logs" % (records, len(lying)))
    print("%d records agree, %d damaged logs noticed" % (records, len(lying)))


if __name__ == "__main__":
    main()
