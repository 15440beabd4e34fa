#include "launcher/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "launcher/clock.h"
#include "launcher/core/core_taker.h"
#include "launcher/identity.h"
#include "launcher/notifier.h"
#include "launcher/process_status.h"
#include "launcher/recording_keeper.h"
#include "launcher/seccomp_status.h"
#include "launcher/sidecar_client.h"

namespace shmrec::launcher {
namespace {

// How long the rest of the workload may take to end after the command before it counts as left
// over.
constexpr int64_t kGraceMs = 100;

std::string name_of(pid_t pid) {
  std::string name;
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::getline(file, name);
  return (name.empty() ? "process" : name) + " (pid " + std::to_string(pid) + ")";
}

std::string explain_attach(int error) {
  if (error == EPERM)
    return "ptrace refused: the process has another user than the launcher, is traced by another "
           "debugger, may not be dumped, or the machine forbids it (see shmrec doctor)";
  return std::string("ptrace: ") + strerror(error);
}

short poll_once(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) > 0 ? entry.revents : 0;
}

// The keeper's whole life: exec goes on unrecorded, all else does not exist.
[[noreturn]] void keep(int listener) {
  for (seccomp_notif request; !(poll_once(listener, -1) & (POLLHUP | POLLERR | POLLNVAL));) {
    if (!receive_notification(listener, request)) continue;
    const int number = request.data.nr;
    if (number == SYS_execve || number == SYS_execveat)
      answer_continue(listener, request.id);
    else
      answer_error(listener, request.id, number == SYS_fcntl ? EBADF : ENOSYS);
  }
  _exit(0);
}

}  // namespace

sigset_t Supervisor::supervised_signals() {
  sigset_t set;
  sigfillset(&set);
  return set;
}

Supervisor::Supervisor(SupervisorOptions options, SupervisorEvents events)
    : options_(std::move(options)), events_(std::move(events)) {
  if (options_.injection) injector_.emplace(*options_.injection);
  sigset_t set = supervised_signals();
  sigdelset(&set, SIGPIPE);  // the launcher's own; blocked, it stays pending for ever
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (options_.listener) wake_up_on_this_processor(options_.listener.get());
}

int Supervisor::run() {
  while (!finished()) {
    pollfd entries[] = {{signals_.get(), POLLIN, 0},
                        {options_.listener.get(), POLLIN, 0},
                        {options_.sidecar ? options_.sidecar->fd() : -1, POLLIN, 0}};
    if (poll(entries, std::size(entries), poll_timeout()) < 0 && errno != EINTR) break;
    // Statuses first: a process may have been stopped before it could cause the next notification.
    if (entries[0].revents) on_signals();
    if (entries[1].revents & POLLIN)
      on_notification();
    else if (entries[1].revents)
      end_of_listener();
    if (options_.sidecar) options_.sidecar->serve(entries[2].revents != 0);
    tick();
  }
  return command_status_;
}

bool Supervisor::finished() {
  if (!command_ended_) return false;
  if (injector_ && !injector_->idle()) return false;
  // Without listener nobody runs any more, but the last statuses may still be on their way.
  return (!options_.listener && no_children_) || now_ms() >= deadline_ms_;
}

int Supervisor::poll_timeout() const {
  constexpr int64_t kLongestMs = 60'000;  // of what poll's int can hold
  const int64_t due = std::min({command_ended_ ? deadline_ms_ : kForeverMs,
                                options_.sidecar ? options_.sidecar->due_ms() : kForeverMs,
                                options_.every_second ? tick_ms_ : kForeverMs});
  if (due == kForeverMs) return -1;
  return static_cast<int>(std::clamp<int64_t>(due - now_ms(), 1, kLongestMs));
}

void Supervisor::tick() {
  constexpr int64_t kTickMs = 1000;
  if (!options_.every_second || now_ms() < tick_ms_) return;
  tick_ms_ = now_ms() + kTickMs;
  options_.every_second();
}

void Supervisor::end_of_command(int status) {
  command_ended_ = true;
  command_status_ = status;
  const bool for_all = options_.wait_for_all && options_.listener;
  deadline_ms_ = for_all ? kForeverMs : now_ms() + kGraceMs;
  // A container ends with its first process; the kernel would kill the others when the launcher
  // ends. Doing it now lets the bundle hold their end.
  if (getpid() == 1 && !options_.wait_for_all) kill(-1, SIGKILL);
}

// Nobody is left who could ask.
void Supervisor::end_of_listener() {
  options_.listener.reset();
  if (command_ended_) deadline_ms_ = std::min(deadline_ms_, now_ms() + kGraceMs);
}

bool Supervisor::others_left() {
  if (!options_.listener) return false;
  return !(poll_once(options_.listener.get(), 0) & POLLHUP);
}

void Supervisor::leave_keeper() {
  if (fork() != 0) return;
  prctl(PR_SET_NAME, "shmrec-keeper");
  if (chdir("/") != 0) errno = 0;  // else it would keep the file system from being unmounted
  const int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  const int listener = dup2(options_.listener.get(), 3);
  syscall(SYS_close_range, 4u, ~0u, 0u);
  keep(listener);
}

