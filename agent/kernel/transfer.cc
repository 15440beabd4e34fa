#include "agent/kernel/transfer.h"

#include "agent/access/stripes.h"
#include "agent/kernel/bounce.h"
#include "agent/memory/callers.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxAhead = 256;    // records of one call that are written ahead
constexpr uint64_t kMaxFirst = 16384;  // lines of a read whose version before it is kept

// ---- Looking at bytes ---------------------------------------------------------------------------

bool read_vectors(const TransferSource& source, uint64_t index, uint8_t* to, uint64_t bytes) {
  for (uint64_t i = 0; i < source.vector_count && bytes; ++i) {
    const Vector& vector = source.vectors[i];
    if (index >= vector.bytes) {
      index -= vector.bytes;
      continue;
    }
    const uint64_t part = min(bytes, vector.bytes - index);
    if (peek(to, vector.base + index, part) != part) return false;
    to += part, bytes -= part, index = 0;
  }
  return !bytes;
}

bool read_source(const TransferSource& source, uint64_t index, uint8_t* to, uint64_t bytes) {
  if (source.vectors) return read_vectors(source, index, to, bytes);
  if (source.zeros) {
    memset(to, 0, bytes);
    return true;
  }
  return source.fd != kUnknownFile && sys(__NR_pread64, source.fd, to, bytes,
                                          source.position + index) == static_cast<int64_t>(bytes);
}

// What the segment holds, for calls whose source is gone: through the program's own mapping.
bool read_mapping(Thread* thread, const TransferRange& range, uint64_t offset, uint8_t* to,
                  uint64_t bytes) {
  Region region;
  Fault fault;
  RegionUse use(thread);
  return region_of_segment(range.segment, offset, bytes, &region) &&
         safe_copy(to, reinterpret_cast<void*>(region.alias + (offset - region.segment_offset)),
                   bytes, &fault);
}

// ---- Records ------------------------------------------------------------------------------------

bool relaxed(uint32_t segment) {
  return segment_entry(segment).order == static_cast<uint32_t>(Order::kRelaxed);
}

// The version that a line has now, as records have it.
uint64_t version_now(uint32_t segment, uint64_t offset) {
  if (relaxed(segment)) return rdtsc();
  return stripe_version(stripe_peek(stripe_index(segment, offset))) + 1;
}

uint64_t line_start(uint64_t offset, uint32_t line) {
  return line ? (offset / kLineBytes + line) * kLineBytes : offset;
}

// The part of [offset, offset + bytes) that goes into one record.
uint64_t piece_bytes(uint64_t offset, uint64_t bytes) { return min(bytes, kPage - offset % kPage); }

struct Draft {
  uint8_t* at;
  uint32_t bytes;
  RecordKind kind;
  RecordHeader& header() const { return *reinterpret_cast<RecordHeader*>(at); }
  uint32_t lines() const { return lines_touched(header().offset, header().length); }
  uint64_t* first() const { return reinterpret_cast<uint64_t*>(at + sizeof(RecordHeader)); }
  uint64_t* last() const { return first() + lines(); }
  uint8_t* value() const { return reinterpret_cast<uint8_t*>(last() + lines()); }
};

Draft draft(Thread* thread, const TransferRange& range, uint64_t offset, uint64_t bytes) {
  const uint32_t length = static_cast<uint32_t>(bytes);
  const RecordKind kind = range.write ? RecordKind::kWriteBetween : RecordKind::kReadBetween;
  const Origin origin = call_origin(thread);
  const Callers& callers = callers_of(thread, origin.pc, origin.stack, origin.frame);
  Draft record = {nullptr, record_bytes(kind, offset, length, callers.count), kind};
  const uint32_t versions = 2 * lines_touched(offset, length) * 8;
  const uint32_t value = static_cast<uint32_t>(sizeof(RecordHeader)) + versions;
  record.at = record_reserve(thread, record.bytes, {value, value + length});
  RecordHeader& header = record.header();
  header.segment = range.segment;
  header.offset = offset;
  header.address = range.address ? range.address + (offset - range.offset) : 0;
  header.pc = origin.pc;
  header.event = origin.event;
  header.length = length;
  header.syscall = origin.syscall;
  header.flags = relaxed(range.segment) ? kFlagRelaxed : 0;
  put_callers(callers, header, record.at + record.bytes);
  return record;
}

// Takes a version for each line, now that the kernel has been there.
void take_versions(Thread* thread, const Draft& record, bool write) {
  const RecordHeader& header = record.header();
  uint64_t* last = record.last();
  for (uint32_t line = 0, lines = record.lines(); line < lines; ++line) {
    const uint64_t offset = line_start(header.offset, line);
    if (header.flags & kFlagRelaxed) {
      last[line] = rdtsc();
      continue;
    }
    const uint32_t stripe = stripe_index(header.segment, offset);
    if (!write) {
      last[line] = stripe_version(stripe_wait(thread, stripe)) + 1;
      continue;
    }
    const uint64_t version = stripe_lock(thread, 0, stripe);
    store(&last[line], version);
    stripe_unlock(thread, 0, true);
  }
}

void count(Thread* thread, const TransferRange& range, uint64_t records) {
  UsageEntry* usage = usage_enter(thread->process, range.segment);
  fetch_add(range.write ? &usage->writes : &usage->reads, records);
  fetch_add(&usage->kernel, records);
}

