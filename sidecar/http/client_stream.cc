#include "sidecar/http/client_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace shmrec::sidecar {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIdleSlice{100};  // how late an idle connection sees that others wait
constexpr milliseconds kLinger{1000};
constexpr size_t kLingerBytes = 256 * 1024;

// A byte that no head has: another protocol, TLS for one. Waiting for the end of its head is
// useless.
bool is_no_http(std::string_view bytes) {
  return std::any_of(bytes.begin(), bytes.end(), [](char c) {
    return (c >= 0 && c < 0x20 && c != '\r' && c != '\n' && c != '\t') || c == 0x7f;
  });
}

}  // namespace

ssize_t ClientStream::give_up(Cut why) {
  if (cut_ == Cut::kNone) {
    cut_ = why;
    counters_.by_cut[static_cast<size_t>(why)]++;
  }
  return -1;
}

bool ClientStream::wait(short events, Clock::time_point until, Cut why) {
  while (cut_ == Cut::kNone) {
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    pollfd wait{fd_, events, 0};
    const int ready = left > 0 ? poll(&wait, 1, static_cast<int>(std::min<long>(left, 60'000))) : 0;
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) give_up(Cut::kGone);
    if (ready == 0 && Clock::now() >= until) give_up(why);
  }
  return false;
}

bool ClientStream::wait_for_request(const std::function<bool()>& stop) {
  const Clock::time_point until = Clock::now() + limits_.idle;
  sent_ = 0;
  while (buffer_.empty()) {
    pollfd wait{fd_, POLLIN, 0};
    const int ready = poll(&wait, 1, static_cast<int>(kIdleSlice.count()));
    if (ready < 0 && errno != EINTR) return false;
    if (ready > 0) {
      char byte;
      // The client's close is the ordinary end here.
      if (recv(fd_, &byte, 1, MSG_PEEK) <= 0) return false;
      break;
    }
    if (stop()) return false;
    if (Clock::now() >= until) return give_up(Cut::kIdle) > 0;
  }
  started_ = Clock::now();
  return true;
}

ssize_t ClientStream::receive(char* to, size_t bytes, Clock::time_point until) {
  while (true) {
    const ssize_t got = recv(fd_, to, bytes, 0);
    if (got > 0) return got;
    if (got == 0) return give_up(Cut::kGone);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return give_up(Cut::kGone);
    if (!wait(POLLIN, until, Cut::kRequestTimeout)) return -1;
  }
}

bool ClientStream::fill(Clock::time_point until) {
  char piece[4096];
  const ssize_t got = receive(piece, sizeof piece, until);
  if (got > 0) buffer_.append(piece, static_cast<size_t>(got));
  return got > 0;
}

ClientStream::HeadRead ClientStream::read_head(std::string& head) {
  while (true) {
    while (buffer_.starts_with("\r\n")) buffer_.erase(0, 2);
    const size_t end = buffer_.find("\r\n\r\n");
    const size_t head_bytes = end == std::string::npos ? buffer_.size() : end + 4;
    if (head_bytes > limits_.head.bytes) return HeadRead::kTooLong;
    if (is_no_http(std::string_view(buffer_).substr(0, head_bytes))) return HeadRead::kNoHttp;
    if (end != std::string::npos) {
      head = buffer_.substr(0, head_bytes);
      buffer_.erase(0, head_bytes);
      return HeadRead::kWhole;
    }
    if (!fill(started_ + limits_.request))
      return cut_ == Cut::kRequestTimeout ? HeadRead::kTimeout : HeadRead::kGone;
  }
}

void ClientStream::replay(std::string head, uint64_t body_bytes) {
  replay_ = std::move(head);
  replayed_ = 0;
  body_left_ = body_bytes;
  window_waited_ = {};
  window_sent_ = 0;
}

ssize_t ClientStream::read(char* to, size_t bytes) {
  if (replayed_ < replay_.size()) {
    const size_t got = replay_.copy(to, bytes, replayed_);
    replayed_ += got;
    return static_cast<ssize_t>(got);
  }
  bytes = static_cast<size_t>(std::min<uint64_t>(bytes, body_left_));
  if (bytes == 0) return 0;
  if (buffer_.empty() && !fill(started_ + limits_.request)) return -1;
  const size_t got = buffer_.copy(to, bytes);
  buffer_.erase(0, got);
  body_left_ -= got;
  return static_cast<ssize_t>(got);
}

// Time in which we read a file or make JSON is not the client's; only waiting for it counts.
bool ClientStream::wait_to_send() {
  const Clock::time_point from = Clock::now();
  const Clock::time_point end = started_ + limits_.whole;
  const Clock::time_point stalled = from + limits_.stall;
  const bool ready =
      stalled < end ? wait(POLLOUT, stalled, Cut::kStalled) : wait(POLLOUT, end, Cut::kDeadline);
  if (!ready) return false;
  window_waited_ += Clock::now() - from;
  if (window_waited_ < limits_.rate_window) return true;
  const double seconds = std::chrono::duration<double>(window_waited_).count();
  if (static_cast<double>(window_sent_) < seconds * static_cast<double>(limits_.bytes_per_second)) {
    give_up(Cut::kTooSlow);
    return false;
  }
  window_waited_ = {};
  window_sent_ = 0;
  return true;
}

ssize_t ClientStream::write(const char* from, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    // A timeout of the request still gets its answer; a client that does not take it, none.
    if (cut_ != Cut::kNone && cut_ != Cut::kRequestTimeout) return -1;
    if (Clock::now() > started_ + limits_.whole) return give_up(Cut::kDeadline);
    const ssize_t sent = send(fd_, from + done, bytes - done, MSG_NOSIGNAL);
    if (sent >= 0) {
      done += static_cast<size_t>(sent);
      sent_ += static_cast<uint64_t>(sent);
      window_sent_ += static_cast<uint64_t>(sent);
      counters_.bytes_sent += static_cast<uint64_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return give_up(Cut::kGone);
    if (!wait_to_send()) return -1;
  }
  return static_cast<ssize_t>(done);
}

void ClientStream::end(bool unread) {
  const bool refused = cut_ == Cut::kStalled || cut_ == Cut::kTooSlow || cut_ == Cut::kDeadline;
  const linger at_once{1, 0};
  if (refused) setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  const bool answered = cut_ == Cut::kNone || cut_ == Cut::kRequestTimeout;
  if (answered && (unread || !buffer_.empty())) drain();
}

void ClientStream::drain() {
  shutdown(fd_, SHUT_WR);
  const Clock::time_point until = Clock::now() + kLinger;
  char piece[4096];
  size_t total = 0;
  while (total < kLingerBytes) {
    const ssize_t got = recv(fd_, piece, sizeof piece, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
    if (got > 0) total += static_cast<size_t>(got);
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    pollfd wait{fd_, POLLIN, 0};
    if (left <= 0 || (got < 0 && poll(&wait, 1, static_cast<int>(left)) == 0)) return;
  }
}

}  // namespace shmrec::sidecar
