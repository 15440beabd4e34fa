"""Reads a shared-memory log as docs/shmlog_format.md describes it: a second, independent reader, for
tests that must not trust the first. Keeps everything in memory; meant for small logs."""

import collections
import struct

(KIND_READ, KIND_WRITE, KIND_READ_WRITE, KIND_READ_THEN_WRITE, KIND_CLOCK, KIND_READ_BETWEEN,
 KIND_WRITE_BETWEEN, KIND_PLACE, KIND_SHORT_READ, KIND_SHORT_WRITE, KIND_SHORT_READ_WRITE,
 KIND_SHORT_READ_THEN_WRITE) = range(1, 13)
LONG_KINDS = {KIND_SHORT_READ: KIND_READ, KIND_SHORT_WRITE: KIND_WRITE,
              KIND_SHORT_READ_WRITE: KIND_READ_WRITE, KIND_SHORT_READ_THEN_WRITE: KIND_READ_THEN_WRITE}
BEGUN, COMMITTED, ABORTED, INFERRED = range(1, 5)
READY, FULL, BUSY = 2, 3, 4
SEGMENT_ANONYMOUS, SEGMENT_POSIX_SHM, SEGMENT_MEMFD, SEGMENT_SYSV, SEGMENT_FILE = range(1, 6)
LOSSES = ["records overwritten", "chunks overwritten", "records dropped", "journal dropped",
          "processes dropped", "lanes dropped", "segments dropped", "usage dropped",
          "stripes stolen", "stripes recovered", "journal overwritten", "processes overwritten",
          "usage overwritten", "segments overwritten"]

HEADER = struct.Struct("<IQQQQIHH")  # of a record behind its first word
SHORT = struct.Struct("<IQ")

Area = collections.namedtuple("Area", "offset count entry_bytes")
Segment = collections.namedtuple("Segment", "index kind device inode name mode order")
Process = collections.namedtuple("Process", "index pid parent_pid degraded accesses name")
Usage = collections.namedtuple("Usage", "process segment reads writes kernel")


class Record:
    """An access. `versions` has one per line; `write_versions` is the same list but for a
    read-then-write, and for accesses by descriptor, which happened between the two. `before` is what was
    read, `after` what was written; None if there is no such. Short records are given as long ones.

    Where it is said, in the file: `at` the record, `offset_at` the low bytes of its offset, `versions_at`,
    `values_at`."""
    __slots__ = ("kind", "state", "segment", "offset", "address", "pc", "event", "length", "syscall",
                 "flags", "versions", "write_versions", "before", "after", "callers",
                 "at", "offset_at", "versions_at", "values_at")

    def happened(self):
        return self.state in (COMMITTED, INFERRED)

    def __repr__(self):
        return ("Record(kind=%d state=%d segment=%d offset=%d length=%d syscall=%d versions=%s/%s "
                "before=%s after=%s pc=%#x)" % (
                    self.kind, self.state, self.segment, self.offset, self.length, self.syscall,
                    self.versions, self.write_versions, self.before and self.before.hex(),
                    self.after and self.after.hex(), self.pc))


