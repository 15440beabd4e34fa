#include "launcher/core/stopped_threads.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "launcher/process_status.h"

namespace shmrec::launcher {
namespace {

using Clock = std::chrono::steady_clock;

// The Linux interface takes an integer where glibc wants an enumerator.
long ask(__ptrace_request request, pid_t tid, const void* address, void* data) {
  return ptrace(request, tid, const_cast<void*>(address), data);
}
const void* number_of(uintptr_t value) { return reinterpret_cast<const void*>(value); }

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> tids;
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc/" + std::to_string(pid) + "/task", error), last;
  for (; !error && entry != last; entry.increment(error))
    tids.push_back(atoi(entry->path().filename().c_str()));
  return tids;
}

bool is_stopped(pid_t tid, user_regs_struct& registers) {
  iovec all{&registers, sizeof registers};
  return ask(PTRACE_GETREGSET, tid, number_of(NT_PRSTATUS), &all) == 0 &&
         all.iov_len == sizeof registers;
}

std::vector<unsigned char> vector_state_of(pid_t tid) {
  std::vector<unsigned char> bytes(size_t{64} << 10);
  iovec all{bytes.data(), bytes.size()};
  if (ask(PTRACE_GETREGSET, tid, number_of(NT_X86_XSTATE), &all) != 0) all.iov_len = 0;
  bytes.resize(all.iov_len);
  return bytes;
}

// What it is about to get and has not got: 0 where it was stopped for another reason.
int signal_in_delivery(pid_t tid) {
  siginfo_t info{};
  if (ask(PTRACE_GETSIGINFO, tid, nullptr, &info) != 0) return 0;
  const bool event = info.si_signo == SIGTRAP && info.si_code >> 8 == PTRACE_EVENT_STOP;
  return event ? 0 : info.si_signo;
}

// Calls that a stop makes fail with EINTR although no signal comes (signal(7)), where others wait
// on by themselves. None of them has done anything when it says so.
constexpr long kFailByStop[] = {
    SYS_read,         SYS_readv,        SYS_recvfrom, SYS_recvmsg,    SYS_accept,
    SYS_accept4,      SYS_connect,      SYS_sendto,   SYS_sendmsg,    SYS_epoll_wait,
    SYS_epoll_pwait,  SYS_epoll_pwait2, SYS_semop,    SYS_semtimedop, SYS_rt_sigtimedwait,
    SYS_io_getevents, SYS_io_pgetevents};

// The kernel is told what it tells itself of others: to make the call again, unless a handler runs.
void wait_on(pid_t tid, user_regs_struct registers) {
  constexpr long long kRestartUnlessHandled = -514;  // Linux: ERESTARTNOHAND
  const auto number = static_cast<long>(registers.orig_rax);
  if (static_cast<long long>(registers.rax) != -EINTR ||
      std::find(std::begin(kFailByStop), std::end(kFailByStop), number) == std::end(kFailByStop))
    return;
  registers.rax = static_cast<unsigned long long>(kRestartUnlessHandled);
  iovec all{&registers, sizeof registers};
  ask(PTRACE_SETREGSET, tid, number_of(NT_PRSTATUS), &all);
}

void let_go(pid_t tid) {
  user_regs_struct registers;
  if (!is_stopped(tid, registers)) return;
  wait_on(tid, registers);
  ptrace(PTRACE_DETACH, tid, 0, signal_in_delivery(tid));
}

}  // namespace

Result<> StoppedThreads::attach_new(pid_t pid, pid_t without) {
  Result<> first_failure = Unit{};
  // A main thread that has called pthread_exit stays as one that has ended.
  for (const pid_t tid : threads_of(pid)) {
    const bool known = std::find(attached_.begin(), attached_.end(), tid) != attached_.end() ||
                       std::any_of(stopped_.begin(), stopped_.end(),
                                   [&](const StoppedThread& thread) { return thread.tid == tid; });
    if (tid == without || known) continue;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) != 0) {
      const int error = errno;
      if (error != ESRCH && first_failure && !has_ended(tid))
        first_failure = system_error("attach to thread " + std::to_string(tid), error);
      continue;
    }
    ptrace(PTRACE_INTERRUPT, tid, 0, 0);
    attached_.push_back(tid);
  }
  return first_failure;
}

void StoppedThreads::look() {
  for (size_t i = 0; i < attached_.size();) {
    StoppedThread thread;
    thread.tid = attached_[i];
    const bool stopped = is_stopped(thread.tid, thread.registers);
    const bool gone = !stopped && has_ended(thread.tid);
    if (stopped) {
      thread.vector_state = vector_state_of(thread.tid);
      stopped_.push_back(std::move(thread));
    }
    if (stopped || gone)
      attached_.erase(attached_.begin() + static_cast<std::ptrdiff_t>(i));
    else
      ++i;
  }
}

Result<StoppedThreads> StoppedThreads::stop(pid_t pid, pid_t without,
                                            std::chrono::milliseconds limit,
                                            const std::atomic<bool>& give_way) {
  constexpr std::chrono::microseconds kPause(100);
  StoppedThreads threads;
  const Clock::time_point last = Clock::now() + limit;
  Result<> attached = threads.attach_new(pid, without);
  if (!attached && threads.attached_.empty()) return attached.error();
  // Threads may be made until the last one that could make them has stopped.
  for (size_t before = 0; Clock::now() < last; before = threads.stopped_.size()) {
    threads.look();
    const bool none_left = threads.attached_.empty();
    attached = threads.attach_new(pid, without);
    if (none_left && threads.attached_.empty() && before == threads.stopped_.size()) break;
    if (give_way) return Error{"it executes another program"};
    if (!threads.attached_.empty()) std::this_thread::sleep_for(kPause);
  }
  threads.missing_ = threads.attached_.size() + (attached ? 0 : 1);
  return threads;
}

StoppedThreads::~StoppedThreads() {
  for (const StoppedThread& thread : stopped_) let_go(thread.tid);
}

}  // namespace shmrec::launcher
