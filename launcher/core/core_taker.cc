#include "launcher/core/core_taker.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <sstream>

#include "agent/agent_abi.h"
#include "launcher/core/core_memory.h"
#include "launcher/core/elf_core.h"
#include "launcher/core/process_memory.h"
#include "launcher/core/program_view.h"
#include "launcher/core/stopped_threads.h"
#include "launcher/identity.h"
#include "launcher/notifier.h"
#include "launcher/shared_folder.h"

namespace shmrec::launcher {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kStopLimit(1000);
constexpr const char *kFolder = "cores", *kSuffix = ".core";

// The value of "KEY:\tVALUE" in /proc/PID/status.
std::string status_value(const std::string& status, const std::string& key) {
  const size_t at = ("\n" + status).find("\n" + key + ":");
  if (at == std::string::npos) return "";
  const size_t begin = status.find_first_not_of(" \t", at + key.size() + 1);
  return begin == std::string::npos ? "" : status.substr(begin, status.find('\n', begin) - begin);
}

// The last of "1 2 3": the number in the innermost namespace.
pid_t last_number(const std::string& numbers) {
  const size_t space = numbers.find_last_of(" \t");
  return atoi(numbers.c_str() + (space == std::string::npos ? 0 : space + 1));
}

pid_t tid_inside(pid_t tid) {
  const pid_t inside = last_number(
      status_value(read_proc_file("/proc/" + std::to_string(tid) + "/status"), "NSpid"));
  return inside > 0 ? inside : tid;
}

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

CoreProcess describe(pid_t pid, const agent::CoreRequest& request) {
  const std::string directory = "/proc/" + std::to_string(pid);
  CoreProcess process;
  process.pid = tid_inside(pid);
  read_relations(read_proc_file(directory + "/stat"), process);
  const std::string status = read_proc_file(directory + "/status");
  process.name = status_value(status, "Name");
  process.uid = static_cast<uint32_t>(atoll(status_value(status, "Uid").c_str()));
  process.gid = static_cast<uint32_t>(atoll(status_value(status, "Gid").c_str()));
  process.arguments = joined_arguments(read_proc_file(directory + "/cmdline"));
  const std::string auxiliary = read_proc_file(directory + "/auxv");
  process.auxiliary_vector.assign(auxiliary.begin(), auxiliary.end());
  memcpy(process.siginfo.data(), request.siginfo, process.siginfo.size());
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
  const std::string status = read_proc_file("/proc/" + std::to_string(tid) + "/status");
  return strtoull(status_value(status, "SigBlk").c_str(), nullptr, 16);
}

CoreThread seen(const ProcessMemory& memory, const StoppedThread& stopped) {
  CoreThread thread{tid_inside(stopped.tid), stopped.registers, stopped.vector_state,
                    blocked_signals(stopped.tid)};
  const ProgramView view = find_program(memory, thread.registers);
  if (view.fpstate) thread.vector_state = saved_vector_state(memory, view.fpstate);
  return thread;
}

// ---- The file -----------------------------------------------------------------------------------

std::string recording_name(const agent::CoreRequest& request) {
  char text[16];
  snprintf(text, sizeof text, "%08x-%04x", request.id_high, request.id_low & 0xFFFF);
  return text;
}

// In the run's directory, which others may write too: nothing is followed, nothing replaced.
class CoreFile {
 public:
  // `folder`: stays the caller's.
  static Result<CoreFile> create(int folder, mode_t mode, const std::string& name) {
    CoreFile file;
    file.folder_ = folder;
    file.name_ = name + kSuffix;
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
    if (linkat(folder_, partial_.c_str(), folder_, name_.c_str(), 0) != 0)
      return system_error(name_);
    unlinkat(folder_, partial_.c_str(), 0);
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

struct Taken {
  uint64_t bytes = 0, left_out_bytes = 0;
  size_t missing_threads = 0;
  Clock::duration pause{};
};

Result<Taken> take_core(const CoreTakerOptions& options, int folder, pid_t pid, pid_t tid,
                        const agent::CoreRequest& request, const std::string& name) {
  const Clock::time_point begin = Clock::now();
  Result<StoppedThreads> others = StoppedThreads::stop(pid, tid, kStopLimit);
  if (!others) return others.error();
  const Result<ProcessMemory> memory = ProcessMemory::open(pid);
  if (!memory) return memory.error();
  CoreProcess process = describe(pid, request);
  process.threads.push_back({tid_inside(tid), registers_of(request),
                             saved_vector_state(*memory, request.fpstate), request.blocked});
  for (const StoppedThread& thread : others->threads())
    process.threads.push_back(seen(*memory, thread));
  std::vector<user_regs_struct> registers;
  for (const CoreThread& thread : process.threads) registers.push_back(thread.registers);
  const Range hidden{request.zone, request.zone + agent::kZoneBytes};
  const CoreMemory chosen =
      choose_core_memory(*memory, hidden, registers, options.choice, headers_of(process));
  Result<CoreFile> file = CoreFile::create(folder, options.file_mode, name);
  if (!file) return file.error();
  const Result<uint64_t> written =
      write_elf_core(file->fd(), process, *memory, hidden, chosen.ranges);
  if (!written) return written.error();
  if (const Result<> committed = file->commit(); !committed) return committed.error();
  return Taken{*written, chosen.left_out_bytes, others->missing(), Clock::now() - begin};
}

std::string describe(const Taken& taken) {
  std::ostringstream text;
  text << taken.bytes << " bytes in "
       << std::chrono::duration_cast<std::chrono::milliseconds>(taken.pause).count() << " ms";
  if (taken.left_out_bytes)
    text << ", without " << taken.left_out_bytes << " bytes beyond collect.core.limit";
  if (taken.missing_threads) text << ", without " << taken.missing_threads << " threads";
  return text.str();
}

std::optional<agent::CoreRequest> read_request(pid_t tid, uint64_t at) {
  const Result<ProcessMemory> memory = ProcessMemory::open(tid);
  agent::CoreRequest request;
  if (!memory || memory->read(at, {reinterpret_cast<unsigned char*>(&request), sizeof request}) !=
                     sizeof request)
    return {};
  return request;
}

}  // namespace

CoreTaker::CoreTaker(CoreTakerOptions options)
    : options_(std::move(options)), thread_([this] { work(); }) {}

CoreTaker::~CoreTaker() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CoreTaker::take(int listener, const seccomp_notif& request) {
  if (!folder_) {
    Result<UniqueFd> folder =
        make_shared_folder(options_.run_directory / kFolder, options_.file_mode);
    if (!folder) {
      answer_error(listener, request.id, 0);
      const std::lock_guard lock(mutex_);
      told_.push_back({false, "core of thread " + std::to_string(request.pid),
                       folder.error().message, 0, "", ""});
      return;
    }
    folder_ = std::move(*folder);  // before the first request: the other thread waits for that
  }
  const std::lock_guard lock(mutex_);
  waiting_.push_back({listener, request});
  changed_.notify_all();
}

std::vector<CoreTaker::Told> CoreTaker::tell_new() {
  const std::lock_guard lock(mutex_);
  return std::exchange(told_, {});
}

void CoreTaker::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.empty() && !busy_; });
}

