// An HTTP/1.1 server on one listening socket, with limits on everything that a client decides.
//
// cpp-httplib 0.11 runs the exchange: it reads the body and writes the response. Three things are
// ours, because its own would let a client hurt the sidecar:
//   - accepting (server.cc): httplib's descriptors stay open in programs that hooks execute, its
//     loop ends at the first ECONNABORTED, and its queue of connections has no bound;
//   - the head (request_head.h): httplib decodes escapes in header values, matches paths by regular
//     expressions that recurse once per byte, takes any number of headers, and reads the body of a
//     GET as the next request;
//   - the stream (client_stream.h): its timeouts are per call, so a byte now and then holds a
//     thread for ever.
// Each thread serves one connection at a time. All threads busy: as many connections again wait in
// a queue, beyond that the kernel keeps them, unaccepted; and those that wait for their client are
// cut for those in the queue (make_room), so that holding connections keeps nobody out. No thread
// is shared with the collector.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
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
  size_t connections = 16;  // served at the same time: one thread each
  size_t waiting = 16;      // accepted and not served yet
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
  // While all threads are busy and others wait for one: how long a connection may still go without
  // a whole request, and how long one may take from there to the end of its response.
  std::chrono::milliseconds speak{500};
  std::chrono::milliseconds answer{std::chrono::hours(24)};
};

// What is served: the routes of one port. Threads: both may be called from any, at the same time.
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

class Worker;

class Server {
 public:
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
  friend class Worker;
  struct Connection {
    UniqueFd fd;
    std::string peer;
  };
  struct Served {
    int fd = -1;
    bool asked = false;  // its request is whole
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  };

  void make_workers();
  void accept_loop();
  bool wait_for_room();
  void accept_one();
  void serve_loop(Worker& worker);
  std::optional<Connection> next();
  bool stopping() const { return stopping_; }
  bool others_wait() const { return waiting_ > 0; }
  void note(int fd, bool asked);  // what a connection at work has come to
  void make_room();
  void cut_all();

  const std::string name_;
  std::optional<Listener> listener_;  // until stop()
  const std::string address_;
  Site& site_;
  const ServerLimits limits_;
  ServerCounters counters_;
  LogLimit log_limit_;

  UniqueFd wake_;  // eventfd: readable once stopping
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> waiting_{0};  // size of queue_
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Connection> queue_;
  std::vector<Served> serving_;  // at work, in the order of `since`
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
};

}  // namespace shmrec::sidecar