class Log:
    def __init__(self, data):
        """`data`: the file's bytes, or its path."""
        if isinstance(data, str):
            with open(data, "rb") as file:
                data = file.read()
        self.data = data
        if data[:8] != b"SHMRLOG1":
            raise ValueError("not a finished shared-memory log")
        areas = [Area(*struct.unpack_from("<QII", data, 64 + 16 * i)) for i in range(8)]
        (_, self.stripes, self._processes, self._lanes, self._segments, self._usage, _,
         self._chunks) = areas
        self.losses = dict(zip(LOSSES, struct.unpack_from("<%dQ" % len(LOSSES), data, 448)))
        self.segments = {s.index: s for s in self._read_segments()}
        self.processes = {p.index: p for p in self._read_processes()}
        self.usage = list(self._read_usage())
        self.threads = self._read_threads()

    def _entries(self, area):
        for index in range(1, area.count):
            yield index, area.offset + index * area.entry_bytes

    def _read_segments(self):
        for index, at in self._entries(self._segments):
            state, kind, device, inode = struct.unpack_from("<IIQQ", self.data, at)
            if state in (2, 3):
                mode, order = struct.unpack_from("<II", self.data, at + 40)
                name = self.data[at + 56:at + 256].split(b"\0")[0].decode(errors="replace")
                number, = struct.unpack_from("<I", self.data, at + 360)
                yield Segment(number, kind, device, inode, name, mode, order)

    def _read_processes(self):
        for index, at in self._entries(self._processes):
            state, _, _, pid, parent_pid = struct.unpack_from("<IIIii", self.data, at)
            if state in (2, 3):
                degraded, = struct.unpack_from("<I", self.data, at + 36)
                accesses, = struct.unpack_from("<Q", self.data, at + 64)
                name = self.data[at + 72:at + 104].split(b"\0")[0].decode(errors="replace")
                number, = struct.unpack_from("<I", self.data, at + 120)
                yield Process(number, pid, parent_pid, degraded, accesses, name)

    def _read_usage(self):
        for _, at in self._entries(self._usage):
            usage = Usage(*struct.unpack_from("<IIQQQ", self.data, at))
            if usage.process not in (0, 0xFFFFFFFF):
                yield usage

    def _read_threads(self):
        """{(process index, pid, tid): [Record, ...] in program order}"""
        chunks = []
        for index in range(self._chunks.count):
            at = self._chunks.offset + index * self._chunks.entry_bytes
            magic, state, ticket, process, _, pid, tid = struct.unpack_from("<IIQIIii", self.data, at)
            if magic == 0x4B4E4843 and state & 0xFF in (READY, FULL, BUSY):
                chunks.append((ticket, (process, pid, tid), at))
        threads = collections.defaultdict(list)
        for _, thread, at in sorted(chunks):
            threads[thread].extend(self._read_chunk(at))
        return dict(threads)

    def chunk_area(self):
        """Where the chunks begin, and how long each is."""
        return self._chunks.offset, self._chunks.entry_bytes

    def records(self):
        return [record for records in self.threads.values() for record in records]

    def _read_chunk(self, start):
        self._places = {}  # of this chunk, by where they are
        at, end = start + 64, start + self._chunks.entry_bytes
        while at + 8 <= end:
            commit, = struct.unpack_from("<I", self.data, at)
            size, kind = (commit & 0xFFFF) * 8, commit >> 16 & 0xFF
            if commit == 0:
                return
            if size == 0 or at + size > end or not KIND_READ <= kind <= KIND_SHORT_READ_THEN_WRITE:
                raise ValueError("chunk at %d: bad record %#x at +%d" % (start, commit, at - start))
            if kind in LONG_KINDS:
                yield self._read_values(self._read_short(start, at), LONG_KINDS[kind], commit, at + size)
            elif kind not in (KIND_CLOCK, KIND_PLACE):
                r = self._read_header(at)
                callers = r.flags >> 8 & 7
                yield self._read_values(r, kind, commit, at + size - 8 * callers)
                r.callers = struct.unpack_from("<%dQ" % callers, self.data, at + size - 8 * callers)
            at += size

    def _read_header(self, at):
        r = Record()
        r.at, r.offset_at, r.versions_at = at, at + 8, at + 48
        (r.segment, r.offset, r.address, r.pc, r.event, r.length, r.syscall,
         r.flags) = HEADER.unpack_from(self.data, at + 4)
        return r

    def _read_short(self, chunk, at):
        offset, word = SHORT.unpack_from(self.data, at + 4)
        place = chunk + (word >> 48) * 8
        r = Record()
        (r.segment, r.offset, r.address, r.pc, r.event, r.length, r.syscall, r.flags, r.callers) = (
            self._places.get(place) or self._read_place(chunk, at, place))
        r.at, r.offset_at, r.versions_at = at, at + 4, at + 16
        r.offset, r.address = (r.offset + offset) % 2**64, (r.address + offset) % 2**64
        r.event = word & 2**48 - 1
        if r.offset // 64 != (r.offset + r.length - 1) // 64:
            raise ValueError("short record at %d: of several lines" % at)
        return r

    def _read_place(self, chunk, at, place):
        commit = struct.unpack_from("<I", self.data, place)[0] if chunk + 64 <= place < at else 0
        if commit >> 16 != COMMITTED << 8 | KIND_PLACE:
            raise ValueError("record at %d: no place at %d" % (at, place))
        header = HEADER.unpack_from(self.data, place + 4)
        callers, end = header[-1] >> 8 & 7, place + (commit & 0xFFFF) * 8
        if end > at or end < place + 48 + 8 * callers:
            raise ValueError("record at %d: its place at %d has a wrong size" % (at, place))
        self._places[place] = (*header, struct.unpack_from("<%dQ" % callers, self.data, end - 8 * callers))
        return self._places[place]

    def _read_values(self, r, kind, commit, end):
        r.kind, r.state = kind, commit >> 24
        if not 1 <= r.length <= 4096 or r.offset > 2**62:
            raise ValueError("record at %d: %d bytes at offset %d" % (r.at, r.length, r.offset))
        lines = (r.offset + r.length - 1) // 64 - r.offset // 64 + 1
        values = r.versions_at + 8 * lines
        r.versions = r.write_versions = struct.unpack_from("<%dQ" % lines, self.data, r.versions_at)
        if kind in (KIND_READ_THEN_WRITE, KIND_READ_BETWEEN, KIND_WRITE_BETWEEN):
            r.write_versions = struct.unpack_from("<%dQ" % lines, self.data, values)
            values += 8 * lines
        r.values_at = values
        r.before = r.after = None
        first = self.data[values:values + r.length]
        if kind in (KIND_READ, KIND_READ_BETWEEN):
            r.before = first
        elif kind in (KIND_WRITE, KIND_WRITE_BETWEEN):
            r.after = first
        else:
            r.before, r.after = first, self.data[values + r.length:values + 2 * r.length]
            values += r.length
        if values + r.length > end:
            raise ValueError("record at %d: %d bytes do not hold %d lines and %d bytes of value"
                             % (r.at, end - r.at, lines, r.length))
        return r

    def next_version(self, stripe):
        """What the next write to the stripe will have as its version; that of a write in progress."""
        return (struct.unpack_from("<Q", self.data, self.stripes.offset + 8 * stripe)[0] >> 24) + 1

    def stripe_of(self, segment, line):
        return (segment * 0x9E3779B1 + line) & (self.stripes.count - 1)
