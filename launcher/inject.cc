#include "launcher/inject.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "agent/pack/relocate.h"
#include "launcher/identity.h"
#include "launcher/zone.h"
#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::launcher {
namespace {

// `mov $9, %eax; syscall; int3`: mmap with the other registers as set. The number is loaded by the
// stub because the kernel overwrites rax with execve's result on the way out of EVENT_EXEC.
constexpr uint64_t kStub = 0xCC'05'0F'00'00'00'09'B8;
constexpr uint64_t kStubBytes = 8;
static_assert(SYS_mmap == 9);
constexpr uint64_t kUserCode64 = 0x33;  // cs of 64-bit code
constexpr size_t kKernelSigsetBytes = 8;
static_assert(recording::kMaxLogBytes <= agent::kMaxLogBytes);
constexpr size_t kMaxSegments = std::size(agent::ImageHeader{}.segments);

void* pointer(uint64_t value) { return reinterpret_cast<void*>(value); }

std::string failed(const char* what, int error = errno) {
  return std::string(what) + ": " + strerror(error);
}

bool is_event(int status, int event) { return status >> 16 == event; }

// The exec was made by another thread of the process, which now goes by the process's number.
pid_t former_tid(pid_t pid) {
  unsigned long tid = 0;
  if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &tid) != 0) return pid;
  return static_cast<pid_t>(tid);
}

bool get_mask(pid_t pid, sigset_t& mask) {
  return ptrace(PTRACE_GETSIGMASK, pid, kKernelSigsetBytes, &mask) == 0;
}
bool set_mask(pid_t pid, const sigset_t& mask) {
  return ptrace(PTRACE_SETSIGMASK, pid, kKernelSigsetBytes, &mask) == 0;
}

bool peek(pid_t pid, uint64_t address, uint64_t& word) {
  errno = 0;
  word = static_cast<uint64_t>(ptrace(PTRACE_PEEKDATA, pid, pointer(address), 0));
  return errno == 0;
}
bool poke(pid_t pid, uint64_t address, uint64_t word) {
  return ptrace(PTRACE_POKEDATA, pid, pointer(address), word) == 0;
}

}  // namespace

Result<AgentImage> AgentImage::open(std::span<const unsigned char> bytes) {
  AgentImage image;
  image.bytes_ = bytes;
  agent::ImageHeader& header = image.header_;
  if (const char* wrong = agent::check_image(bytes.data(), bytes.size()))
    return Error{std::string("agent image: ") + wrong, false};
  memcpy(&header, bytes.data(), sizeof header);
  return image;
}

std::span<const unsigned char> AgentImage::segment(size_t zone, uint32_t index) {
  auto& segments = moved_[zone];
  if (segments.empty()) segments.resize(header_.segment_count);
  std::vector<unsigned char>& bytes = segments[index];
  const agent::ImageSegment& segment = header_.segments[index];
  const auto from = bytes_.subspan(segment.file_offset, segment.file_bytes);
  if (bytes.empty()) {
    if (!agent::moves(bytes_.data(), index)) return from;
    bytes.assign(from.begin(), from.end());
    agent::relocate(bytes_.data(), index, agent::kBases[zone], bytes.data());
  }
  return bytes;
}

Injector::Injector(Settings settings) : settings_(std::move(settings)) {}

int Injector::attach(pid_t tid, bool killable, bool filtered) {
  // A thread whose execve was interrupted and restarted comes here again, still attached.
  if (!tracees_.contains(tid)) {
    const ActAs identity(tid);
    if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC) != 0) return errno;
    tracees_.emplace(tid, Tracee{});
  }
  tracees_[tid].filtered = filtered;
  if (killable) interrupt(tid);
  return 0;
}

void Injector::interrupt(pid_t tid) {
  // ESRCH: it died, and its status is on its way.
  ptrace(PTRACE_INTERRUPT, tid, 0, 0);
}

Injector::Handled Injector::on_wait(pid_t pid, int status) {
  if (WIFSTOPPED(status) && is_event(status, PTRACE_EVENT_EXEC)) return on_exec(pid);
  const auto found = tracees_.find(pid);
  if (found == tracees_.end()) return {};
  if (!WIFSTOPPED(status)) {
    // If it is a child of the launcher too, this status is also the one of the child.
    Handled handled = finish(pid, ExecReport::Outcome::kDied, "killed during exec", status);
    handled.mine = false;
    return handled;
  }
  Tracee& tracee = found->second;
  if (tracee.phase == Phase::kMapping && status >> 8 == SIGTRAP) return on_mapped(pid, tracee);
  return on_other_stop(pid, tracee, status);
}

