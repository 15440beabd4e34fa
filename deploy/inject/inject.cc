#include "deploy/inject/inject.h"

#include <algorithm>
#include <optional>
#include <set>

#include "deploy/inject/pod_template.h"
#include "deploy/inject/yaml_edit.h"
#include "deploy/inject/yaml_source.h"
#include "policy/suggest.h"
#include "policy/yaml_fields.h"

namespace shmrec::inject {
namespace {

enum class Place { kFront, kBack };

class Injector {
 public:
  Injector(std::string_view text, std::string_view file, const Options& options)
      : options_(options), file_(file), problems_(file), editor_(text, problems_) {}

  void visit(const YamlNode& document) {
    const Found found = find_pods(problems_, document);
    for (const PodTemplate& pod : found.pods) visit_pod(pod);
    for (const YamlNode* object : found.unknown) {
      result_.notes.push_back(
          at_position(file_, object->where,
                      std::string(scalar(*object, "kind")) + " of " +
                          shmrec::quoted(scalar(*object, "apiVersion")) +
                          " has containers and is no kind that inject knows; it passes as it is"));
    }
  }

  Result<Injection> finish(const YamlStream& source) {
    if (!problems_.any()) check_names(source);
    if (problems_.any()) return Error{problems_.text()};
    result_.yaml = editor_.apply();
    return std::move(result_);
  }

 private:
  void visit_pod(const PodTemplate& pod);
  bool is_injected(const PodTemplate& pod);
  std::vector<Object> chosen_containers(const PodTemplate& pod);
  void check_names(const YamlStream& source);
  bool check_conflicts(const PodTemplate& pod, const std::vector<Object>& chosen);
  void refuse_names(const Object& object, std::string_view list, std::string_view key,
                    const std::vector<std::string_view>& ours);
  std::string user_of_sidecar(const PodTemplate& pod, const std::vector<Object>& chosen);
  bool is_elsewhere(const PodTemplate& pod);
  void tell_of_storage_limit(const PodTemplate& pod);
  void change_container(const Object& container);
  void change_spec(const PodTemplate& pod, const PodSettings& settings);
  void annotate(const Object& owner);
  void add_items(const Object& object, const std::string& list, const std::vector<Addition>& items,
                 Place place);
  void note(const Change& change) { result_.workloads.back().changes.push_back(change); }
  void tell(const PodTemplate& pod, const std::string& text) {
    const std::string name = pod.kind + "/" + pod.name;
    result_.notes.push_back(at_position(file_, pod.spec.node().where, name + " " + text));
  }

