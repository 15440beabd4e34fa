// What is known of accesses that were made by a patched site: quick.S (arch/x86_64/) makes those
// that are like one of them by itself, and C++ (fast.cc) any other, which leaves here what the next
// one needs.
//
// A QuickSite is for a stub's part with one stack pointer. It has its place, which is written into
// each chunk of the log that it is used in: by quick.S if its callers are the same, else here.
//
// Owner: each thread has its own table, mapped when it is first needed. Threads: the calling one.
#pragma once

#include "agent/process/thread.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

constexpr uint32_t kMaxFastBytes = 32;
static_assert(1 << (kQuickSizes - 1) == kMaxFastBytes);

// An access that can be made, with its record.
struct Access {
  Thread* thread;
  const Site& site;
  uint64_t stack = 0, frame = 0;  // the program's rsp and rbp
  uint64_t address = 0, alias = 0, offset = 0;
  uint32_t bytes = 0;
  uint32_t stripe = 0;
  bool relaxed = false;
  shmlog::UsageEntry* usage = nullptr;
  uint32_t record_bytes = 0;
  shmlog::ShortRecord* record = nullptr;

  uint64_t* version() const { return reinterpret_cast<uint64_t*>(record + 1); }
  uint64_t* value() const { return version() + 1; }
};

// The QuickSite of the access, with its place in the thread's chunk, which has room for a record
// behind it; null: it cannot be had.
const QuickSite* place_of(const Access& access);
// The access reads where only writes are recorded: others like it read as alone.
void read_is_plain(const Access& access);

}  // namespace shmrec::agent
