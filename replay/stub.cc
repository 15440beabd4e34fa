#include "replay/stub.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <utility>

#include "replay/stub_filter.h"

namespace shmrec::replay {
namespace {

constexpr uint64_t kPageBytes = 4096, kAddressEnd = 0x7FFFFFFFF000;
constexpr uint64_t kProgramBytes = 16 * kPageBytes;
// `syscall; int3`, where the program begins; behind it, what its calls are given.
constexpr std::array<unsigned char, 8> kCode = {0x0F, 0x05, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC};
constexpr uint64_t kCodeAt = 512, kDataAt = kPageBytes;

// ---- The program
// ---------------------------------------------------------------------------------

uint64_t program_address(uint64_t agent_base) {
  return agent_base + agent::kStreamOffset - kProgramBytes;
}

struct Program {
  Elf64_Ehdr header;
  Elf64_Phdr segment;
};

Program program_at(uint64_t address) {
  Program program{};
  Elf64_Ehdr& header = program.header;
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = address + kCodeAt;
  header.e_phoff = offsetof(Program, segment);
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  program.segment = {PT_LOAD,    PF_R | PF_W | PF_X, 0,         address, address,
                     kPageBytes, kProgramBytes,      kPageBytes};
  return program;
}

Result<UniqueFd> make_program(uint64_t address) {
  UniqueFd fd(memfd_create("shmrec-stub", MFD_CLOEXEC));
  const Program program = program_at(address);
  if (!fd || ftruncate(fd.get(), kPageBytes) != 0 ||
      pwrite(fd.get(), &program, sizeof program, 0) != ssize_t{sizeof program} ||
      pwrite(fd.get(), kCode.data(), kCode.size(), kCodeAt) != ssize_t{kCode.size()})
    return system_error("the replaying process's program");
  return fd;
}

// ---- The child
// -----------------------------------------------------------------------------------

// All descriptors where they are expected, whatever numbers they have now.
bool place_descriptors(const std::vector<int>& descriptors, int program) {
  const int count = static_cast<int>(descriptors.size());
  std::vector<int> high;
  high.reserve(descriptors.size());
  for (const int fd : descriptors) {
    high.push_back(fcntl(fd, F_DUPFD_CLOEXEC, kFirstDescriptor + count + 1));
    if (high.back() < 0) return false;
  }
  const int kept = fcntl(program, F_DUPFD_CLOEXEC, kFirstDescriptor + count + 1);
  for (int i = 0; i < count; ++i)
    if (dup2(high[static_cast<size_t>(i)], kFirstDescriptor + i) < 0) return false;
  if (kept < 0 || dup3(kept, kFirstDescriptor + count, O_CLOEXEC) < 0) return false;
  syscall(SYS_close_range, 0u, static_cast<unsigned>(kFirstDescriptor - 1), 0u);
  syscall(SYS_close_range, static_cast<unsigned>(kFirstDescriptor + count + 1), ~0u, 0u);
  return true;
}

void raise_limits() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

[[noreturn]] void become_stub(const std::vector<int>& descriptors, int program, uint32_t cpu,
                              pid_t parent) {
  char* const nothing[] = {nullptr};
  sigset_t none;
  sigemptyset(&none);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  raise_limits();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu % CPU_SETSIZE, &one);
  sched_setaffinity(0, sizeof one, &one);
  if (!place_descriptors(descriptors, program) || ptrace(PTRACE_TRACEME, 0, 0, 0) != 0) _exit(1);
  const int at = kFirstDescriptor + static_cast<int>(descriptors.size());
  syscall(SYS_execveat, at, "", nothing, nothing, AT_EMPTY_PATH);
  _exit(1);
}

// ---- Leading it by ptrace
// ------------------------------------------------------------------------

class Lead {
 public:
  Lead(pid_t pid, uint64_t program) : pid_(pid), program_(program) {}

