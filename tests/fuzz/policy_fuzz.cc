// Any text: parsing never crashes; what parses prints as YAML that reads back as the same policy,
// compiles into rules that the matcher takes, and redacts.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "policy/match.h"
#include "policy/policy.h"
#include "policy/redact.h"

namespace {

void require(bool condition) {
  if (!condition) abort();
}

void ask_rules(const std::vector<shmrec::shmlog::PolicyRule>& rules, const std::string& name) {
  const shmrec::SegmentQuestion question = {
      shmrec::SegmentKind::kFile, 0, name.data(), name.size(), name.data(), name.size()};
  const uint32_t found = find_rule(rules.data(), static_cast<uint32_t>(rules.size()), question);
  require(found <= rules.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const shmrec::Result<shmrec::Policy> policy = shmrec::parse_policy(text, "fuzz.yaml");
  if (!policy) {
    require(policy.error().message.starts_with("fuzz.yaml:"));
    return 0;
  }
  const std::string yaml = to_yaml(*policy);
  const shmrec::Result<shmrec::Policy> again = shmrec::parse_policy(yaml, "again.yaml");
  require(again.ok());
  require(*again == *policy);
  require(to_yaml(*again) == yaml);
  const auto rules = compile_rules(*policy);
  require(rules.size() == policy->segments.size());
  ask_rules(rules, "/dev/shm/name");
  for (const shmrec::SegmentRule& rule : policy->segments) ask_rules(rules, rule.match.name);
  redact_arguments(*policy, {"program", text.substr(0, 1000), text.substr(0, 100)});
  redact_environment(*policy, {text.substr(0, 1000)});
  return 0;
}
