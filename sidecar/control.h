// The control socket: where launchers say that they are there, and anybody beside them asks for a
// bundle. docs/spool.md describes its lines.
//
// Owner: serves on a thread of its own until it is destroyed; borrows the service and the handler.
// Trust: whoever can reach the socket can write the spool anyway, and the other way round. A line
// is at most 64 KiB; a client that sends more, or something that is not a request, gets an error
// and is cut off; a client that does not read is cut off, and one that does not speak. Who comes is
// always served: of more than 256 the one goes that has been silent longest, launchers last. A
// launcher that is cut off connects again. Its name can be taken by others: it is made again, every
// few seconds; meanwhile problem() says why.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

struct ControlOptions {
  std::string path;      // of the socket; one that is there already is replaced
  std::string instance;  // random hex digits: launchers see that the sidecar was restarted
  // The run that a launcher which has just said hello should join, "" for one of its own.
  std::function<std::string(const std::string& container)> join;
  // A launcher has come with its run, or gone: look at the spool.
  std::function<void()> changed;
  // Why what a launcher of this user records could not be collected, "" if it can: its probe.
  std::function<std::string(const std::string& probe, uid_t user)> refuse =
      [](const std::string&, uid_t) { return std::string(); };
  std::chrono::milliseconds first_line{10'000};  // in which a client must have said one
  std::chrono::milliseconds look_after{
      5'000};  // between looks whether the name is still the socket's
};

class ControlServer {
 public:
  static constexpr size_t kMaxClients = 256;

  // Fails if `path` can never be a socket's. If it is merely taken, serves as soon as it is free.
  static Result<std::unique_ptr<ControlServer>> open(ControlOptions options, Service& service);
  ~ControlServer();

  size_t launchers() const { return launchers_; }  // connected, having said hello
  std::string problem() const;                     // why there is no socket; "": there is

 private:
  using Clock = std::chrono::steady_clock;
  struct Client {
    UniqueFd fd;
    std::string received;  // without a newline yet
    Clock::time_point spoke = Clock::now();
    bool launcher = false;  // said hello
    bool has_run = false;   // and named its run
    bool spoken = false;
  };
  ControlServer(ControlOptions options, Service& service)
      : options_(std::move(options)), service_(service) {}
  void look_after_socket();
  bool has_socket() const;
  Result<> make_socket();
  void serve();
  void accept_one();
  void forget_closed();
  bool receive(Client& client);
  bool answer(Client& client, const std::string& line);
  std::string reply_to(Client& client, const std::string& line);
  std::string refuse_launcher(const Client& client, const std::string& probe);

  ControlOptions options_;
  Service& service_;
  UniqueFd listener_, wake_;
  dev_t device_ = 0;  // of the socket's name
  ino_t inode_ = 0;
  Clock::time_point look_at_;
  mutable std::mutex problem_mutex_;
  std::string problem_;
  std::vector<Client> clients_;
  std::atomic<size_t> launchers_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace shmrec::sidecar
