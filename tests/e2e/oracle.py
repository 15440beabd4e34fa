#!/usr/bin/env python3
"""Holds the log of a recorded oracle (tests/victims/oracle.cc) against what the oracle knows.

usage: oracle.py [--shmrec PATH] [--seed N] [--processes N] [--threads N] [--operations N]
                 [--mutations N] ORACLE
       oracle.py --check LOG DIRECTORY [--killed]

The first form records ORACLE and checks; the second checks a log and the traces of an earlier run.
--mutations N then damages one record of the log in N ways, of which each must be noticed.
Checked, with an independent reader of the log (shmlog.py):
  1. every thread's records are exactly its trace: same accesses in the same order, same place, address,
     length and values; none missing, none twice, none else; the elements of one gather or scatter have
     one event, those of two have different ones;
  2. on every line the writes have versions without gap or double, and every value read is the one that
     the writes before it left; in the end the content is the segments' content;
  3. versions never go back within a thread;
  4. the usage counters are the number of records.
With --killed a process may have died anywhere: all accesses that its trace holds must be in the log,
at most one more per thread may be; checks 2 and 3 as before.
Exit status: 0 all agree, 1 something differs, 2 bad usage. A failed run's files are kept.
"""

import argparse
import collections
import gc
import glob
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import shmlog

(READ, WRITE, ATOMIC, READ_THEN_WRITE, COPY_IN, COPY_OUT, COPY_WITHIN, KERNEL_READS,
 KERNEL_WRITES, GATHER, SCATTER) = range(1, 12)
ENTRY = struct.Struct("<IIQQIIQ64s64s")
HEAD = struct.Struct("<8sII9Q")
SYS_READ, SYS_WRITE = 0, 1
PLACES = (0,), (0,), (0, 3 * 4096)  # of each segment's mappings, from the first on: one is mapped twice

Entry = collections.namedtuple("Entry", "kind segment offset address length other_segment "
                               "other_offset before after")


gc.disable()  # records by the hundred thousand, none in a cycle: to look for cycles takes a fourth of the time


class Wrong(Exception):
    pass


class Trace:
    def __init__(self, path):
        data = open(path, "rb").read()
        if len(data) < HEAD.size:
            raise EOFError
        magic, self.pid, self.tid, *segments = HEAD.unpack_from(data)
        assert magic == b"ORACLE01"
        self.bases = segments[0::3]
        self.inodes = segments[2::3]
        self.entries = []
        for at in range(HEAD.size, len(data) - ENTRY.size + 1, ENTRY.size):
            fields = ENTRY.unpack_from(data, at)
            self.entries.append(Entry(*fields[:7], fields[7][:fields[4]], fields[8][:fields[4]]))


def oracle_segments(log, trace):
    """Index in the log of the oracle's segments 0 (anonymous), 1 (memfd), 2 (POSIX shm)."""
    found = []
    for kind, inode in zip((shmlog.SEGMENT_ANONYMOUS, shmlog.SEGMENT_MEMFD, shmlog.SEGMENT_POSIX_SHM),
                           trace.inodes):
        matching = [s.index for s in log.segments.values()
                    if s.kind == kind and (inode == 0 or s.inode == inode)]
        if len(matching) != 1:
            raise Wrong("%d segments of kind %d, expected 1" % (len(matching), kind))
        found.append(matching[0])
    return found


# ---- 1: traces and records -----------------------------------------------------------------------

