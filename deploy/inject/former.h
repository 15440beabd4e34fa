// What a pod says of an earlier injection: the settings it was made with, and what cannot be seen
// in it any more. Both are read again when it is renewed or taken back.
//
// Trust: the manifest is foreign. A state that makes no sense is none.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "deploy/inject/additions.h"
#include "deploy/inject/pod_template.h"

namespace shmrec::inject {

using Entrypoints = std::map<std::string, std::vector<std::string>, std::less<>>;

// The annotation shmrec.dev/state.
struct State {
  std::vector<std::string> containers;  // that --container named
  Entrypoints entrypoints;              // of containers that had no command
  // What was there without a value, by its path: "[]" for empty brackets, else the word for null
  // with the spaces before it.
  std::map<std::string, std::string, std::less<>> empty;

  bool any() const { return !containers.empty() || !entrypoints.empty() || !empty.empty(); }
  std::string text() const;
  static State parse(std::string_view text);
};

struct Former {
  State state;
  std::string image;  // "": none is there
  Mode mode = Mode::kNative;
  std::string policy_configmap, sidecar_config, claim;
};

// Of a JSON list of words; nothing if it is something else or empty.
std::optional<std::vector<std::string>> parse_words(std::string_view json);

// The value of an annotation of the pod, or "".
std::string_view annotation(const PodTemplate& pod, std::string_view name);
// Was it injected, and not by Kustomize, which renews what it adds by itself?
bool is_injected(const PodTemplate& pod);
Former read_former(const PodTemplate& pod);

// "spec.containers[app]"
std::string item_path(const Object& object, std::string_view list, std::string_view name);

}  // namespace shmrec::inject
