#include "launcher/core/core_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/core/live_processes.h"
#include "launcher/process_status.h"
#include "recording/run/core_request.h"

namespace shmrec::launcher {
namespace {

using nlohmann::json;
using recording::kCoreSocket;

constexpr timeval kPatience{2, 0};
constexpr size_t kMostBytes = 4096;

// One line; "" if none came whole.
std::string receive_line(int client) {
  std::string line;
  char byte;
  while (line.size() < kMostBytes && recv(client, &byte, 1, 0) == 1) {
    if (byte == '\n') return line;
    line += byte;
  }
  return "";
}

json refusal(const std::string& why) { return {{"ok", false}, {"error", why}}; }

json json_of(const CoreTaker::Told& told) {
  return {{"pid", told.pid},
          {"name", told.name},
          {"recording", told.recording},
          {"taken", told.taken},
          {"how", told.how}};
}

// The one with this pid, as the launcher sees it, or as it sees itself.
std::vector<CoreSubject> chosen(std::vector<CoreSubject> subjects, pid_t pid) {
  std::erase_if(subjects, [pid](const CoreSubject& subject) {
    return subject.pid != pid && id_inside(subject.pid) != pid;
  });
  return subjects;
}

}  // namespace

Result<std::unique_ptr<CoreServer>> CoreServer::start(const CoreServerOptions& options,
                                                      CoreTaker& taker) {
  std::unique_ptr<CoreServer> server(new CoreServer(options, taker));
  if (const Result<> listens = server->listen(); !listens) return listens.error();
  server->thread_ = std::thread([raw = server.get()] { raw->serve(); });
  return server;
}

CoreServer::~CoreServer() {
  if (!thread_.joinable()) return;
  eventfd_write(wake_.get(), 1);
  thread_.join();
  unlinkat(folder_.get(), kCoreSocket, 0);
}

Result<> CoreServer::listen() {
  const std::string what = (options_.directory / kCoreSocket).string();
  folder_.reset(open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  listener_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!folder_ || !listener_ || !wake_) return system_error(what);
  const sockaddr_un address = recording::socket_address(folder_.get(), kCoreSocket);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      fchmodat(folder_.get(), kCoreSocket, options_.file_mode, AT_SYMLINK_NOFOLLOW) != 0 ||
      ::listen(listener_.get(), SOMAXCONN) != 0)
    return system_error(what);
  return Unit{};
}

void CoreServer::serve() {
  for (;;) {
    pollfd wanted[] = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    if (poll(wanted, std::size(wanted), -1) < 0) continue;
    if (wanted[0].revents != 0) return;
    const UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
    setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
    answer(client.get());
  }
}

void CoreServer::answer(int client) {
  const json request = json::parse(receive_line(client), nullptr, false);
  json reply;
  if (!request.is_object() || request.value("type", json()) != "cores") {
    reply = refusal("expected a line {\"type\": \"cores\"}");
  } else {
    std::vector<CoreSubject> subjects = live_processes(options_.log_fd, options_.layout);
    const json pid = request.value("pid", json());
    if (pid.is_number_integer()) subjects = chosen(std::move(subjects), pid.get<pid_t>());
    json cores = json::array();
    for (const CoreTaker::Told& told : taker_.take_live(subjects)) cores.push_back(json_of(told));
    reply = {{"ok", true}, {"cores", std::move(cores)}};
  }
  const std::string line = reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  send(client, line.data(), line.size(), MSG_NOSIGNAL);
}

}  // namespace shmrec::launcher
