// A stream of manifests as its documents, each read by itself, so that one that cannot be read
// does not stop the others. What a template engine has still to fill in is told from YAML.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/yaml_tree.h"

namespace shmrec::inject {

struct Document {
  std::string_view text;  // with its marker, up to the next one's line
  int line = 1;           // its first one in the stream
};

// All of `text`, in order. The texts borrow from it.
std::vector<Document> split_documents(std::string_view text);

// Where `text` has a {{ that is written as YAML and not as a string or a comment, as unrendered
// Helm charts have. `stream`: of that text, or nullptr if it could not be read.
std::optional<Position> find_template(std::string_view text, const YamlStream* stream);

Position position_in(std::string_view text, size_t offset);
// The inverse. An offset within the text.
size_t offset_of(std::string_view text, Position where);

}  // namespace shmrec::inject
