#include "replay/stub_filter.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "base/unique_fd.h"

namespace shmrec::replay {
namespace {

constexpr int kAllowed[] = {
    // Its own memory.
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(membarrier),
    // Its own signals and registers.
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(arch_prctl),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(set_robust_list),
    // What it was given: streams, kept files, its mappings.
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    // Questions about itself.
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(getcpu),
    SCMP_SYS(sched_yield),
    // Its end.
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

// Of prctl. PR_SET_PDEATHSIG is not among them: the process ends with its supervisor.
constexpr int kAllowedOptions[] = {PR_SET_SYSCALL_USER_DISPATCH, PR_GET_TSC, PR_SET_TSC,
                                   PR_GET_NAME};

struct ReleaseFilter {
  void operator()(scmp_filter_ctx context) const { seccomp_release(context); }
};

}  // namespace

Result<std::vector<sock_filter>> stub_filter() {
  const std::unique_ptr<void, ReleaseFilter> context(seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  if (!context) return system_error("seccomp filter", ENOMEM);
  for (const int number : kAllowed)
    if (const int error = seccomp_rule_add(context.get(), SCMP_ACT_ALLOW, number, 0))
      return system_error("seccomp filter", -error);
  for (const int option : kAllowedOptions)
    if (const int error = seccomp_rule_add(context.get(), SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                                           SCMP_A0(SCMP_CMP_EQ, static_cast<uint64_t>(option))))
      return system_error("seccomp filter", -error);
  const UniqueFd file(memfd_create("shmrec-filter", MFD_CLOEXEC));
  if (!file || seccomp_export_bpf(context.get(), file.get()) != 0)
    return system_error("seccomp filter");
  struct stat status;
  if (fstat(file.get(), &status) != 0) return system_error("seccomp filter");
  std::vector<sock_filter> program(static_cast<size_t>(status.st_size) / sizeof(sock_filter));
  const auto bytes = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
  if (pread(file.get(), program.data(), static_cast<size_t>(bytes), 0) != bytes)
    return system_error("seccomp filter");
  return program;
}

}  // namespace shmrec::replay
