// The control socket: where launchers say that they are there, and anybody beside them asks for a
// bundle. docs/spool.md describes its lines.
//
// Owner: serves on a thread of its own until it is destroyed; borrows the service and the handler.
// Trust: whoever can reach the socket can write the spool anyway. A line is at most 64 KiB; a client
// that sends more, or something that is not a request, gets an error and is cut off; a client that does
// not read is cut off; at most 256 are served.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
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
};

class ControlServer {
 public:
  static Result<std::unique_ptr<ControlServer>> open(ControlOptions options, Service& service);
  ~ControlServer();

  size_t launchers() const { return launchers_; }  // connected, having said hello

 private:
  struct Client {
    UniqueFd fd;
    std::string received;  // without a newline yet
    bool launcher = false;
  };
  ControlServer(ControlOptions options, Service& service)
      : options_(std::move(options)), service_(service) {}
  void serve();
  void accept_one();
  bool receive(Client& client);
  bool answer(Client& client, const std::string& line);
  std::string reply_to(Client& client, const std::string& line);

  ControlOptions options_;
  Service& service_;
  UniqueFd listener_, wake_;
  std::vector<Client> clients_;
  std::atomic<size_t> launchers_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace shmrec::sidecar
