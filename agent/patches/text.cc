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

// Where the file is not there or refused, as to a program that has changed its user.
bool write_through_protection(uint64_t address, const void* bytes, uint64_t count) {
  const uint64_t begin = page_down(address), pages = page_up(address + count) - begin;
  if (failed(sys(__NR_mprotect, begin, pages, PROT_READ | PROT_WRITE | PROT_EXEC))) return false;
  const bool ok = safe_copy(reinterpret_cast<void*>(address), bytes, count);
  sys(__NR_mprotect, begin, pages, PROT_READ | PROT_EXEC);
  return ok;
}

bool fetch_anew() {
  if (!failed(sys(__NR_membarrier, kSyncCore, 0, 0))) return true;
  return !failed(sys(__NR_membarrier, kRegisterSyncCore, 0, 0)) &&
         !failed(sys(__NR_membarrier, kSyncCore, 0, 0));
}

}  // namespace

void text_start() { sys(__NR_membarrier, kRegisterSyncCore, 0, 0); }

bool text_write(uint64_t address, const void* bytes, uint64_t count) {
  return write_through_file(address, bytes, count) ||
         write_through_protection(address, bytes, count);
}

namespace {

struct Replacement {
  uint64_t address;
  uint32_t count, firsts;

  // Writes those of the bytes whose bit is set.
  bool write(const uint8_t* bytes, uint32_t which) const {
    for (uint32_t i = 0; i < count; ++i)
      if ((which >> i & 1) && !text_write(address + i, bytes + i, 1)) return false;
    return true;
  }
};

}  // namespace

// Alone, the return from the signal in which this is done makes the processor fetch anew.
bool text_replace(uint64_t address, const uint8_t* from, const uint8_t* to, uint32_t count,
                  uint32_t firsts, bool alone) {
  static constexpr uint8_t kBreakpoints[8] = {kBreakpoint, kBreakpoint, kBreakpoint, kBreakpoint,
                                              kBreakpoint, kBreakpoint, kBreakpoint, kBreakpoint};
  const Replacement replacement = {address, count, firsts};
  if (alone) return text_write(address, to, count);
  if (!fetch_anew()) return false;
  // The first one alone: the others may be bytes of its instruction, half of which a processor may
  // have fetched.
  const uint32_t others = firsts & ~1u;
  const bool done = replacement.write(kBreakpoints, 1) && fetch_anew() &&
                    (!others || (replacement.write(kBreakpoints, others) && fetch_anew())) &&
                    replacement.write(to, ~firsts) && fetch_anew();
  if (!done) replacement.write(from, ~firsts);
  // What has been possible so far is possible now: the breakpoints do not stay. The first one goes
  // last, as it came first.
  replacement.write(done ? to : from, others);
  fetch_anew();
  replacement.write(done ? to : from, 1);
  fetch_anew();
  return done;
}

}  // namespace shmrec::agent
