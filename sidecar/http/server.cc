#include "sidecar/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>

#include "sidecar/http/session.h"

namespace shmrec::sidecar {

const char* const kCutNames[kCuts] = {"none",  "gone", "idle",     "request_timeout",
                                      "stall", "slow", "deadline", "crowded"};

namespace {

using boost::asio::posix::stream_descriptor;
using std::chrono::milliseconds;

constexpr int kSendBufferBytes = 256 * 1024;  // bounds the memory of a connection
// accept() fails for want of descriptors or memory: others free them, not we.
constexpr milliseconds kAcceptPause{100};
constexpr milliseconds kLookPeriod{20}, kIdleLookPeriod{500};

// Signals are for the program's main loop. SIGPIPE, which sendfile() raises in its own thread, is
// blocked here alone, not ignored: programs that hooks start would inherit that.
std::thread start_without_signals(auto body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

Server::Server(std::string name, Listener listener, Site& site, const ServerLimits& limits)
    : name_(std::move(name)),
      listener_(std::move(listener)),
      address_(listener_->address()),
      site_(site),
      limits_(limits),
      log_limit_(name_),
      loop_(std::make_unique<Loop>()) {
  loop_->listener.assign(listener_->fd());
  accept_more();
  look_later();
  thread_ = start_without_signals([this] { run(); });
  spdlog::info("{}: listens on {}", name_, address());
}

Server::~Server() { stop(); }

void Server::run() {
  while (true) try {
      loop_->io.run();
      return;
    } catch (const std::exception& error) {  // out of memory: one connection, not the collector
      if (log_limit_.take(0))
        spdlog::error("{}: a connection ended by an exception: {}", name_, error.what());
      look_later();  // the look may be what threw; its next ends the connection
    }
}

void Server::stop() {
  if (stopped_.exchange(true)) return;
  boost::asio::post(loop_->io, [this] { begin_to_stop(); });
  thread_.join();
  listener_.reset();
  log_limit_.tell(true);
  spdlog::info("{}: stopped listening on {}", name_, address());
}

void Server::begin_to_stop() {
  stopping_ = true;
  stop_end_ = Clock::now() + limits_.stop_grace;
  (void)loop_->listener.release();  // ends its wait
  const auto sessions = sessions_;
  for (const auto& session : sessions)
    if (session->asks_nothing()) session->close();
  loop_->timer.cancel();
  look();
}

void Server::accept_more() {
  if (accepting_ || stopping_ || is_full() || Clock::now() < pause_end_) return;
  accepting_ = true;
  loop_->listener.async_wait(stream_descriptor::wait_read, [this](const auto& error) {
    accepting_ = false;
    if (error || stopping_) return;
    if (!is_full()) accept_one();
    accept_more();
  });
}

void Server::accept_one() {
  sockaddr_storage peer{};
  socklen_t bytes = sizeof peer;
  UniqueFd fd(accept4(listener_->fd(), reinterpret_cast<sockaddr*>(&peer), &bytes,
                      SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    const int why = errno;
    if (why != EMFILE && why != ENFILE && why != ENOBUFS && why != ENOMEM) return;  // it went away
    if (log_limit_.take(0)) spdlog::error("{}: cannot accept: {}", name_, std::strerror(why));
    pause_end_ = Clock::now() + kAcceptPause;
    return;
  }
  const int on = 1;
  if (peer.ss_family != AF_UNIX) setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
  counters_.accepted++;
  sessions_.push_back(std::make_shared<Session>(*this, std::move(fd), numeric_host(peer)));
  counters_.open = static_cast<int64_t>(sessions_.size());
  if (sessions_.size() == 1) look_later();  // sooner than it would
  sessions_.back()->start();
}

void Server::look_later() {
  loop_->timer.expires_after(sessions_.empty() ? kIdleLookPeriod : kLookPeriod);
  loop_->timer.async_wait([this](const auto& error) {
    if (!error) look();
  });
}

void Server::look() {
  const Clock::time_point now = Clock::now();
  const auto sessions = sessions_;  // those that end go from the list
  for (const auto& session : sessions) {
    session->look(now);
    if (stopping_ && now >= stop_end_) session->cut(Cut::kGone);
  }
  log_limit_.tell(false, now);
  make_room();
  accept_more();
  if (!stopping_ || !sessions_.empty()) look_later();
}

// Cuts for each that waits one that keeps us waiting, in the order of arrival.
void Server::make_room() {
  const Clock::time_point now = Clock::now();
  while (others_wait()) {
    const auto oldest = std::find_if(sessions_.begin(), sessions_.end(), [&](const auto& session) {
      return session->may_give_way(now);
    });
    if (oldest == sessions_.end()) return;
    std::shared_ptr<Session>(*oldest)->cut(Cut::kCrowded);
    accept_one();
  }
}

// The kernel has one that we have no room for.
bool Server::others_wait() const {
  if (!is_full() || stopping_) return false;
  pollfd listener{listener_->fd(), POLLIN, 0};
  return poll(&listener, 1, 0) > 0;
}

void Server::forget(const Session& session) {
  std::erase_if(sessions_, [&](const auto& one) { return one.get() == &session; });
  counters_.open = static_cast<int64_t>(sessions_.size());
  accept_more();
}

std::vector<Metric> Server::metrics(const std::string& prefix) const {
  const std::string start = "shmrec_" + prefix + "_";
  Metric requests{start + "requests_total", "Responses, by class of status.", true, "class", {}};
  for (size_t i = 2; i < counters_.by_class.size(); i++)
    requests.values.emplace_back(std::to_string(i) + "xx", counters_.by_class[i]);
  Metric cuts{
      start + "connections_cut_total",
      "Connections ended before the client did, by reason; gone: by the client, in the middle.",
      true,
      "reason",
      {}};
  for (size_t i = 1; i < kCuts; i++) cuts.values.emplace_back(kCutNames[i], counters_.by_cut[i]);
  const auto number = [&](const char* name, const char* help, bool counter, double value) {
    return Metric{start + name, help, counter, "", {{"", value}}};
  };
  return {
      requests,
      cuts,
      number("connections_total", "Connections accepted.", true, counters_.accepted),
      number("connections", "Connections being served.", false, counters_.open),
      number("log_lines_withheld_total",
             "Lines about requests that the log's limit kept out of it.", true,
             static_cast<double>(log_limit_.withheld())),
      number("sent_bytes_total", "Bytes sent.", true, counters_.bytes_sent),
  };
}

}  // namespace shmrec::sidecar
