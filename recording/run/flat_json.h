// The few members that are wanted of a small JSON object whose writer is not trusted.
//
// A document tree would let a file of brackets take many times its size in memory. Here only texts
// and whole numbers are kept, of the object itself and of its direct members ("container.pod"), up
// to fixed limits; everything else is skipped while it is parsed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmrec::recording {

inline constexpr size_t kMaxFlatTextBytes = 4096;   // longer texts are cut
inline constexpr size_t kMaxFlatBytes = 256 << 10;  // of all texts; more are left out

struct FlatJson {
  // By name, or "NAME.MEMBER" one level down. An array has its texts in their order.
  std::map<std::string, std::vector<std::string>> texts_untrusted;
  std::map<std::string, int64_t> numbers_untrusted;

  std::string text(const std::string& name) const;  // "" if there is none
  std::optional<int64_t> number(const std::string& name) const;
};

// Nothing unless the text is one JSON object to its end: a file that is being written is not.
std::optional<FlatJson> flatten_json(std::string_view text);

}  // namespace shmrec::recording
