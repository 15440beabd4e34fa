// fork in a program with threads: between fork and exec only calls that are safe in a signal
// handler, so everything that needs memory is made before.
#include "sidecar/egress/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/unique_fd.h"

namespace shmrec::sidecar::egress {
namespace {

using Clock = std::chrono::steady_clock;

// How often `stop` is looked at.
constexpr std::chrono::milliseconds kTick{100};
constexpr int kErrorFd = 3;  // in the child, until exec closes it

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

void close_from(unsigned first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  // Some container runtimes' filters do not know the call.
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (unsigned fd = first; fd < limit.rlim_cur; ++fd) close(static_cast<int>(fd));
}

void default_signals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

struct Prepared {
  char* const* argv;
  char* const* envp;
  int null, output, error;
  pid_t parent;
};

[[noreturn]] void fail(int error_fd) {
  const int err = errno;
  (void)!write(error_fd, &err, sizeof(err));
  _exit(127);
}

// In the child. The descriptors of `p` are above kErrorFd.
[[noreturn]] void become(const Prepared& p) {
  setpgid(0, 0);
  // A hook must not outlive a sidecar that was killed.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != p.parent) _exit(127);
  default_signals();
  if (dup2(p.null, 0) < 0 || dup2(p.output, 1) < 0 || dup2(p.output, 2) < 0) fail(p.error);
  if (dup3(p.error, kErrorFd, O_CLOEXEC) < 0) fail(p.error);
  close_from(kErrorFd + 1);
  execve(p.argv[0], p.argv, p.envp);
  fail(kErrorFd);
}

// A descriptor that dup2 onto 0..3 cannot hit.
UniqueFd above_standard(UniqueFd fd) {
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, kErrorFd + 1));
}

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe");
  Pipe pipe{UniqueFd(ends[0]), above_standard(UniqueFd(ends[1]))};
  if (!pipe.write) return system_error("pipe");
  return pipe;
}

class Child {
 public:
  Child(const ChildOptions& options, const std::atomic<bool>& stop)
      : options_(options), stop_(stop) {}

  // However this ends, nobody of the group is left.
  ~Child() {
    if (pid_ <= 0) return;
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  Result<> start() {
    auto output = make_pipe();
    if (!output) return output.error();
    auto error = make_pipe();
    if (!error) return error.error();
    const UniqueFd null = above_standard(UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    if (!null) return system_error("/dev/null");
    const auto argv = pointers(options_.command);
    const auto envp = pointers(options_.environment);
    const Prepared prepared{argv.data(),         envp.data(),        null.get(),
                            output->write.get(), error->write.get(), getpid()};
    pid_ = fork();
    if (pid_ == 0) become(prepared);
    if (pid_ < 0) return system_error("fork");
    setpgid(pid_, pid_);  // by whichever comes first
    output->write.reset();
    error->write.reset();
    int err = 0;
    ssize_t got;
    while ((got = read(error->read.get(), &err, sizeof(err))) < 0 && errno == EINTR) {
    }
    if (got == sizeof(err)) return system_error(options_.command[0], err);
    output_ = std::move(output->read);
    fcntl(output_.get(), F_SETFL, O_NONBLOCK);
    watch_ = UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    if (!watch_) return system_error("pidfd_open");
    return Unit{};
  }

  ChildEnd wait() {
    const bool ended = wait_until(Clock::now() + options_.limit, true);
    if (!ended) {
      end_.why = stop_ ? ChildEnd::Why::kStopped : ChildEnd::Why::kTimeLimit;
      kill(-pid_, SIGTERM);
      wait_until(Clock::now() + options_.grace, false);
    }
    // What it left in the background goes too, before its number can belong to another group.
    kill(-pid_, SIGKILL);
    end_.status = W_EXITCODE(255, 0);  // stays if somebody else reaped it: unknown is not success
    while (waitpid(pid_, &end_.status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    drain();
    return std::move(end_);
  }

 private:
  // True once the child has ended.
  bool wait_until(Clock::time_point limit, bool heed_stop) {
    bool output_open = true;
    while (!(heed_stop && stop_) && Clock::now() < limit) {
      pollfd fds[] = {{watch_.get(), POLLIN, 0}, {output_open ? output_.get() : -1, POLLIN, 0}};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - Clock::now());
      poll(fds, 2, static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kTick).count()));
      if (fds[1].revents != 0) output_open = drain();
      if (fds[0].revents != 0) return true;
    }
    return false;
  }

  // False once there is no writer left.
  bool drain() {
    char buffer[4096];
    ssize_t got;
    // Bounded, so that a program that writes for ever does not keep us from its time limit.
    for (int i = 0; i < 64; ++i) {
      got = read(output_.get(), buffer, sizeof(buffer));
      if (got <= 0) return got < 0 && (errno == EAGAIN || errno == EINTR);
      const size_t kept =
          std::min(static_cast<size_t>(got), options_.max_output - end_.output.size());
      end_.output.append(buffer, kept);
      end_.dropped += static_cast<size_t>(got) - kept;
    }
    return true;
  }

  const ChildOptions& options_;
  const std::atomic<bool>& stop_;
  pid_t pid_ = 0;
  UniqueFd output_, watch_;
  ChildEnd end_;
};

}  // namespace

Result<ChildEnd> run_child(const ChildOptions& options, const std::atomic<bool>& stop) {
  Child child(options, stop);
  const Result<> started = child.start();
  if (!started) return started.error();
  return child.wait();
}

}  // namespace shmrec::sidecar::egress
