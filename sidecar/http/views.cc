#include "sidecar/http/views.h"

#include <algorithm>

namespace shmrec::sidecar {
namespace {

constexpr size_t kMaxTextBytes = 255;
constexpr char kExpected[] =
    "the body must be a JSON object such as {\"run\": \"NAME\", \"trigger\": \"TEXT\", \"cores\": "
    "true}, all optional";

const char* state_name(Operation::State state) {
  switch (state) {
    case Operation::State::kRunning:
      return "running";
    case Operation::State::kSucceeded:
      return "succeeded";
    case Operation::State::kFailed:
      return "failed";
  }
  return "unknown";
}

Error bad_body(const std::string& why) { return Error{why + "; " + kExpected}; }

// It ends up in manifests and logs: one line.
bool is_line(const std::string& text) {
  return text.size() <= kMaxTextBytes && std::all_of(text.begin(), text.end(), [](char c) {
           return c < 0 || (c >= 0x20 && c != 0x7f);
         });
}

struct Key {
  const char* name;
  std::string BundleRequest::*field;
};
constexpr Key kKeys[] = {{"run", &BundleRequest::run}, {"trigger", &BundleRequest::trigger}};

Result<> take(const std::string& name, const Json& value, BundleRequest& request) {
  for (const Key& key : kKeys) {
    if (name != key.name) continue;
    if (!value.is_string()) return bad_body("\"" + name + "\" is no string");
    request.*key.field = value.get<std::string>();
    if (!is_line(request.*key.field))
      return bad_body("\"" + name + "\" is longer than " + std::to_string(kMaxTextBytes) +
                      " bytes or has control characters");
    return Unit{};
  }
  if (name != "cores") return bad_body("there is a key that is none of run, trigger and cores");
  if (!value.is_boolean()) return bad_body("\"cores\" is neither true nor false");
  request.cores = value.get<bool>();
  return Unit{};
}

}  // namespace

Json view(const Info& info) {
  return {{"version", info.version},
          {"instance", info.instance},
          {"hostname", info.hostname},
          {"started", info.started},
          {"spool", info.spool},
          {"store", info.store},
          {"spoolBytes", info.spool_bytes},
          {"storeBytes", info.store_bytes},
          {"storeLimit", info.store_limit}};
}

Json view(const ProcessInfo& process) {
  Json json = {{"run", process.run},
               {"id", process.id},
               {"name", process.name},
               {"executable", process.executable},
               {"container", process.container},
               {"pid", process.pid},
               {"state", process.state},
               {"accesses", process.accesses}};
  if (process.exit_code) json["exitCode"] = *process.exit_code;
  if (process.signal) json["signal"] = *process.signal;
  return json;
}

Json view(const BundleInfo& bundle) {
  return {{"name", bundle.name}, {"bytes", bundle.bytes},     {"created", bundle.created},
          {"run", bundle.run},   {"trigger", bundle.trigger}, {"rule", bundle.rule},
          {"keep", bundle.keep}, {"sha256", bundle.sha256}};
}

Json view(const Operation& operation) {
  Json json = {
      {"id", operation.id}, {"state", state_name(operation.state)}, {"started", operation.started}};
  if (!operation.bundle.empty()) json["bundle"] = operation.bundle;
  if (!operation.error.empty()) json["error"] = operation.error;
  return json;
}

std::string to_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<BundleRequest> parse_bundle_request(const std::string& body) {
  BundleRequest request;
  if (body.empty()) return request;
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) return bad_body("the body is no JSON");
  if (!json.is_object()) return bad_body("the body is JSON and no object");
  for (const auto& [name, value] : json.items())
    if (const auto taken = take(name, value, request); !taken) return taken.error();
  return request;
}

}  // namespace shmrec::sidecar
