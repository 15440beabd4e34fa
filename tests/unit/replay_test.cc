// The filter that a replaying process lives behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "replay/stub_filter.h"

namespace shmrec::replay {
namespace {

// The errno of what `call` does behind the filter; 0: it succeeds, 200: the filter is not in force.
int behind_filter(const std::function<long()>& call) {
  auto filter = stub_filter();
  EXPECT_TRUE(filter) << filter.error().message;
  const pid_t child = fork();
  if (child == 0) {
    const sock_fprog program{static_cast<unsigned short>(filter->size()), filter->data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
      _exit(200);
    _exit(call() < 0 ? errno : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct Refused {
  const char* name;
  long (*call)();
};
class StubFilter : public testing::TestWithParam<Refused> {};

TEST_P(StubFilter, Refuses) { EXPECT_EQ(behind_filter(GetParam().call), EPERM); }

const Refused kRefused[] = {
    {"open", [] { return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY); }},
    {"openOld", [] { return syscall(SYS_open, "/dev/null", O_RDONLY); }},
    {"write", [] { return syscall(SYS_write, 1, "x", 1); }},
    {"socket", [] { return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0); }},
    {"kill", [] { return syscall(SYS_kill, getppid(), 0); }},
    {"tgkill", [] { return syscall(SYS_tgkill, 1, 1, 0); }},
    {"fork", [] { return syscall(SYS_fork); }},
    {"clone", [] { return syscall(SYS_clone, 0, 0, 0, 0, 0); }},
    {"exec", [] { return syscall(SYS_execve, "/bin/true", nullptr, nullptr); }},
    {"trace", [] { return syscall(SYS_ptrace, 16, getppid(), 0, 0); }},
    {"readOther", [] { return syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0); }},
    {"ioctl", [] { return syscall(SYS_ioctl, 0, 0x5401, 0); }},
    {"outlive", [] { return syscall(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0); }},
    {"dumpable", [] { return syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); }},
};
INSTANTIATE_TEST_SUITE_P(All, StubFilter, testing::ValuesIn(kRefused),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(StubFilterTest, LetsTheAgentWork) {
  EXPECT_EQ(behind_filter([] { return syscall(SYS_getpid); }), 0);
  EXPECT_EQ(behind_filter([]() -> long {
              void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return page == MAP_FAILED ? -1 : munmap(page, 4096);
            }),
            0);
}

}  // namespace
}  // namespace shmrec::replay
