#include "sidecar/http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>

#include "sidecar/http/worker.h"

namespace shmrec::sidecar {

const char* const kCutNames[kCuts] = {"none",  "gone", "idle",     "request_timeout",
                                      "stall", "slow", "deadline", "crowded"};

namespace {

constexpr int kSendBufferBytes = 256 * 1024;
// accept() fails for want of descriptors or memory: others free them, not we.
constexpr auto kAcceptPause = std::chrono::milliseconds(100);
constexpr auto kRoomPause = std::chrono::milliseconds(20);  // between looks for one to cut

std::string peer_name(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  else if (address.ss_family == AF_INET6)
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text,
              sizeof text);
  else
    return "unix";
  return text;
}

// Threads of a library take no signals: those are for the program's main loop.
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
      log_limit_(name_) {
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  make_workers();
  for (const auto& worker : workers_)
    threads_.push_back(start_without_signals([this, &worker] { serve_loop(*worker); }));
  threads_.push_back(start_without_signals([this] { accept_loop(); }));
  spdlog::info("{}: listens on {}", name_, address());
}

// httplib's constructor ignores SIGPIPE in the whole process, which programs that hooks start would
// inherit. Our stream sends with MSG_NOSIGNAL; so the disposition is put back.
void Server::make_workers() {
  struct sigaction before;
  sigaction(SIGPIPE, nullptr, &before);
  for (size_t i = 0; i < limits_.connections; i++)
    workers_.push_back(std::make_unique<Worker>(*this));
  sigaction(SIGPIPE, &before, nullptr);
}

Server::~Server() { stop(); }

void Server::stop() {
  if (stopping_.exchange(true)) return;
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
  {
    std::unique_lock lock(mutex_);
    changed_.notify_all();
    changed_.wait_for(lock, limits_.stop_grace, [this] { return serving_.empty(); });
  }
  cut_all();
  for (std::thread& thread : threads_) thread.join();
  listener_.reset();
  log_limit_.tell(true);
  spdlog::info("{}: stopped listening on {}", name_, address());
}

// Their threads see the end of the stream; the descriptors stay theirs.
void Server::cut_all() {
  const std::lock_guard lock(mutex_);
  for (const Served& served : serving_) shutdown(served.fd, SHUT_RDWR);
}

void Server::note(int fd, bool asked) {
  const std::lock_guard lock(mutex_);
  std::erase_if(serving_, [&](const Served& served) { return served.fd == fd; });
  serving_.push_back({fd, asked});
}

// Cuts for each in the queue one that keeps its thread waiting, those that do so longest first.
// REQUIRES: mutex_ is held.
void Server::make_room() {
  if (serving_.size() < limits_.connections) return;
  const auto now = std::chrono::steady_clock::now();
  size_t wanted = queue_.size();
  for (Served& served : serving_) {
    const bool may_go = now - served.since > (served.asked ? limits_.answer : limits_.speak);
    if (!may_go || wanted == 0) continue;
    shutdown(served.fd, SHUT_RDWR);
    served = {served.fd, true, now};  // its thread needs a moment to notice
    counters_.by_cut[static_cast<size_t>(Cut::kCrowded)]++;
    --wanted;
  }
}

void Server::accept_loop() {
  while (wait_for_room()) {
    const int patience = others_wait() ? kRoomPause.count() : 200;
    log_limit_.tell();
    pollfd waits[] = {{listener_->fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    if (poll(waits, 2, patience) > 0 && waits[0].revents) accept_one();
  }
}

// False: stopping.
bool Server::wait_for_room() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    make_room();
    if (queue_.size() < limits_.waiting) return true;
    changed_.wait_for(lock, kRoomPause);
  }
  return false;
}

void Server::accept_one() {
  sockaddr_storage peer{};
  socklen_t bytes = sizeof peer;
  UniqueFd fd(accept4(listener_->fd(), reinterpret_cast<sockaddr*>(&peer), &bytes,
                      SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    const bool exhausted =
        errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (!exhausted) return;  // the client went away, or another reason that is its own
    const int why = errno;
    if (log_limit_.take(0)) spdlog::error("{}: cannot accept: {}", name_, std::strerror(why));
    std::this_thread::sleep_for(kAcceptPause);
    return;
  }
  if (peer.ss_family != AF_UNIX) {
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  // Bounds the memory of a connection, and poll() tells of room soon enough to judge a slow client.
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes);
  counters_.accepted++;
  const std::lock_guard lock(mutex_);
  queue_.push_back({std::move(fd), peer_name(peer)});
  waiting_ = queue_.size();
  changed_.notify_all();
}

void Server::serve_loop(Worker& worker) {
  while (auto connection = next()) {
    counters_.open++;
    try {
      worker.serve(connection->fd.get(), connection->peer);
    } catch (const std::exception& error) {  // out of memory: one connection, not the collector
      if (log_limit_.take(0))
        spdlog::error("{}: a connection ended by an exception: {}", name_, error.what());
    }
    counters_.open--;
    const std::lock_guard lock(mutex_);  // before the number is free for another
    std::erase_if(serving_,
                  [&](const Served& served) { return served.fd == connection->fd.get(); });
    connection->fd.reset();
    changed_.notify_all();
  }
}

std::optional<Server::Connection> Server::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (stopping_) return {};
  Connection connection = std::move(queue_.front());
  queue_.pop_front();
  waiting_ = queue_.size();
  serving_.push_back({connection.fd.get()});
  changed_.notify_all();
  return connection;
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