  const Options& options_;
  std::string file_;
  Problems problems_;
  YamlEditor editor_;
  Injection result_;
  std::set<std::string, std::less<>> seen_;  // containers
};

bool Injector::is_injected(const PodTemplate& pod) {
  const std::optional<Object> metadata = pod.owner.object(problems_, "metadata");
  const std::optional<Object> annotations =
      metadata ? metadata->object(problems_, "annotations") : std::nullopt;
  if (!annotations || !annotations->has_value(kInjectedAnnotation)) return false;
  const std::string version(annotations->text(kVersionAnnotation));
  // Absent where Kustomize added the sidecar.
  if (!version.empty() && version != options_.version) {
    tell(pod, "was injected by shmrec " + shmrec::quoted(version) +
                  " and is left so; inject into the original to renew it");
  }
  return true;
}

// A pod that says that its nodes are not those that record. It would not start with the sidecar.
bool Injector::is_elsewhere(const PodTemplate& pod) {
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

std::vector<Object> Injector::chosen_containers(const PodTemplate& pod) {
  std::vector<Object> out;
  const YamlNode* containers = pod.spec.list(problems_, "containers");
  if (containers == nullptr) return out;
  for (const YamlNode* container : containers->items) {
    const std::string_view name = scalar(*container, "name");
    seen_.emplace(name);
    const bool chosen = options_.containers.empty() ||
                        std::find(options_.containers.begin(), options_.containers.end(), name) !=
                            options_.containers.end();
    if (!chosen) continue;
    const std::string path = pod.spec.path_of("containers") + "[" + std::string(name) + "]";
    if (const auto object = Object::open(problems_, *container, path)) out.push_back(*object);
  }
  return out;
}

// A container that was asked for and is nowhere.
void Injector::check_names(const YamlStream& source) {
  const std::vector<std::string> known(seen_.begin(), seen_.end());
  for (const std::string& name : options_.containers) {
    if (seen_.contains(name)) continue;
    const Position where = source.documents.empty() ? Position{1, 1} : source.documents[0]->where;
    problems_.report(where, "no container " + shmrec::quoted(name) + did_you_mean(name, known) +
                                "; expected " + (known.empty() ? "a pod with it" : one_of(known)) +
                                "; correct --container");
  }
}

void Injector::refuse_names(const Object& object, std::string_view list, std::string_view key,
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

bool Injector::check_conflicts(const PodTemplate& pod, const std::vector<Object>& chosen) {
  refuse_names(pod.spec, "volumes", "name",
               {kSpoolVolume, kStoreVolume, kToolsVolume, kPolicyVolume});
  refuse_names(pod.spec, "initContainers", "name", {kInstallContainer, kSidecarContainer});
  refuse_names(pod.spec, "containers", "name", {kInstallContainer, kSidecarContainer});
  for (const Object& container : chosen) {
    refuse_names(container, "env", "name", {"SHMREC_SPOOL"});
    refuse_names(container, "volumeMounts", "mountPath", {kToolsPath, kSpoolPath});
    if (!options_.policy_configmap.empty()) {
      refuse_names(container, "volumeMounts", "mountPath", {kPolicyPath});
    }
    const YamlNode* command = container.list(problems_, "command");
    if (command == nullptr || command->items.empty()) {
      problems_.report(
          container.node().where,
          "container " + shmrec::quoted(container.text("name")) +
              " has no command, and the image's own cannot be seen from here; expected "
              "command: [PROGRAM, ...]; write what the image starts (docker image inspect "
              "shows its Entrypoint), or choose others by --container");
    } else if (command->items[0]->text == kLauncher) {
      problems_.report(command->where, container.path() +
                                           " runs under shmrec already; expected its own "
                                           "command; remove shmrec run --");
    }
  }
  return !problems_.any();
}

// The user that all recorded containers run as: their recordings are for their user alone.
std::string Injector::user_of_sidecar(const PodTemplate& pod, const std::vector<Object>& chosen) {
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
  tell(pod,
       std::string(users.size() > 1 ? "runs the recorded containers as different users"
                                    : "does not say which user but root its containers run as") +
           ", so the sidecar runs as the user of its image and can collect only what that user may "
           "read; set securityContext.runAsUser");
  return "";
}

// The sidecar has no such limit of its own: where no container has one it would be the first, and
// hold for the whole pod.
void Injector::tell_of_storage_limit(const PodTemplate& pod) {
  const YamlNode* containers = find_value(pod.spec.node(), "containers");
  for (const YamlNode* container : containers->items) {
    const YamlNode* at = find_value(*container, "resources");
    if (at != nullptr) at = find_value(*at, "limits");
    if (at == nullptr || find_value(*at, "ephemeral-storage") == nullptr) continue;
    return tell(pod, "limits ephemeral-storage in container " +
                         shmrec::quoted(scalar(*container, "name")) +
                         ", and kubelet evicts a pod whose volumes exceed the sum of these limits; "
                         "raise it by what the spool and the store may take (up to 8Gi)");
  }
}

void Injector::add_items(const Object& object, const std::string& list,
                         const std::vector<Addition>& items, Place place) {
  Json values = Json::array();
  for (const Addition& item : items) {
    values.push_back(item.value);
    note({object.path_of(list) + "[" + item.name + "]", item.why});
  }
  const YamlNode::Entry* entry = object.entry(list);
  if (entry == nullptr) return editor_.append_field(object.node(), list, values);
  if (entry->value->type == YamlNode::Type::kNull) return editor_.set_value(*entry, values);
  const YamlNode* existing = object.list(problems_, list);
  if (existing == nullptr) return;
  place == Place::kFront ? editor_.prepend_items(*existing, values)
                         : editor_.append_items(*existing, values);
}

void Injector::change_container(const Object& container) {
  editor_.prepend_items(*container.list(problems_, "command"), command_prefix());
  note({container.path_of("command"), "begins with " + std::string(kLauncher) + " run --"});
  add_items(container, "env", {spool_variable()}, Place::kFront);
  std::vector<Addition> mounts = {
      {std::string(kToolsVolume), tools_mount(), "read-only at " + std::string(kToolsPath)},
      {std::string(kSpoolVolume), spool_mount(), "at " + std::string(kSpoolPath)}};
  if (!options_.policy_configmap.empty()) {
    mounts.push_back(
        {std::string(kPolicyVolume), policy_mount(), "read-only at " + std::string(kPolicyPath)});
  }
  add_items(container, "volumeMounts", mounts, Place::kFront);
}

// Lists that stand deeper come first, as YamlEditor wants it.
void Injector::change_spec(const PodTemplate& pod, const PodSettings& settings) {
  std::vector<Addition> init = {install_container(settings)};
  if (settings.mode == Mode::kNative) {
    init.push_back(sidecar_container(settings));
  } else {
    add_items(pod.spec, "containers", {sidecar_container(settings)}, Place::kBack);
  }
  std::vector<Addition> volumes = {tools_volume(), spool_volume(), store_volume()};
  if (!settings.policy_configmap.empty())
    volumes.push_back(policy_volume(settings.policy_configmap));
  // First, so that the sidecar is there when the pod's own init containers run.
  add_items(pod.spec, "initContainers", init, Place::kFront);
  add_items(pod.spec, "volumes", volumes, Place::kBack);
}

void Injector::annotate(const Object& owner) {
  const Json values = {{kInjectedAnnotation, "1"}, {kVersionAnnotation, options_.version}};
  for (const auto& [name, value] : values.items()) {
    note({owner.path_of("metadata.annotations." + name), value.get<std::string>()});
  }
  const std::optional<Object> metadata = owner.object(problems_, "metadata");
  const auto set = [&](const Object& object, const std::string& field, const Json& value) {
    const YamlNode::Entry* entry = object.entry(field);
    entry == nullptr ? editor_.append_field(object.node(), field, value)
                     : editor_.set_value(*entry, value);
  };
  if (!metadata) return set(owner, "metadata", {{"annotations", values}});
  const std::optional<Object> annotations = metadata->object(problems_, "annotations");
  if (!annotations) return set(*metadata, "annotations", values);
  for (const auto& [name, value] : values.items()) {
    editor_.append_field(annotations->node(), name, value);
  }
}

void Injector::visit_pod(const PodTemplate& pod) {
  const std::vector<Object> chosen = chosen_containers(pod);
  if (problems_.any() || chosen.empty() || is_injected(pod) || is_elsewhere(pod)) return;
  if (!check_conflicts(pod, chosen)) return;
  if (pod.ends && options_.mode == Mode::kClassic) {
    problems_.report(pod.spec.node().where,
                     pod.kind + "/" + pod.name +
                         " would never end beside a classic sidecar; expected "
                         "--mode native (Kubernetes 1.29 or later); use that");
    return;
  }
  result_.workloads.push_back({pod.kind + "/" + pod.name, {}});
  PodSettings settings = {options_.image, options_.mode, options_.policy_configmap, ""};
  settings.user = user_of_sidecar(pod, chosen);
  tell_of_storage_limit(pod);
  for (const Object& container : chosen) change_container(container);
  change_spec(pod, settings);
  annotate(pod.owner);
}

Result<> check_option(std::string_view name, const std::string& value) {
  const bool blank = value.find_first_of(" \t\r\n") != value.npos;
  if (!blank && value.size() <= 512 && !find_non_text(value)) return Unit{};
  return Error{std::string(name) + " " + shmrec::quoted(value) +
               ": expected a name of at most 512 bytes without "
               "spaces"};
}

Result<> check_result(const YamlStream& before, const std::string& yaml, std::string_view file) {
  const Result<YamlStream> after = read_source(yaml, file);
  bool whole = after.ok() && after->documents.size() == before.documents.size();
  for (size_t i = 0; whole && i < before.documents.size(); ++i) {
    whole = contains(*after->documents[i], *before.documents[i]);
  }
  if (whole) return Unit{};
  return Error{std::string(file) +
               ": this YAML is written in a way that cannot be changed in place; "
               "expected plain lines; rewrite it, for example by kubectl get -o yaml" +
               (after ? "" : " (" + after.error().message + ")")};
}

}  // namespace

Result<Injection> inject(std::string_view text, std::string_view file, const Options& options) {
  for (const auto& [name, value] : {std::pair{"--image", options.image},
                                    std::pair{"--policy-configmap", options.policy_configmap}}) {
    if (const Result<> checked = check_option(name, value); !checked) return checked.error();
  }
  if (options.image.empty()) return Error{"--image is empty; expected the sidecar's image"};
  const Result<YamlStream> source = read_source(text, file);
  if (!source) return source.error();
  Injector injector(text, file, options);
  for (const YamlNode* document : source->documents) injector.visit(*document);
  Result<Injection> result = injector.finish(*source);
  if (!result) return result;
  if (const Result<> checked = check_result(*source, result->yaml, file); !checked) {
    return checked.error();
  }
  return result;
}

std::string explain(const Injection& injection) {
  std::string out;
  for (const ChangedWorkload& workload : injection.workloads) {
    out += workload.name + "\n";
    for (const Change& change : workload.changes)
      out += "  + " + change.path + ": " + change.why + "\n";
  }
  if (injection.workloads.empty()) out += "nothing is added\n";
  return out +
         "permissions added: none (no capability, no host access, no role, no service account)\n";
}

}  // namespace shmrec::inject