// ---- Notifications ------------------------------------------------------------------------------

void Supervisor::on_notification() {
  seccomp_notif request;
  if (!receive_notification(options_.listener.get(), request)) return;
  switch (request.data.nr) {
    case SYS_execve:
    case SYS_execveat:
      return on_exec_request(request);
    case SYS_fcntl:
      return on_call(request);
    case SYS_io_uring_setup:
      return on_refused_feature(request, "io_uring");
    case SYS_userfaultfd:
      return on_refused_feature(request, "userfaultfd");
  }
  answer_continue(options_.listener.get(), request.id);
}

// The agent in the process that executes knows its filters and says if a new image can be recorded
// behind them. One that has left the recording says nothing.
bool Supervisor::may_refuse_the_agent(const seccomp_notif& request) const {
  if (request.data.args[5] == agent::kExecFiltered) return false;
  return seccomp_status(static_cast<pid_t>(request.pid)).filters > options_.filters;
}

int Supervisor::attach(pid_t tid, bool filtered) {
  int error = injector_->attach(tid, options_.killable, filtered);
  if (error != EPERM || !options_.cores || !options_.cores->give_way(tid)) return error;
  // The kernel takes a moment to let go what a thread that has ended has traced.
  constexpr int kTries = 1000;
  constexpr timespec kPause{0, 100'000};
  for (int i = 0; i < kTries && error == EPERM; ++i) {
    error = injector_->attach(tid, options_.killable, filtered);
    if (error == EPERM) nanosleep(&kPause, nullptr);
  }
  return error;
}

void Supervisor::on_exec_request(const seccomp_notif& request) {
  const pid_t tid = static_cast<pid_t>(request.pid);
  execs_[next_exec_++ % execs_.size()] = tid;
  const bool refused = tid > 0 && may_refuse_the_agent(request);
  const bool try_it = injector_.has_value() && tid > 0 && !refused;
  const bool filtered = request.data.args[5] == agent::kExecFiltered;
  const int error = try_it ? attach(tid, filtered) : ENOTSUP;
  if (error != 0 && error != ESRCH && injector_) {
    events_.coverage("exec by " + name_of(tid),
                     refused
                         ? "it has a seccomp filter of its own, which may refuse what the agent "
                           "needs to start"
                     : tid > 0 ? explain_attach(error)
                               : "it lives in another pid namespace");
    if (options_.refuse_unrecorded) {
      answer_error(options_.listener.get(), request.id, EPERM);
      return;
    }
  }
  answer_continue(options_.listener.get(), request.id);
  // Also if there was nobody to answer any more: an attached thread must meet some stop.
  if (error == 0 && !options_.killable) injector_->interrupt(tid);
}

void Supervisor::on_call(const seccomp_notif& request) {
  switch (request.data.args[2]) {
    case agent::kCallCore:
      return on_core_request(request);
    case agent::kCallStream:
      return on_stream_request(request);
    case agent::kCallKeep:
      return on_keep_request(request);
  }
  on_hello(request);
}

void Supervisor::on_stream_request(const seccomp_notif& request) {
  const int listener = options_.listener.get();
  agent::StreamRequest wanted;
  const iovec local{&wanted, sizeof wanted};
  const iovec remote{reinterpret_cast<void*>(request.data.args[3]), sizeof wanted};
  const auto pid = static_cast<pid_t>(request.pid);
  if (!options_.recordings || process_vm_readv(pid, &local, 1, &remote, 1, 0) != sizeof wanted) {
    answer_error(listener, request.id, ENOSYS);
    return;
  }
  const UniqueFd file = options_.recordings->make_stream(wanted);
  const int error = file ? answer_with_descriptor(listener, request.id, file.get()) : errno;
  if (error != 0 && error != ENOENT) answer_error(listener, request.id, error);
}

void Supervisor::on_keep_request(const seccomp_notif& request) {
  const int error = options_.recordings
                        ? options_.recordings->keep(static_cast<pid_t>(request.pid),
                                                    static_cast<int>(request.data.args[3]))
                        : ENOSYS;
  answer_error(options_.listener.get(), request.id, error);
}

void Supervisor::on_hello(const seccomp_notif& request) {
  if (const int reason = -static_cast<int>(request.data.args[3]); reason != 0) {
    events_.coverage("exec by " + name_of(static_cast<pid_t>(request.pid)),
                     std::string("the agent could not start in it: ") + strerror(reason));
    answer_error(options_.listener.get(), request.id, reason);
    return;
  }
  const int error = answer_with_descriptor(options_.listener.get(), request.id, options_.log_fd);
  if (error == 0 || error == ENOENT) return;  // ENOENT: killed meanwhile
  answer_error(options_.listener.get(), request.id, error);
  events_.coverage(name_of(static_cast<pid_t>(request.pid)),
                   std::string("the log could not be handed over: ") + strerror(error));
}

void Supervisor::on_core_request(const seccomp_notif& request) {
  if (options_.cores)
    options_.cores->take(options_.listener.get(), request);
  else
    answer_error(options_.listener.get(), request.id, ENOSYS);
}

void Supervisor::on_refused_feature(const seccomp_notif& request, const char* name) {
  answer_error(options_.listener.get(), request.id, ENOSYS);
  events_.coverage(
      std::string(name) + " by " + name_of(static_cast<pid_t>(request.pid)),
      "it cannot be recorded, so the program was told that it does not exist (ENOSYS)");
}

// ---- Signals and children -----------------------------------------------------------------------

void Supervisor::on_signals() {
  bool child = false;
  signalfd_siginfo signal;
  while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGCHLD)
      child = true;
    else
      forward(signal);
  }
  if (child) reap();
}

