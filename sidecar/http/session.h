// One client's connection: its requests one after the other, and the moment until which the client
// must have moved.
//
// Invariants:
//   1. The descriptor is non-blocking; whatever would wait is left to the loop.
//   2. Memory is bounded: the head's and body's limits and what one recv() takes, and the text of
//      one reply. A file goes from the page cache to the socket.
//   3. Bytes behind a request are kept for the next and read on only when it is the turn of it; no
//      byte of a body is ever taken for a request.
// One thread: the server's.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "sidecar/http/server.h"

namespace shmrec::sidecar {

struct Server::Loop {
  boost::asio::io_context io{1};
  boost::asio::posix::stream_descriptor listener{io};  // borrowed: released, never closed
  boost::asio::steady_timer timer{io};
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  using Clock = Server::Clock;

  Session(Server& server, UniqueFd fd, std::string peer);
  void start();
  // What is due now: ends or answers a client that has not moved in time.
  void look(Clock::time_point now);
  void cut(Cut why);
  void close();
  bool may_give_way(Clock::time_point now) const;
  bool asks_nothing() const { return phase_ == Phase::kIdle; }

 private:
  using Step = void (Session::*)();
  enum class Phase { kIdle, kAsking, kAnswering, kEnding, kOver };

  void enter(Phase phase, Clock::duration until_due);
  void wait(boost::asio::posix::stream_descriptor::wait_type type, Step then);
  void read_more();
  void advance();
  void take_head();
  void take_body();
  void answer(const std::string& body);
  void respond(Reply reply, bool unread);
  void send_more();
  bool send_some();
  void sent_room();  // the client took something: there is room again
  void responded();
  void end();
  void drain();
  void count(Cut why);
  void log();

  Server& server_;
  boost::asio::posix::stream_descriptor socket_;
  const std::string peer_;
  Phase phase_ = Phase::kIdle;
  Clock::time_point since_{};  // of the phase
  Clock::time_point due_{};
  Cut due_is_ = Cut::kIdle;  // what is said of who is not done when it is due
  unsigned turn_ = 0;        // waits of earlier turns count no more
  unsigned requests_ = 0;
  std::string received_;  // and not used yet

  // Of the request at work.
  RequestHead head_;
  bool has_head_ = false;
  bool unread_ = false;  // bytes of it are still to come
  bool close_ = false;   // the connection ends with it
  Clock::time_point started_{};
  int status_ = 0;
  std::string text_;  // to be sent before the file
  uint64_t text_sent_ = 0;
  Reply reply_;  // its file: what of it is left
  uint64_t sent_ = 0;
  bool blocked_ = false;  // the wait at work is the client's
  Clock::time_point blocked_since_{};
  Clock::duration window_waited_{};
  uint64_t window_sent_ = 0;
  uint64_t drained_ = 0;
  Cut cut_ = Cut::kNone;
};

}  // namespace shmrec::sidecar