void CoreTaker::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Request request = waiting_.front();
    waiting_.pop_front();
    busy_ = true;
    lock.unlock();
    Told told = serve(request);
    answer_error(request.listener, request.notification.id, 0);
    lock.lock();
    busy_ = false;
    told_.push_back(std::move(told));
    changed_.notify_all();
  }
}

CoreTaker::Told CoreTaker::serve(const Request& request) {
  const pid_t tid = static_cast<pid_t>(request.notification.pid);
  const pid_t pid = atoi(
      status_value(read_proc_file("/proc/" + std::to_string(tid) + "/status"), "Tgid").c_str());
  Told told;
  told.pid = pid;
  told.what = "core of pid " + std::to_string(pid);
  if (pid <= 0) {
    told.how = "it lives in another pid namespace, or is gone";
    return told;
  }
  const ActAs identity(pid);
  const std::optional<agent::CoreRequest> asked =
      read_request(tid, request.notification.data.args[3]);
  if (!asked) {
    told.how = "its memory cannot be read: it has another user, may not be dumped, or is gone";
    return told;
  }
  const std::string name = recording_name(*asked);
  told.what += " (recording " + name + ")";
  const Result<Taken> taken = take_core(options_, folder_.get(), pid, tid, *asked, name);
  told.taken = static_cast<bool>(taken);
  told.name = status_value(read_proc_file("/proc/" + std::to_string(pid) + "/status"), "Name");
  told.file = options_.run_directory / kFolder / (name + kSuffix);
  told.how = taken ? describe(*taken) : taken.error().message;
  return told;
}

}  // namespace shmrec::launcher