void Supervisor::forward(const signalfd_siginfo& signal) {
  if (command_ended_ || signal.ssi_code == SI_KERNEL) return;
  const auto sender = static_cast<pid_t>(signal.ssi_pid);
  if (is_of_workload(sender)) return;
  const auto number = static_cast<int>(signal.ssi_signo);
  if (signal.ssi_code != SI_QUEUE) {
    kill(options_.command, number);
    return;
  }
  siginfo_t info{};  // with its value, and from whom it was
  info.si_signo = number;
  info.si_code = SI_QUEUE;
  info.si_pid = sender;
  info.si_uid = signal.ssi_uid;
  info.si_value.sival_ptr = reinterpret_cast<void*>(signal.ssi_ptr);
  syscall(SYS_rt_sigqueueinfo, options_.command, number, &info);
}

// Is it among the newest recordings? Of one that forks, sends a signal and ends nothing else is
// left when the signal is looked at.
bool Supervisor::was_recorded(pid_t pid) const {
  constexpr uint32_t kNewest = 1024;
  shmlog::Header header;
  if (pread(options_.log_fd, &header, sizeof header, 0) != ssize_t{sizeof header}) return false;
  const shmlog::Area& table = header.processes;
  const uint64_t pid_namespace = own_pid_namespace();
  if (table.count < 2 || table.entry_bytes != sizeof(shmlog::ProcessEntry)) return false;
  const uint32_t most = std::min({kNewest, table.count - 1, header.next_process - 1});
  for (uint32_t age = 1; age <= most; ++age) {
    const uint32_t slot = shmlog::table_slot(header.next_process - age, table.count);
    const uint64_t at = table.offset + uint64_t{slot} * sizeof(shmlog::ProcessEntry);
    shmlog::ProcessEntry entry;
    if (pread(options_.log_fd, &entry, sizeof entry, static_cast<off_t>(at)) !=
        ssize_t{sizeof entry})
      return false;
    if (entry.pid == pid && entry.pid_namespace == pid_namespace) return true;
  }
  return false;
}

// A descendant, for which the launcher is the reaper of orphans. 0 is a sender of another PID
// namespace. What sent a signal to its own process group may have died of it: then it is known if
// it exec'ed a short while ago, or was recorded.
bool Supervisor::is_of_workload(pid_t pid) const {
  constexpr int kMaxDepth = 1000;
  if (pid <= 0 || pid == getpid()) return false;
  if (pid == options_.command) return true;
  pid_t ancestor = parent_of(pid);
  if (ancestor == 0)
    return std::find(execs_.begin(), execs_.end(), pid) != execs_.end() || was_recorded(pid);
  for (int depth = 0; ancestor > 1 && ancestor != getpid() && depth < kMaxDepth; ++depth)
    ancestor = parent_of(ancestor);
  return ancestor == getpid();
}

void Supervisor::reap() {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, __WALL | WNOHANG | WUNTRACED)) > 0) {
    if (injector_) {
      const Injector::Handled handled = injector_->on_wait(pid, status);
      if (handled.report) on_report(*handled.report);
      if (handled.mine) continue;
    }
    if (WIFSTOPPED(status)) {
      const bool by_tracer = status >> 16 != 0;  // a core is being taken
      if (pid == options_.command && !by_tracer) on_command_stopped(WSTOPSIG(status));
      continue;
    }
    events_.exit(pid, status);
    if (pid == options_.command) end_of_command(status);
  }
  no_children_ = pid < 0;
}

void Supervisor::on_report(const ExecReport& report) {
  using Outcome = ExecReport::Outcome;
  if (report.outcome == Outcome::kInjected) events_.exec(report);
  if (report.outcome != Outcome::kUnrecorded) return;
  events_.exec(report);
  events_.coverage("exec of " + report.exec.executable + " by pid " + std::to_string(report.pid),
                   report.why);
}

// Job control: a shell that waits for the launcher must see it stop when the command stops. Not for
// SIGSTOP, which whoever sent it may want for the command alone.
void Supervisor::on_command_stopped(int signal) {
  if (signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU) return;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTSTP);
  kill(getpid(), SIGTSTP);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace shmrec::launcher
