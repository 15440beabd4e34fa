// What clients of the artefact server see of the Service's structures, and what they may ask for.
// openapi.json describes the same.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

using Json = nlohmann::ordered_json;

Json view(const Info& info);
Json view(const ProcessInfo& process);
Json view(const BundleInfo& bundle);
Json view(const Operation& operation);

// As text with a newline; bytes that are no UTF-8 become U+FFFD.
std::string to_text(const Json& json);

// The body of POST /v1/bundles. Empty: the default request. Unknown keys are errors.
Result<BundleRequest> parse_bundle_request(const std::string& body);

}  // namespace shmrec::sidecar
