#include "launcher/binary_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "launcher/identity.h"
#include "launcher/kept_folder.h"
#include "recording/bundle/elf_id.h"
#include "recording/bundle/module_follower.h"

namespace shmrec::launcher {
namespace {

using recording::MappedModule;
using recording::ModuleFollower;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxSeen = 16384;  // modules; more are not looked at
constexpr size_t kMaxLines = 4096;  // of the index
constexpr int kLeastUrgent = 19;
constexpr std::chrono::milliseconds kStopLimit{2000};

// ---- Opening what a process mapped --------------------------------------------------------------

std::string in_proc(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

bool same_object(const char* one, const std::string& other) {
  struct stat a, b;
  return stat(one, &a) == 0 && stat(other.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

// Whether paths mean to the process what they mean here. One that is gone is taken to have been so.
bool has_other_root(pid_t pid) {
  if (access(in_proc(pid, "root").c_str(), F_OK) != 0) return false;
  return !same_object("/", in_proc(pid, "root")) ||
         !same_object("/proc/self/ns/mnt", in_proc(pid, "ns/mnt"));
}

// Without opening it for reading: that would have effects on a device or a pipe.
UniqueFd find_here(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_PATH | O_CLOEXEC));
}

// As the process itself would find it; absolute links begin at its root.
UniqueFd find_in_root_of(pid_t pid, const std::string& path) {
  const UniqueFd root(open(in_proc(pid, "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return {};
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(
      static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
}

UniqueFd reopen(const UniqueFd& found) {
  const std::string link = "/proc/self/fd/" + std::to_string(found.get());
  return UniqueFd(open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

// The file if it is the one that was mapped, for reading; else why not.
UniqueFd accept(const UniqueFd& found, const MappedModule& module, std::string& why) {
  struct stat status;
  if (!found || fstat(found.get(), &status) != 0) return why = strerror(errno), UniqueFd();
  if (!S_ISREG(status.st_mode)) return why = "not a regular file", UniqueFd();
  if (module.inode != 0 && module.inode != status.st_ino)
    return why = "another file has its name now", UniqueFd();
  UniqueFd file = reopen(found);
  if (!file) return why = strerror(errno), UniqueFd();
  if (!recording::is_elf(file.get())) return why = "not an ELF file", UniqueFd();
  return file;
}

// `why` is of the place where it should have been.
UniqueFd open_module(const MappedModule& module, std::string& why) {
  const bool other_root = module.pid > 0 && has_other_root(module.pid);
  UniqueFd file = accept(
      other_root ? find_in_root_of(module.pid, module.path) : find_here(module.path), module, why);
  std::string ignored;
  // Removed or replaced, it is still what the process runs. Without an inode to compare, whoever
  // has this pid now may be another.
  if (!file && module.pid > 0 && module.inode != 0)
    file = accept(find_here(in_proc(module.pid, "exe")), module, ignored);
  if (!file && other_root) file = accept(find_here(module.path), module, ignored);
  return file;
}

// ---- Threads ------------------------------------------------------------------------------------

// Signals are for the thread that supervises.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;

 private:
  sigset_t old_;
};

bool start_thread(std::thread& thread, std::function<void()> body) {
  const SignalsBlocked blocked;
  try {
    thread = std::thread(std::move(body));
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void become_least_urgent() {
  prctl(PR_SET_NAME, "shmrec-keeper");
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kLeastUrgent);
}

}  // namespace

// ---- Work ---------------------------------------------------------------------------------------

// One thread at a time has all but what the mutex guards.
struct BinaryKeeper::Work {
  Work(const BinaryKeeperOptions& options, KeptFolder folder, UniqueFd log)
      : options(options), folder(std::move(folder)), log(std::move(log)) {}

  // In the background, until told to stop.
  void follow() {
    become_least_urgent();
    ModuleFollower follower;
    std::unique_lock lock(mutex);
    while (!stop) {
      lock.unlock();
      look(follower, false);
      lock.lock();
      if (!follower.behind())
        changed.wait_for(lock, options.interval, [this] { return stop.load(); });
    }
    done = true;
    changed.notify_all();
  }

  // All that the journal names, from its beginning: nothing is waited for any more.
  void complete() {
    ModuleFollower follower;
    do look(follower, true);
    while (follower.behind() && !stop);
    // What was started and never seen mapped (no /proc): by its path alone.
    const std::set<std::string> started = executables;
    for (const std::string& path : started)
      if (!mapped.contains(path)) take({.path = path, .executable = true});
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_all();
  }

  void look(ModuleFollower& follower, bool last) {
    const auto modules = follower.poll(log.get(), last);
    if (!modules) return;
    for (const MappedModule& module : *modules)
      if (module.executable && is_ours(module)) executables.insert(module.path);
    for (const MappedModule& module : *modules)
      if (!module.executable && is_ours(module)) take(module);
  }

  // Another container's launcher keeps what its processes map; their paths mean nothing here.
  bool is_ours(const MappedModule& module) const {
    return pid_namespace == 0 || module.pid_namespace == 0 || module.pid_namespace == pid_namespace;
  }

  bool wanted(const std::string& path) const {
    return executables.contains(path) ? options.executables : options.libraries;
  }

  void take(const MappedModule& module) {
    const std::pair<std::string, uint64_t> key{module.path, module.inode};
    if (stop || !wanted(module.path) || seen.contains(key)) return;
    const bool room = seen.size() < kMaxSeen;
    std::string why = room ? "" : "more modules than are kept";
    const UniqueFd file = room ? open_module(module, why) : UniqueFd();
    const auto outcome = !file ? KeptFolder::Outcome::kLost
                               : folder.keep(
                                     module.path, file.get(), [this] { return stop.load(); }, why);
    if (outcome == KeptFolder::Outcome::kStopped) return;
    if (room) seen.insert(key);
    if (room) mapped.insert(module.path);
    const std::lock_guard lock(mutex);
    summary.files = folder.files();
    summary.bytes = folder.bytes();
    if (outcome == KeptFolder::Outcome::kLost) lose(module, why);
  }

  void lose(const MappedModule& module, const std::string& why) {
    if (summary.lost++ == 0) summary.why = module.path + ": " + why;
    if (summary.lost <= kMaxLines) folder.note_missing(module.path, module.inode, why);
  }

  // True: the thread has ended. Else it goes on alone.
  bool end(std::thread& thread, Clock::time_point until) {
    if (!thread.joinable()) return true;
    std::unique_lock lock(mutex);
    const bool ended = changed.wait_until(lock, until, [this] { return done; });
    lock.unlock();
    ended ? thread.join() : thread.detach();
    return ended;
  }

  const BinaryKeeperOptions options;
  KeptFolder folder;
  const UniqueFd log;
  const uint64_t pid_namespace = own_pid_namespace();
  std::set<std::string> executables, mapped;
  std::set<std::pair<std::string, uint64_t>> seen;
  std::thread thread;
  std::atomic<bool> stop = false;

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  bool done = false;
  Summary summary;
};

// ---- BinaryKeeper -------------------------------------------------------------------------------

Result<std::unique_ptr<BinaryKeeper>> BinaryKeeper::start(const BinaryKeeperOptions& options) {
  Result<KeptFolder> folder =
      KeptFolder::create(options.run_directory, options.file_mode, options.max_bytes);
  if (!folder) return folder.error();
  UniqueFd log(fcntl(options.log, F_DUPFD_CLOEXEC, 0));
  if (!log) return system_error("run.shmlog");
  auto work = std::make_shared<Work>(options, std::move(*folder), std::move(log));
  if (!start_thread(work->thread, [work] { work->follow(); }))
    return Error{"binaries are not kept: no thread could be had", false};
  return std::unique_ptr<BinaryKeeper>(new BinaryKeeper(std::move(work)));
}

BinaryKeeper::~BinaryKeeper() {
  if (work_) finish(std::chrono::milliseconds(0));
}

BinaryKeeper::Summary BinaryKeeper::finish(std::chrono::milliseconds limit) {
  const std::shared_ptr<Work> work = std::exchange(work_, nullptr);
  const Clock::time_point until = Clock::now() + limit;
  const auto stop = [&work] {
    const std::lock_guard lock(work->mutex);
    work->stop = true;
    work->changed.notify_all();
  };
  const auto give_up = [&work](const char* why) {
    const std::lock_guard lock(work->mutex);
    if (work->summary.lost++ == 0) work->summary.why = why;
    return work->summary;
  };
  // The background thread drops the copy that it is at: it is the least urgent one of the machine,
  // and somebody waits now.
  stop();
  if (!work->end(work->thread, Clock::now() + kStopLimit))
    return give_up("binaries: a file system did not answer");
  work->stop = work->done = false;
  if (limit.count() == 0) return work->summary;
  if (!start_thread(work->thread, [work] { work->complete(); }))
    return give_up("binaries: no thread could be had");
  if (work->end(work->thread, until)) return work->summary;
  stop();
  return give_up("binaries: there was no time to copy all");
}

}  // namespace shmrec::launcher