Injector::Handled Injector::on_exec(pid_t pid) {
  const pid_t former = former_tid(pid);
  auto node = tracees_.extract(former);
  if (node.empty()) {  // not ours to trace: never hold it
    ptrace(PTRACE_DETACH, pid, 0, 0);
    return {true, std::nullopt};
  }
  // The old leader, if it was in an execve of its own, is gone without a status.
  tracees_.erase(pid);
  node.key() = pid;
  Tracee& tracee = tracees_.insert(std::move(node)).position->second;
  const ActAs identity(pid);
  std::string trouble = plant_stub(pid, tracee);
  if (trouble.empty() && ptrace(PTRACE_CONT, pid, 0, 0) != 0) trouble = failed("continue");
  if (trouble.empty()) return {true, std::nullopt};
  if (tracee.phase == Phase::kMapping) restore(pid, tracee, tracee.registers.rip);
  return detach(pid, tracee, ExecReport::Outcome::kUnrecorded, std::move(trouble));
}

// Returns what went wrong. Once the phase is kMapping, restore() undoes it.
std::string Injector::plant_stub(pid_t pid, Tracee& tracee) {
  user_regs_struct& registers = tracee.registers;
  iovec all{&registers, sizeof registers};
  if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all) != 0) return failed("read registers");
  if (all.iov_len != sizeof registers || registers.cs != kUserCode64) {
    tracee.exec.executable = executable_of(pid);
    return "the program is 32-bit code, which is not recorded";
  }
  tracee.exec = read_exec_info(pid, registers.rsp);
  if (!peek(pid, registers.rip, tracee.word)) return failed("read the entry point");
  if (!get_mask(pid, tracee.mask)) return failed("read the signal mask");
  tracee.phase = Phase::kMapping;
  sigset_t everything;
  memset(&everything, 0xFF, sizeof everything);
  if (!set_mask(pid, everything)) return failed("block signals");
  if (!poke(pid, registers.rip, kStub)) return failed("write at the entry point");
  return map_zone(pid, tracee, 0);
}

// Lets the stub map the image at the best candidate from `first` on.
std::string Injector::map_zone(pid_t pid, Tracee& tracee, size_t first) {
  tracee.zone = choose_zone(pid, first);
  if (tracee.zone == std::size(agent::kBases)) return "map the agent: its places are all taken";
  user_regs_struct call = tracee.registers;
  call.rdi = agent::kBases[tracee.zone];
  call.rsi = settings_.image.header().span_bytes;
  call.rdx = PROT_READ | PROT_WRITE | PROT_EXEC;
  call.r10 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  call.r8 = static_cast<uint64_t>(-1);
  call.r9 = 0;
  if (ptrace(PTRACE_SETREGS, pid, 0, &call) != 0) return failed("write registers");
  return {};
}

Injector::Handled Injector::on_mapped(pid_t pid, Tracee& tracee) {
  user_regs_struct now{};
  std::string trouble;
  const uint64_t base = agent::kBases[tracee.zone];
  if (ptrace(PTRACE_GETREGS, pid, 0, &now) != 0) {
    trouble = failed("read registers");
  } else if (now.rip != tracee.registers.rip + kStubBytes) {
    trouble = "the first instruction was not reached";
  } else if (now.rax == static_cast<uint64_t>(-EEXIST)) {
    trouble = map_zone(pid, tracee, tracee.zone + 1);
    if (trouble.empty() && ptrace(PTRACE_CONT, pid, 0, 0) == 0) return {true, std::nullopt};
    if (trouble.empty()) trouble = failed("continue");
  } else if (now.rax != base) {
    trouble = failed("map the agent", static_cast<int>(-static_cast<int64_t>(now.rax)));
  } else {
    const ActAs identity(pid);
    trouble = write_image(pid, tracee);
  }
  const bool injected = trouble.empty();
  if (!restore(pid, tracee,
               injected ? base + settings_.image.header().entry : tracee.registers.rip) &&
      injected)
    trouble = failed("enter the agent");
  return detach(pid, tracee,
                trouble.empty() ? ExecReport::Outcome::kInjected : ExecReport::Outcome::kUnrecorded,
                trouble);
}

