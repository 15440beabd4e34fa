// Any text as manifests: never a crash; what is changed still holds all that was in it, in its
// order, and is not changed again; what has no pod passes byte for byte; uninject gives back what
// was there, and renewing is as injecting anew. The state of an earlier injection is foreign too.
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

std::string taken_back(const std::string& text) {
  const shmrec::Result<Injection> back = uninject(text, "back.yaml");
  require(back.ok());
  return back->yaml;
}

void require_same(const std::string& a, const std::string& b) {
  const shmrec::Result<shmrec::YamlStream> one = read_source(a, "a.yaml");
  const shmrec::Result<shmrec::YamlStream> two = read_source(b, "b.yaml");
  require(one.ok() == two.ok());
  if (!one) return;
  require(one->documents.size() == two->documents.size());
  for (size_t i = 0; i < one->documents.size(); ++i) {
    require(same(*one->documents[i], *two->documents[i]));
  }
}

void try_options(const std::string& text, const Options& options) {
  const shmrec::Result<Injection> once = inject(text, "fuzz.yaml", options);
  if (!once) {
    require(once.error().message.starts_with("fuzz.yaml:"));
    return;
  }
  for (const std::string& error : once->errors) require(error.starts_with("fuzz.yaml:"));
  require(!explain(once->workloads).empty());
  const std::string original = taken_back(text);
  if (once->errors.empty())
    require(once->workloads.empty() == (once->yaml == text) || original != text);
  const shmrec::Result<Injection> twice = inject(once->yaml, "again.yaml", options);
  require(twice.ok());
  if (!once->errors.empty()) return;
  require(twice->errors.empty());
  require(twice->yaml == once->yaml);
  if (original == text) require_same(taken_back(once->yaml), text);
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
  options.claim = "claim";
  options.sidecar_config = "config";
  options.entrypoints["app"] = {"/x"};
  try_options(text, options);
  return 0;
}
