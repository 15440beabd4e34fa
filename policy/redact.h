// Keeps secrets out of what is written about a run: environment and arguments, as the policy's
// redaction says. A value that goes is replaced by kRedacted; its name stays.
//
// A secret with no name near it (mysql -pSECRET, a positional argument) is not found.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.h"

namespace shmrec {

inline constexpr std::string_view kRedacted = "<redacted>";

// Whether the value of the environment variable `name` is to be hidden.
bool redacted(const Policy& policy, std::string_view name);

// NAME=VALUE strings with the values of redacted names replaced, and passwords in URLs.
std::vector<std::string> redact_environment(const Policy& policy,
                                            const std::vector<std::string>& environment);

// An argv with what follows a redacted name replaced: --name=VALUE, --name VALUE, NAME=VALUE,
// "Name: VALUE", also inside of an argument (sh -c "NAME=VALUE ..."), and passwords in URLs.
std::vector<std::string> redact_arguments(const Policy& policy,
                                          const std::vector<std::string>& arguments);

}  // namespace shmrec
