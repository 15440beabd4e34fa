// Foreign text in messages for people, and the UTF-8 that it is made of.
//
// What could steer a terminal or show a text as another one is written as an escape: control
// characters (C0, DEL, C1), the controls of writing direction, characters without width, line and
// paragraph separators, and bytes that are no UTF-8. All else stays, so that names in any script
// can be read. A text that is printable already stays as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shmrec {

struct Utf8Character {
  size_t bytes = 0;  // 0: none begins here
  uint32_t code = 0;
};

// The character at the start of `text`. REQUIRES: text is not empty.
Utf8Character first_character(std::string_view text);

// "\x1b", "\u202e", "\U000e0001" in place of what must not be shown.
std::string printable(std::string_view text);

}  // namespace shmrec