// Logs what has happened to the bytes [begin, end) of the range, counted from its start.
uint64_t log_after(Thread* thread, const Transfer& transfer, const TransferRange& range,
                   uint64_t begin, uint64_t end) {
  uint64_t records = 0;
  for (uint64_t at = begin; at < end;) {
    const uint64_t offset = range.offset + at, bytes = piece_bytes(offset, end - at);
    const Draft record = draft(thread, range, offset, bytes);
    const bool known = read_source(transfer.source, range.index + at, record.value(), bytes) ||
                       read_source(transfer.after, range.index + at, record.value(), bytes) ||
                       read_mapping(thread, range, offset, record.value(), bytes);
    if (!known) {
      record_abandon(thread, record.at);
      coverage(thread->process, "a transfer into traced memory could not be looked at afterwards");
      return records;
    }
    const uint64_t line = offset / kLineBytes - range.first_line;
    for (uint32_t i = 0; i < record.lines(); ++i)
      record.first()[i] = range.first && line + i < range.first_count ? range.first[line + i] : 1;
    record_begin(thread, record.at, record.bytes, record.kind);
    take_versions(thread, record, range.write);
    record_commit(thread, record.at, record.bytes, record.kind);
    at += bytes, ++records;
  }
  return records;
}

// ---- Before the call ----------------------------------------------------------------------------

// Returns how many bytes of the range have a record now.
uint64_t write_ahead(Thread* thread, const Transfer& transfer, TransferRange& range) {
  if (!transfer.source.known()) return 0;
  range.ahead = static_cast<RecordAhead*>(bounce_memory(thread, kMaxAhead * sizeof(RecordAhead)));
  uint64_t at = 0;
  while (range.ahead && at < range.bytes && range.ahead_count < kMaxAhead) {
    const uint64_t offset = range.offset + at, bytes = piece_bytes(offset, range.bytes - at);
    const Draft record = draft(thread, range, offset, bytes);
    if (record.at == thread->spare_record ||
        !read_source(transfer.source, range.index + at, record.value(), bytes)) {
      record_abandon(thread, record.at);
      return at;
    }
    for (uint32_t i = 0; i < record.lines(); ++i)
      record.first()[i] = version_now(range.segment, line_start(offset, i));
    range.ahead[range.ahead_count++] = record_ahead(thread, record.at, record.bytes, record.kind);
    at += bytes;
  }
  return at;
}

}  // namespace

Transfer* transfer_new(Thread* thread) {
  Transfer* transfer = static_cast<Transfer*>(bounce_memory(thread, sizeof(Transfer)));
  if (transfer) *transfer = Transfer{};
  return transfer;
}

TransferRange* transfer_add(Transfer* transfer, uint32_t segment, bool write, uint64_t offset,
                            uint64_t bytes, uint64_t index) {
  if (!bytes || transfer->range_count == Transfer::kMaxRanges) return nullptr;
  if (!write && segment_writes_only(segment)) return nullptr;
  TransferRange& range = transfer->ranges[transfer->range_count++];
  range = {segment, write, offset, bytes, index, nullptr, 0, 0, nullptr, 0, 0};
  return &range;
}

void transfer_note_versions(Thread* thread, TransferRange& range, uint64_t from) {
  if (from >= range.bytes) return;
  const uint64_t begin = range.offset + from, end = range.offset + range.bytes;
  range.first_line = begin / kLineBytes;
  range.first_count = min((end - 1) / kLineBytes - range.first_line + 1, kMaxFirst);
  range.first = static_cast<uint64_t*>(bounce_memory(thread, range.first_count * 8));
  for (uint64_t i = 0; range.first && i < range.first_count; ++i)
    range.first[i] = version_now(range.segment, line_start(begin, static_cast<uint32_t>(i)));
}

void transfer_ahead(Thread* thread, Transfer* transfer) {
  for (uint32_t i = 0; i < transfer->range_count; ++i) {
    TransferRange& range = transfer->ranges[i];
    transfer_note_versions(thread, range, range.write ? write_ahead(thread, *transfer, range) : 0);
  }
}

// ---- After the call -----------------------------------------------------------------------------

void transfer_abort(Thread* thread, const TransferRange& range, uint32_t from) {
  for (uint32_t i = from; i < range.ahead_count; ++i)
    if (record_resume(thread, range.ahead[i]))
      record_settle(thread, range.ahead[i], RecordState::kAborted);
}

namespace {

// The record that covers the end of what was done says when that can have begun.
void keep_versions(Thread* thread, TransferRange& range, const Draft& record) {
  const uint32_t lines = record.lines();
  range.first = static_cast<uint64_t*>(bounce_memory(thread, lines * 8));
  range.first_line = record.header().offset / kLineBytes;
  range.first_count = lines;
  if (range.first) memcpy(range.first, record.first(), lines * 8);
}

// Makes those records final that lie within the first `done` bytes. Returns how many bytes they
// cover.
uint64_t finish_ahead(Thread* thread, TransferRange& range, uint64_t done) {
  uint64_t covered = 0;
  uint32_t i = 0;
  for (; i < range.ahead_count; ++i) {
    const RecordAhead& ahead = range.ahead[i];
    if (!record_resume(thread, ahead)) break;
    const Draft record = {ahead.record, 0, RecordKind::kWriteBetween};
    const uint64_t length = record.header().length;
    if (covered + length > done) {
      if (covered < done) keep_versions(thread, range, record);
      record_settle(thread, ahead, RecordState::kAborted);
      break;
    }
    take_versions(thread, record, true);
    record_settle(thread, ahead, RecordState::kCommitted);
    covered += length;
  }
  if (i) count(thread, range, i);
  transfer_abort(thread, range, i);
  return covered;
}

}  // namespace

void transfer_finish(Thread* thread, const Transfer& transfer, TransferRange& range,
                     uint64_t done) {
  const uint64_t covered = finish_ahead(thread, range, done);
  const uint64_t records = log_after(thread, transfer, range, covered, done);
  if (records) count(thread, range, records);
}

}  // namespace shmrec::agent
