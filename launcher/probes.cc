#include "launcher/probes.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent/agent_abi.h"
#include "launcher/filter.h"
#include "launcher/log_size.h"
#include "launcher/message.h"
#include "launcher/notifier.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#endif

namespace shmrec::launcher {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr int kTimeoutMs = 2000;
constexpr unsigned long kFsgsbase = 2;  // AT_HWCAP2

Attempt failure(const std::string& what, int error = errno) {
  return {false, what + ": " + strerror(error)};
}
Attempt success(std::string detail = {}) { return {true, std::move(detail)}; }
Attempt check(bool ok, const char* what) { return ok ? success() : failure(what); }

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes / kMiB) + " MiB"; }

Attempt try_kernel() {
  utsname names{};
  uname(&names);
  int major = 0, minor = 0;
  sscanf(names.release, "%d.%d", &major, &minor);
  return {major > 5 || (major == 5 && minor >= 14),
          std::string(names.release) + " " + names.machine};
}

Attempt try_no_new_privs() { return check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl"); }

Attempt try_listener() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const Result<FilterProgram> program = build_filter();
  if (!program) return {false, program.error().message};
  const Listener listener = install_filter(*program);
  if (listener.fd >= 0) return success();
  Attempt attempt = failure("seccomp", listener.error);
  attempt.detail += std::string(": ") + explain_install_error(listener.error);
  return attempt;
}

// A process under the filter that says hello as an agent would. Exits with 0 if it got a descriptor
// that works.
struct Greeter {
  pid_t pid = 0;
  UniqueFd listener;
  bool killable = false;
  std::string trouble;
};

[[noreturn]] void greet(int socket, const FilterProgram& program) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const Listener listener = install_filter(program);
  send_message(socket, listener.killable, listener.fd);
  close(listener.fd);  // an own copy would let it wait for itself for ever
  const long fd = syscall(SYS_fcntl, -1, agent::kCallCommand, agent::kCallHello);
  _exit(fd >= 0 && syscall(SYS_fcntl, fd, F_GETFD) == FD_CLOEXEC ? 0 : 1);
}

Greeter start_greeter() {
  Greeter greeter;
  const Result<FilterProgram> program = build_filter();
  int sockets[2];
  if (!program || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) {
    greeter.trouble = "no filter or socket";
    return greeter;
  }
  const UniqueFd ours(sockets[0]), theirs(sockets[1]);
  greeter.pid = fork();
  if (greeter.pid == 0) greet(theirs.get(), *program);
  Message message = receive_message(ours.get());
  greeter.killable = message.value != 0;
  greeter.listener = std::move(message.fd);
  if (!greeter.listener) greeter.trouble = "no listener";
  return greeter;
}

Attempt try_hand_over() {
  Greeter greeter = start_greeter();
  if (!greeter.trouble.empty()) return {false, greeter.trouble};
  pollfd entry{greeter.listener.get(), POLLIN, 0};
  seccomp_notif request;
  if (poll(&entry, 1, kTimeoutMs) != 1 || !receive_notification(entry.fd, request))
    return failure("NOTIF_RECV");
  if (request.pid == 0) return {false, "the notification names no process"};
  if (const int error = answer_with_descriptor(entry.fd, request.id, STDERR_FILENO))
    return failure("NOTIF_ADDFD with SEND", error);
  int status = 0;
  waitpid(greeter.pid, &status, 0);
  return {status == 0, status == 0 ? "" : "the descriptor did not arrive"};
}

Attempt try_killable() {
  Greeter greeter = start_greeter();
  if (!greeter.trouble.empty()) return {false, greeter.trouble};
  return {greeter.killable, greeter.killable ? "" : "kernel older than 5.19"};
}

Attempt try_sync_wake_up() {
  Greeter greeter = start_greeter();
  if (!greeter.trouble.empty()) return {false, greeter.trouble};
  return check(wake_up_on_this_processor(greeter.listener.get()), "NOTIF_SET_FLAGS");
}

