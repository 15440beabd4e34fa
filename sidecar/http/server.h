// An HTTP/1.1 server on one listening socket, with limits on everything that a client decides.
//
// Boost.Asio waits for all connections of a port in one thread, so a slow client costs a descriptor
// and its buffers, no thread; Boost.Beast reads heads. A timer looks at every connection: each has
// one moment until which its client must have moved, whatever else the client does. The limit of
// connections reached, the kernel keeps the others, unaccepted; and while some wait there, those
// that keep us waiting are cut for them (make_room), so that holding connections keeps nobody out.
//
// Threads: its own, which takes no signals and runs all of the Site; nothing in it waits for a
// client. start and stop from one other; metrics from any.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "sidecar/http/address.h"
#include "sidecar/http/log_limit.h"
#include "sidecar/http/reply.h"
#include "sidecar/http/request_head.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

struct ServerLimits {
  size_t connections = 64;  // at the same time
  HeadLimits head;
  uint64_t body_bytes = 64 * 1024;
  unsigned requests_per_connection = 100;
  std::chrono::milliseconds idle{5'000};       // no request begins
  std::chrono::milliseconds request{15'000};   // from a request's first byte to its last
  std::chrono::milliseconds stall{10'000};     // not a byte of the response is taken
  std::chrono::milliseconds whole{3'600'000};  // from a request's first byte to the response's last
  // Of the time spent waiting for the client, each `rate_window` must move this much.
  uint64_t bytes_per_second = 32 * 1024;
  std::chrono::milliseconds rate_window{10'000};
  std::chrono::milliseconds stop_grace{2'000};  // then connections are cut
  // While the limit of connections is reached and others wait: how long one may still go without a
  // whole request, and how long one may take from there to the end of its response.
  std::chrono::milliseconds speak{500};
  std::chrono::milliseconds answer{std::chrono::hours(24)};
};

// What is served: the routes of one port. Called from the server's thread.
class Site {
 public:
  virtual ~Site() = default;
  // Before the body is read: a reply ends the request.
  virtual std::optional<Reply> refuse(const RequestHead& head) = 0;
  virtual Reply answer(const RequestHead& head, const std::string& body) = 0;
  // Whether the log has a line of it by default, not only at its level "debug".
  virtual bool is_logged([[maybe_unused]] int status) const { return true; }
};

// Why a connection ended that the client did not end in order.
enum class Cut { kNone, kGone, kIdle, kRequestTimeout, kStalled, kTooSlow, kDeadline, kCrowded };
inline constexpr size_t kCuts = 8;
extern const char* const kCutNames[kCuts];

struct ServerCounters {
  std::array<std::atomic<uint64_t>, 6> by_class{};  // [2] : 2xx
  std::array<std::atomic<uint64_t>, kCuts> by_cut{};
  std::atomic<uint64_t> accepted{0};
  std::atomic<uint64_t> bytes_sent{0};
  std::atomic<int64_t> open{0};
};

class Session;

class Server {
 public:
  using Clock = std::chrono::steady_clock;

  // `name` is for the log. `site` is borrowed until stop().
  Server(std::string name, Listener listener, Site& site, const ServerLimits& limits);
  ~Server();
  Server(const Server&) = delete;

  // No new connection; requests at work have stop_grace to end; then all is cut. Once.
  void stop();
  const std::string& address() const { return address_; }  // also after stop()
  // Counters as metrics "shmrec_PREFIX_...".
  std::vector<Metric> metrics(const std::string& prefix) const;

 private:
  friend class Session;
  struct Loop;  // Asio's, kept from those who include this

  void run();
  void accept_more();
  void accept_one();
  void begin_to_stop();
  void look_later();
  void look();  // at all connections
  void make_room();
  bool is_full() const { return sessions_.size() >= limits_.connections; }
  bool others_wait() const;
  void forget(const Session& session);

  const std::string name_;
  std::optional<Listener> listener_;  // until stop()
  const std::string address_;
  Site& site_;
  const ServerLimits limits_;
  ServerCounters counters_;
  LogLimit log_limit_;
  std::atomic<bool> stopped_{false};  // stop() was called

  // Of the server's thread.
  bool stopping_ = false;
  bool accepting_ = false;       // a wait for the next connection is on
  Clock::time_point pause_end_;  // accept nothing until then: descriptors or memory ran out
  Clock::time_point stop_end_;
  std::vector<std::shared_ptr<Session>> sessions_;  // in the order of arrival

  std::unique_ptr<Loop> loop_;
  std::thread thread_;
};

}  // namespace shmrec::sidecar