class Matcher:
    """Takes one thread's records in order, as many as each trace entry explains."""

    def __init__(self, records, segments, bases):
        self.records, self.segments, self.bases = records, segments, bases
        self.next = 0
        self.pcs = {}
        self.instruction = self.event = None  # of the newest gather or scatter

    def take(self, entry):
        if self.next >= len(self.records):
            raise Wrong("no record for %s" % (entry,))
        self.next += 1
        return self.records[self.next - 1]

    def expect(self, entry, record, kinds, offset, length, syscall=None):
        good = (record.kind in kinds and record.segment == self.segments[entry.segment] and
                record.offset == offset and record.length == length and
                record.address - self.bases[entry.segment] - offset in PLACES[entry.segment] and
                record.syscall == (0 if syscall is None else syscall + 1))
        if not good:
            raise Wrong("trace %s\n but log %s" % (entry, record))

    def single(self, entry, kinds, before, after, syscall=None):
        record = self.take(entry)
        self.expect(entry, record, kinds, entry.offset, entry.length, syscall)
        if before and record.before != entry.before or after and record.after not in (entry.after, None):
            raise Wrong("values: trace %s\n but log %s" % (entry, record))
        if syscall is None:
            pcs = self.pcs.setdefault((entry.kind, entry.length), set())
            pcs.add(record.pc)
        return record

    def element(self, entry, kind):
        record = self.single(entry, (kind,), kind == shmlog.KIND_READ, kind == shmlog.KIND_WRITE)
        if (entry.other_offset == self.instruction) != (record.event == self.event):
            raise Wrong("event of instruction %d was %s: trace %s\n but log %s, event %d"
                        % (entry.other_offset, self.event, entry, record, record.event))
        self.instruction, self.event = entry.other_offset, record.event

    def pieces(self, entry, first_kind, syscall=None):
        """A copy: records that cover the source in order, the destination in order, or both."""
        got = {"before": b"", "after": b""}
        want = {"before": entry.length if entry.kind in (COPY_OUT, COPY_WITHIN) else 0,
                "after": entry.length if entry.kind in (COPY_IN, COPY_WITHIN) else 0}
        while len(got["before"]) < want["before"] or len(got["after"]) < want["after"]:
            record = self.take(entry)
            side = "before" if record.kind == shmlog.KIND_READ else "after"
            value = record.before if side == "before" else record.after
            part = entry
            start = entry.offset
            if entry.kind == COPY_WITHIN and side == "after":
                part, start = entry._replace(segment=entry.other_segment), entry.other_offset
            self.expect(part, record, (shmlog.KIND_READ, shmlog.KIND_WRITE),
                        start + len(got[side]), record.length, syscall)
            if len(got[side]) + record.length > want[side]:
                raise Wrong("too much copied: trace %s\n but log %s" % (entry, record))
            got[side] += value
        if entry.kind == COPY_IN and got["after"] != entry.after:
            raise Wrong("bytes copied in: trace %s\n but log %s" % (entry, got["after"].hex()))
        if entry.kind == COPY_OUT and got["before"] != entry.before:
            raise Wrong("bytes copied out: trace %s\n but log %s" % (entry, got["before"].hex()))
        overlap = (entry.segment == entry.other_segment and
                   0 < abs(entry.offset - entry.other_offset) < entry.length)
        if entry.kind == COPY_WITHIN and not overlap and got["before"] != got["after"]:
            raise Wrong("copy changed bytes: trace %s\n but log %s" % (entry, got))

    def match(self, entry):
        if entry.kind == READ:
            self.single(entry, (shmlog.KIND_READ,), True, False)
        elif entry.kind == WRITE:
            self.single(entry, (shmlog.KIND_WRITE,), False, True)
        elif entry.kind == ATOMIC:
            # A compare-and-exchange that failed may be logged as the read that it is.
            kinds = ((shmlog.KIND_READ_WRITE, shmlog.KIND_READ) if entry.before == entry.after
                     else (shmlog.KIND_READ_WRITE,))
            self.single(entry, kinds, True, True)
        elif entry.kind == READ_THEN_WRITE:
            self.single(entry, (shmlog.KIND_READ_THEN_WRITE,), True, True)
        elif entry.kind in (GATHER, SCATTER):
            self.element(entry, shmlog.KIND_READ if entry.kind == GATHER else shmlog.KIND_WRITE)
        elif entry.kind == KERNEL_READS:
            self.single(entry, (shmlog.KIND_READ,), True, False, SYS_WRITE)
        elif entry.kind == KERNEL_WRITES:
            self.single(entry, (shmlog.KIND_WRITE,), False, True, SYS_READ)
        else:
            self.pieces(entry, entry.kind)


def records_of(log, trace, segments):
    for (_, pid, tid), records in log.threads.items():
        if pid == trace.pid and tid == trace.tid:
            return [r for r in records if r.segment in segments and r.happened()]
    return []


def check_trace(log, trace, segments, killed):
    records = records_of(log, trace, segments)
    matcher = Matcher(records, segments, trace.bases)
    for number, entry in enumerate(trace.entries):
        try:
            matcher.match(entry)
        except Wrong as wrong:
            raise Wrong("thread %d.%d, access %d: %s" % (trace.pid, trace.tid, number, wrong))
    rest = records[matcher.next:]
    # One access may have completed whose trace entry was not written: records of one event. A copy that
    # overlaps itself, or runs backwards, has two for each element.
    if (rest and not killed) or len({r.event for r in rest}) > 1:
        raise Wrong("thread %d.%d: %d records more than the trace has: %s"
                    % (trace.pid, trace.tid, len(rest), rest[:5]))
    for (kind, length), pcs in matcher.pcs.items():
        limit = {READ: 1, WRITE: 1, ATOMIC: 3, READ_THEN_WRITE: 1, GATHER: 1, SCATTER: 1}[kind]
        if len(pcs) > limit:
            raise Wrong("thread %d.%d: kind %d of %d bytes at %d addresses of code" %
                        (trace.pid, trace.tid, kind, length, len(pcs)))
    return len(records)


