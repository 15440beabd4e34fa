#include "deploy/inject/remove.h"

#include <algorithm>

namespace shmrec::inject {
namespace {

bool is_one_of(const std::vector<std::string_view>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_null_word(std::string_view word) {
  const size_t at = std::min(word.find_first_not_of(" \t"), word.size());
  const std::string_view rest = word.substr(at);
  return rest.empty() || rest == "~" || rest == "null" || rest == "Null" || rest == "NULL";
}

bool has_prefix(const YamlNode& command) {
  const Json prefix = command_prefix();
  if (command.items.size() < prefix.size()) return false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    if (command.items[i]->text != prefix[i].get<std::string>()) return false;
  }
  return true;
}

size_t nodes_of(const YamlStream& stream) {
  size_t out = 0;
  for (const YamlNode* document : stream.documents) out += document->expanded;
  return out;
}

}  // namespace

// A list, or map, of which all goes: the field too, unless it was there before.
void Remover::empty_field(const Object& object, std::string_view field, const State& state,
                          Names& fields) {
  const YamlNode::Entry& entry = *object.entry(field);
  const YamlNode& value = *entry.value;
  const auto was = state.empty.find(object.path_of(field));
  if (was == state.empty.end() || !value.flow) return fields.push_back(field);
  if (was->second == "[]") {
    const bool map = value.type == YamlNode::Type::kMap;
    return map ? editor_.remove_entries(value, std::vector<bool>(value.entries.size(), true))
               : editor_.remove_items(value, std::vector<bool>(value.items.size(), true));
  }
  is_null_word(was->second) ? editor_.restore_empty(entry, was->second) : fields.push_back(field);
}

void Remover::strip_items(const Object& object, std::string_view list, const State& state,
                          const std::vector<bool>& gone, Names& fields) {
  const auto left = std::count(gone.begin(), gone.end(), false);
  if (left == static_cast<std::ptrdiff_t>(gone.size())) return;
  left == 0 ? empty_field(object, list, state, fields)
            : editor_.remove_items(*object.list(problems_, list), gone);
}

void Remover::strip_named(const Object& object, std::string_view list, std::string_view key,
                          const Names& ours, const State& state, Names& fields) {
  const YamlNode* items = object.list(problems_, list);
  if (items == nullptr) return;
  std::vector<bool> gone;
  for (const YamlNode* item : items->items) gone.push_back(is_one_of(ours, scalar(*item, key)));
  strip_items(object, list, state, gone, fields);
}

void Remover::remove_fields(const Object& object, const Names& fields) {
  std::vector<bool> gone;
  for (const YamlNode::Entry& entry : object.node().entries) {
    gone.push_back(is_one_of(fields, entry.key->text));
  }
  if (!fields.empty()) editor_.remove_entries(object.node(), gone);
}

void Remover::strip_command(const Object& container, const State& state, Names& fields) {
  const YamlNode* command = container.list(problems_, "command");
  if (command == nullptr || !has_prefix(*command)) return;
  std::vector<bool> gone(command->items.size(), false);
  const bool whole = state.entrypoints.contains(container.text("name"));
  std::fill_n(gone.begin(), whole ? gone.size() : command_prefix().size(), true);
  strip_items(container, "command", state, gone, fields);
}

void Remover::strip_container(const Object& container, const State& state) {
  Names fields;
  strip_command(container, state, fields);
  strip_named(container, "env", "name", {kSpoolVariable}, state, fields);
  strip_named(container, "volumeMounts", "name", {kToolsVolume, kSpoolVolume, kPolicyVolume}, state,
              fields);
  remove_fields(container, fields);
}

void Remover::strip_annotations(const Object& owner, const State& state) {
  const std::optional<Object> metadata = owner.object(problems_, "metadata");
  const auto annotations =
      metadata ? metadata->object(problems_, "annotations") : std::optional<Object>();
  if (!annotations) return;
  const Names ours = {kInjectedAnnotation, kVersionAnnotation, kStateAnnotation};
  const auto& entries = annotations->node().entries;
  const auto is_ours = [&](const YamlNode::Entry& entry) {
    return is_one_of(ours, entry.key->text);
  };
  if (!std::all_of(entries.begin(), entries.end(), is_ours)) {
    return remove_fields(*annotations, ours);
  }
  Names of_metadata, of_owner;
  const bool alone = metadata->node().entries.size() == 1;
  const bool metadata_was = state.empty.contains(metadata->path());
  const bool annotations_were = state.empty.contains(annotations->path());
  if (alone && !annotations_were && (!metadata_was || state.empty.at(metadata->path()) != "[]")) {
    empty_field(owner, "metadata", state, of_owner);
  } else {
    empty_field(*metadata, "annotations", state, of_metadata);
  }
  remove_fields(*metadata, of_metadata);
  remove_fields(owner, of_owner);
}

void Remover::remove_from(const PodTemplate& pod) {
  const State state = State::parse(annotation(pod, kStateAnnotation));
  Names fields;
  for (const std::string_view list : {"initContainers", "containers"}) {
    const YamlNode* containers = pod.spec.list(problems_, list);
    if (containers == nullptr) continue;
    for (const YamlNode* container : containers->items) {
      const std::string_view name = scalar(*container, "name");
      if (name == kInstallContainer || name == kSidecarContainer) continue;
      const YamlNode* command = find_value(*container, "command");
      if (command == nullptr || !has_prefix(*command)) continue;
      const auto object = Object::open(problems_, *container, item_path(pod.spec, list, name));
      if (object) strip_container(*object, state);
    }
    strip_named(pod.spec, list, "name", {kInstallContainer, kSidecarContainer}, state, fields);
  }
  strip_named(
      pod.spec, "volumes", "name",
      {kSpoolVolume, kStoreVolume, kToolsVolume, kPolicyVolume, kConfigVolume, kSocketVolume},
      state, fields);
  remove_fields(pod.spec, fields);
  strip_annotations(pod.owner, state);
}

bool Remover::is_right(const YamlStream& before, const YamlStream& after) const {
  if (before.documents.size() != after.documents.size()) return false;
  for (size_t i = 0; i < before.documents.size(); ++i) {
    if (!contains(*before.documents[i], *after.documents[i])) return false;
  }
  return nodes_of(before) - editor_.removed_nodes() == nodes_of(after);
}

}  // namespace shmrec::inject
