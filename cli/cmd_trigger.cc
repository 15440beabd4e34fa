// shmrec trigger: ask the sidecar for a bundle.
#include <time.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "launcher/clock.h"
#include "launcher/control.h"
#include "policy/policy.h"
#include "policy/words.h"
#include "recording/run/text.h"

extern char** environ;

namespace shmrec::cli {
namespace {

using nlohmann::json;

constexpr const char* kFooter = R"(
The sidecar is found by --socket, else by sidecar.sock in --spool, else by $SHMREC_SOCKET, else by
sidecar.sock in the spool of the policy in force. The operation's ID is printed; with --wait, the
bundle's name.

Exit code: 0 asked for (with --wait: made); 1 it could not be; 3 the sidecar is busy, ask again later;
2 for a bad option.)";

constexpr int kExitBusy = 3;

struct Request {
  std::string run, text = "on demand", spool, socket;
  bool cores = false, wait = false;
};

int fail(const std::string& what, int code = 1) {
  std::fprintf(stderr, "shmrec: %s\n", what.c_str());
  return code;
}

Result<std::string> socket_of(const Request& request) {
  if (!request.socket.empty()) return request.socket;
  if (!request.spool.empty()) return request.spool + "/sidecar.sock";
  const char* named = getenv("SHMREC_SOCKET");
  if (named && *named) return std::string(named);
  const Result<Policy> policy = load_policy(std::nullopt, environ);
  if (!policy) return policy.error();
  return policy->spool_directory + "/sidecar.sock";
}

// From outside of this program: shown with its control characters escaped.
std::string text_of(const json& answer, const char* key) {
  const auto found = answer.find(key);
  return found != answer.end() && found->is_string()
             ? recording::printable(found->get<std::string>())
             : "";
}

bool is_true(const json& answer, const char* key) {
  return answer.value(key, json()) == json(true);
}

int refused(const json& answer) {
  const std::string error = text_of(answer, "error");
  const bool busy = is_true(answer, "busy");
  return fail("the sidecar " + std::string(busy ? "is busy" : "refused") +
                  (error.empty() ? "" : ": " + error) + (busy ? "; ask again later" : ""),
              busy ? kExitBusy : 1);
}

// Until the operation has ended.
int wait_for(launcher::ControlClient& sidecar, const std::string& operation, uint64_t wait_ms) {
  constexpr timespec kPause{0, 200'000'000};
  const int64_t deadline = launcher::now_ms() + static_cast<int64_t>(wait_ms);
  for (;;) {
    const Result<json> answer = sidecar.ask({{"type", "operation"}, {"operation", operation}});
    if (!answer) return fail(answer.error().message);
    if (!is_true(*answer, "ok")) return refused(*answer);
    const std::string state = text_of(*answer, "state");
    if (state == "succeeded") return std::printf("%s\n", text_of(*answer, "bundle").c_str()) < 0;
    if (state != "running")
      return fail("operation " + operation + " failed: " + text_of(*answer, "error"));
    if (launcher::now_ms() >= deadline)
      return fail("operation " + operation + " still goes on after " + format_duration(wait_ms));
    nanosleep(&kPause, nullptr);
  }
}

int trigger(const Request& request, uint64_t wait_ms) {
  const Result<std::string> socket = socket_of(request);
  if (!socket) return fail(socket.error().message, 2);
  Result<launcher::ControlClient> sidecar = launcher::ControlClient::connect(*socket);
  if (!sidecar) return fail(sidecar.error().message);
  json asked = {{"type", "trigger"}, {"run", request.run}, {"trigger", request.text}};
  if (request.cores) asked["cores"] = true;
  const Result<json> answer = sidecar->ask(asked);
  if (!answer) return fail(answer.error().message);
  if (!is_true(*answer, "ok")) return refused(*answer);
  const std::string operation = text_of(*answer, "operation");
  if (request.wait) return wait_for(*sidecar, operation, wait_ms);
  return std::printf("%s\n", operation.c_str()) < 0;
}

}  // namespace

int cmd_trigger(int argc, char** argv) {
  CLI::App app{"Asks the sidecar for a bundle of a run, by default of the newest that goes on.",
               "shmrec trigger"};
  Request request;
  std::string timeout = "10m";
  app.footer(kFooter);
  app.add_option("TEXT", request.text, "Why, for the bundle's manifest (default: on demand)");
  app.add_option("--run", request.run, "Name of the run directory")->type_name("NAME");
  auto* spool = app.add_option("--spool", request.spool, "The spool")->type_name("DIR");
  app.add_option("--socket", request.socket, "The sidecar's control socket")
      ->type_name("PATH")
      ->excludes(spool);
  app.add_flag("--cores", request.cores,
               "Take a core of each recorded process before; they run on");
  app.add_flag("--wait", request.wait, "Wait until the bundle is made");
  app.add_option("--timeout", timeout, "How long to wait at most (default: 10m)")
      ->type_name("DURATION");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const std::optional<uint64_t> wait_ms = parse_duration(timeout);
  if (!wait_ms) return fail("--timeout " + wait_problem(wait_ms, timeout), 2);
  return trigger(request, *wait_ms);
}

}  // namespace shmrec::cli
