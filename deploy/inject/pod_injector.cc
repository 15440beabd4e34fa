#include "deploy/inject/pod_injector.h"

#include <algorithm>
#include <set>

#include "deploy/inject/health_port.h"
#include "policy/suggest.h"

namespace shmrec::inject {
namespace {

bool runs_shmrec(const YamlNode& command) {
  if (command.items.size() < 2) return false;
  const std::string& program = command.items[0]->text;
  return (program == "shmrec" || program.ends_with("/shmrec")) && command.items[1]->text == "run";
}

}  // namespace

std::string name_of(const PodTemplate& pod) { return pod.kind + "/" + pod.name; }

bool opts_out(const PodTemplate& pod) {
  const YamlNode* metadata = find_value(*pod.root, "metadata");
  const YamlNode* own = metadata != nullptr ? find_value(*metadata, "annotations") : nullptr;
  const std::string_view of_root = own != nullptr ? scalar(*own, kOptOutAnnotation) : "";
  return of_root == "false" || annotation(pod, kOptOutAnnotation) == "false";
}

void PodInjector::try_pod(const PodTemplate& pod) {
  const std::optional<Former>& former = formers_[pod_++];
  former_ = former.value_or(Former{});
  state_ = {};
  const size_t workloads = result_.workloads.size();
  const YamlEditor::Checkpoint before = editor_.checkpoint();
  visit_pod(pod);
  if (!take_problems()) return;
  editor_.roll_back(before);
  result_.workloads.resize(workloads);
}

void PodInjector::tell_unknown(const YamlNode& object) {
  tell_at(object.where, std::string(scalar(object, "kind")) + " of " +
                            shmrec::quoted(scalar(object, "apiVersion")) +
                            " has containers and is no kind that inject knows; it passes as it is");
}

// A pod that says that its nodes are not those that record. It would not start with the sidecar.
bool PodInjector::is_elsewhere(const PodTemplate& pod) {
  struct Field {
    std::string_view map, name, ours;
  };
  constexpr Field kFields[] = {{"os", "name", "linux"},
                               {"nodeSelector", "kubernetes.io/os", "linux"},
                               {"nodeSelector", "kubernetes.io/arch", "amd64"}};
  for (const Field& field : kFields) {
    const YamlNode* map = find_value(pod.spec.node(), field.map);
    const std::string_view value = map != nullptr ? scalar(*map, field.name) : "";
    if (value.empty() || value == field.ours) continue;
    tell(pod, "is for " + shmrec::quoted(value) +
                  ", and only Linux on x86-64 records; it passes as it is");
    return true;
  }
  return false;
}

bool PodInjector::passes(const PodTemplate& pod) {
  if (opts_out(pod)) {
    tell(pod, "says " + std::string(kOptOutAnnotation) + ": \"false\"; it passes as it is");
    return true;
  }
  if (is_injected(pod)) return true;  // it could not be taken back, which was reported
  if (!annotation(pod, kInjectedAnnotation).empty()) {
    tell(pod, "has the sidecar by other means than inject; it passes as it is");
    return true;
  }
  return is_elsewhere(pod);
}

// Those that the options name, or all but init containers.
std::vector<Object> PodInjector::named_containers(const PodTemplate& pod) {
  const std::vector<std::string>& names = state_.containers;
  std::vector<Object> out;
  for (const std::string_view list : {"initContainers", "containers"}) {
    const YamlNode* containers = pod.spec.list(problems_, list);
    if (containers == nullptr) continue;
    for (const YamlNode* container : containers->items) {
      const std::string_view name = scalar(*container, "name");
      const bool named = std::find(names.begin(), names.end(), name) != names.end();
      if (!(names.empty() ? list == "containers" : named)) continue;
      const auto object = Object::open(problems_, *container, item_path(pod.spec, list, name));
      if (object) out.push_back(*object);
    }
  }
  return out;
}

// Given, else by annotation, else as it was.
std::optional<std::vector<std::string>> PodInjector::entrypoint_of(const PodTemplate& pod,
                                                                   const Object& container) {
  const std::string_view name = container.text("name");
  const auto given = options_.entrypoints.find(name);
  if (given != options_.entrypoints.end()) return given->second;
  const std::string key = std::string(kEntrypointAnnotation) + std::string(name);
  const std::string_view written = annotation(pod, key);
  if (!written.empty()) {
    const auto words = parse_words(written);
    if (!words) {
      problems_.report(pod.spec.node().where, "the annotation " + key + " is " +
                                                  shmrec::quoted(written) +
                                                  "; expected a JSON list of words; write "
                                                  "'[\"/program\", \"argument\"]'");
    }
    return words;
  }
  const auto before = former_.state.entrypoints.find(name);
  if (before != former_.state.entrypoints.end()) return before->second;
  return std::nullopt;
}

// Is there something to put under shmrec run?
bool PodInjector::has_command(const PodTemplate& pod, const Object& container) {
  const std::string name = "container " + shmrec::quoted(container.text("name"));
  const YamlNode* command = container.list(problems_, "command");
  if (problems_.any()) return false;
  if (command != nullptr && runs_shmrec(*command)) {
    tell_at(command->where,
            name_of(pod) + ": " + name + " runs under shmrec already; it passes as it is");
    return false;
  }
  if (command != nullptr && !command->items.empty()) {
    if (options_.entrypoints.contains(container.text("name"))) {
      tell_at(command->where,
              name_of(pod) + ": " + name + " has a command, and --entrypoint is not used for it");
    }
    return true;
  }
  if (auto words = entrypoint_of(pod, container)) {
    state_.entrypoints[std::string(container.text("name"))] = std::move(*words);
    return true;
  }
  if (problems_.any()) return false;
  tell_at(container.node().where,
          name_of(pod) + ": " + name +
              " has no command, and what its image starts cannot be seen from here; it is not "
              "recorded; give --entrypoint " +
              std::string(container.text("name")) +
              "='[\"/program\", ...]', the image's Entrypoint and Cmd");
  return false;
}

std::vector<Object> PodInjector::recorded_containers(const PodTemplate& pod) {
  std::vector<Object> out;
  const std::vector<Object> named = named_containers(pod);
  for (const Object& container : named) {
    if (has_command(pod, container)) out.push_back(container);
  }
  if (out.empty() && !named.empty() && !problems_.any()) {
    tell(pod, "has no container that can be recorded, and gets no sidecar");
  }
  return out;
}

void PodInjector::refuse_names(const Object& object, std::string_view list, std::string_view key,
                               const std::vector<std::string_view>& ours) {
  const YamlNode* items = object.list(problems_, list);
  if (items == nullptr) return;
  for (const YamlNode* item : items->items) {
    std::string_view name = scalar(*item, key);
    while (name.size() > 1 && name.ends_with('/')) name.remove_suffix(1);  // of a path
    if (std::find(ours.begin(), ours.end(), name) == ours.end()) continue;
    problems_.report(item->where,
                     object.path_of(list) + " has " + shmrec::quoted(name) +
                         " already; expected that inject adds it; remove or rename it");
  }
}

bool PodInjector::check_conflicts(const PodTemplate& pod, const std::vector<Object>& chosen) {
  refuse_names(
      pod.spec, "volumes", "name",
      {kSpoolVolume, kStoreVolume, kToolsVolume, kPolicyVolume, kConfigVolume, kSocketVolume});
  refuse_names(pod.spec, "initContainers", "name", {kInstallContainer, kSidecarContainer});
  refuse_names(pod.spec, "containers", "name", {kInstallContainer, kSidecarContainer});
  for (const Object& container : chosen) {
    refuse_names(container, "env", "name", {kSpoolVariable});
    refuse_names(container, "volumeMounts", "mountPath", {kToolsPath, kSpoolPath});
    if (!settings_.policy_configmap.empty()) {
      refuse_names(container, "volumeMounts", "mountPath", {kPolicyPath});
    }
  }
  if (pod.ends && settings_.mode == Mode::kClassic) {
    problems_.report(pod.spec.node().where,
                     name_of(pod) +
                         " would never end beside a classic sidecar; expected "
                         "--mode native (Kubernetes 1.29 or later); use that");
  }
  return !problems_.any();
}

namespace {

// Kubelet gives the pod's volumes to it: then the sidecar reads what any user records.
bool has_group(const PodTemplate& pod) {
  const YamlNode* context = find_value(pod.spec.node(), "securityContext");
  return context != nullptr && find_value(*context, "fsGroup") != nullptr;
}

}  // namespace

// The user that all recorded containers run as: their recordings are for their user alone, and
// their group where there is one.
std::string PodInjector::user_of_sidecar(const PodTemplate& pod,
                                         const std::vector<Object>& chosen) {
  const auto user_of = [](const Object& object) -> std::string_view {
    const YamlNode* context = find_value(object.node(), "securityContext");
    return context != nullptr ? scalar(*context, "runAsUser") : "";
  };
  std::set<std::string> users;
  for (const Object& container : chosen) {
    const std::string_view own = user_of(container);
    users.emplace(own.empty() ? user_of(pod.spec) : own);
  }
  const std::string user = users.size() == 1 ? *users.begin() : "";
  const bool number = !user.empty() && user.size() < 10 &&
                      user.find_first_not_of("0123456789") == user.npos && user[0] != '0';
  if (number) return user;
  if (has_group(pod)) return "";
  tell(pod,
       std::string(users.size() > 1 ? "runs the recorded containers as different users"
                                    : "does not say which user but root its containers run as") +
           ", so the sidecar runs as the user of its image, and collects what root with the "
           "capability CHOWN records, but of no other user; set securityContext.fsGroup, or set "
           "securityContext.runAsUser");
  return "";
}

// The sidecar has no such limit of its own: where no container has one it would be the first, and
// hold for the whole pod.
void PodInjector::tell_of_storage(const PodTemplate& pod) {
  const YamlNode* containers = find_value(pod.spec.node(), "containers");
  for (const YamlNode* container : containers->items) {
    const YamlNode* at = find_value(*container, "resources");
    if (at != nullptr) at = find_value(*at, "limits");
    if (at == nullptr || find_value(*at, "ephemeral-storage") == nullptr) continue;
    tell(pod, "limits ephemeral-storage in container " +
                  shmrec::quoted(scalar(*container, "name")) +
                  ", and kubelet evicts a pod whose volumes exceed the sum of these limits; "
                  "raise it by what the spool and the store may take (up to 8Gi)");
    break;
  }
  if (!settings_.claim.empty() && !has_group(pod)) {
    tell(pod,
         "does not say securityContext.fsGroup, so a claim may be root's alone and the "
         "sidecar not allowed to write there; set it, or see that its user may write there");
  }
  if (pod.ends && settings_.claim.empty() && settings_.sidecar_config.empty()) {
    tell(pod,
         "ends, and its bundles go with its volumes then; give --claim NAME to keep them in "
         "a PersistentVolumeClaim, or --sidecar-config NAME with a destination");
  }
}

PodSettings PodInjector::settings_of(const PodTemplate& pod, const std::vector<Object>& chosen) {
  PodSettings out;
  out.image =
      options_.image.value_or(former_.image.empty() ? options_.default_image : former_.image);
  out.mode = options_.mode.value_or(former_.mode);
  out.policy_configmap = options_.policy_configmap.value_or(former_.policy_configmap);
  out.sidecar_config = options_.sidecar_config.value_or(former_.sidecar_config);
  out.claim = options_.claim.value_or(former_.claim);
  out.user = user_of_sidecar(pod, chosen);
  out.health_port = choose_health_port(pod);
  out.host_network = is_in_host_network(pod);
  return out;
}

// ---- Changes

void PodInjector::set_field(const Object& object, const std::string& field, const Json& value) {
  const YamlNode::Entry* entry = object.entry(field);
  if (entry == nullptr) return editor_.append_field(object.node(), field, value);
  state_.empty[object.path_of(field)] = editor_.empty_word(*entry);
  editor_.set_value(*entry, value);
}

void PodInjector::add_items(const Object& object, const std::string& list,
                            const std::vector<Addition>& items, Place place) {
  Json values = Json::array();
  for (const Addition& item : items) {
    values.push_back(item.value);
    note({object.path_of(list) + "[" + item.name + "]", item.why});
  }
  if (!object.has_value(list)) return set_field(object, list, values);
  const YamlNode* existing = object.list(problems_, list);
  if (existing == nullptr) return;
  if (existing->items.empty()) state_.empty[object.path_of(list)] = "[]";
  place == Place::kFront ? editor_.prepend_items(*existing, values)
                         : editor_.append_items(*existing, values);
}

void PodInjector::change_command(const Object& container) {
  const std::string path = container.path_of("command");
  const auto entrypoint = state_.entrypoints.find(container.text("name"));
  Json words = command_prefix();
  if (entrypoint == state_.entrypoints.end()) {
    note({path, "begins with " + std::string(kLauncher) + " run --"});
    return editor_.prepend_items(*container.list(problems_, "command"), words);
  }
  for (const std::string& word : entrypoint->second) words.push_back(word);
  note({path, "the entrypoint that was given, behind " + std::string(kLauncher) + " run --"});
  if (!container.has_value("command")) return set_field(container, "command", words);
  state_.empty[path] = "[]";
  editor_.prepend_items(*container.list(problems_, "command"), words);
}

void PodInjector::change_container(const Object& container) {
  change_command(container);
  add_items(container, "env", {spool_variable()}, Place::kFront);
  std::vector<Addition> mounts = {
      {std::string(kToolsVolume), tools_mount(), "read-only at " + std::string(kToolsPath)},
      {std::string(kSpoolVolume), spool_mount(), "at " + std::string(kSpoolPath)}};
  if (!settings_.policy_configmap.empty()) {
    mounts.push_back(
        {std::string(kPolicyVolume), policy_mount(), "read-only at " + std::string(kPolicyPath)});
  }
  add_items(container, "volumeMounts", mounts, Place::kFront);
}

// Lists that stand deeper come first, as YamlEditor wants it.
void PodInjector::change_spec(const PodTemplate& pod) {
  std::vector<Addition> init = {install_container(settings_)};
  if (settings_.mode == Mode::kNative) {
    init.push_back(sidecar_container(settings_));
  } else {
    add_items(pod.spec, "containers", {sidecar_container(settings_)}, Place::kBack);
  }
  std::vector<Addition> volumes = {tools_volume(), spool_volume(), store_volume(settings_.claim)};
  if (!settings_.claim.empty()) volumes.push_back(socket_volume());
  if (!settings_.policy_configmap.empty())
    volumes.push_back(policy_volume(settings_.policy_configmap));
  if (!settings_.sidecar_config.empty()) volumes.push_back(config_volume(settings_.sidecar_config));
  // First, so that the sidecar is there when the pod's own init containers run.
  add_items(pod.spec, "initContainers", init, Place::kFront);
  add_items(pod.spec, "volumes", volumes, Place::kBack);
}

// The last change: the state says of all others what they found.
void PodInjector::annotate(const Object& owner) {
  const std::optional<Object> metadata = owner.object(problems_, "metadata");
  const auto annotations = metadata ? metadata->object(problems_, "annotations") : std::nullopt;
  const auto is_empty = [](const Object& object) { return object.node().entries.empty(); };
  const auto remember = [&](const Object& object, const std::string& field) {
    const YamlNode::Entry* entry = object.entry(field);
    if (entry != nullptr) state_.empty[object.path_of(field)] = editor_.empty_word(*entry);
  };
  if (!metadata) remember(owner, "metadata");
  if (metadata && is_empty(*metadata)) state_.empty[metadata->path()] = "[]";
  if (metadata && !annotations) remember(*metadata, "annotations");
  if (annotations && is_empty(*annotations)) state_.empty[annotations->path()] = "[]";

  Json values = {{kInjectedAnnotation, "1"}, {kVersionAnnotation, options_.version}};
  if (state_.any()) values[std::string(kStateAnnotation)] = state_.text();
  for (const auto& [name, value] : values.items()) {
    note({owner.path_of("metadata.annotations." + name), value.get<std::string>()});
  }
  if (!metadata) return set_field(owner, "metadata", {{"annotations", values}});
  if (!annotations) return set_field(*metadata, "annotations", values);
  for (const auto& [name, value] : values.items()) {
    editor_.append_field(annotations->node(), name, value);
  }
}

// Also of pods that pass: a name that is there is no mistake.
void PodInjector::remember_names(const PodTemplate& pod) {
  for (const std::string_view list : {"initContainers", "containers"}) {
    const YamlNode* containers = find_value(pod.spec.node(), list);
    if (containers == nullptr) continue;
    for (const YamlNode* container : containers->items) {
      result_.containers.emplace(scalar(*container, "name"));
    }
  }
}

void PodInjector::visit_pod(const PodTemplate& pod) {
  remember_names(pod);
  state_.containers = options_.containers.empty() ? former_.state.containers : options_.containers;
  if (passes(pod)) return;
  const std::vector<Object> chosen = recorded_containers(pod);
  if (problems_.any() || chosen.empty()) return;
  settings_ = settings_of(pod, chosen);
  if (!check_conflicts(pod, chosen)) return;
  result_.workloads.push_back({name_of(pod), {}});
  tell_of_storage(pod);
  for (const Object& container : chosen) change_container(container);
  change_spec(pod);
  annotate(pod.owner);
}

}  // namespace shmrec::inject
