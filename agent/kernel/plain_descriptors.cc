#include "agent/kernel/plain_descriptors.h"

#include <linux/close_range.h>
#include <linux/sched.h>

#include "agent/log/log.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kDescriptors = 1024;
constexpr uint32_t kNever = ~0u;      // it leads to what cannot be a segment
constexpr uint32_t kAllOfThem = ~0u;  // Thread::closing
constexpr uint64_t kPlain = 1, kChange = 2;

// For each: when it holds << 32 | changes << 1 | kPlain.
uint64_t words[kDescriptors];
uint32_t ended = 0;

uint64_t word_of(uint64_t before, uint32_t next_segment) {
  return static_cast<uint64_t>(next_segment) << 32 | static_cast<uint32_t>(before) | kPlain;
}

// Nothing is known of it, and what is being found out is not noted.
void forget(uint32_t fd) {
  uint64_t before = load(&words[fd]);
  while (!compare_exchange(&words[fd], before, static_cast<uint32_t>(before + kChange) & ~kPlain))
    before = load(&words[fd]);
}

void forget_closing(uint32_t closing) {
  if (closing != kAllOfThem) return forget(closing - 1);
  for (uint32_t fd = 0; fd < kDescriptors; ++fd) forget(fd);
}

bool being_closed(int fd) {
  struct Search {
    uint32_t closing;
    bool found;
  } search = {static_cast<uint32_t>(fd) + 1, false};
  for_each_block(
      [](Thread* thread, void* raw) {
        Search& wanted = *static_cast<Search*>(raw);
        const uint32_t closing = load(&thread->closing);
        if (closing == wanted.closing || closing == kAllOfThem) wanted.found = true;
      },
      &search);
  return search.found;
}

bool usable(const Thread* thread, int fd) {
  return static_cast<uint32_t>(fd) < kDescriptors && !load(&ended) &&
         !thread->process->lives_in_parent;
}

// What the call closes, as in Thread::closing; 0: nothing.
uint32_t closes(const PendingSyscall& call) {
  const uint32_t first = static_cast<uint32_t>(call.args[0]);
  const uint32_t second = static_cast<uint32_t>(call.args[1]);
  switch (call.number) {
    case __NR_close:
      return first < kDescriptors ? first + 1 : 0;
    case __NR_dup2:
    case __NR_dup3:
      return second < kDescriptors ? second + 1 : 0;
    case __NR_close_range:
      return kAllOfThem;
    default:
      return 0;
  }
}

// Does it give the thread descriptors of its own?
bool parts(const PendingSyscall& call) {
  return (call.number == __NR_unshare && (call.args[0] & CLONE_FILES)) ||
         (call.number == __NR_close_range && (call.args[2] & CLOSE_RANGE_UNSHARE));
}

}  // namespace

DescriptorLook plain_descriptor_look(const Thread* thread, int fd) {
  return {fd, usable(thread, fd) ? load(&words[fd]) : 0};
}

void plain_descriptor_found(const Thread* thread, const DescriptorLook& look) {
  plain_descriptor_found(thread, look, kNever);
}

void plain_descriptor_found(const Thread* thread, const DescriptorLook& look,
                            uint32_t next_segment) {
  if (!usable(thread, look.fd) || being_closed(look.fd)) return;
  compare_exchange(&words[look.fd], look.word, word_of(look.word, next_segment));
}

bool plain_descriptor(const Thread* thread, int fd) {
  if (!usable(thread, fd)) return false;
  const uint64_t word = load(&words[fd]);
  const uint32_t holds = static_cast<uint32_t>(word >> 32);
  return (word & kPlain) && (holds == kNever || holds == load(&log_header().next_segment));
}

void plain_descriptors_call(Thread* thread) {
  if (const uint32_t closed = thread->closing) {
    forget_closing(closed);
    __atomic_store_n(&thread->closing, 0u, __ATOMIC_SEQ_CST);
  }
  if (parts(thread->call)) plain_descriptors_end();
  if (const uint32_t closing = closes(thread->call)) {
    __atomic_store_n(&thread->closing, closing, __ATOMIC_SEQ_CST);
    forget_closing(closing);
  }
}

void plain_descriptors_end() { store(&ended, 1u); }

}  // namespace shmrec::agent
