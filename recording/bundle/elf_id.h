// What names a program file: its GNU build-id, or the SHA-256 of its content.
//
// Trust: none in the file. A few bounded parts are read by pread, which makes neither a truncated
// nor a changing file dangerous; elfutils would take memory as the headers ask.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shmrec::recording {

inline constexpr size_t kMinIdDigits = 8, kMaxIdDigits = 128;

bool is_elf(int fd);
// Lower-case hex digits; "" if it has none that is usable as an ID.
std::string build_id(int fd);
// SHA-256 of the first `bytes` bytes, 64 hex digits; "" if they cannot be read.
std::string content_id(int fd, uint64_t bytes);
// The name by which programs need a 64-bit library (DT_SONAME); "" if it has none that is a plain
// file name.
std::string soname(int fd);
// Hex digits, as many as an ID has.
bool is_id(std::string_view text);

}  // namespace shmrec::recording