  // Waits until it has executed its program.
  bool begin() {
    if (!wait_for_trap()) return false;
    ptrace(PTRACE_SETOPTIONS, pid_, 0, PTRACE_O_EXITKILL);
    return ptrace(PTRACE_GETREGS, pid_, 0, &registers_) == 0;
  }

  // Has it make a syscall. -errno on failure.
  int64_t call(uint64_t number, std::array<uint64_t, 6> args) {
    user_regs_struct regs = registers_;
    regs.rip = program_ + kCodeAt;
    regs.rsp = program_ + kProgramBytes;
    regs.rax = number;
    regs.orig_rax = ~0ull;
    regs.rdi = args[0], regs.rsi = args[1], regs.rdx = args[2];
    regs.r10 = args[3], regs.r8 = args[4], regs.r9 = args[5];
    if (ptrace(PTRACE_SETREGS, pid_, 0, &regs) != 0 || ptrace(PTRACE_CONT, pid_, 0, 0) != 0 ||
        !wait_for_trap() || ptrace(PTRACE_GETREGS, pid_, 0, &regs) != 0)
      return -ESRCH;
    return static_cast<int64_t>(regs.rax);
  }

  bool write(uint64_t address, const void* from, size_t bytes) {
    const iovec local{const_cast<void*>(from), bytes};
    const iovec remote{reinterpret_cast<void*>(address), bytes};
    return process_vm_writev(pid_, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
  }

  // Lets it go at `entry`, with registers as the kernel leaves them at an exec.
  bool release(uint64_t entry, uint64_t stack) {
    user_regs_struct regs{};
    regs.cs = registers_.cs, regs.ss = registers_.ss;
    regs.eflags = 0x200;
    regs.rip = entry;
    regs.rsp = stack;
    regs.orig_rax = ~0ull;
    return ptrace(PTRACE_SETREGS, pid_, 0, &regs) == 0 && ptrace(PTRACE_DETACH, pid_, 0, 0) == 0;
  }

  uint64_t data() const { return program_ + kDataAt; }

 private:
  bool wait_for_trap() {
    int status = 0;
    while (waitpid(pid_, &status, __WALL) < 0)
      if (errno != EINTR) return false;
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
  }

  pid_t pid_;
  uint64_t program_;
  user_regs_struct registers_{};
};

constexpr uint64_t kNone = ~0ull;  // -1

// Nothing is left of it but its page.
bool empty(Lead& lead, uint64_t program) {
  const uint64_t behind = program + kProgramBytes;
  return lead.call(SYS_munmap, {0, program}) == 0 &&
         lead.call(SYS_munmap, {behind, kAddressEnd - behind}) == 0;
}

int64_t open_file(Lead& lead, const std::string& path) {
  if (!lead.write(lead.data(), path.c_str(), path.size() + 1)) return -EFAULT;
  return lead.call(SYS_open, {lead.data(), O_RDONLY});
}

bool restrict_calls(Lead& lead) {
  const Result<std::vector<sock_filter>> filter = stub_filter();
  if (!filter) return false;
  const uint64_t code = lead.data() + 64;
  const sock_fprog program{static_cast<unsigned short>(filter->size()),
                           reinterpret_cast<sock_filter*>(code)};
  return lead.write(code, filter->data(), filter->size() * sizeof(sock_filter)) &&
         lead.write(lead.data(), &program, sizeof program) &&
         lead.call(SYS_prctl, {PR_SET_NO_NEW_PRIVS, 1}) == 0 &&
         lead.call(SYS_seccomp, {SECCOMP_SET_MODE_FILTER, 0, lead.data()}) == 0;
}

bool put_agent(Lead& lead, StubOptions& options, size_t zone, const agent::BootInfo& boot) {
  const agent::ImageHeader& image = options.image.header();
  const uint64_t base = options.agent_base;
  const int64_t at =
      lead.call(SYS_mmap, {base, image.span_bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, kNone});
  if (at != static_cast<int64_t>(base)) return false;
  for (uint32_t i = 0; i < image.segment_count; ++i) {
    const auto segment = options.image.segment(zone, i);
    if (!lead.write(base + image.segments[i].address, segment.data(), segment.size())) return false;
  }
  return lead.write(base + image.boot_info, &boot, sizeof boot);
}

agent::BootInfo boot_of(const StubOptions& options, int log, int report, int64_t maps,
                        int64_t page_map) {
  agent::BootInfo boot{};
  boot.abi_version = agent::kAbiVersion;
  boot.mode = static_cast<uint32_t>(agent::BootMode::kReplay);
  boot.resume_address = options.resume_address;
  boot.log_bytes = options.log_bytes;
  boot.log_fd = log;
  boot.start_kind = static_cast<uint32_t>(shmlog::StartKind::kExec);
  boot.seccomp_alone = 1;
  boot.replay = options.boot;
  boot.replay.report_fd = report;
  boot.replay.maps_fd = static_cast<int>(maps);
  boot.replay.page_map_fd = static_cast<int>(page_map);
  return boot;
}

// Index of the zone in agent::kBases.
size_t zone_of(uint64_t base) {
  size_t zone = 0;
  while (zone < std::size(agent::kBases) && agent::kBases[zone] != base) ++zone;
  return zone;
}

// "" or what went wrong.
std::string lead_in(pid_t pid, StubOptions options, int log, int report) {
  const uint64_t program = program_address(options.agent_base);
  Lead lead(pid, program);
  if (!lead.begin()) return "it could not be started";
  const int64_t maps = open_file(lead, "/proc/self/maps");
  const int64_t page_map = open_file(lead, "/proc/self/pagemap");
  if (maps < 0 || page_map < 0) return "it cannot read its own mappings (/proc)";
  if (!empty(lead, program)) return "its address space could not be emptied";
  const agent::BootInfo boot = boot_of(options, log, report, maps, page_map);
  if (!put_agent(lead, options, zone_of(options.agent_base), boot))
    return "the agent could not be put into it";
  if (!restrict_calls(lead)) return "its system calls could not be restricted";
  const uint64_t entry = options.agent_base + options.image.header().entry;
  return lead.release(entry, options.stack) ? "" : "it could not be let go";
}

}  // namespace

Stub::Stub(Stub&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), report_(std::exchange(other.report_, nullptr)) {}

Stub::~Stub() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, __WALL);
  }
  if (report_) munmap(const_cast<agent::ReplayReport*>(report_), sizeof *report_);
}

