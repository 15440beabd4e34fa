// Where settings come from, a policy as well as the sidecar's configuration: a YAML file of one
// kind, and the environment over it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "policy/yaml_tree.h"

namespace shmrec {

// At most one byte more than settings may have, which read_settings then refuses.
Result<std::string> read_settings_file(const std::string& path);

// The one document in `text`, which is to have `kind`. What settings have no use for (tags, keys
// that are not words) is refused. `file` is the text's name in messages.
Result<YamlStream> read_settings(std::string_view text, std::string_view file,
                                 std::string_view kind);

// "" if it is not set. `environment`: as of main(), or nullptr.
std::string variable_value(const char* const* environment, std::string_view name);

}  // namespace shmrec
