// Words for messages about foreign text: the text itself, and the known name closest to a
// misspelled one.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace shmrec {

// The entry of `known` nearest to `name`, else the only one that begins so, or "". Case is ignored.
std::string nearest_name(std::string_view name, std::span<const std::string> known);

// " (did you mean 'NEAREST'?)" or "".
std::string did_you_mean(std::string_view name, std::span<const std::string> known);

// 'TEXT' as it may be shown to a person: cut if long, printable (base/printable.h).
std::string quoted(std::string_view text);

// "a, b or c".
std::string one_of(std::span<const std::string> names);

}  // namespace shmrec
