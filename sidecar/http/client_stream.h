// One client's connection as httplib's Stream, with a clock on everything that waits for the
// client.
//
// The descriptor is borrowed and non-blocking. One thread. What httplib reads is first the head
// that it is given (replay), then at most the announced bytes of the body; never the next request.
#pragma once

#include <httplib.h>

#include <chrono>
#include <functional>
#include <string>

#include "sidecar/http/server.h"

namespace shmrec::sidecar {

class ClientStream : public httplib::Stream {
 public:
  using Clock = std::chrono::steady_clock;
  enum class HeadRead { kWhole, kTooLong, kNoHttp, kTimeout, kGone };

  ClientStream(int fd, std::string peer, const ServerLimits& limits, ServerCounters& counters)
      : fd_(fd), peer_(std::move(peer)), limits_(limits), counters_(counters) {}

  // True once the first byte of a request is there. `give_up` is asked now and then.
  bool wait_for_request(const std::function<bool()>& give_up);
  // Reads up to and with the empty line; skips empty lines before it.
  HeadRead read_head(std::string& head);
  // What httplib shall read next: `head`, then `body_bytes` of what the client sends.
  void replay(std::string head, uint64_t body_bytes);
  // Before the descriptor is closed. `unread`: the last response came before all of its request was
  // read. Closing with bytes unread resets the connection, so the client may first read the
  // response; and a client that was cut is reset, so that no buffer is kept for it.
  void end(bool unread);

  uint64_t body_left() const { return body_left_; }
  uint64_t sent() const { return sent_; }  // of this request
  Clock::time_point started() const { return started_; }
  const std::string& peer() const { return peer_; }
  Cut cut() const { return cut_; }

  bool is_readable() const override { return cut_ == Cut::kNone; }
  bool is_writable() const override { return cut_ == Cut::kNone; }
  ssize_t read(char* to, size_t bytes) override;
  ssize_t write(const char* from, size_t bytes) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override { ip = peer_, port = 0; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  socket_t socket() const override { return fd_; }

 private:
  // Waits for `events` until `until`; false: cut for `why`.
  bool wait(short events, Clock::time_point until, Cut why);
  bool wait_to_send();
  void drain();
  ssize_t receive(char* to, size_t bytes, Clock::time_point until);
  bool fill(Clock::time_point until);
  ssize_t give_up(Cut why);

  const int fd_;
  const std::string peer_;
  const ServerLimits& limits_;
  ServerCounters& counters_;
  std::string buffer_;  // received, not consumed
  std::string replay_;
  size_t replayed_ = 0;
  uint64_t body_left_ = 0;
  Clock::time_point started_{};
  uint64_t sent_ = 0;
  Clock::duration window_waited_{};
  uint64_t window_sent_ = 0;
  Cut cut_ = Cut::kNone;
};

}  // namespace shmrec::sidecar
