// The policy in force, whatever is wrong with it: a program is not stopped by a mistake in how it
// is watched.
//
// A file that is missing, has a mistake or asks for what this release cannot do is not used at all,
// the defaults are; a variable with a mistake counts as unset. failurePolicy alone is taken from
// what has mistakes, where it means closed: its author wants the refusal, which is the caller's to
// make. Ownership: plain values. Trust: as for policy.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "policy/policy.h"

namespace shmrec {

struct LoadedPolicy {
  Policy policy;
  std::string mistakes;  // one a line, as load_policy's error; empty: none
};
LoadedPolicy load_policy_anyway(const std::optional<std::string>& path,
                                const char* const* environment,
                                const std::string& system_file = kSystemPolicyFile);

// Whether settings with mistakes, which need not even be YAML, ask to be refused for them: a line
// says failurePolicy: closed.
bool asks_for_closed(std::string_view text);
// "closed", or a misspelling of it.
bool means_closed(std::string_view value);

}  // namespace shmrec
