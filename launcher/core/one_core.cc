#include "launcher/core/one_core.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>
#include <vector>

#include "base/unique_fd.h"
#include "launcher/core/core_memory.h"
#include "launcher/core/elf_core.h"
#include "launcher/core/process_memory.h"
#include "launcher/core/program_view.h"
#include "launcher/core/stopped_threads.h"
#include "launcher/process_status.h"

namespace shmrec::launcher {
namespace {

using Clock = std::chrono::steady_clock;
// What runs on is not held up for one thread that cannot be stopped: in a vfork, in a hung device.
constexpr std::chrono::milliseconds kStopLimit(1000), kShortStopLimit(100);

std::string joined_arguments(std::string text) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
  for (char& c : text)
    if (c == '\0') c = ' ';
  return text;
}

// `text`: of /proc/PID/stat, behind the name.
void read_relations(const std::string& text, CoreProcess& process) {
  const size_t name_end = text.rfind(')');
  if (name_end != std::string::npos)
    sscanf(text.c_str() + name_end, ") %c %d %d %d", &process.state, &process.parent,
           &process.group, &process.session);
}

CoreProcess describe_process(pid_t pid) {
  const std::string directory = "/proc/" + std::to_string(pid);
  CoreProcess process;
  process.pid = id_inside(pid);
  read_relations(read_proc_file(directory + "/stat"), process);
  process.name = status_value(pid, "Name");
  process.uid = static_cast<uint32_t>(atoll(status_value(pid, "Uid").c_str()));
  process.gid = static_cast<uint32_t>(atoll(status_value(pid, "Gid").c_str()));
  process.arguments = joined_arguments(read_proc_file(directory + "/cmdline"));
  const std::string auxiliary = read_proc_file(directory + "/auxv");
  process.auxiliary_vector.assign(auxiliary.begin(), auxiliary.end());
  return process;
}

ProgramHeaders headers_of(const CoreProcess& process) {
  ProgramHeaders headers;
  for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= process.auxiliary_vector.size();
       at += sizeof(Elf64_auxv_t)) {
    Elf64_auxv_t entry;
    memcpy(&entry, &process.auxiliary_vector[at], sizeof entry);
    if (entry.a_type == AT_PHDR) headers.address = entry.a_un.a_val;
    if (entry.a_type == AT_PHNUM) headers.count = entry.a_un.a_val;
  }
  return headers;
}

// ---- Vector registers that the kernel saved in a signal's frame ---------------------------------

// Linux: struct _fpx_sw_bytes, at the end of the legacy area.
constexpr size_t kLegacyBytes = 512, kSoftwareAt = 464, kMostStateBytes = size_t{64} << 10;
struct SoftwareBytes {
  uint32_t magic, extended_bytes;
  uint64_t features;
  uint32_t state_bytes;
};
constexpr uint32_t kMagic = 0x46505853;

std::vector<unsigned char> saved_vector_state(const ProcessMemory& memory, uint64_t at) {
  std::vector<unsigned char> state(kLegacyBytes);
  if (at == 0 || memory.read(at, state) != state.size()) return {};
  SoftwareBytes software;
  memcpy(&software, &state[kSoftwareAt], sizeof software);
  if (software.magic != kMagic || software.state_bytes > kMostStateBytes ||
      software.state_bytes < kLegacyBytes)
    return state;
  state.resize(software.state_bytes);
  if (memory.read(at, state) != state.size()) return {};
  // As ptrace and cores have them: the features, and nothing else.
  memset(&state[kSoftwareAt], 0, kLegacyBytes - kSoftwareAt);
  memcpy(&state[kSoftwareAt], &software.features, sizeof software.features);
  return state;
}

// ---- Threads ------------------------------------------------------------------------------------

user_regs_struct registers_of(const agent::CoreRequest& request) {
  static_assert(std::size(kContextOrder) == std::size(agent::CoreRequest{}.regs));
  constexpr uint64_t kCode64 = 0x33, kStack64 = 0x2B;
  user_regs_struct registers{};
  for (size_t i = 0; i < std::size(kContextOrder); ++i)
    registers.*kContextOrder[i] = request.regs[i];
  registers.cs = kCode64;
  registers.ss = kStack64;
  registers.fs_base = request.fs_base;
  registers.gs_base = request.gs_base;
  registers.orig_rax = ~0ull;  // no system call is to be made again
  return registers;
}

uint64_t blocked_signals(pid_t tid) {
  return strtoull(status_value(tid, "SigBlk").c_str(), nullptr, 16);
}

CoreThread seen(const ProcessMemory& memory, const StoppedThread& stopped) {
  CoreThread thread{id_inside(stopped.tid), stopped.registers, stopped.vector_state,
                    blocked_signals(stopped.tid)};
  const ProgramView view = find_program(memory, thread.registers);
  if (view.fpstate) thread.vector_state = saved_vector_state(memory, view.fpstate);
  return thread;
}

