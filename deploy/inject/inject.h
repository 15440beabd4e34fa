// `shmrec inject` and `shmrec uninject`: turn manifests into such with the sidecar and back, text
// to text.
//
// Invariants:
// 1. Every value of the input is in the output, in its order, with its comments and quotes.
// 2. Injecting into the output gives the same bytes, unless other options are given: then it is as
//    if the original had been injected with them. What is not given again stays as it was.
// 3. uninject() of the output says what the input says, in its bytes but for the end of a last
//    line. A document for which that would not hold is refused.
// 4. Nothing but what `changes` names is added; no permission is among it (no capability, no host
//    access, no API access, no privileged setting).
// 5. Kinds without a pod, of other API groups, and pods that say that their nodes cannot record,
//    pass as they are; where a person could think them injected, `notes` says so.
// 6. What one document or pod has wrong stops no other. A document that is YAML passes as it is
//    then; one that is none, or a template, is left out. `errors` says so.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "deploy/inject/additions.h"
#include "deploy/inject/former.h"

namespace shmrec::inject {

// What is not given is that of an earlier injection, else the default. "" is given and none.
struct Options {
  std::vector<std::string> containers;  // to record; empty: all but init containers
  Entrypoints entrypoints;              // of containers without a command
  std::optional<std::string> image;
  std::string default_image;
  std::optional<Mode> mode;
  std::optional<std::string> policy_configmap, sidecar_config, claim;
  std::string version;
};

struct Change {
  std::string path;  // "spec.template.spec.volumes[shmrec-spool]"
  std::string why;
};

struct ChangedWorkload {
  std::string name;             // "Deployment/web"
  std::vector<Change> changes;  // of uninject: none
};

struct Injection {
  std::string yaml;
  std::vector<ChangedWorkload> workloads;
  std::vector<std::string> notes;                 // for a person, complete sentences
  std::vector<std::string> errors;                // likewise; each stands for what was not changed
  std::set<std::string, std::less<>> containers;  // that were seen
};

// `file` is the text's name in messages.
Result<Injection> inject(std::string_view text, std::string_view file, const Options& options);
Result<Injection> uninject(std::string_view text, std::string_view file);

// Why a container that the options name is in none of the manifests; nothing if each is in one.
std::optional<Error> find_unknown_name(const Options& options,
                                       const std::set<std::string, std::less<>>& containers);

// What was added and which permissions are needed, for a person.
std::string explain(const std::vector<ChangedWorkload>& workloads);

}  // namespace shmrec::inject
