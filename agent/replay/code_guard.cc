#include "agent/replay/code_guard.h"

#include <linux/mman.h>

#include "agent/arch/x86_64/exceptions.h"
#include "agent/replay/memory.h"
#include "agent/signals/signal_numbers.h"
#include "agent/sites/site.h"
#include "agent/stream/sketch.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kWriteAccess = 1 << 1;  // of a page fault's error code

struct Guard {
  uint64_t begin, end;
  int protection;   // that the pages have without it
  uint64_t writer;  // the instruction that is let write; 0: none
};
Guard guard = {};

void protect(int protection) {
  sys(__NR_mprotect, guard.begin, guard.end - guard.begin, protection);
}

}  // namespace

void code_guard(uint64_t ip) {
  const int protection = protection_at(ip);
  if (!(protection & PROT_WRITE)) return;
  sketch_learn_maps();  // which look different with it
  const uint64_t begin = page_down(ip), end = page_up(ip + 2 * kMaxInstruction);
  const bool alike = protection_at(end - 1) == protection;
  guard = {begin, alike ? end : begin + kPage, protection, 0};
  protect(protection & ~PROT_WRITE);
}

void code_unguard() {
  if (!code_guarded()) return;
  protect(guard.protection);
  guard = {};
}

bool code_guarded() { return guard.end; }

bool guarded_protection(uint64_t address, int* now) {
  if (address - guard.begin >= guard.end - guard.begin) return false;
  *now = guard.writer ? guard.protection : guard.protection & ~PROT_WRITE;
  return true;
}

bool code_meets_guard(const Siginfo& info, const Context& context) {
  return info.signo == kSigsegv && (context.error & kWriteAccess) &&
         context.cr2 - guard.begin < guard.end - guard.begin;
}

void code_let_write(Context* context) {
  protect(guard.protection);
  guard.writer = context->regs.rip;
  context->regs.eflags |= kTrapFlag;
}

CodeWrite code_written(const Siginfo& info, Context* context) {
  if (!guard.writer || info.signo != kSigtrap || info.code != kTrapTrace) return CodeWrite::kNone;
  if (context->regs.rip == guard.writer) return CodeWrite::kWriting;
  context->regs.eflags &= ~kTrapFlag;
  guard.writer = 0;
  protect(guard.protection & ~PROT_WRITE);
  return CodeWrite::kWritten;
}

}  // namespace shmrec::agent