# ---- 2, 3: order -----------------------------------------------------------------------------------

def line_pieces(record):
    """(line, version of read, version of write, first byte in the record, bytes) for each line."""
    first = record.offset // 64
    if len(record.versions) == 1:  # nearly all
        return ((first, record.versions[0], record.write_versions[0], 0, record.length),)
    return pieces_of_lines(record, first)


def pieces_of_lines(record, first):
    for index, version in enumerate(record.versions):
        line = first + index
        start = max(record.offset, line * 64)
        end = min(record.offset + record.length, line * 64 + 64)
        yield line, version, record.write_versions[index], start - record.offset, end - start


def check_order(log, killed):
    """Replays every stripe by versions. Returns {segment: bytearray} as the log leaves it."""
    reads = collections.defaultdict(list)
    writes = {}
    taken = set()  # versions that went with an access that did not happen or nobody knows
    relaxed = {segment.index for segment in log.segments.values() if segment.order == 2}
    for records in log.threads.values():
        seen = {}
        for record in records:
            if record.segment in relaxed:
                continue
            for line, read_version, write_version, start, length in line_pieces(record):
                stripe = log.stripe_of(record.segment, line)
                if not line_happened(log, record, stripe, write_version):
                    taken.add((stripe, write_version))
                    continue
                check_progress(record, stripe, read_version, write_version, seen)
                if record.before is not None:
                    reads[stripe, read_version].append((record, start, length))
                if record.after is not None:
                    if (stripe, write_version) in writes:
                        raise Wrong("two writes with version %d of stripe %d:\n%s\n%s" % (
                            write_version, stripe, writes[stripe, write_version][0], record))
                    writes[stripe, write_version] = (record, start, length)
    check_gaps(writes, taken, killed)
    return replay(reads, writes)


def line_happened(log, record, stripe, version):
    """A thread that dies in a store to several lines has done those whose stripe has moved on."""
    if record.state in (shmlog.BEGUN, shmlog.INFERRED):
        return 0 < version < log.next_version(stripe)
    return record.happened()


def check_progress(record, stripe, read_version, write_version, seen):
    if read_version == 0 or write_version == 0:
        raise Wrong("a version is missing: %s" % record)
    version = read_version if record.before is not None else write_version
    if version < seen.get(stripe, 0):
        raise Wrong("version goes back from %d: %s" % (seen[stripe], record))
    seen[stripe] = write_version + 1 if record.after is not None else read_version


def check_gaps(writes, taken, killed):
    versions = collections.defaultdict(list)
    for stripe, version in writes:
        versions[stripe].append(version)
    for stripe, have in versions.items():
        have.sort()
        expected = 1
        for version in have:
            while killed and expected < version and (stripe, expected) in taken:
                expected += 1
            if version != expected:
                raise Wrong("stripe %d: write with version %d is missing, the next has %d"
                            % (stripe, expected, version))
            expected += 1


def replay(reads, writes):
    content = collections.defaultdict(lambda: bytearray(1 << 20))
    times = sorted(set(reads) | set(writes))
    for stripe, version in times:
        for record, start, length in reads.get((stripe, version), ()):
            at = record.offset + start
            have = bytes(content[record.segment][at:at + length])
            if have != record.before[start:start + length]:
                raise Wrong("version %d of stripe %d read %s, but the writes before it left %s: %s" % (
                    version, stripe, record.before[start:start + length].hex(), have.hex(), record))
        if (stripe, version) in writes:
            record, start, length = writes[stripe, version]
            at = record.offset + start
            content[record.segment][at:at + length] = record.after[start:start + length]
    return content


# ---- all -------------------------------------------------------------------------------------------

def check_usage(log):
    counted = collections.Counter()
    for (process, _, _), records in log.threads.items():
        for record in records:
            if record.happened():
                counted[process, record.segment, "reads"] += record.before is not None
                counted[process, record.segment, "writes"] += record.after is not None
                counted[process, record.segment, "kernel"] += record.syscall != 0
    for usage in log.usage:
        for what in "reads", "writes", "kernel":
            have, want = getattr(usage, what), counted[usage.process, usage.segment, what]
            if have != want:
                raise Wrong("usage of segment %d by process %d: %d %s, but %d records"
                            % (usage.segment, usage.process, have, what, want))


