// Any text as the sidecar's configuration, with the rules that it holds: an Error that names the
// place, or a configuration that keeps what the sidecar relies on.
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>

#include "sidecar/config.h"

namespace {

using namespace shmrec::sidecar;

void require(bool condition) {
  if (!condition) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.yaml");
  if (!config) {
    require(config.error().message.starts_with("fuzz.yaml:"));
    return 0;
  }
  std::set<std::string> names;
  for (const DestinationConfig& destination : config->destinations) {
    require(!destination.name.empty() && names.insert(destination.name).second);
    require(!destination.directory.empty() + destination.put.has_value() +
                destination.exec.has_value() + !destination.termination_message.empty() ==
            1);
  }
  std::set<std::string> rules;
  for (const Rule& rule : config->rules) {
    require(!rule.name.empty() && rules.insert(rule.name).second);
    for (const auto* uses : {&rule.egress, &rule.hooks})
      for (const std::string& destination : *uses) require(names.contains(destination));
  }
  return 0;
}
