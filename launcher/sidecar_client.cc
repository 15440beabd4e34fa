#include "launcher/sidecar_client.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/printable.h"
#include "launcher/clock.h"

namespace shmrec::launcher {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr int64_t kAnswerMs = 2000;  // to a request, before the connection counts as dead
constexpr int64_t kFirstPauseMs = 50;
constexpr int64_t kLongestFirstPauseMs = 500;  // while the start waits for it
constexpr int64_t kLongestPauseMs = 5000;

std::string environment(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

// What the socket's other end says.
std::string shown(const std::string& text) { return printable(text.substr(0, 200)); }

json parse(const std::string& line) { return json::parse(line, nullptr, false); }

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool says_ok(const json& answer) {
  return answer.is_object() && answer.value("ok", json()) == json(true);
}

// Why an answer is not the one that was hoped for.
std::string refusal(const json& answer, const std::string& line) {
  const std::string error = answer.is_object() ? text_of(answer, "error") : "";
  return error.empty()
             ? "it answered '" + shown(line.substr(0, 80)) + "', which is none of this protocol"
             : "it refused: " + shown(error);
}

std::string to_line(const json& request) {
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

SidecarPlace find_sidecar(const std::string& spool, const SidecarUse& use) {
  const std::string named = environment("SHMREC_SOCKET");
  if (!named.empty()) return {named, true};
  const std::string usual = spool + "/sidecar.sock";
  struct stat status;
  const bool there = stat(usual.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
  return {usual, there || use.required};
}

Result<> SidecarClient::wait(uint64_t wait_ms) {
  const int64_t deadline = now_ms() + static_cast<int64_t>(wait_ms);
  connect();
  while (!connected()) {
    if (refused_) return Error{trouble_, false};
    const int64_t now = now_ms();
    if (now >= deadline)
      return Error{trouble_.empty() ? "it accepted, but did not answer" : trouble_, false};
    pollfd entry{fd(), POLLIN, 0};
    const int64_t pause = std::clamp<int64_t>(std::min(due_ms_, deadline) - now, 0, 60'000);
    const bool input = poll(&entry, 1, static_cast<int>(pause)) > 0;
    serve(input);
  }
  return Unit{};
}

void SidecarClient::serve(bool has_input) {
  if (has_input) receive();
  if (refused_ || now_ms() < due_ms_) return;  // its answer would be the same
  if (state_ == State::kDown)
    connect();
  else
    hang_up("it did not answer within " + std::to_string(kAnswerMs / 1000) + " s");
}

void SidecarClient::connect() {
  const std::string trouble = socket_.connect(socket_path_);
  if (!trouble.empty()) return hang_up(trouble);
  expect_answer(State::kHello);
  json hello = {{"type", "hello"},
                {"version", kVersion},
                {"launcherPid", getpid()},
                {"container", environment("CONTAINER_NAME")}};
  const std::optional<ucred> peer = answered_ ? std::nullopt : socket_.peer();
  if (peer) hello["probe"] = probe(*peer);
  if (!socket_.send(to_line(hello))) hang_up("it takes no requests");
}

void SidecarClient::receive() {
  std::string line;
  while (socket_.fd() >= 0) {
    switch (socket_.receive(line)) {
      case LineSocket::Got::kLine:
        on_line(line);
        break;
      case LineSocket::Got::kNothingYet:
        return;
      case LineSocket::Got::kClosed:
        return hang_up("it hung up");
      case LineSocket::Got::kTooLong:
        return hang_up("it sent a line without end");
    }
  }
}

void SidecarClient::on_line(const std::string& line) {
  if (state_ == State::kHello) return on_hello_answer(line);
  if (state_ != State::kRun) return;  // of a later release: nothing was asked
  state_ = State::kIdle;
  due_ms_ = kForeverMs;
  const json answer = parse(line);
  if (!says_ok(answer)) note("the sidecar does not take the run: " + refusal(answer, line));
}

void SidecarClient::on_hello_answer(const std::string& line) {
  const json answer = parse(line);
  if (!says_ok(answer)) {
    refused_ = !answered_ && answer.is_object() && answer.value("refused", json()) == json(true);
    return hang_up(refusal(answer, line));
  }
  if (answer.value("version", json()) != json(kVersion))
    return hang_up("it speaks another version of the protocol");
  instance_ = shown(text_of(answer, "instance"));
  // Later ones come too late: the run has its log.
  if (!answered_) join_ = text_of(answer, "join");
  answered_ = true;
  state_ = State::kIdle;
  due_ms_ = kForeverMs;
  connected_ms_ = now_ms();
  trouble_.clear();
  if (run_.empty()) return;
  note("the sidecar is back, instance " + instance_);
  send_run();
}

void SidecarClient::announce(const std::string& run, const std::string& member) {
  run_ = run;
  member_ = member;
  if (state_ == State::kIdle) send_run();
}

void SidecarClient::send_run() {
  json request = {{"type", "run"}, {"name", run_}};
  if (!member_.empty()) request["member"] = member_;
  expect_answer(State::kRun);
  if (!socket_.send(to_line(request))) hang_up("it takes no requests");
}

void SidecarClient::expect_answer(State state) {
  state_ = state;
  due_ms_ = now_ms() + kAnswerMs;
}

void SidecarClient::hang_up(const std::string& why) {
  if (connected()) {
    note("the sidecar is gone: " + why);
    // Not at each success: one that answers and hangs up would be asked without pause.
    if (now_ms() - connected_ms_ >= kLongestPauseMs) pause_ms_ = 0;
  }
  trouble_ = why;
  socket_.close();
  state_ = State::kDown;
  due_ms_ = now_ms() + pause_ms_;
  pause_ms_ =
      std::clamp(pause_ms_ * 2, kFirstPauseMs, answered_ ? kLongestPauseMs : kLongestFirstPauseMs);
}

}  // namespace shmrec::launcher
