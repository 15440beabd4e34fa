// How the bytes of a value are read: as numbers, text or names of an enumeration.
//
// Owner: plain data. Units: bytes; little endian, as recorded programs are.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::recording {

struct ValueType {
  enum class Kind { kUnknown, kSigned, kUnsigned, kHex, kFloat, kBool, kText, kEnum };
  Kind kind = Kind::kUnknown;
  uint64_t size = 0;                     // of one; 0: as many as there are (kText)
  std::map<int64_t, std::string> names;  // kEnum
};

// i8..i64, u8..u64, x8..x64 (hexadecimal), f32, f64, bool, char[] and the names that C has for
// them.
Result<ValueType> parse_value_type(const std::string& name);

// One value, or several side by side ("1.5 -2"), at most 8. What does not fit the type, or has
// none: 1, 2, 4 and 8 bytes as a signed number (hexadecimal when large), others byte by byte.
std::string value_text(const ValueType& type, const std::vector<uint8_t>& bytes);

// A number, text, or boolean; null if the bytes are none.
nlohmann::json value_json(const ValueType& type, const std::vector<uint8_t>& bytes);

}  // namespace shmrec::recording
