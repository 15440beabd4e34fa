#include "launcher/control.h"

#include <poll.h>

#include <nlohmann/json.hpp>

#include "launcher/clock.h"

namespace shmrec::launcher {
namespace {

using nlohmann::json;

constexpr int64_t kAnswerMs = 10'000;

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& socket_path) {
  ControlClient client;
  client.path_ = socket_path;
  const std::string trouble = client.socket_.connect(socket_path);
  if (!trouble.empty()) return Error{"no sidecar at " + socket_path + ": " + trouble, false};
  return client;
}

Result<json> ControlClient::ask(const json& request) {
  const auto failed = [&](const char* what) {
    return Error{"the sidecar at " + path_ + " " + what, false};
  };
  if (!socket_.send(request.dump(-1, ' ', false, json::error_handler_t::replace)))
    return failed("takes no requests");
  const int64_t deadline = now_ms() + kAnswerMs;
  for (std::string line;;) {
    switch (socket_.receive(line)) {
      case LineSocket::Got::kClosed:
        return failed("hung up");
      case LineSocket::Got::kTooLong:
        return failed("sent a line without end");
      case LineSocket::Got::kLine: {
        json answer = json::parse(line, nullptr, false);
        if (!answer.is_object()) return failed("sent what is none of its protocol");
        return answer;
      }
      case LineSocket::Got::kNothingYet:
        break;
    }
    const int64_t left = deadline - now_ms();
    pollfd entry{socket_.fd(), POLLIN, 0};
    if (left <= 0 || poll(&entry, 1, static_cast<int>(left)) == 0)
      return failed("did not answer within 10 s");
  }
}

}  // namespace shmrec::launcher
