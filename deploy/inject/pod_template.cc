#include "deploy/inject/pod_template.h"

#include <algorithm>
#include <set>

#include "policy/suggest.h"

namespace shmrec::inject {
namespace {

using Type = YamlNode::Type;

struct Workload {
  std::string_view kind;
  std::string_view api;  // apiVersion, or its part in front
  std::vector<std::string_view> template_path;
  bool ends;
};

const std::vector<Workload>& workloads() {
  static const std::vector<Workload> kWorkloads = {
      {"Pod", "v1", {}, false},
      {"Deployment", "apps/", {"spec", "template"}, false},
      {"StatefulSet", "apps/", {"spec", "template"}, false},
      {"DaemonSet", "apps/", {"spec", "template"}, false},
      {"ReplicaSet", "apps/", {"spec", "template"}, false},
      {"ReplicationController", "v1", {"spec", "template"}, false},
      {"PodTemplate", "v1", {"template"}, false},
      {"Job", "batch/", {"spec", "template"}, true},
      {"CronJob", "batch/", {"spec", "jobTemplate", "spec", "template"}, true},
  };
  return kWorkloads;
}

bool is_api(std::string_view version, std::string_view api) {
  return api.ends_with('/') ? version.starts_with(api) : version == api;
}

bool report_shared(Problems& problems, const YamlNode& node, const std::string& path) {
  if (!node.aliased) return false;
  problems.report(node.where, path +
                                  " is to be changed and stands in several places by an alias; "
                                  "expected it once; write it out in each place");
  return true;
}

void add_pod(Problems& problems, const YamlNode& root, const Workload& workload,
             std::vector<PodTemplate>& out) {
  std::optional<Object> at = Object::open(problems, root, "");
  for (const std::string_view step : workload.template_path) {
    if (!at) return;
    at = at->object(problems, step);
  }
  const std::optional<Object> spec = at ? at->object(problems, "spec") : std::nullopt;
  if (!spec) return;
  const YamlNode* metadata = find_value(root, "metadata");
  std::string name;
  if (metadata != nullptr) {
    name = scalar(*metadata, "name");
    if (name.empty()) name = scalar(*metadata, "generateName");
  }
  out.push_back({std::string(workload.kind), name, &root, *at, *spec, workload.ends});
}

bool has_containers(const YamlNode& object) {
  for (const Workload& workload : workloads()) {
    const YamlNode* at = &object;
    for (const std::string_view step : workload.template_path)
      at = at != nullptr ? find_value(*at, step) : nullptr;
    const YamlNode* spec = at != nullptr ? find_value(*at, "spec") : nullptr;
    const YamlNode* containers = spec != nullptr ? find_value(*spec, "containers") : nullptr;
    if (containers != nullptr && containers->type == Type::kSequence) return true;
  }
  return false;
}

// What an object says it is, or what the list it is in says of its items.
struct TypeName {
  std::string_view kind, version;
};

TypeName type_of(const YamlNode& node, const TypeName& item) {
  const std::string_view kind = scalar(node, "kind");
  return kind.empty() ? item : TypeName{kind, scalar(node, "apiVersion")};
}

void find_in(Problems& problems, const YamlNode& node, const TypeName& item, Found& out) {
  if (node.type != Type::kMap) return;
  const auto [kind, version] = type_of(node, item);
  const auto known = std::find_if(workloads().begin(), workloads().end(),
                                  [&, kind = kind, version = version](const Workload& each) {
                                    return each.kind == kind && is_api(version, each.api);
                                  });
  if (known != workloads().end()) return add_pod(problems, node, *known, out.pods);
  if (has_containers(node)) return out.unknown.push_back(&node);
  const YamlNode* items = kind.ends_with("List") ? find_value(node, "items") : nullptr;
  if (items == nullptr || items->type != Type::kSequence) return;
  // Neither these nor the list itself are changed, but what is in them.
  if (report_shared(problems, node, "a list of objects") ||
      report_shared(problems, *items, "a list of objects")) {
    return;
  }
  // Of a DeploymentList the items need not say that they are Deployments.
  const TypeName of_items = {kind.substr(0, kind.size() - 4), version};
  for (const YamlNode* each : items->items) find_in(problems, *each, of_items, out);
}

}  // namespace

std::string_view scalar(const YamlNode& map, std::string_view name) {
  const YamlNode* value = find_value(map, name);
  return value != nullptr && value->is_scalar() ? std::string_view(value->text) : "";
}

std::optional<Object> Object::open(Problems& problems, const YamlNode& node, std::string path) {
  const std::string what = path.empty() ? "the object" : path;
  if (node.type != Type::kMap) {
    problems.report(node.where,
                    what + " is " + describe(node) + "; expected a map; write its keys");
    return std::nullopt;
  }
  if (report_shared(problems, node, what)) return std::nullopt;
  std::set<std::string_view> seen;
  for (const YamlNode::Entry& entry : node.entries) {
    const YamlNode& key = *entry.key;
    if (!key.is_scalar() || (key.text == "<<" && key.tag == "?")) {
      problems.report(key.where, what +
                                     " has a key that is no word, or a merge key; expected keys "
                                     "written out; copy them here");
      return std::nullopt;
    }
    if (!seen.insert(key.text).second) {
      problems.report(key.where, "key " + quoted(key.text) + " is given twice in " + what +
                                     "; expected it once; remove one");
      return std::nullopt;
    }
  }
  return Object(node, std::move(path));
}

std::string Object::path_of(std::string_view field) const {
  return path_.empty() ? std::string(field) : path_ + "." + std::string(field);
}

const YamlNode::Entry* Object::entry(std::string_view field) const {
  for (const YamlNode::Entry& entry : node_->entries) {
    if (entry.key->text == field) return &entry;
  }
  return nullptr;
}

bool Object::has_value(std::string_view field) const {
  const YamlNode::Entry* found = entry(field);
  return found != nullptr && found->value->type != Type::kNull;
}

std::string_view Object::text(std::string_view field) const { return scalar(*node_, field); }

std::optional<Object> Object::object(Problems& problems, std::string_view field) const {
  if (!has_value(field)) return std::nullopt;
  return open(problems, *entry(field)->value, path_of(field));
}

const YamlNode* Object::list(Problems& problems, std::string_view field) const {
  if (!has_value(field)) return nullptr;
  const YamlNode& value = *entry(field)->value;
  if (value.type != Type::kSequence) {
    problems.report(value.where, path_of(field) + " is " + describe(value) +
                                     "; expected a list; write " + "lines that begin with '-'");
    return nullptr;
  }
  return report_shared(problems, value, path_of(field)) ? nullptr : &value;
}

Found find_pods(Problems& problems, const YamlNode& document) {
  Found out;
  find_in(problems, document, {}, out);
  return out;
}

}  // namespace shmrec::inject
