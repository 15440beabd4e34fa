#include "launcher/spawn.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/message.h"
#include "launcher/supervisor.h"

namespace shmrec::launcher {
namespace {

// One int each way. From the child: kInstalled with the listener, kInstalledNotKillable, or the
// negative errno of the installation; later, if execve fails, its errno.
constexpr int kInstalled = 1;
constexpr int kInstalledNotKillable = 2;
constexpr int kNoFilterWanted = 3;
constexpr int kGo = 1;

void report_filter(int socket, const FilterProgram* program) {
  if (!program) {
    send_message(socket, kNoFilterWanted, -1);
    return;
  }
  // Without it an unprivileged process may not have a filter. A set-user-ID program then runs with
  // its caller's rights: docs/run.md, Limits.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    send_message(socket, -errno, -1);
    return;
  }
  const Listener listener = install_filter(*program);
  const int kind = listener.killable ? kInstalled : kInstalledNotKillable;
  send_message(socket, listener.fd >= 0 ? kind : -listener.error, listener.fd);
  if (listener.fd >= 0) close(listener.fd);
}

[[noreturn]] void child_main(const SpawnOptions& options, const InheritedSignals& signals,
                             pid_t launcher, int socket) {
  std::vector<char*> arguments;
  for (const std::string& argument : options.command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  if (options.die_with_launcher) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher) _exit(kExitNotExecutable);  // it died before that took effect
  }
  report_filter(socket, options.filter);
  const Message go = receive_message(socket);
  if (!go.ok || go.value != kGo) _exit(kExitNotExecutable);
  signals.restore();
  execvp(arguments[0], arguments.data());
  const int error = errno;
  send_message(socket, error, -1);
  _exit(exit_code_of_start_error(error));
}

}  // namespace

InheritedSignals::InheritedSignals() {
  const sigset_t supervised = Supervisor::supervised_signals();
  sigprocmask(SIG_BLOCK, &supervised, &mask_);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, &child_);  // if ignored, waitpid would find no statuses
}

void InheritedSignals::restore() const {
  sigaction(SIGCHLD, &child_, nullptr);
  sigprocmask(SIG_SETMASK, &mask_, nullptr);
}

Result<Child> Child::spawn(const SpawnOptions& options, const InheritedSignals& signals) {
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return system_error("socketpair");
  UniqueFd theirs(sockets[1]);
  Child child;
  child.socket_.reset(sockets[0]);
  const pid_t launcher = getpid();
  child.pid_ = fork();
  if (child.pid_ < 0) return system_error("fork");
  if (child.pid_ == 0) {
    child.socket_.reset();
    child_main(options, signals, launcher, theirs.get());
  }
  theirs.reset();
  Message message = receive_message(child.socket_.get());
  if (!message.ok) {
    child.abandon();
    return Error{"the new process died before it could start the command", false};
  }
  child.listener.fd = message.fd.release();
  child.listener.error = message.value < 0 ? -message.value : 0;
  child.listener.killable = message.value == kInstalled;
  return child;
}

void Child::release() { send_message(socket_.get(), kGo, -1); }

void Child::abandon() {
  if (listener.fd >= 0) close(listener.fd);
  listener.fd = -1;
  socket_.reset();
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

int Child::start_error() {
  // A command that was started closed its end (close-on-exec): end of file.
  const Message message = receive_message(socket_.get());
  return message.ok ? message.value : 0;
}

int exit_code_of_start_error(int error) {
  return error == ENOENT || error == ENOTDIR ? kExitNotFound : kExitNotExecutable;
}

}  // namespace shmrec::launcher
