// Which syscall goes where. What is not listed only reads and writes memory, if anything: the table
// of effects (kernel_access.cc) covers it.
#include "agent/entry.h"
#include "agent/maps.h"
#include "agent/process.h"
#include "agent/signals.h"

namespace shmrec::agent {
namespace {

Answer not_there(Thread* thread, void*) {
  thread->regs.rax = static_cast<uint64_t>(-38);  // ENOSYS
  return Answer::kDone;
}

struct Row {
  uint32_t number;
  SyscallHandler handler;
};
constexpr Row kRows[] = {
    {__NR_mmap, do_mmap},
    {__NR_munmap, do_munmap},
    {__NR_mremap, do_mremap},
    {__NR_mprotect, do_mprotect},
    {__NR_pkey_mprotect, do_mprotect},
    {__NR_madvise, do_madvise},
    {__NR_remap_file_pages, do_remap_file_pages},
    {__NR_msync, do_msync},
    {__NR_mlock, do_mlock},
    {__NR_mlock2, do_mlock},
    {__NR_munlock, do_mlock},
    {__NR_mbind, do_mbind},
    {__NR_shmat, do_shmat},
    {__NR_shmdt, do_shmdt},
    {__NR_shmctl, do_shmctl},
    {__NR_fork, do_clone},
    {__NR_vfork, do_clone},
    {__NR_clone, do_clone},
    {__NR_clone3, do_clone3},
    {__NR_execve, do_exec},
    {__NR_execveat, do_exec},
    {__NR_exit, do_exit},
    {__NR_exit_group, do_exit},
    {__NR_wait4, do_wait4},
    {__NR_waitid, do_waitid},
    {__NR_rt_sigaction, do_sigaction},
    {__NR_rt_sigprocmask, do_sigprocmask},
    {__NR_sigaltstack, do_sigaltstack},
    {__NR_rt_sigreturn, do_sigreturn},
    {__NR_rt_sigpending, do_sigpending},
    {__NR_rt_sigtimedwait, do_sigtimedwait},
    {__NR_signalfd, do_signalfd},
    {__NR_signalfd4, do_signalfd},
    {__NR_rt_sigsuspend, do_masked_wait},
    {__NR_ppoll, do_masked_wait},
    {__NR_pselect6, do_masked_wait},
    {__NR_epoll_pwait, do_masked_wait},
    {__NR_epoll_pwait2, do_masked_wait},
    {__NR_io_pgetevents, do_masked_wait},
    {__NR_fcntl, do_fcntl},
    {__NR_arch_prctl, do_arch_prctl},
    {__NR_prctl, do_prctl},
    {__NR_set_robust_list, do_set_robust_list},
    {__NR_set_tid_address, do_set_tid_address},
    {__NR_rseq, do_rseq},
    {__NR_io_uring_setup, not_there},
    {__NR_userfaultfd, not_there},
};
constexpr uint32_t kTableSize = 512;

struct Table {
  SyscallHandler handlers[kTableSize] = {};
  constexpr Table() {
    for (const Row& row : kRows) handlers[row.number] = row.handler;
  }
};
constexpr Table kTable;

}  // namespace

void set_arg(Thread* thread, int n, uint64_t value) {
  Regs& regs = thread->regs;
  uint64_t* const places[6] = {&regs.rdi, &regs.rsi, &regs.rdx, &regs.r10, &regs.r8, &regs.r9};
  *places[n] = value;
}

Answer dispatch_syscall(Thread* thread, void* context) {
  const uint64_t number = thread->call.number;
  const SyscallHandler handler = number < kTableSize ? kTable.handlers[number] : nullptr;
  return handler ? handler(thread, context) : kernel_access(thread, context);
}

}  // namespace shmrec::agent
