#include "sidecar/control.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shmrec::sidecar {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLine = 64 * 1024;
constexpr size_t kMaxClients = 256;
constexpr size_t kMaxWhy = 255;
constexpr int kProtocol = 1;

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
  wanted.run = text_of(request, "run");
  if (const std::string why = text_of(request, "trigger"); !why.empty()) wanted.trigger = why;
  if (!is_line(wanted.run) || !is_line(wanted.trigger))
    return refusal("run or trigger is longer than " + std::to_string(kMaxWhy) +
                   " bytes or has control characters");
  const auto started = service.start_bundle(wanted);
  if (!started) return refusal(started.error().message);
  if (!*started) return {{"ok", false}, {"busy", true}, {"error", "busy; ask again later"}};
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

Result<std::unique_ptr<ControlServer>> ControlServer::open(ControlOptions options, Service& service) {
  std::unique_ptr<ControlServer> server(new ControlServer(std::move(options), service));
  const std::string& path = server->options_.path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error{path + ": too long for a socket; expected at most " +
                     std::to_string(sizeof address.sun_path - 1) + " bytes; choose a shorter spool path",
                 true};
  path.copy(address.sun_path, path.size());
  server->listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!server->listener_) return system_error("socket");
  unlink(path.c_str());
  const mode_t mask = umask(0117);
  const int bound = bind(server->listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  umask(mask);
  if (bound != 0 || listen(server->listener_.get(), 64) != 0) return system_error(path);
  server->wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->wake_) return system_error("eventfd");
  server->thread_ = std::thread([raw = server.get()] { raw->serve(); });
  return server;
}

ControlServer::~ControlServer() {
  if (!thread_.joinable()) return;
  stop_ = true;
  eventfd_write(wake_.get(), 1);
  thread_.join();
  unlink(options_.path.c_str());
}

void ControlServer::serve() {
  while (!stop_) {
    std::vector<pollfd> wanted{{wake_.get(), POLLIN, 0}};
    const bool room = clients_.size() < kMaxClients;
    wanted.push_back({room ? listener_.get() : -1, POLLIN, 0});
    for (const Client& client : clients_) wanted.push_back({client.fd.get(), POLLIN, 0});
    if (poll(wanted.data(), wanted.size(), -1) < 0) continue;
    size_t left = 0;
    bool gone = false;
    for (size_t i = 0; i < clients_.size(); ++i) {
      const bool stays = wanted[i + 2].revents == 0 || receive(clients_[i]);
      if (!stays && clients_[i].launcher) {
        --launchers_;
        gone = true;
      }
      if (stays && left != i) clients_[left] = std::move(clients_[i]);
      left += stays;
    }
    clients_.resize(left);
    if (gone) options_.changed();
    if (wanted[1].revents != 0) accept_one();
  }
}

void ControlServer::accept_one() {
  UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd) clients_.push_back({std::move(fd), "", false});
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
    if (!client.launcher) ++launchers_;
    client.launcher = true;
    reply = {{"ok", true},
             {"version", kProtocol},
             {"instance", options_.instance},
             {"join", options_.join(text_of(request, "container"))}};
  } else if (type == "run") {
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
  return reply.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace shmrec::sidecar