// ---- What the agent does in a process -----------------------------------------------------------

volatile char dispatch_selector;
volatile sig_atomic_t dispatched;

void on_dispatch(int, siginfo_t* info, void*) {
  dispatch_selector = 0;  // allow: the handler's return is a syscall too
  dispatched = info->si_syscall;
}

Attempt try_dispatch() {
  struct sigaction action {};
  action.sa_sigaction = on_dispatch;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSYS, &action, nullptr);
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &dispatch_selector) != 0)
    return failure("prctl(PR_SET_SYSCALL_USER_DISPATCH)");
  dispatch_selector = 1;
  syscall(SYS_getppid);
  const bool seen = dispatched == SYS_getppid;
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) != 0)
    return failure("switch it off");
  return {seen, seen ? "" : "no SIGSYS came"};
}

Attempt use_tracee(pid_t child) {
  int status;
  static volatile int target = 1;
  if (ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACEEXEC) != 0) return failure("PTRACE_SEIZE");
  if (ptrace(PTRACE_INTERRUPT, child, 0, 0) != 0 || waitpid(child, &status, __WALL) != child ||
      !WIFSTOPPED(status))
    return failure("PTRACE_INTERRUPT");
  int value = 2;
  const iovec local{&value, sizeof value}, remote{const_cast<int*>(&target), sizeof value};
  if (process_vm_writev(child, &local, 1, &remote, 1, 0) != sizeof value)
    return failure("process_vm_writev");
  return check(ptrace(PTRACE_DETACH, child, 0, 0) == 0, "PTRACE_DETACH");
}

Attempt try_ptrace() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  const Attempt attempt = use_tracee(child);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return attempt;
}

Attempt try_alias() {
  constexpr size_t kBytes = 4096;
  void* const original =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  void* const alias = mremap(original, 0, kBytes, MREMAP_MAYMOVE);
  if (alias == MAP_FAILED) return failure("mremap");
  if (mprotect(original, kBytes, PROT_NONE) != 0) return failure("mprotect");
  *static_cast<volatile int*>(alias) = 1;
  return success();
}

Attempt try_fsgsbase() {
  const bool has = getauxval(AT_HWCAP2) & kFsgsbase;
  return {has, has ? "" : "AT_HWCAP2 says no"};
}

Attempt try_executable_memory() {
  void* const page =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return failure("mmap");
  *static_cast<unsigned char*>(page) = 0xC3;  // ret
  reinterpret_cast<void (*)()>(page)();
  return success();
}

