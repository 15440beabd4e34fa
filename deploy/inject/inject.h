// `shmrec inject`: turns manifests into such with the sidecar, text to text.
//
// Invariants:
// 1. Every value of the input is in the output, in its order, with its comments and quotes.
// 2. Injecting into the output gives the same bytes.
// 3. Nothing but what `changes` names is added; no permission is among it (no capability, no host
//    access, no API access, no privileged setting).
// 4. Kinds without a pod, of other API groups, and pods that say that their nodes cannot record,
//    pass as they are; where a person could think them injected, `notes` says so.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "deploy/inject/additions.h"

namespace shmrec::inject {

struct Options {
  std::vector<std::string> containers;  // to record; empty: all but init containers
  std::string image;
  Mode mode = Mode::kNative;
  std::string policy_configmap;  // "": none
  std::string version;
};

struct Change {
  std::string path;  // "spec.template.spec.volumes[shmrec-spool]"
  std::string why;
};

struct ChangedWorkload {
  std::string name;  // "Deployment/web"
  std::vector<Change> changes;
};

struct Injection {
  std::string yaml;
  std::vector<ChangedWorkload> workloads;
  std::vector<std::string> notes;  // for a person, complete sentences
};

// `file` is the text's name in messages.
Result<Injection> inject(std::string_view text, std::string_view file, const Options& options);

// What was added and which permissions are needed, for a person.
std::string explain(const Injection& injection);

}  // namespace shmrec::inject
