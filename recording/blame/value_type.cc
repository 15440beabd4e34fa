#include "recording/blame/value_type.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>

#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using Kind = ValueType::Kind;
using nlohmann::json;

struct NamedType {
  const char* name;
  Kind kind;
  uint64_t size;
};
constexpr NamedType kNamedTypes[] = {
    {"i8", Kind::kSigned, 1},       {"i16", Kind::kSigned, 2},   {"i32", Kind::kSigned, 4},
    {"i64", Kind::kSigned, 8},      {"u8", Kind::kUnsigned, 1},  {"u16", Kind::kUnsigned, 2},
    {"u32", Kind::kUnsigned, 4},    {"u64", Kind::kUnsigned, 8}, {"x8", Kind::kHex, 1},
    {"x16", Kind::kHex, 2},         {"x32", Kind::kHex, 4},      {"x64", Kind::kHex, 8},
    {"f32", Kind::kFloat, 4},       {"f64", Kind::kFloat, 8},    {"bool", Kind::kBool, 1},
    {"char[]", Kind::kText, 0},     {"char", Kind::kText, 1},    {"short", Kind::kSigned, 2},
    {"int", Kind::kSigned, 4},      {"long", Kind::kSigned, 8},  {"unsigned", Kind::kUnsigned, 4},
    {"size_t", Kind::kUnsigned, 8}, {"float", Kind::kFloat, 4},  {"double", Kind::kFloat, 8},
    {"pointer", Kind::kHex, 8},
};

bool is_number(size_t size) { return size == 1 || size == 2 || size == 4 || size == 8; }

uint64_t unsigned_of(const uint8_t* bytes, size_t size) {
  uint64_t raw = 0;
  std::memcpy(&raw, bytes, size);
  return raw;
}

int64_t signed_of(const uint8_t* bytes, size_t size) {
  const unsigned unused = static_cast<unsigned>(64 - size * 8);
  return static_cast<int64_t>(unsigned_of(bytes, size) << unused) >> unused;
}

double float_of(const uint8_t* bytes, size_t size) {
  float single = 0;
  double wide = 0;
  if (size == sizeof single)
    std::memcpy(&single, bytes, size);
  else
    std::memcpy(&wide, bytes, size);
  return size == sizeof single ? static_cast<double>(single) : wide;
}

std::string float_text(double value, size_t size) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", size == 4 ? 9 : 17, value);
  char shorter[40];
  for (int digits = 1; digits < 17; ++digits) {  // the shortest that reads the same
    std::snprintf(shorter, sizeof shorter, "%.*g", digits, value);
    const double read = std::strtod(shorter, nullptr);
    if (size == 4 ? static_cast<float>(read) == static_cast<float>(value) : read == value)
      return shorter;
  }
  return text;
}

std::string text_of(const std::vector<uint8_t>& bytes) {
  const auto end = std::find(bytes.begin(), bytes.end(), uint8_t{0});
  return "\"" + printable(std::string(bytes.begin(), end)) + "\"";
}

std::string one_text(const ValueType& type, const uint8_t* bytes) {
  const size_t size = type.size;
  switch (type.kind) {
    case Kind::kSigned:
      return std::to_string(signed_of(bytes, size));
    case Kind::kUnsigned:
      return std::to_string(unsigned_of(bytes, size));
    case Kind::kHex:
      return hex(unsigned_of(bytes, size));
    case Kind::kFloat:
      return float_text(float_of(bytes, size), size);
    case Kind::kBool:
      return bytes[0] == 0 ? "false" : bytes[0] == 1 ? "true" : std::to_string(bytes[0]);
    case Kind::kEnum: {
      const auto name = type.names.find(signed_of(bytes, size));
      return name != type.names.end() ? name->second : std::to_string(signed_of(bytes, size));
    }
    default:
      return "";
  }
}

std::string plain_text(const std::vector<uint8_t>& bytes) {
  constexpr size_t kShown = 16;
  constexpr int64_t kLargeNumber = 1'000'000'000;
  const size_t size = bytes.size();
  if (is_number(size)) {
    const int64_t number = signed_of(bytes.data(), size);
    const bool small = number < kLargeNumber && number > -kLargeNumber;
    return small ? std::to_string(number) : hex(unsigned_of(bytes.data(), size));
  }
  std::string text;
  char digits[4];
  for (size_t i = 0; i < size && i < kShown; ++i) {
    std::snprintf(digits, sizeof digits, "%s%02x", i ? " " : "", bytes[i]);
    text += digits;
  }
  return size > kShown ? text + " ..." : text;
}

bool fits(const ValueType& type, size_t size) {
  return type.kind != Kind::kUnknown && type.size != 0 && size != 0 && size % type.size == 0;
}

}  // namespace

Result<ValueType> parse_value_type(const std::string& name) {
  std::string known;
  for (const NamedType& named : kNamedTypes) {
    if (name == named.name) return ValueType{named.kind, named.size, {}};
    known += std::string(known.empty() ? "" : ", ") + named.name;
  }
  return Error{"--type " + name + ": not a type; expected one of " + known};
}

std::string value_text(const ValueType& type, const std::vector<uint8_t>& bytes) {
  constexpr size_t kShown = 8;
  if (type.kind == Kind::kText && !bytes.empty()) return text_of(bytes);
  if (!fits(type, bytes.size())) return plain_text(bytes);
  std::string text;
  const size_t count = bytes.size() / type.size;
  for (size_t i = 0; i < count && i < kShown; ++i)
    text += (i ? " " : "") + one_text(type, &bytes[i * type.size]);
  return count > kShown ? text + " ..." : text;
}

json value_json(const ValueType& type, const std::vector<uint8_t>& bytes) {
  const size_t size = bytes.size();
  if (type.kind == Kind::kText && size != 0) {
    const std::string text = text_of(bytes);
    return text.substr(1, text.size() - 2);
  }
  if (!is_number(size) || (type.kind != Kind::kUnknown && type.size != size)) return nullptr;
  switch (type.kind) {
    case Kind::kUnsigned:
    case Kind::kHex:
      return unsigned_of(bytes.data(), size);
    case Kind::kFloat:
      return float_of(bytes.data(), size);
    case Kind::kBool:
      return bytes[0] <= 1 ? json(bytes[0] == 1) : json(bytes[0]);
    case Kind::kEnum:
      return one_text(type, bytes.data());
    default:
      return signed_of(bytes.data(), size);
  }
}

}  // namespace shmrec::recording
