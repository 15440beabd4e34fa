#include "agent/process/thread.h"

#include <linux/mman.h>
#include <linux/prctl.h>

#include "agent/agent_abi.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/image_layout.h"
#include "agent/kernel/plain_descriptors.h"
#include "agent/signals/signal_numbers.h"
#include "agent/signals/unwind.h"

namespace shmrec::agent {
namespace {

// A block, from its start: Thread | exit page | stack for access code | guard page | signal stack.
// Nobody can write to the exit page, so it guards the stack above it, too.
constexpr uint64_t kThreadArea = 96 * 1024;  // EXIT_PAGE_AT in entry.S
constexpr uint64_t kAccessStackBytes = 48 * 1024;
constexpr uint64_t kAccessStackTop = kThreadArea + kPage + kAccessStackBytes;
constexpr uint32_t kMaxProcesses = 64;

SpinLock blocks_lock;
uint32_t blocks_mapped = 0;
constinit Process processes[kMaxProcesses] = {};

Thread* block(uint32_t index) {
  return reinterpret_cast<Thread*>(thread_blocks() + index * kThreadBlockBytes);
}

// A block whose thread has ended may be used again: the kernel no longer knows its tid.
bool reusable(Thread* thread, int32_t pid) {
  if (!load(&thread->claimed)) return true;
  return thread->tid && thread->process && thread->process->pid == pid &&
         sys(__NR_tgkill, pid, thread->tid, 0) == -ESRCH;
}

// One page of code for all threads and for the processes that are forked: written before it is made
// executable, and at the first block; the others map it once more.
bool map_exit_page(uint64_t at) {
  const uint64_t first = thread_blocks() + kThreadArea;
  if (at != first)
    return sys(__NR_mremap, first, 0, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, at) ==
           static_cast<int64_t>(at);
  if (failed(sys(__NR_mmap, at, kPage, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0)))
    return false;
  memcpy(reinterpret_cast<void*>(at), shmrec_exit_begin,
         static_cast<size_t>(shmrec_exit_end - shmrec_exit_begin));
  return !failed(sys(__NR_mprotect, at, kPage, PROT_READ | PROT_EXEC));
}

bool map_block(Thread* thread) {
  const uint64_t base = reinterpret_cast<uint64_t>(thread);
  const int64_t at = sys(__NR_mmap, base, kThreadBlockBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (at != static_cast<int64_t>(base)) return false;
  if (!map_exit_page(base + kThreadArea)) {
    sys(__NR_munmap, base, kThreadBlockBytes);
    return false;
  }
  sys(__NR_mprotect, base + kAccessStackTop, kPage, PROT_NONE);
  return true;
}

void prepare(Thread* thread) {
  memset(thread, 0, offsetof(Thread, bounce));
  thread->self = thread;
  thread->claimed = 1;
  thread->exit_page = reinterpret_cast<uint64_t>(thread) + kThreadArea;
  thread->stack_top = reinterpret_cast<uint64_t>(thread) + kAccessStackTop;
  thread->altstack_top = reinterpret_cast<uint64_t>(thread) + kThreadBlockBytes;
  thread->canary_base = reinterpret_cast<uint64_t>(thread->canary);
  thread->altstack.flags = kSsDisable;
  thread->register_gs = reinterpret_cast<uint64_t>(thread);
  thread->jump_entry = reinterpret_cast<uint64_t>(shmrec_access_jumped);
  for (auto& quick : thread->quick)
    for (uint64_t& size : quick) size = reinterpret_cast<uint64_t>(shmrec_quick_none);
  for (auto& both : thread->quick_both)
    for (uint64_t& size : both) size = reinterpret_cast<uint64_t>(shmrec_fast_begin);
  thread->call_entry = reinterpret_cast<uint64_t>(shmrec_call_jumped);
  thread->unwind = &unwind_info;
  thread->undispatched = 1;
  thread->known_region.sequence = 1;
}

}  // namespace

namespace {

// The first of `looks` blocks that may be used again, null if none may. They are looked at in turn:
// starting a thread costs the same however many live, and of those that have ended enough are found
// for the blocks to be hardly more than the living threads. REQUIRES: blocks_lock held.
Thread* find_reusable(int32_t pid, uint32_t looks) {
  static uint32_t turn = 0;
  for (uint32_t i = 0; i < min(looks, blocks_mapped); ++i) {
    turn = (turn + 1) % blocks_mapped;
    if (reusable(block(turn), pid)) return block(turn);
  }
  return nullptr;
}

Thread* map_next() {
  if (blocks_mapped == kMaxThreads || !map_block(block(blocks_mapped))) return nullptr;
  return block(blocks_mapped++);
}

}  // namespace

Thread* thread_allocate() {
  constexpr uint32_t kLooks = 8;
  const int32_t pid = static_cast<int32_t>(sys(__NR_getpid));
  Locked lock(blocks_lock);
  Thread* thread = find_reusable(pid, kLooks);
  if (!thread) thread = map_next();
  if (!thread) thread = find_reusable(pid, blocks_mapped);
  if (thread) prepare(thread);
  return thread;
}

bool in_thread_blocks(uint64_t address) {
  return address - thread_blocks() < kMaxThreads * kThreadBlockBytes;
}

uint64_t thread_signal_stack(const Thread* thread) {
  return reinterpret_cast<uint64_t>(thread) + kAccessStackTop + kPage;
}

void thread_release(Thread* thread) { store(&thread->claimed, 0u); }

void threads_after_fork(Thread* self) {
  blocks_lock.reset();
  for (uint32_t i = 0; i < blocks_mapped; ++i)
    if (block(i) != self) block(i)->claimed = block(i)->region_use = 0;
  for (Process& process : processes)
    if (&process != self->process) process.in_use = 0;
}

void for_each_thread(const Process* process, void (*visit)(Thread* thread, void* context),
                     void* context) {
  for (uint32_t i = 0; i < load(&blocks_mapped); ++i)
    if (block(i)->process == process && block(i)->tid && !reusable(block(i), process->pid))
      visit(block(i), context);
}

void for_each_block(void (*visit)(Thread* thread, void* context), void* context) {
  for (uint32_t i = 0; i < load(&blocks_mapped); ++i)
    if (load(&block(i)->claimed)) visit(block(i), context);
}

void for_each_claimed(const Process* process, void (*visit)(Thread* thread, void* context),
                      void* context) {
  for (uint32_t i = 0; i < load(&blocks_mapped); ++i)
    if (block(i)->process == process && !reusable(block(i), process->pid)) visit(block(i), context);
}

void for_each_thread_here(void (*visit)(Thread* thread, void* context), void* context) {
  for (uint32_t i = 0; i < load(&blocks_mapped); ++i) {
    Thread* thread = block(i);
    if (load(&thread->claimed) && thread->process && !reusable(thread, thread->process->pid))
      visit(thread, context);
  }
}

uint32_t threads_of(const Process* process) {
  uint32_t threads = 0;
  for (uint32_t i = 0; i < blocks_mapped; ++i)
    if (block(i)->process == process && !reusable(block(i), process->pid)) ++threads;
  return threads;
}

int64_t thread_arm(Thread* thread) {
  const AltStack stack = {thread_signal_stack(thread), 0, 0,
                          kThreadBlockBytes - kAccessStackTop - kPage};
  // EPERM: we run on it. A forked child has inherited it.
  const int64_t error = sys(__NR_sigaltstack, &stack, 0);
  if (failed(error) && error != -1) return error;
  thread->tid = static_cast<int32_t>(sys(__NR_gettid));
  const int64_t result = sys(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON,
                             shmrec_image_layout.text_begin,
                             shmrec_image_layout.text_end - shmrec_image_layout.text_begin, 0);
  thread->undispatched = failed(result);
  return result;
}

void thread_disarm(Thread* thread) {
  thread->undispatched = 1;
  plain_descriptors_end();
  sys(__NR_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0);
}

Process* process_allocate() {
  for (Process& process : processes) {
    if (!compare_exchange(&process.in_use, 0u, 1u)) continue;
    memset(&process.index, 0, sizeof process - offsetof(Process, index));
    process.entry = &process.dummy;
    return &process;
  }
  return nullptr;
}

void process_release(Process* process) { store(&process->in_use, 0u); }

bool memory_is_shared(const Process* process) {
  if (process->lives_in_parent) return true;
  for (const Process& other : processes)
    if (&other != process && load(&other.in_use) && sys(__NR_kill, other.pid, 0) != -ESRCH)
      return true;
  return false;
}

void processes_after_fork(const Process* self) {
  for (Process& process : processes)
    if (&process != self) process.in_use = 0;
}

}  // namespace shmrec::agent
