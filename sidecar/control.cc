#include "sidecar/control.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace shmrec::sidecar {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLine = 64 * 1024;
constexpr size_t kMaxWhy = 255;
constexpr int kProtocol = 1;
constexpr int kBacklog = 64;
constexpr int kLookMs = 1000;
constexpr std::chrono::milliseconds kAcceptPause{100};

std::string text_of_reply(const ordered_json& reply) {
  return reply.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json refusal(const std::string& why) { return {{"ok", false}, {"error", why}}; }

std::string text_of(const ordered_json& request, const char* name) {
  const auto found = request.find(name);
  return found != request.end() && found->is_string() ? found->get<std::string>() : "";
}

// What is said of a bundle goes to the log, and to lists that people read in terminals.
bool is_line(const std::string& text) {
  return text.size() <= kMaxWhy && std::all_of(text.begin(), text.end(), [](char c) {
           return c < 0 || (c >= 0x20 && c != 0x7f);
         });
}

ordered_json trigger(Service& service, const ordered_json& request) {
  BundleRequest wanted;
  wanted.from_spool = true;
  wanted.run = text_of(request, "run");
  if (const std::string why = text_of(request, "trigger"); !why.empty()) wanted.trigger = why;
  wanted.cores = request.value("cores", ordered_json()) == true;
  if (!is_line(wanted.run) || !is_line(wanted.trigger))
    return refusal("run or trigger is longer than " + std::to_string(kMaxWhy) +
                   " bytes or has control characters");
  const auto started = service.start_bundle(wanted);
  if (!started) return refusal(started.error().message);
  if (!*started)
    return {{"ok", false}, {"busy", true}, {"error", "too many bundles wait or were asked for"}};
  return {{"ok", true}, {"operation", (*started)->id}};
}

ordered_json operation(Service& service, const ordered_json& request) {
  constexpr const char* kStates[] = {"running", "succeeded", "failed"};
  const auto found = service.operation(text_of(request, "operation"));
  if (!found) return refusal("no such operation");
  return {{"ok", true},
          {"state", kStates[static_cast<int>(found->state)]},
          {"bundle", found->bundle},
          {"error", found->error}};
}

ordered_json status(Service& service) {
  const Info info = service.info();
  const Health health = service.health();
  return {{"ok", true},
          {"info",
           {{"version", info.version},
            {"instance", info.instance},
            {"ready", health.ready},
            {"reason", health.reason},
            {"bundles", service.bundles().size()}}}};
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::open(ControlOptions options,
                                                           Service& service) {
  std::unique_ptr<ControlServer> server(new ControlServer(std::move(options), service));
  if (const std::string& path = server->options_.path; path.size() >= sizeof sockaddr_un{}.sun_path)
    return Error{path + ": too long for a socket; expected at most " +
                     std::to_string(sizeof sockaddr_un{}.sun_path - 1) +
                     " bytes; choose a shorter spool path",
                 true};
  server->wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->wake_) return system_error("eventfd");
  server->look_after_socket();
  server->thread_ = std::thread([raw = server.get()] { raw->serve(); });
  return server;
}

ControlServer::~ControlServer() {
  if (!thread_.joinable()) return;
  stop_ = true;
  eventfd_write(wake_.get(), 1);
  thread_.join();
  if (has_socket()) unlink(options_.path.c_str());
}

// ---- The socket's name: it lies where the workload writes ---------------------------------------

std::string ControlServer::problem() const {
  const std::lock_guard lock(problem_mutex_);
  return problem_;
}

void ControlServer::look_after_socket() {
  if (Clock::now() < look_at_) return;
  look_at_ = Clock::now() + options_.look_after;
  if (has_socket()) return;
  const Result<> made = make_socket();
  const std::string problem = made ? "" : "control socket " + made.error().message;
  const std::lock_guard lock(problem_mutex_);
  if (problem == problem_) return;
  problem_ = problem;
  if (made)
    spdlog::info("control socket {} is there", options_.path);
  else
    spdlog::error("{}; going on from the files alone", problem);
}

bool ControlServer::has_socket() const {
  struct stat there;
  return listener_ && lstat(options_.path.c_str(), &there) == 0 && there.st_dev == device_ &&
         there.st_ino == inode_;
}

namespace {

// Removes the socket of one that is gone, and an empty directory, which mounting a missing socket
// makes. False with errno if anything else has the name: it stays.
bool make_way(const std::string& path) {
  struct stat there;
  if (lstat(path.c_str(), &there) != 0) return errno == ENOENT;
  if (S_ISDIR(there.st_mode)) return rmdir(path.c_str()) == 0;
  if (S_ISSOCK(there.st_mode)) return unlink(path.c_str()) == 0;
  errno = EEXIST;
  return false;
}

// For whoever may make a run directory beside it: one whose run cannot be collected is told so at
// its hello. An emptyDir lets every user in.
mode_t mode_beside(const std::string& path) {
  constexpr mode_t kForAll = S_IWOTH | S_IXOTH;
  struct stat directory;
  const std::string parent = std::filesystem::path(path).parent_path();
  const bool open = stat(parent.c_str(), &directory) == 0;
  return open && (directory.st_mode & kForAll) == kForAll ? 0666 : 0660;
}

}  // namespace

Result<> ControlServer::make_socket() {
  const std::string& path = options_.path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  UniqueFd made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return system_error(path);
  if (!make_way(path)) return system_error(path);
  // The mode of the descriptor is that of the name, less the umask, which is every thread's.
  const mode_t mode = mode_beside(path);
  fchmod(made.get(), mode);
  struct stat self;
  if (bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      fchmodat(AT_FDCWD, path.c_str(), mode, AT_SYMLINK_NOFOLLOW) != 0 ||
      listen(made.get(), kBacklog) != 0 || lstat(path.c_str(), &self) != 0)
    return system_error(path);
  listener_ = std::move(made);
  device_ = self.st_dev;
  inode_ = self.st_ino;
  return Unit{};
}

// ---- Clients ------------------------------------------------------------------------------------

void ControlServer::serve() {
  while (!stop_) {
    look_after_socket();
    std::vector<pollfd> wanted{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Client& client : clients_) wanted.push_back({client.fd.get(), POLLIN, 0});
    if (poll(wanted.data(), wanted.size(), kLookMs) < 0) continue;
    for (size_t i = 0; i < clients_.size(); ++i) {
      Client& client = clients_[i];
      const bool mute = !client.spoken && Clock::now() - client.spoke > options_.first_line;
      if (wanted[i + 2].revents != 0 ? !receive(client) : mute) client.fd.reset();
    }
    forget_closed();
    if (wanted[1].revents != 0) accept_one();
  }
}

void ControlServer::forget_closed() {
  std::erase_if(clients_, [](const Client& client) { return !client.fd; });
  const auto launchers = static_cast<size_t>(std::count_if(
      clients_.begin(), clients_.end(), [](const Client& client) { return client.launcher; }));
  if (launchers_.exchange(launchers) > launchers) options_.changed();
}

void ControlServer::accept_one() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    const bool exhausted =
        errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (exhausted) std::this_thread::sleep_for(kAcceptPause);  // others free them, not we
    return;
  }
  if (clients_.size() == kMaxClients) {
    const auto least =
        std::min_element(clients_.begin(), clients_.end(), [](const Client& a, const Client& b) {
          return std::pair(a.has_run, a.spoke) < std::pair(b.has_run, b.spoke);
        });
    least->fd.reset();
    forget_closed();
  }
  clients_.emplace_back().fd = std::move(fd);
}

