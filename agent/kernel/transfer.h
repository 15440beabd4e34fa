// The bytes that one call moves into or out of segments without a mapping, and their records: those
// that are written ahead of the call, and those that are made when it has returned. What the calls
// move is found out in descriptors.cc; the kinds of records are in shmlog_format.h (kReadBetween,
// kWriteBetween).
//
// Threads: the calling one. Ownership: a Transfer and all it points to lie in the bounce arena of
// the call (bounce.h) and go with it.
#pragma once

#include "agent/kernel/syscalls.h"
#include "agent/log/log.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

constexpr int kUnknownFile = -1;

struct Vector {
  uint64_t base, bytes;
};

// Where the bytes come from that the call moves, as far as they can be looked at.
struct TransferSource {
  const Vector* vectors = nullptr;  // memory, in the agent's address space
  uint64_t vector_count = 0;
  int fd = kUnknownFile;  // a file, from `position` on
  uint64_t position = 0;
  bool zeros = false;
  bool known() const { return vectors || fd != kUnknownFile || zeros; }
};

// Bytes of one segment that the call reads or writes.
struct TransferRange {
  uint32_t segment;
  bool write;
  uint64_t offset;  // in the segment
  uint64_t bytes;   // at most
  uint64_t index;   // of its first byte among those that the call moves
  uint64_t* first;  // versions before the call, of those lines that no record ahead has
  uint64_t first_line, first_count;
  RecordAhead* ahead;  // write: records written before it
  uint32_t ahead_count;
  uint64_t address;  // of the program's mapping by which it is reached; 0: by none
};

struct Transfer {
  static constexpr uint32_t kMaxRanges = 64;
  const syscalls::FileRule* rule;
  uint32_t range_count;
  TransferRange ranges[kMaxRanges];
  Vector plain;
  TransferSource source;  // of what is written, before the call
  TransferSource after;   // of what was read or written, after it; used if that above is not known
  int moved = kUnknownFile;  // descriptor whose position the call moves, in which range
  uint32_t moved_range = 0;
  bool all = false;        // the result does not count bytes: success means all of them
  int32_t memory_of = 0;   // /proc/PID/mem, which is read and written piece by piece
  uint64_t memory_at = 0;  // where there
};

// An empty one; null if memory is out.
Transfer* transfer_new(Thread* thread);
// Null: nothing to add (reads of a segment of which only writes are traced), or no room.
TransferRange* transfer_add(Transfer* transfer, uint32_t segment, bool write, uint64_t offset,
                            uint64_t bytes, uint64_t index);
// Before the call: writes records ahead, and notes the versions of lines that get none.
void transfer_ahead(Thread* thread, Transfer* transfer);
// Notes the versions of all lines of the range that lie at or behind its byte `from`.
void transfer_note_versions(Thread* thread, TransferRange& range, uint64_t from);
// After it: its first `done` bytes have been moved.
void transfer_finish(Thread* thread, const Transfer& transfer, TransferRange& range, uint64_t done);
// The records ahead from number `from` on did not happen.
void transfer_abort(Thread* thread, const TransferRange& range, uint32_t from);

}  // namespace shmrec::agent
