#include "deploy/inject/former.h"

namespace shmrec::inject {
namespace {

constexpr const char* kContainers = "containers";
constexpr const char* kEntrypoints = "entrypoints";
constexpr const char* kEmpty = "empty";

std::optional<std::vector<std::string>> words_of(const Json& list) {
  if (!list.is_array() || list.empty()) return std::nullopt;
  std::vector<std::string> out;
  for (const Json& item : list) {
    if (!item.is_string()) return std::nullopt;
    out.push_back(item.get<std::string>());
  }
  return out;
}

const Json* find(const Json& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found == object.end() ? nullptr : &*found;
}

// The item of a list of the pod's that has that name.
const YamlNode* find_item(const YamlNode& spec, std::string_view list, std::string_view name) {
  const YamlNode* items = find_value(spec, list);
  if (items == nullptr) return nullptr;
  for (const YamlNode* item : items->items) {
    if (scalar(*item, "name") == name) return item;
  }
  return nullptr;
}

// The value `field` of what the volume is made of.
std::string volume_source(const YamlNode& spec, std::string_view volume, std::string_view source,
                          std::string_view field) {
  const YamlNode* item = find_item(spec, "volumes", volume);
  const YamlNode* at = item != nullptr ? find_value(*item, source) : nullptr;
  return at != nullptr ? std::string(scalar(*at, field)) : "";
}

}  // namespace

std::string State::text() const {
  Json out = Json::object();
  if (!containers.empty()) out[kContainers] = containers;
  for (const auto& [name, words] : entrypoints) out[kEntrypoints][name] = words;
  for (const auto& [path, word] : empty) out[kEmpty][path] = word;
  return out.dump();
}

State State::parse(std::string_view text) {
  State out;
  const Json json = Json::parse(text, nullptr, false);
  if (const Json* list = find(json, kContainers)) {
    if (auto words = words_of(*list)) out.containers = std::move(*words);
  }
  if (const Json* map = find(json, kEntrypoints); map != nullptr && map->is_object()) {
    for (const auto& [name, list] : map->items()) {
      if (auto words = words_of(list)) out.entrypoints[name] = std::move(*words);
    }
  }
  if (const Json* map = find(json, kEmpty); map != nullptr && map->is_object()) {
    for (const auto& [path, word] : map->items()) {
      if (word.is_string()) out.empty[path] = word.get<std::string>();
    }
  }
  return out;
}

std::optional<std::vector<std::string>> parse_words(std::string_view json) {
  return words_of(Json::parse(json, nullptr, false));
}

std::string_view annotation(const PodTemplate& pod, std::string_view name) {
  const YamlNode* metadata = find_value(pod.owner.node(), "metadata");
  const YamlNode* annotations =
      metadata != nullptr ? find_value(*metadata, "annotations") : nullptr;
  return annotations != nullptr ? scalar(*annotations, name) : "";
}

bool is_injected(const PodTemplate& pod) {
  return !annotation(pod, kInjectedAnnotation).empty() &&
         !annotation(pod, kVersionAnnotation).empty();
}

Former read_former(const PodTemplate& pod) {
  Former out;
  const YamlNode& spec = pod.spec.node();
  out.state = State::parse(annotation(pod, kStateAnnotation));
  const YamlNode* sidecar = find_item(spec, "initContainers", kSidecarContainer);
  if (sidecar == nullptr) {
    sidecar = find_item(spec, "containers", kSidecarContainer);
    if (sidecar != nullptr) out.mode = Mode::kClassic;
  }
  if (sidecar != nullptr) out.image = scalar(*sidecar, "image");
  out.policy_configmap = volume_source(spec, kPolicyVolume, "configMap", "name");
  out.sidecar_config = volume_source(spec, kConfigVolume, "configMap", "name");
  out.claim = volume_source(spec, kStoreVolume, "persistentVolumeClaim", "claimName");
  return out;
}

std::string item_path(const Object& object, std::string_view list, std::string_view name) {
  return object.path_of(list) + "[" + std::string(name) + "]";
}

}  // namespace shmrec::inject
