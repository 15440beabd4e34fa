#include "launcher/filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "agent/agent_abi.h"
#include "base/unique_fd.h"

namespace shmrec::launcher {
namespace {

constexpr uint64_t kLow32 = 0xFFFFFFFF;

// One line of the table in filter.h. `checks` are joined by "and".
struct Rule {
  uint32_t action;
  int syscall;
  std::vector<scmp_arg_cmp> checks;
};

// The agent's fcntl(-1, kCallCommand, which).
std::vector<scmp_arg_cmp> call(agent::Call which) {
  return {{0, SCMP_CMP_MASKED_EQ, kLow32, kLow32},
          {1, SCMP_CMP_MASKED_EQ, kLow32, agent::kCallCommand},
          {2, SCMP_CMP_EQ, which, 0}};
}

std::vector<Rule> rules() {
  const scmp_arg_cmp sixth_is_not_ours{5, SCMP_CMP_NE, agent::kExecUnrecorded, 0};
  return {
      {SCMP_ACT_NOTIFY, SCMP_SYS(execve), {sixth_is_not_ours}},
      {SCMP_ACT_NOTIFY, SCMP_SYS(execveat), {sixth_is_not_ours}},
      {SCMP_ACT_NOTIFY, SCMP_SYS(fcntl), call(agent::kCallHello)},
      {SCMP_ACT_NOTIFY, SCMP_SYS(fcntl), call(agent::kCallCore)},
      {SCMP_ACT_NOTIFY, SCMP_SYS(fcntl), call(agent::kCallStream)},
      {SCMP_ACT_NOTIFY, SCMP_SYS(fcntl), call(agent::kCallKeep)},
      {SCMP_ACT_NOTIFY, SCMP_SYS(io_uring_setup), {}},
      {SCMP_ACT_NOTIFY, SCMP_SYS(userfaultfd), {}},
      {SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_enter), {}},
      {SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_register), {}},
  };
}

struct ReleaseFilter {
  void operator()(scmp_filter_ctx context) const { seccomp_release(context); }
};
using FilterContext = std::unique_ptr<void, ReleaseFilter>;

Error filter_error(const char* what, int negative_errno) {
  return system_error(std::string("seccomp filter: ") + what, -negative_errno);
}

Result<FilterProgram> export_program(scmp_filter_ctx context) {
  const UniqueFd file(memfd_create("shmrec-filter", MFD_CLOEXEC));
  if (!file) return system_error("memfd_create");
  if (int error = seccomp_export_bpf(context, file.get())) return filter_error("export", error);
  struct stat status;
  if (fstat(file.get(), &status) != 0) return system_error("seccomp filter: stat");
  FilterProgram program(static_cast<size_t>(status.st_size) / sizeof(sock_filter));
  const ssize_t bytes = static_cast<ssize_t>(program.size() * sizeof(sock_filter));
  if (pread(file.get(), program.data(), static_cast<size_t>(bytes), 0) != bytes)
    return system_error("seccomp filter: read");
  return program;
}

}  // namespace

Result<FilterProgram> build_filter() {
  // Else libseccomp, which asks too, knows no notifications and says "invalid argument" of the
  // rules.
  const uint32_t notify = SECCOMP_RET_USER_NOTIF;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &notify) != 0)
    return system_error(
        "seccomp(2) is refused, by the container's profile or an old kernel (shmrec doctor)");
  const FilterContext context(seccomp_init(SCMP_ACT_ALLOW));
  if (!context) return system_error("seccomp filter: init", ENOMEM);
  if (int error = seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW))
    return filter_error("foreign architectures", error);
  for (const Rule& rule : rules()) {
    const int error =
        seccomp_rule_add_exact_array(context.get(), rule.action, rule.syscall,
                                     static_cast<unsigned>(rule.checks.size()), rule.checks.data());
    if (error) return filter_error("rule", error);
  }
  return export_program(context.get());
}

Listener install_filter(const FilterProgram& program) {
  sock_fprog code{static_cast<unsigned short>(program.size()),
                  const_cast<sock_filter*>(program.data())};
  for (const bool killable : {true, false}) {
    const unsigned flags =
        SECCOMP_FILTER_FLAG_NEW_LISTENER | (killable ? SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV : 0);
    const long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &code);
    if (fd >= 0) return {static_cast<int>(fd), 0, killable};
    if (errno != EINVAL) break;
  }
  return {-1, errno, false};
}

const char* explain_install_error(int error) {
  switch (error) {
    case EBUSY:
      return "another seccomp listener is in force and the kernel allows one only; run without the "
             "profile or annotation that installs it (SCMP_ACT_NOTIFY, listenerPath, CRI-O's "
             "seccomp notifier, another shmrec run around this one)";
    case EACCES:
      return "neither no_new_privs nor CAP_SYS_ADMIN holds";
    case EINVAL:
      return "this kernel has no seccomp user notification; Linux 5.9 or newer is needed";
    case EPERM:
    case ENOSYS:
      return "the sandbox around shmrec refuses seccomp(2); allow it in the container's seccomp "
             "profile (the default profiles of podman, docker and containerd do)";
  }
  return "see seccomp(2)";
}

}  // namespace shmrec::launcher
