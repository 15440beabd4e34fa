#include "sidecar/http/session.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/write.hpp>
#include <ctime>
#include <sstream>

namespace shmrec::sidecar {
namespace {

namespace http = boost::beast::http;
using std::chrono::milliseconds;
using WaitType = boost::asio::posix::stream_descriptor::wait_type;

constexpr milliseconds kLinger{1000};
constexpr size_t kLingerBytes = 256 * 1024;
constexpr uint64_t kTurnBytes = 256 * 1024;  // then others have theirs
constexpr char kContinue[] = "HTTP/1.1 100 Continue\r\n\r\n";

// A byte that no head has: another protocol, TLS for one. Waiting for the end of its head is
// useless.
bool is_no_http(std::string_view bytes) {
  return std::any_of(bytes.begin(), bytes.end(), [](char c) {
    return (c >= 0 && c < 0x20 && c != '\r' && c != '\n' && c != '\t') || c == 0x7f;
  });
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

std::string http_date() {
  const time_t now = time(nullptr);
  struct tm utc;
  char text[40];
  gmtime_r(&now, &utc);
  strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return text;
}

std::string head_text(const Reply& reply, uint64_t bytes, bool close) {
  http::response<http::empty_body> head;
  head.result(static_cast<unsigned>(reply.status));
  for (const auto& [name, value] : reply.headers) head.insert(name, value);
  if (!reply.type.empty()) head.set(http::field::content_type, reply.type);
  // RFC 9110: 204 has no length.
  if (reply.status != 204) head.set(http::field::content_length, std::to_string(bytes));
  head.set(http::field::date, http_date());
  head.set(http::field::cache_control, "no-store");
  head.set("X-Content-Type-Options", "nosniff");
  if (close) head.set(http::field::connection, "close");
  std::ostringstream text;
  text << head.base();
  return text.str();
}

}  // namespace

Session::Session(Server& server, UniqueFd fd, std::string peer)
    : server_(server), socket_(server.loop_->io, fd.release()), peer_(std::move(peer)) {}

void Session::enter(Phase phase, Clock::duration until_due) {
  phase_ = phase;
  since_ = Clock::now();
  due_ = since_ + until_due;
}

void Session::wait(WaitType type, Step then) {
  socket_.async_wait(type, [self = shared_from_this(), then, turn = ++turn_](const auto& error) {
    if (!error && turn == self->turn_ && self->phase_ != Phase::kOver) (self.get()->*then)();
  });
}

void Session::start() {
  enter(Phase::kIdle, server_.limits_.idle);
  due_is_ = Cut::kIdle;
  sent_ = 0;
  advance();
}

void Session::read_more() {
  char piece[4096];
  const ssize_t got = recv(socket_.native_handle(), piece, sizeof piece, 0);
  if (got < 0 && would_block()) return wait(WaitType::wait_read, &Session::read_more);
  if (got > 0) {
    received_.append(piece, static_cast<size_t>(got));
    return advance();
  }
  // Between two requests the client's close is the ordinary end.
  phase_ == Phase::kIdle ? close() : cut(Cut::kGone);
}

void Session::advance() {
  if (received_.empty() && phase_ == Phase::kIdle)
    return wait(WaitType::wait_read, &Session::read_more);
  if (phase_ == Phase::kIdle) {
    enter(Phase::kAsking, server_.limits_.request);
    due_is_ = Cut::kRequestTimeout;
    started_ = since_;
    head_ = RequestHead{};
    has_head_ = false;
    status_ = 0;
  }
  has_head_ ? take_body() : take_head();
}

void Session::take_head() {
  const HeadLimits& limits = server_.limits_.head;
  while (received_.starts_with("\r\n")) received_.erase(0, 2);
  const size_t end = received_.find("\r\n\r\n");
  const size_t bytes = end == std::string::npos ? received_.size() : end + 4;
  if (bytes > limits.bytes)
    return respond(
        problem(431, "The head is longer than " + std::to_string(limits.bytes) + " bytes."), true);
  if (is_no_http(std::string_view(received_).substr(0, bytes)))
    return respond(problem(400, "This is not HTTP/1.1; the port speaks it without TLS."), true);
  if (end == std::string::npos) return wait(WaitType::wait_read, &Session::read_more);
  const std::string text = received_.substr(0, bytes);
  received_.erase(0, bytes);
  if (const auto refusal = parse_head(text, limits, head_))
    return respond(problem(refusal->status, refusal->detail), true);
  has_head_ = true;
  if (auto refused = server_.site_.refuse(head_))
    return respond(std::move(*refused), head_.content_bytes > 0);
  // Before anything else was sent it fits into the socket's buffer.
  if (head_.expects_continue && head_.content_bytes > received_.size())
    (void)!send(socket_.native_handle(), kContinue, sizeof kContinue - 1, MSG_NOSIGNAL);
  take_body();
}

void Session::take_body() {
  if (received_.size() < head_.content_bytes) return wait(WaitType::wait_read, &Session::read_more);
  const std::string body = received_.substr(0, head_.content_bytes);
  received_.erase(0, body.size());
  answer(body);
}

void Session::answer(const std::string& body) {
  try {
    respond(server_.site_.answer(head_, body), false);
  } catch (const std::exception&) {  // its text may hold what is not for the log
    if (server_.log_limit_.take(5))
      spdlog::error("{}: an exception in {} {}", server_.name_, head_.method, for_log(head_.path));
    respond(problem(500, "The server failed; its log says more."), false);
  }
}

void Session::respond(Reply reply, bool unread) {
  unread_ = unread;
  close_ = unread || !head_.keep_alive || ++requests_ >= server_.limits_.requests_per_connection ||
           server_.stopping_ || server_.others_wait();
  status_ = reply.status;
  reply_ = std::move(reply);
  text_ = head_text(reply_, reply_.file ? reply_.file_bytes : reply_.body.size(), close_);
  if (head_.method == "HEAD") {
    reply_.file_bytes = 0;
  } else if (!reply_.file) {
    text_ += reply_.body;
    reply_.file_bytes = 0;
  }
  text_sent_ = 0;
  window_waited_ = {};
  window_sent_ = 0;
  enter(Phase::kAnswering, {});
  send_more();
}

// A bounded amount. False: the connection or the file has ended.
bool Session::send_some() {
  const bool is_text = text_sent_ < text_.size();
  const uint64_t wanted =
      is_text ? text_.size() - text_sent_ : std::min(reply_.file_bytes, kTurnBytes);
  auto at = static_cast<off_t>(reply_.file_offset);
  const ssize_t sent = is_text ? send(socket_.native_handle(), text_.data() + text_sent_, wanted,
                                      MSG_NOSIGNAL | (reply_.file_bytes > 0 ? MSG_MORE : 0))
                               : sendfile(socket_.native_handle(), reply_.file.get(), &at, wanted);
  // A file that ends early cannot be completed: the client sees that bytes are missing.
  if (sent == 0 || (sent < 0 && !would_block())) return false;
  const uint64_t bytes = sent > 0 ? static_cast<uint64_t>(sent) : 0;
  (is_text ? text_sent_ : reply_.file_offset) += bytes;
  if (!is_text) reply_.file_bytes -= bytes;
  sent_ += bytes;
  window_sent_ += bytes;
  server_.counters_.bytes_sent += bytes;
  return true;
}

void Session::send_more() {
  if (!send_some()) return cut(Cut::kGone);
  if (text_sent_ == text_.size() && reply_.file_bytes == 0) return responded();
  const Clock::time_point now = Clock::now();
  const Clock::time_point stalled = now + server_.limits_.stall;
  const Clock::time_point last = started_ + server_.limits_.whole;
  due_ = std::min(stalled, last);
  due_is_ = stalled < last ? Cut::kStalled : Cut::kDeadline;
  pollfd room{socket_.native_handle(), POLLOUT, 0};
  blocked_ = poll(&room, 1, 0) == 0;
  blocked_since_ = now;
  wait(WaitType::wait_write, &Session::sent_room);
}

// Time in which we read a file or serve others is not the client's; only waiting for it counts.
void Session::sent_room() {
  const Clock::time_point now = Clock::now();
  if (now >= started_ + server_.limits_.whole) return cut(Cut::kDeadline);
  if (blocked_) window_waited_ += now - blocked_since_;
  if (window_waited_ >= server_.limits_.rate_window) {
    const double seconds = std::chrono::duration<double>(window_waited_).count();
    const auto least = static_cast<double>(server_.limits_.bytes_per_second) * seconds;
    if (static_cast<double>(window_sent_) < least) return cut(Cut::kTooSlow);
    window_waited_ = {};
    window_sent_ = 0;
  }
  send_more();
}

void Session::responded() {
  log();
  reply_ = Reply{};
  text_.clear();
  if (close_ || server_.stopping_) return end();
  // By the loop: however many requests came in one piece, others have their turn between them.
  enter(Phase::kIdle, server_.limits_.idle);
  boost::asio::post(socket_.get_executor(), [self = shared_from_this(), turn = ++turn_] {
    if (turn == self->turn_ && self->phase_ == Phase::kIdle) self->start();
  });
}

// Closing with bytes unread resets the connection, so the client may first read the response.
void Session::end() {
  if (!unread_ && received_.empty()) return close();
  shutdown(socket_.native_handle(), SHUT_WR);
  enter(Phase::kEnding, kLinger);
  drain();
}

void Session::drain() {
  char piece[4096];
  while (drained_ < kLingerBytes) {
    const ssize_t got = recv(socket_.native_handle(), piece, sizeof piece, 0);
    if (got < 0 && would_block()) return wait(WaitType::wait_read, &Session::drain);
    if (got <= 0) break;
    drained_ += static_cast<uint64_t>(got);
  }
  close();
}

void Session::look(Clock::time_point now) {
  if (phase_ == Phase::kOver || now < due_) return;
  if (phase_ == Phase::kEnding) return close();
  if (phase_ != Phase::kAsking) return cut(due_is_);
  count(Cut::kRequestTimeout);
  respond(problem(408, has_head_ ? "The body did not arrive as announced."
                                 : "The head did not arrive in time."),
          true);
}

void Session::count(Cut why) {
  cut_ = why;
  server_.counters_.by_cut[static_cast<size_t>(why)]++;
}

void Session::cut(Cut why) {
  if (phase_ == Phase::kOver) return;
  if (phase_ == Phase::kEnding) return close();
  count(why);
  // Reset, so that nothing is kept in the kernel for a client that does not read.
  const linger at_once{1, 0};
  if (why == Cut::kStalled || why == Cut::kTooSlow || why == Cut::kDeadline)
    setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (phase_ != Phase::kIdle) log();
  close();
}

bool Session::may_give_way(Clock::time_point now) const {
  const ServerLimits& limits = server_.limits_;
  if (phase_ == Phase::kIdle && requests_ > 0) return true;
  return now - since_ > (phase_ == Phase::kAnswering ? limits.answer : limits.speak);
}

void Session::close() {
  phase_ = Phase::kOver;
  turn_++;
  const auto self = shared_from_this();  // the server's may be the last
  socket_.close();
  server_.forget(*this);
}

// Without query and headers: those may hold secrets.
void Session::log() {
  const size_t kind = static_cast<size_t>(status_ / 100) % LogLimit::kKinds;
  server_.counters_.by_class[kind]++;
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const bool was_cut = cut_ != Cut::kNone;
  const auto level = !server_.site_.is_logged(status_) ? spdlog::level::debug
                     : was_cut                         ? spdlog::level::warn
                                                       : spdlog::level::info;
  if (!spdlog::should_log(level) || !server_.log_limit_.take(kind)) return;
  spdlog::log(level, "{}: {} {} {} {} bytes {:.3f} s from {}{}{}", server_.name_,
              head_.method.empty() ? "-" : for_log(head_.method),
              head_.path.empty() ? "-" : for_log(head_.path), status_, sent_, seconds, peer_,
              was_cut ? "; cut: " : "", was_cut ? kCutNames[static_cast<size_t>(cut_)] : "");
}

}  // namespace shmrec::sidecar