bool Stub::ended(int& status) {
  if (waitpid(pid_, &status, __WALL | WNOHANG) != pid_ || WIFSTOPPED(status)) return false;
  pid_ = -1;
  return true;
}

Result<Stub> Stub::start(const StubOptions& options) {
  if (zone_of(options.agent_base) == std::size(agent::kBases))
    return Error{"the recording names a place for the agent where none can be"};
  Result<UniqueFd> program = make_program(program_address(options.agent_base));
  if (!program) return program.error();
  const UniqueFd report(memfd_create("shmrec-report", MFD_CLOEXEC));
  if (!report || ftruncate(report.get(), kPageBytes) != 0) return system_error("memfd_create");
  void* shared = mmap(nullptr, sizeof(agent::ReplayReport), PROT_READ, MAP_SHARED, report.get(), 0);
  if (shared == MAP_FAILED) return system_error("mmap");
  Stub stub;
  stub.report_ = static_cast<const agent::ReplayReport*>(shared);
  std::vector<int> descriptors = options.descriptors;
  const int log_at = kFirstDescriptor + static_cast<int>(descriptors.size());
  descriptors.push_back(options.log);
  descriptors.push_back(report.get());
  const pid_t parent = getpid();
  stub.pid_ = fork();
  if (stub.pid_ < 0) return system_error("fork");
  if (stub.pid_ == 0) become_stub(descriptors, program->get(), options.cpu, parent);
  const std::string trouble = lead_in(stub.pid_, options, log_at, log_at + 1);
  if (!trouble.empty()) return Error{"the replaying process: " + trouble, false};
  return stub;
}

}  // namespace shmrec::replay
