#include "recording/run/core_request.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = size_t{4} << 20, kMostMembers = 256;
constexpr const char* kMembers = "members";

UniqueFd open_folder(int at, const char* name) {
  return UniqueFd(openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

// The run's directory and those of launchers that joined it.
std::vector<UniqueFd> launcher_folders(UniqueFd run) {
  std::vector<UniqueFd> folders;
  const UniqueFd members = open_folder(run.get(), kMembers);
  folders.push_back(std::move(run));
  if (!members) return folders;
  const std::unique_ptr<DIR, CloseDirectory> listing(fdopendir(dup(members.get())));
  while (listing && folders.size() < kMostMembers) {
    const dirent* entry = readdir(listing.get());
    if (!entry) break;
    if (entry->d_name[0] == '.') continue;
    if (UniqueFd folder = open_folder(members.get(), entry->d_name))
      folders.push_back(std::move(folder));
  }
  return folders;
}

// Nothing: no launcher is there that takes cores on request.
UniqueFd connect_in(int folder) {
  const UniqueFd file(openat(folder, kCoreSocket, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0 || !S_ISSOCK(status.st_mode)) return {};
  UniqueFd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (!client ||
      connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  return client;
}

// A line, or what went wrong.
Result<std::string> receive_line(int client, Clock::time_point last) {
  std::string line;
  char buffer[4096];
  while (line.size() < kMostBytes) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(last - Clock::now()).count();
    pollfd wanted{client, POLLIN, 0};
    if (left <= 0 || poll(&wanted, 1, static_cast<int>(left)) == 0)
      return Error{"it gave no answer in time"};
    const ssize_t bytes = recv(client, buffer, sizeof buffer, 0);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (bytes <= 0) return Error{"it hung up"};
    line.append(buffer, static_cast<size_t>(bytes));
    if (const size_t end = line.find('\n'); end != std::string::npos) return line.substr(0, end);
  }
  return Error{"its answer is too long"};
}

std::string text_of(const json& object, const char* key) {
  const json value = object.value(key, json());
  return value.is_string() ? printable(value.get<std::string>()) : "";
}

AskedCore core_of(const json& object) {
  AskedCore core;
  const json pid = object.value("pid", json());
  if (pid.is_number_integer()) core.pid = pid.get<int64_t>();
  core.name = text_of(object, "name");
  core.recording = text_of(object, "recording");
  core.taken = object.value("taken", json()) == json(true);
  core.how = text_of(object, "how");
  return core;
}

Result<> ask(int client, std::optional<pid_t> pid, Clock::time_point last, AskedCores& all) {
  json request = {{"type", "cores"}};
  if (pid) request["pid"] = *pid;
  const std::string line = request.dump() + "\n";
  if (send(client, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return system_error("asking it");
  const Result<std::string> text = receive_line(client, last);
  if (!text) return text.error();
  const json answer = json::parse(*text, nullptr, false);
  if (!answer.is_object()) return Error{"its answer is none"};
  if (const std::string error = text_of(answer, "error"); !error.empty()) return Error{error};
  const json cores = answer.value("cores", json());
  if (!cores.is_array()) return Error{"its answer is none"};
  for (const json& core : cores)
    if (core.is_object()) all.cores.push_back(core_of(core));
  return Unit{};
}

}  // namespace

sockaddr_un socket_address(int folder, const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(folder) + "/" + name;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Result<AskedCores> ask_for_cores(const std::string& run_directory, std::optional<pid_t> pid,
                                 std::chrono::milliseconds limit) {
  UniqueFd run(open(run_directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!run) return system_error(run_directory);
  const Clock::time_point last = Clock::now() + limit;
  AskedCores all;
  for (const UniqueFd& folder : launcher_folders(std::move(run))) {
    const UniqueFd client = connect_in(folder.get());
    if (!client) continue;
    ++all.launchers;
    if (const Result<> asked = ask(client.get(), pid, last, all); !asked)
      all.problems.push_back(asked.error().message);
  }
  return all;
}

}  // namespace shmrec::recording
