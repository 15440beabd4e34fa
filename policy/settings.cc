#include "policy/settings.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/unique_fd.h"
#include "policy/suggest.h"

namespace shmrec {
namespace {

constexpr YamlLimits kLimits = {kMaxPolicyBytes, 16, 20000, 1, "make it smaller"};

// Nothing if settings have a use for the node.
std::optional<Error> refusal_of(const YamlNode& node, std::string_view file) {
  if (!node.tag.empty() && node.tag != "?" && node.tag != "!") {
    return Error{at_position(
        file, node.where, "tag " + quoted(node.tag) + "; expected a plain value; remove the tag")};
  }
  for (const YamlNode::Entry& entry : node.entries) {
    if (entry.key->type == YamlNode::Type::kString) continue;
    return Error{at_position(file, entry.key->where,
                             "a key is not a word; expected KEY: VALUE; write the key's name")};
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> read_settings_file(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error{system_error(path).message};
  std::string text;
  char block[16 * 1024];
  while (text.size() <= kMaxPolicyBytes) {
    const ssize_t n = read(fd.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{system_error(path).message};
    if (n == 0) break;
    text.append(block, static_cast<size_t>(n));
  }
  return text;
}

Result<YamlStream> read_settings(std::string_view text, std::string_view file,
                                 std::string_view kind) {
  Result<YamlStream> stream = read_yaml(text, file, kLimits);
  if (!stream) return stream;
  if (stream->documents.empty()) {
    const std::string head = "'kind: " + std::string(kind) + "'";
    return Error{at_position(file, {1, 1},
                             "the file is empty; expected " + head +
                                 "; start with 'apiVersion: shmrec/v1' and " + head)};
  }
  for (const YamlNode& node : stream->nodes) {
    if (const std::optional<Error> refusal = refusal_of(node, file)) return *refusal;
  }
  return stream;
}

std::string variable_value(const char* const* environment, std::string_view name) {
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    if (entry.starts_with(name) && entry.substr(name.size()).starts_with('=')) {
      return std::string(entry.substr(name.size() + 1));
    }
  }
  return "";
}

}  // namespace shmrec
