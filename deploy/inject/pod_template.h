// Finds pods in manifests: what a Pod, Deployment, Job, ... or a List of them says of its pods.
//
// Trust: the manifests are foreign. What cannot be understood as Kubernetes would is reported, with
// its place, and never guessed at.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/inject/yaml_source.h"
#include "policy/yaml_fields.h"

namespace shmrec::inject {

// The text of `map`'s scalar `name`, or "". Of a node that is no map too.
std::string_view scalar(const YamlNode& map, std::string_view name);

// A map of which fields are to be changed. Reports what would make that wrong: another type, a
// key given twice, merge keys, and being shared by an alias, so that a change would show in other
// places.
class Object {
 public:
  // Nothing, and a report, if `node` is no such map. `path`: as in "spec.containers[app]".
  static std::optional<Object> open(Problems& problems, const YamlNode& node, std::string path);

  const YamlNode& node() const { return *node_; }
  const std::string& path() const { return path_; }
  std::string path_of(std::string_view field) const;
  // Its entry, or nullptr.
  const YamlNode::Entry* entry(std::string_view field) const;
  bool has_value(std::string_view field) const;
  // Its text if it is a scalar, or "".
  std::string_view text(std::string_view field) const;
  // The map at `field`; nothing if it is absent, null, or (reported) something else.
  std::optional<Object> object(Problems& problems, std::string_view field) const;
  // The list at `field`; nullptr as above.
  const YamlNode* list(Problems& problems, std::string_view field) const;

 private:
  Object(const YamlNode& node, std::string path) : node_(&node), path_(std::move(path)) {}

  const YamlNode* node_;
  std::string path_;
};

struct PodTemplate {
  std::string kind, name;
  const YamlNode* root;  // the whole object
  Object owner;          // holds metadata and spec
  Object spec;
  bool ends;  // pods of a Job
};

struct Found {
  std::vector<PodTemplate> pods;  // in the document's order
  // Objects of other kinds that hold containers where the known ones do: a Rollout, for example.
  std::vector<const YamlNode*> unknown;
};

Found find_pods(Problems& problems, const YamlNode& document);

}  // namespace shmrec::inject
