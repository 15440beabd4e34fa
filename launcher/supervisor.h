// The launcher's event loop: answers the workload's notified syscalls, injects the agent at execs,
// forwards signals to the command, reaps what ends.
//
// Invariants
//  1. Waits for nothing but its poll(): no process of the workload can hold up another.
//  2. Every notification is answered, whatever fails.
//  3. Signals are forwarded to the command alone, and only if it did not get them already: not
//     those of the terminal (those the kernel sends, it sends to the whole foreground process
//     group), nor those of a process of the workload, which sent them to its process group.
//  4. No signal but SIGKILL and SIGSTOP ends or stops the launcher while the command runs; a fault
//     of its own does, because the kernel delivers what it caused even if it is blocked.
// Threads: one; it is the tracer of all execs. Cores are taken by another (core/core_taker.h).
#pragma once

#include <linux/seccomp.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include <array>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "launcher/inject.h"

namespace shmrec::launcher {

class CoreTaker;
class RecordingKeeper;
class SidecarClient;

// What the loop tells its owner. All are called from run().
struct SupervisorEvents {
  std::function<void(const ExecReport&)> exec;  // an exec succeeded
  std::function<void(pid_t pid, int status)> exit;
  std::function<void(const std::string& what, const std::string& why)> coverage;
};

struct SupervisorOptions {
  pid_t command = 0;      // a child of the caller
  UniqueFd listener;      // of the workload's filter; empty: nothing is recorded
  bool killable = false;  // see Listener
  int filters = 0;        // how many each process of the workload has without its own doing
  int log_fd = -1;        // given to agents; stays the caller's
  std::optional<Injector::Settings> injection;  // none: every exec runs unrecorded
  bool refuse_unrecorded = false;               // failurePolicy: closed
  RecordingKeeper* recordings = nullptr;        // level replay; stays the caller's
  CoreTaker* cores = nullptr;                   // none: none are taken; stays the caller's
  SidecarClient* sidecar = nullptr;             // served beside all else; stays the caller's
  std::function<void()> every_second;           // none: nothing is to be done
  bool wait_for_all = false;                    // go on until no process of the workload is left
};

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, SupervisorEvents events);

  // Signals that the launcher does not take itself. Must be blocked before the command starts.
  static sigset_t supervised_signals();

  // Until the command has ended (all of the workload: wait_for_all). Returns its wait status.
  int run();

  // After run(): whether processes of the workload are still there.
  bool others_left();

  // Keeps answering for processes that outlive the launcher, whose execs would fail with ENOSYS
  // otherwise: forks a process that lets them go unrecorded, and ends when they have.
  void leave_keeper();

 private:
  bool finished();
  int poll_timeout() const;
  void tick();
  void end_of_command(int status);
  void end_of_listener();
  void on_notification();
  bool may_refuse_the_agent(const seccomp_notif& request) const;
  void on_exec_request(const seccomp_notif& request);
  // As Injector::attach(); a core that is being taken of the process gives way.
  int attach(pid_t tid, bool filtered);
  void on_core_request(const seccomp_notif& request);
  void on_call(const seccomp_notif& request);
  void on_stream_request(const seccomp_notif& request);
  void on_keep_request(const seccomp_notif& request);
  void on_hello(const seccomp_notif& request);
  void on_refused_feature(const seccomp_notif& request, const char* name);
  void on_signals();
  void forward(const signalfd_siginfo& signal);
  bool is_of_workload(pid_t pid) const;
  bool was_recorded(pid_t pid) const;
  void reap();
  void on_report(const ExecReport& report);
  void on_command_stopped(int signal);

  SupervisorOptions options_;
  SupervisorEvents events_;
  std::optional<Injector> injector_;
  UniqueFd signals_;
  std::array<pid_t, 64> execs_{};  // who exec'ed last; some may be gone when their signal is read
  size_t next_exec_ = 0;
  bool command_ended_ = false;
  bool no_children_ = false;
  int command_status_ = 0;
  int64_t tick_ms_ = 0;      // when every_second is due
  int64_t deadline_ms_ = 0;  // when to stop waiting for stragglers, once the command has ended
};

}  // namespace shmrec::launcher
