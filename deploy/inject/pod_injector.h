// Puts the sidecar into the pods of one document, one after the other. What one of them has wrong
// is reported and undone, and stops no other.
//
// Ownership: borrows the text, the options and the formers. Trust: the document is foreign.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/inject/inject.h"
#include "deploy/inject/pod_template.h"
#include "deploy/inject/yaml_edit.h"

namespace shmrec::inject {

std::string name_of(const PodTemplate& pod);  // "Deployment/web"
// Does it, or its workload, say that it is to be let be?
bool opts_out(const PodTemplate& pod);

class PodInjector {
 public:
  // `formers`: of each pod, if it was injected.
  PodInjector(std::string_view text, std::string_view file, const Moved& moved,
              const Options& options, const std::vector<std::optional<Former>>& formers)
      : options_(options),
        file_(file),
        moved_(moved),
        formers_(formers),
        problems_(file, moved),
        editor_(text, problems_) {}

  void visit(const YamlStream& stream) {
    for (const YamlNode* document : stream.documents) {
      const Found found = find_pods(problems_, *document);
      take_problems();
      for (const PodTemplate& pod : found.pods) try_pod(pod);
      for (const YamlNode* object : found.unknown) tell_unknown(*object);
    }
  }

  std::string apply() const { return editor_.apply(); }
  Injection take_result() { return std::move(result_); }

 private:
  enum class Place { kFront, kBack };
  void try_pod(const PodTemplate& pod);
  void visit_pod(const PodTemplate& pod);
  void remember_names(const PodTemplate& pod);
  bool passes(const PodTemplate& pod);
  bool is_elsewhere(const PodTemplate& pod);
  std::vector<Object> named_containers(const PodTemplate& pod);
  std::vector<Object> recorded_containers(const PodTemplate& pod);
  bool has_command(const PodTemplate& pod, const Object& container);
  std::optional<std::vector<std::string>> entrypoint_of(const PodTemplate& pod,
                                                        const Object& container);
  bool check_conflicts(const PodTemplate& pod, const std::vector<Object>& chosen);
  void refuse_names(const Object& object, std::string_view list, std::string_view key,
                    const std::vector<std::string_view>& ours);
  std::string user_of_sidecar(const PodTemplate& pod, const std::vector<Object>& chosen);
  void tell_of_storage(const PodTemplate& pod);
  void tell_unknown(const YamlNode& object);
  PodSettings settings_of(const PodTemplate& pod, const std::vector<Object>& chosen);
  void change_container(const Object& container);
  void change_command(const Object& container);
  void change_spec(const PodTemplate& pod);
  void annotate(const Object& owner);
  void add_items(const Object& object, const std::string& list, const std::vector<Addition>& items,
                 Place place);
  void set_field(const Object& object, const std::string& field, const Json& value);
  void note(const Change& change) { result_.workloads.back().changes.push_back(change); }
  void tell(const PodTemplate& pod, const std::string& text) {
    tell_at(pod.spec.node().where, name_of(pod) + " " + text);
  }
  void tell_at(Position where, const std::string& text) {
    result_.notes.push_back(at_position(file_, moved_(where), text));
  }
  // Of what was just tried; true if there were any.
  bool take_problems() {
    if (!problems_.any()) return false;
    result_.errors.push_back(problems_.text());
    problems_ = Problems(file_, moved_);
    return true;
  }

  const Options& options_;
  std::string file_;
  Moved moved_;
  const std::vector<std::optional<Former>>& formers_;
  Problems problems_;
  YamlEditor editor_;
  Injection result_;
  size_t pod_ = 0;
  // Of the pod that is changed:
  Former former_;
  PodSettings settings_;
  State state_;
};

}  // namespace shmrec::inject