def check(log_data, directory, killed=False):
    """`log_data` is the log's path or bytes. Returns a line that says how much agreed; raises Wrong."""
    log = shmlog.Log(log_data)
    lost = {reason: count for reason, count in log.losses.items() if count and
            not (killed and reason.startswith("stripes"))}
    if lost:
        raise Wrong("losses: %s" % lost)
    accesses = 0
    traces = []
    for path in sorted(glob.glob(os.path.join(directory, "trace.*"))):
        try:
            traces.append(Trace(path))
        except EOFError:
            continue  # killed before it wrote its head
    segments = None
    for trace in traces:
        if not trace.entries:
            continue
        segments = segments or oracle_segments(log, trace)
        accesses += check_trace(log, trace, segments, killed)
    content = check_order(log, killed)
    if not killed:
        check_usage(log)
        for index in 1, 2:
            final = open(os.path.join(directory, "content.%d" % index), "rb").read()
            if content[segments[index]][:len(final)] != final:
                raise Wrong("segment %d's content at the end is not what the log leads to" % index)
    return "%d threads, %d trace entries, %d records agree" % (
        len(traces), sum(len(t.entries) for t in traces), accesses)


def damage(data, record, how):
    """Changes the record; returns whether it is one that can be changed this way."""
    commit, = struct.unpack_from("<I", data, record.at)
    if record.kind not in (shmlog.KIND_READ, shmlog.KIND_WRITE) or record.state != shmlog.COMMITTED:
        return False
    if how == "version" and record.kind != shmlog.KIND_WRITE:
        return False  # a read between two writes of other bytes of the line fits either version
    if how == "value":
        data[record.values_at] ^= 0x10
    elif how == "version":
        struct.pack_into("<Q", data, record.versions_at, record.versions[0] + 1)
    elif how == "gone":
        struct.pack_into("<I", data, record.at, commit & 0xFFFFFF | shmlog.ABORTED << 24)
    elif how == "offset":
        data[record.offset_at] ^= 1
    elif how == "kind":
        struct.pack_into("<I", data, record.at, commit ^ 3 << 16)
    return True


def check_mutations(log_path, directory, count, seed):
    """A damaged log must not pass."""
    data = open(log_path, "rb").read()
    log = shmlog.Log(log_path)
    trace = next(t for t in map(Trace, sorted(glob.glob(os.path.join(directory, "trace.*")))) if t.entries)
    segments = set(oracle_segments(log, trace))
    records = [r for r in log.records() if r.segment in segments]
    ways = ["value", "version", "gone", "offset", "kind"]
    chance = random.Random(seed)
    done = 0
    while done < count:
        mutated = bytearray(data)
        record, how = chance.choice(records), ways[done % len(ways)]
        if not damage(mutated, record, how):
            continue
        done += 1
        try:
            check(mutated, directory)
        except (Wrong, ValueError):
            continue
        raise Wrong("the record at %d of the log was damaged (%s), and nothing was noticed" % (record.at, how))
    return done


def run_directory(spool):
    found = glob.glob(os.path.join(spool, "*", "run.shmlog"))
    if len(found) != 1:
        raise Wrong("%d run directories in %s, expected 1" % (len(found), spool))
    return os.path.dirname(found[0])


def record_and_check(options):
    top = tempfile.mkdtemp(prefix="shmrec-oracle-")
    traces, spool = os.path.join(top, "traces"), os.path.join(top, "spool")
    os.makedirs(traces)
    command = [options.shmrec, "run", "-q", "--keep-spool", "-o", os.path.join(top, "bundle.shmrec.tar.zst"),
               "--spool", spool, *(["--slow"] if options.slow else []), "--",
               os.path.abspath(options.oracle), traces, str(options.seed),
               str(options.processes), str(options.threads), str(options.operations)]
    try:
        status = subprocess.run(command, cwd=top, timeout=options.timeout,
                                env=dict(os.environ, SHMREC_LOG_SIZE="48MiB")).returncode
        if status != 0:
            raise Wrong("exit status %d" % status)
        log = os.path.join(run_directory(spool), "run.shmlog")
        print("oracle, seed %d: %s" % (options.seed, check(log, traces)))
        print("%d damaged logs noticed" % check_mutations(log, traces, options.mutations, options.seed))
    except (Wrong, subprocess.TimeoutExpired, ValueError) as wrong:
        print("FAILED: %s\nkept: %s\nrepeat: %s\ncheck again: %s --check %s/*/run.shmlog %s" % (
            wrong, top, " ".join(command), sys.argv[0], spool, traces))
        return 1
    shutil.rmtree(top)
    return 0


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--shmrec", default="shmrec")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--operations", type=int, default=3000)
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--check", nargs=2, metavar=("LOG", "DIRECTORY"))
    parser.add_argument("--killed", action="store_true")
    parser.add_argument("oracle", nargs="?")
    options = parser.parse_args()
    if options.check:
        try:
            print(check(*options.check, killed=options.killed))
            return 0
        except (Wrong, ValueError) as wrong:
            print("FAILED: %s" % wrong)
            return 1
    if not options.oracle:
        print(__doc__, file=sys.stderr)
        return 2
    return record_and_check(options)


if __name__ == "__main__":
    sys.exit(main())