Attempt try_address_range() {
  for (uint64_t base : agent::kBases) {
    void* const at = reinterpret_cast<void*>(base);
    if (mmap(at, agent::kZoneBytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == at)
      return success();
  }
  return failure("mmap");
}

Attempt try_memfd() {
  return check(memfd_create("shmrec-probe", MFD_CLOEXEC) >= 0, "memfd_create");
}

Attempt try_proc() {
  std::string line;
  std::ifstream maps("/proc/self/maps");
  return std::getline(maps, line) ? success() : Attempt{false, "/proc/self/maps cannot be read"};
}

Attempt try_pidfd() { return check(syscall(SYS_pidfd_open, getpid(), 0) >= 0, "pidfd_open"); }

Attempt try_signal_frame() {
  unsigned eax, xsave_bytes = 0, ecx, edx;
  if (!__get_cpuid_count(13, 0, &eax, &xsave_bytes, &ecx, &edx)) return {false, "no XSAVE"};
  return success("XSAVE " + std::to_string(xsave_bytes) + " bytes, least signal stack " +
                 std::to_string(getauxval(AT_MINSIGSTKSZ)));
}

Attempt try_yama() {
  std::ifstream file("/proc/sys/kernel/yama/ptrace_scope");
  int scope = 0;
  if (!(file >> scope)) return success("not in this kernel");
  return {scope <= 1, "ptrace_scope " + std::to_string(scope)};
}

constexpr const char* kSeccompRemedy =
    "podman, docker: the default seccomp profile allows it, drop a stricter --security-opt "
    "seccomp=; "
    "Kubernetes: securityContext.seccompProfile.type RuntimeDefault; one listener only: no "
    "seccomp notifier of the runtime and no shmrec inside of shmrec";
constexpr const char* kPtraceRemedy =
    "podman, docker: a profile that allows ptrace and process_vm_writev (the default one does on "
    "Linux 4.8 and newer); with Yama: sysctl kernel.yama.ptrace_scope=1 or less, or --cap-add "
    "SYS_PTRACE / securityContext.capabilities.add: [SYS_PTRACE]";
constexpr const char* kKernelRemedy = "use Linux 5.14 or newer";
constexpr const char* kCpuRemedy = "use Linux 5.9 or newer without the boot option nofsgsbase";
constexpr const char* kMemoryRemedy =
    "SELinux: setsebool deny_execmem off, or allow execmem for the container's type; systemd: no "
    "MemoryDenyWriteExecute=";
constexpr const char* kRangeRemedy = "raise the address space limit (ulimit -v unlimited)";
constexpr const char* kProfileRemedy = "allow it in the seccomp profile of the container";
constexpr const char* kDispatchRemedy =
    "use Linux 5.14 or newer; where that runs, the seccomp profile of the container refuses it: "
    "allow "
    "prctl with 59 as its first argument";

constexpr Probe kProbes[] = {
    {"Linux 5.14 on x86-64", true, try_kernel, kKernelRemedy},
    {"no_new_privs", true, try_no_new_privs, kProfileRemedy},
    {"seccomp listener", true, try_listener, kSeccompRemedy},
    {"hand-over of descriptors", true, try_hand_over, kSeccompRemedy},
    {"killable notifications", false, try_killable, "use Linux 5.19 or newer"},
    {"fast notifications", false, try_sync_wake_up,
     "use Linux 6.6 or newer: exec is a few microseconds slower without it"},
    {"syscall user dispatch", true, try_dispatch, kDispatchRemedy},
    {"ptrace of descendants", true, try_ptrace, kPtraceRemedy},
    {"Yama lets descendants be traced", false, try_yama, kPtraceRemedy},
    {"hidden alias of a mapping", true, try_alias, kProfileRemedy},
    {"FSGSBASE instructions", true, try_fsgsbase, kCpuRemedy},
    {"executable anonymous memory", true, try_executable_memory, kMemoryRemedy},
    {"the agent's address range", true, try_address_range, kRangeRemedy},
    {"memfd", true, try_memfd, kProfileRemedy},
    {"/proc", true, try_proc, "mount proc at /proc"},
    {"pidfd_open", false, try_pidfd, kProfileRemedy},
    {"signal frames", true, try_signal_frame, "use a processor with XSAVE"},
};

// All blocks of a small log, and how large the log will be.
Attempt fill(const std::string& directory, uint64_t log_bytes) {
  const LogSize size = choose_log_size(log_bytes, directory);
  if (size.bytes == 0) return {false, directory + ": " + describe(size, log_bytes)};
  const std::string path = directory + "/doctor-" + std::to_string(getpid());
  const UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return failure(path);
  unlink(path.c_str());
  if (const int error = posix_fallocate(file.get(), 0, 8 * kMiB))
    return failure("fallocate", error);
  void* const mapped = mmap(nullptr, 8 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return failure("mmap");
  struct statvfs space {};
  fstatvfs(file.get(), &space);
  return success(directory + ", " + mebibytes(space.f_bavail * space.f_frsize) + " free; " +
                 describe(size, log_bytes));
}

}  // namespace

std::span<const Probe> probes() { return kProbes; }

Attempt try_spool(const std::string& directory, uint64_t log_bytes) {
  std::error_code error;
  umask(077);
  const bool made = std::filesystem::create_directories(directory, error);
  if (error) return {false, directory + ": " + error.message()};
  Attempt attempt = fill(directory, log_bytes);
  if (made) rmdir(directory.c_str());
  return attempt;
}

}  // namespace shmrec::launcher
