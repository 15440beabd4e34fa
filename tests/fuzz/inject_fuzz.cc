// Any text as manifests: never a crash; what is changed still holds all that was in it, in its
// order, and is not changed again; what has no pod passes byte for byte.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "deploy/inject/inject.h"
#include "deploy/inject/yaml_source.h"

namespace {

using namespace shmrec::inject;

void require(bool condition) {
  if (!condition) abort();
}

void try_options(const std::string& text, const Options& options) {
  const shmrec::Result<Injection> once = inject(text, "fuzz.yaml", options);
  if (!once) {
    require(once.error().message.starts_with("fuzz.yaml:"));
    return;
  }
  require(once->workloads.empty() == (once->yaml == text));
  const shmrec::Result<shmrec::YamlStream> before = read_source(text, "before.yaml");
  const shmrec::Result<shmrec::YamlStream> after = read_source(once->yaml, "after.yaml");
  require(before.ok() && after.ok() && before->documents.size() == after->documents.size());
  for (size_t i = 0; i < before->documents.size(); ++i) {
    require(contains(*after->documents[i], *before->documents[i]));
  }
  const shmrec::Result<Injection> twice = inject(once->yaml, "again.yaml", options);
  require(twice.ok());
  require(twice->yaml == once->yaml);
  require(!explain(*once).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Options options;
  options.image = "image";
  options.version = "1";
  try_options(text, options);
  options.mode = Mode::kClassic;
  options.policy_configmap = "policy";
  try_options(text, options);
  return 0;
}
