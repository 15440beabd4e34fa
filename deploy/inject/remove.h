// Takes an injection back out of a document: every part that inject() adds, by name, so that it
// works also on what has been through a cluster and came back in another order or style.
#pragma once

#include <string>
#include <vector>

#include "deploy/inject/former.h"
#include "deploy/inject/yaml_edit.h"

namespace shmrec::inject {

// Borrows the text, its tree and the problems.
class Remover {
 public:
  Remover(std::string_view text, Problems& problems)
      : problems_(problems), editor_(text, problems) {}

  // Reports what is written in a way that cannot be changed. REQUIRES: is_injected(pod).
  void remove_from(const PodTemplate& pod);

  YamlEditor& editor() { return editor_; }
  // Is `after` what `before` is without what was removed?
  bool is_right(const YamlStream& before, const YamlStream& after) const;

 private:
  using Names = std::vector<std::string_view>;
  void strip_container(const Object& container, const State& state);
  void strip_command(const Object& container, const State& state, Names& fields);
  void strip_annotations(const Object& owner, const State& state);
  void strip_items(const Object& object, std::string_view list, const State& state,
                   const std::vector<bool>& gone, Names& fields);
  void strip_named(const Object& object, std::string_view list, std::string_view key,
                   const Names& ours, const State& state, Names& fields);
  void empty_field(const Object& object, std::string_view field, const State& state, Names& fields);
  void remove_fields(const Object& object, const Names& fields);

  Problems& problems_;
  YamlEditor editor_;
};

}  // namespace shmrec::inject
