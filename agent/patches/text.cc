#include "agent/patches/text.h"

#include <linux/fcntl.h>
#include <linux/mman.h>

namespace shmrec::agent {
namespace {

constexpr int kSyncCore = 32, kRegisterSyncCore = 64;  // MEMBARRIER_CMD_PRIVATE_EXPEDITED_...

// As a debugger does it. An opened descriptor would be that of another memory after a fork.
bool write_through_file(uint64_t address, const void* bytes, uint64_t count) {
  const int64_t fd = sys(__NR_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
  if (failed(fd)) return false;
  const int64_t written = sys(__NR_pwrite64, fd, bytes, count, address);
  sys(__NR_close, fd);
  return written == static_cast<int64_t>(count);
}

int (*protection_of)(uint64_t address) = nullptr;

// Where the file is not there or refused, as to a program that has changed its user.
bool write_through_protection(uint64_t address, const void* bytes, uint64_t count) {
  const uint64_t begin = page_down(address), pages = page_up(address + count) - begin;
  const int before = protection_of ? protection_of(address) : PROT_READ | PROT_EXEC;
  if (before & PROT_WRITE) return safe_copy(reinterpret_cast<void*>(address), bytes, count);
  if (failed(sys(__NR_mprotect, begin, pages, PROT_READ | PROT_WRITE | PROT_EXEC))) return false;
  const bool ok = safe_copy(reinterpret_cast<void*>(address), bytes, count);
  sys(__NR_mprotect, begin, pages, before);
  return ok;
}

bool fetch_anew() {
  if (!failed(sys(__NR_membarrier, kSyncCore, 0, 0))) return true;
  return !failed(sys(__NR_membarrier, kRegisterSyncCore, 0, 0)) &&
         !failed(sys(__NR_membarrier, kSyncCore, 0, 0));
}

}  // namespace

void text_know_protection(int (*of)(uint64_t address)) { protection_of = of; }

void text_start() { sys(__NR_membarrier, kRegisterSyncCore, 0, 0); }

bool text_write(uint64_t address, const void* bytes, uint64_t count) {
  return write_through_file(address, bytes, count) ||
         write_through_protection(address, bytes, count);
}

namespace {

struct Replacement {
  uint64_t address;
  uint32_t count;

  // Writes those of the bytes whose bit is set.
  bool write(const uint8_t* bytes, uint32_t which) const {
    for (uint32_t i = 0; i < count; ++i)
      if ((which >> i & 1) && !text_write(address + i, bytes + i, 1)) return false;
    return true;
  }
  // The same as a step of its own.
  bool step(const uint8_t* bytes, uint32_t which) const {
    return !which || (write(bytes, which) && fetch_anew());
  }
};

constexpr uint8_t kBreakpoints[8] = {kBreakpoint, kBreakpoint, kBreakpoint, kBreakpoint,
                                     kBreakpoint, kBreakpoint, kBreakpoint, kBreakpoint};

}  // namespace

// What is written in one step is no part of an instruction that begins at another byte of it or of
// a later step: half of that a processor may have fetched. The first one goes alone, as the others
// may be bytes of the jump that it begins. Alone, the return from the signal in which this is done
// makes the processor fetch anew.
bool text_replace(uint64_t address, const uint8_t* from, const uint8_t* to, uint32_t count,
                  Arrivals arrivals, bool alone) {
  if (alone) return text_write(address, to, count);
  const Replacement replacement = {address, count};
  const uint32_t first = 1, others = arrivals.starts & ~first, inner = arrivals.inner;
  const uint32_t between = ~(first | others | inner);
  if (!fetch_anew()) return false;
  const bool done = replacement.step(kBreakpoints, first) &&
                    replacement.step(kBreakpoints, others) &&
                    replacement.step(kBreakpoints, inner) && replacement.step(to, between);
  // What has been possible so far is possible now: the breakpoints do not stay.
  if (!done) replacement.step(from, between);
  const uint8_t* const last = done ? to : from;
  replacement.step(last, inner);
  replacement.step(last, others);
  replacement.step(last, first);
  return done;
}

}  // namespace shmrec::agent