// False: the client is to be dropped.
bool ControlServer::receive(Client& client) {
  char buffer[4096];
  const ssize_t bytes = recv(client.fd.get(), buffer, sizeof buffer, 0);
  if (bytes < 0) return errno == EAGAIN || errno == EINTR;
  if (bytes == 0) return false;
  client.received.append(buffer, static_cast<size_t>(bytes));
  for (size_t end; (end = client.received.find('\n')) != std::string::npos;) {
    const std::string line = client.received.substr(0, end);
    client.received.erase(0, end + 1);
    client.spoken = true;
    client.spoke = Clock::now();
    if (!answer(client, line)) return false;
  }
  if (client.received.size() <= kMaxLine) return true;
  answer(client, "");
  return false;
}

bool ControlServer::answer(Client& client, const std::string& line) {
  const std::string reply = reply_to(client, line) + "\n";
  // A client that lets a socket's buffer fill up by answers to its own questions is not waited for.
  return send(client.fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(reply.size());
}

std::string ControlServer::reply_to(Client& client, const std::string& line) {
  const ordered_json request = ordered_json::parse(line, nullptr, false);
  ordered_json reply;
  if (!request.is_object()) {
    reply = refusal("expected one JSON object a line, of at most 64 KiB");
  } else if (const std::string type = text_of(request, "type"); type == "hello") {
    const std::string why = refuse_launcher(client, text_of(request, "probe"));
    if (!why.empty()) return text_of_reply({{"ok", false}, {"refused", true}, {"error", why}});
    if (!client.launcher) ++launchers_;
    client.launcher = true;
    reply = {{"ok", true},
             {"version", kProtocol},
             {"instance", options_.instance},
             {"join", options_.join(text_of(request, "container"))}};
  } else if (type == "run") {
    client.has_run = client.launcher;
    options_.changed();
    reply = {{"ok", true}};
  } else if (type == "trigger") {
    reply = trigger(service_, request);
  } else if (type == "operation") {
    reply = operation(service_, request);
  } else if (type == "status") {
    reply = status(service_);
  } else {
    reply = refusal("unknown type; expected hello, run, trigger, operation or status");
  }
  return text_of_reply(reply);
}

// A launcher that shows nothing is of an earlier release: its run tells.
std::string ControlServer::refuse_launcher(const Client& client, const std::string& probe) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (probe.empty() || getsockopt(client.fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
    return "";
  return options_.refuse(probe, peer.uid);
}

}  // namespace shmrec::sidecar