// ---- The file -----------------------------------------------------------------------------------

// In the run's directory, which others may write too: nothing is followed, and nothing but a core
// of the same recording replaced.
class CoreFile {
 public:
  // `folder`: stays the caller's.
  static Result<CoreFile> create(int folder, mode_t mode, const std::string& name) {
    CoreFile file;
    file.folder_ = folder;
    file.name_ = name;
    file.partial_ = file.name_ + ".partial";
    file.fd_.reset(openat(folder, file.partial_.c_str(),
                          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.fd_) return system_error(file.partial_);
    fchmod(file.fd_.get(), mode);
    return file;
  }
  CoreFile(CoreFile&&) = default;
  CoreFile& operator=(CoreFile&&) = delete;
  ~CoreFile() {
    if (fd_ && !committed_) unlinkat(folder_, partial_.c_str(), 0);
  }

  int fd() const { return fd_.get(); }
  Result<> commit() {
    if (renameat(folder_, partial_.c_str(), folder_, name_.c_str()) != 0)
      return system_error(name_);
    committed_ = true;
    return Unit{};
  }

 private:
  CoreFile() = default;
  int folder_ = -1;
  UniqueFd fd_;
  std::string name_, partial_;
  bool committed_ = false;
};

// With the threads stopped.
uint64_t newest_event(const CoreSubject& subject) {
  uint64_t event = 0;
  if (subject.log_fd < 0 ||
      pread(subject.log_fd, &event, sizeof event, subject.event_at) != sizeof event)
    return 0;
  return event;
}

// The thread that dies first, then the others; of a process that runs on, its main thread.
std::vector<CoreThread> read_threads(const CoreSubject& subject, const ProcessMemory& memory,
                                     const StoppedThreads& stopped) {
  std::vector<CoreThread> threads;
  if (subject.request)
    threads.push_back({id_inside(subject.waiting_thread), registers_of(*subject.request),
                       saved_vector_state(memory, subject.request->fpstate),
                       subject.request->blocked});
  for (const StoppedThread& thread : stopped.threads()) threads.push_back(seen(memory, thread));
  const auto main = std::find_if(threads.begin(), threads.end(), [&](const CoreThread& thread) {
    return !subject.request && thread.tid == id_inside(subject.pid);
  });
  if (main != threads.end()) std::rotate(threads.begin(), main, main + 1);
  return threads;
}

}  // namespace

std::string recording_name(const CoreSubject& subject) {
  char text[16];
  snprintf(text, sizeof text, "%08x-%04x", subject.id_high, subject.id_low & 0xFFFF);
  return text;
}

std::string core_file_name(const CoreSubject& subject) { return recording_name(subject) + ".core"; }

Result<TakenCore> take_core(const CoreSubject& subject, const CoreChoice& choice,
                            const CorePlace& place, const std::atomic<bool>& give_way) {
  const Clock::time_point begin = Clock::now();
  CoreProcess process = describe_process(subject.pid);
  Result<StoppedThreads> stopped =
      StoppedThreads::stop(subject.pid, subject.waiting_thread,
                           subject.request ? kStopLimit : kShortStopLimit, give_way);
  if (!stopped) return stopped.error();
  const Result<ProcessMemory> memory = ProcessMemory::open(subject.pid);
  if (!memory) return memory.error();
  if (subject.request)
    memcpy(process.siginfo.data(), subject.request->siginfo, process.siginfo.size());
  process.event = newest_event(subject);
  process.threads = read_threads(subject, *memory, *stopped);
  if (process.threads.empty()) return Error{"none of its threads could be stopped"};
  std::vector<user_regs_struct> registers;
  for (const CoreThread& thread : process.threads) registers.push_back(thread.registers);
  const Range hidden{subject.zone, subject.zone + agent::kZoneBytes};
  const CoreMemory chosen =
      choose_core_memory(*memory, hidden, registers, choice, headers_of(process));
  Result<CoreFile> file = CoreFile::create(place.folder, place.file_mode, core_file_name(subject));
  if (!file) return file.error();
  const Result<uint64_t> written =
      write_elf_core(file->fd(), process, *memory, hidden, chosen.ranges);
  if (!written) return written.error();
  if (!subject.request && has_ended(subject.pid)) return Error{"it ended meanwhile"};
  if (const Result<> committed = file->commit(); !committed) return committed.error();
  return TakenCore{*written, chosen.left_out_bytes, stopped->missing(), Clock::now() - begin};
}

std::string describe(const TakenCore& taken) {
  std::ostringstream text;
  text << taken.bytes << " bytes in "
       << std::chrono::duration_cast<std::chrono::milliseconds>(taken.pause).count() << " ms";
  if (taken.left_out_bytes)
    text << ", without " << taken.left_out_bytes << " bytes beyond collect.core.limit";
  if (taken.missing_threads) text << ", without " << taken.missing_threads << " threads";
  return text.str();
}

}  // namespace shmrec::launcher
