// Waiting for children: what the kernel says of a child is taken into the agent's memory first, so
// that the end of each child that is reaped gets into the journal, whatever the program asks for
// and wherever it wants to have it. Written to the program afterwards, as the kernel would, and
// logged if traced.
#include "agent/kernel/bounce.h"
#include "agent/kernel/kernel_access.h"
#include "agent/process/process.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kFaulted = static_cast<uint64_t>(-EFAULT);
constexpr uint32_t kNoStatus = 0xFFFFFFFF;

bool put(Thread* thread, uint64_t to, const void* from, uint64_t bytes) {
  Fault fault;
  return traced_write(thread, call_origin(thread), to, from, bytes, &fault);
}

void journal_end(const Thread* thread, int64_t pid, uint32_t status) {
  JournalValues values;
  values.a = static_cast<uint64_t>(pid);
  values.b = status;
  journal(thread->process, shmlog::JournalType::kChildExit, values);
}

// Passes the call on with the agent's memory in the place of argument `n`, where the result goes.
Answer with_own_result(Thread* thread, void* context, int n, int fill, void (*post)(Thread*)) {
  const uint64_t program = arg(thread, n);
  memset(thread->call.scratch, fill, sizeof thread->call.scratch);
  thread->call.args[n] = 0;
  kernel_access(thread, context);
  thread->call.args[n] = program;
  set_arg(thread, n, reinterpret_cast<uint64_t>(thread->call.scratch));
  thread->call.post = post;
  return Answer::kPost;
}

// The kernel reaps the child first and then finds out that it cannot say so: the status is known
// also if the resource usage could not be written.
void after_wait4(Thread* thread) {
  const int64_t pid = static_cast<int64_t>(thread->regs.rax);
  uint32_t status;
  memcpy(&status, thread->call.scratch, sizeof status);
  const bool known = status != kNoStatus;
  // Not stopped, not continued.
  const bool ended = (status & 0x7F) != 0x7F && (status & 0xFFFF) != 0xFFFF;
  if (known && ended && pid > 0) journal_end(thread, pid, status);
  if (known && arg(thread, 1) && !put(thread, arg(thread, 1), &status, sizeof status))
    thread->regs.rax = kFaulted;
  kernel_access_post(thread);
}

struct ChildInfo {  // the start of siginfo_t
  int32_t signo, error, code, pad, pid;
  uint32_t uid;
  int32_t status;
};

uint32_t wait_status(const ChildInfo& info) {
  constexpr int32_t kExited = 1, kDumped = 3;  // CLD_EXITED, CLD_DUMPED
  if (info.code == kExited) return static_cast<uint32_t>(info.status & 0xFF) << 8;
  return static_cast<uint32_t>(info.status) | (info.code == kDumped ? 0x80 : 0);
}

// The kernel writes these fields, and no others, also when there is no child and when the call
// fails, unless it could not write the resource usage.
void after_waitid(Thread* thread) {
  constexpr uint64_t kNoWait = 0x01000000;  // WNOWAIT
  ChildInfo info;
  memcpy(&info, thread->call.scratch, sizeof info);
  const bool ended = info.signo && info.code >= 1 && info.code <= 3;
  if (ended && !(arg(thread, 3) & kNoWait)) journal_end(thread, info.pid, wait_status(info));
  kernel_access_post(thread);
  const uint64_t to = arg(thread, 2);
  if (!to || thread->regs.rax == kFaulted) return;
  if (!put(thread, to, &info, offsetof(ChildInfo, pad)) ||
      !put(thread, to + offsetof(ChildInfo, pid), &info.pid,
           sizeof info - offsetof(ChildInfo, pid)))
    thread->regs.rax = kFaulted;
}

}  // namespace

Answer do_wait4(Thread* thread, void* context) {
  return with_own_result(thread, context, 1, 0xFF, after_wait4);
}
Answer do_waitid(Thread* thread, void* context) {
  return with_own_result(thread, context, 2, 0, after_waitid);
}

}  // namespace shmrec::agent