std::string Injector::write_image(pid_t pid, const Tracee& tracee) {
  const agent::ImageHeader& image = settings_.image.header();
  const uint64_t base = agent::kBases[tracee.zone];
  agent::BootInfo boot{};
  boot.abi_version = agent::kAbiVersion;
  boot.mode = static_cast<uint32_t>(agent::BootMode::kInjected);
  boot.resume_address = tracee.registers.rip;
  boot.log_bytes = settings_.log_bytes;
  boot.log_fd = -1;
  boot.start_kind = static_cast<uint32_t>(shmlog::StartKind::kExec);
  boot.launcher_uid = geteuid();
  boot.launcher = settings_.launcher;
  boot.seccomp_alone = settings_.seccomp_alone;
  boot.core_at_signal = settings_.cores.on_signal;
  boot.core_at_exit = settings_.cores.on_exit;
  boot.seccomp_inherited = tracee.filtered;
  boot.level = static_cast<uint32_t>(settings_.level);
  boot.checksums = settings_.checksums;
  boot.launcher_pid = getpid();
  boot.command_pid = settings_.command;
  boot.launcher_namespace = own_pid_namespace();
  iovec local[kMaxSegments + 1];
  iovec remote[std::size(local)];
  size_t count = 0;
  size_t bytes = 0;
  auto add = [&](uint64_t address, const void* from, size_t size) {
    local[count] = {const_cast<void*>(from), size};
    remote[count++] = {pointer(address), size};
    bytes += size;
  };
  for (uint32_t i = 0; i < image.segment_count; ++i) {
    const std::span<const unsigned char> segment = settings_.image.segment(tracee.zone, i);
    add(base + image.segments[i].address, segment.data(), segment.size());
  }
  add(base + image.boot_info, &boot, sizeof boot);
  const ssize_t written = process_vm_writev(pid, local, count, remote, count, 0);
  if (written < 0) return failed("write the agent");
  if (static_cast<size_t>(written) != bytes) return "write the agent: cut short";
  return {};
}

// A SIGSTOP or group stop while the stub runs is put off until the detachment. Any other signal
// there was forced by the stub itself, that is, the entry point cannot be executed: let the program
// find out by itself. In the first phase it is the INTERRUPT that a failed execve meets.
Injector::Handled Injector::on_other_stop(pid_t pid, Tracee& tracee, int status) {
  const bool signal_stop = status >> 16 == 0;
  if (tracee.phase == Phase::kSeized) {
    return detach(pid, tracee, ExecReport::Outcome::kFailed, {},
                  signal_stop ? WSTOPSIG(status) : 0);
  }
  if (!signal_stop || WSTOPSIG(status) == SIGSTOP) {
    tracee.stopped_by_user |= signal_stop;
    ptrace(PTRACE_CONT, pid, 0, 0);
    return {true, std::nullopt};
  }
  restore(pid, tracee, tracee.registers.rip);
  return detach(pid, tracee, ExecReport::Outcome::kUnrecorded,
                "its entry point cannot be executed");
}

// Back to what the kernel left at exec, at `rip`. All of it is tried, whatever fails.
bool Injector::restore(pid_t pid, const Tracee& tracee, uint64_t rip) {
  user_regs_struct registers = tracee.registers;
  registers.rip = rip;
  registers.rax = 0;
  registers.orig_rax = static_cast<unsigned long long>(-1);
  const bool bytes = poke(pid, tracee.registers.rip, tracee.word);
  const bool mask = set_mask(pid, tracee.mask);
  return ptrace(PTRACE_SETREGS, pid, 0, &registers) == 0 && bytes && mask;
}

Injector::Handled Injector::detach(pid_t pid, const Tracee& tracee, ExecReport::Outcome outcome,
                                   std::string why, int signal) {
  if (outcome == ExecReport::Outcome::kUnrecorded && settings_.kill_unrecorded) {
    kill(pid, SIGKILL);  // while it is stopped: not one instruction more
    return finish(pid, outcome, std::move(why));
  }
  if (tracee.stopped_by_user) kill(pid, SIGSTOP);
  // Killed meanwhile: whatever went wrong, that was the cause. Its status is on its way.
  if (ptrace(PTRACE_DETACH, pid, 0, signal) != 0) return finish(pid, ExecReport::Outcome::kDied);
  return finish(pid, outcome, std::move(why));
}

Injector::Handled Injector::finish(pid_t pid, ExecReport::Outcome outcome, std::string why,
                                   int status) {
  ExecReport report{outcome, pid, std::move(why), {}, status};
  auto node = tracees_.extract(pid);
  if (!node.empty()) report.exec = std::move(node.mapped().exec);
  return {true, std::move(report)};
}

}  // namespace shmrec::launcher
