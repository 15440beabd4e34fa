// The launcher's connection to the sidecar: a handshake at the start, and then an open line, whose
// end tells the sidecar that the launcher is gone (docs/spool.md, The control socket).
//
//   down --connect--> hello --answer--> idle --announce--> run --answer--> idle
//    ^------- hung up, no answer in time, or an answer that is none: again after a while ------'
//
// The sidecar may restart at any time: the line is made anew with growing pauses, and the run is
// announced again. Nothing but wait() ever waits, and nothing here can fail the run.
// Trust: what the sidecar says is checked, and made printable before it is shown.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "launcher/line_socket.h"
#include "policy/policy.h"

namespace shmrec::launcher {

struct SidecarPlace {
  std::string socket;
  bool expected = false;  // whether there is reason to wait for one
};

// $SHMREC_SOCKET, else sidecar.sock in the spool.
SidecarPlace find_sidecar(const std::string& spool, const SidecarUse& use);

class SidecarClient {
 public:
  explicit SidecarClient(std::string socket) : socket_path_(std::move(socket)) {}

  // Until the sidecar has answered, at most `wait_ms`. The error says what happened last.
  Result<> wait(uint64_t wait_ms);

  const std::string& socket_path() const { return socket_path_; }
  const std::string& instance() const { return instance_; }  // of the sidecar that answered last
  // It has answered that it does not take what is recorded here; wait() says why.
  bool refused() const { return refused_; }
  const std::string& join() const { return join_; }  // the run it named in its first answer, or ""
  bool connected() const { return state_ == State::kIdle || state_ == State::kRun; }

  // Tells it of the run, now and after each reconnection. `member`: in a joined run, else "".
  void announce(const std::string& run, const std::string& member);

  // For a poll loop: fd() is polled for input and serve() called when it has some or hung up, and
  // at due_ms() (now_ms(), kForeverMs).
  int fd() const { return socket_.fd(); }
  int64_t due_ms() const { return due_ms_; }
  void serve(bool has_input);

  // Makes the directory that the first hello shows the sidecar; its name, "": none.
  std::function<std::string(const ucred& sidecar)> probe = [](const ucred&) {
    return std::string();
  };
  std::function<void(const std::string&)> note = [](const std::string&) {};  // for the log

 private:
  enum class State { kDown, kHello, kIdle, kRun };

  void connect();
  void receive();
  void on_line(const std::string& line);
  void on_hello_answer(const std::string& line);
  void send_run();
  void expect_answer(State state);
  void hang_up(const std::string& why);

  const std::string socket_path_;
  LineSocket socket_;
  State state_ = State::kDown;
  int64_t due_ms_ = 0;
  int64_t pause_ms_ = 0;  // before the next attempt
  int64_t connected_ms_ = 0;
  bool answered_ = false, refused_ = false;
  std::string instance_, join_, run_, member_;
  std::string trouble_;
};

}  // namespace shmrec::launcher
