#include "base/printable.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

namespace shmrec {
namespace {

struct Range {
  uint32_t first, last;
};

// Sorted. Unicode's Cc, Cf, Zl and Zp, and what else has no width (Default_Ignorable_Code_Point).
constexpr Range kHidden[] = {
    {0x0000, 0x001F},                        // C0
    {0x007F, 0x009F},                        // DEL, C1
    {0x00AD, 0x00AD},                        // soft hyphen
    {0x034F, 0x034F},                        // grapheme joiner
    {0x0600, 0x0605},                        // Arabic number signs
    {0x061C, 0x061C},                        // Arabic letter mark
    {0x06DD, 0x06DD},                        // end of ayah
    {0x070F, 0x070F},                        // Syriac abbreviation mark
    {0x0890, 0x0891},                        // Arabic pound and piastre marks
    {0x08E2, 0x08E2},                        // disputed end of ayah
    {0x115F, 0x1160},                        // Hangul fillers
    {0x17B4, 0x17B5},                        // Khmer vowels without a shape
    {0x180B, 0x180F},                        // Mongolian selectors
    {0x200B, 0x200F},                        // zero width, direction marks
    {0x2028, 0x202E},                        // separators, embeddings and overrides
    {0x2060, 0x206F},                        // word joiner, isolates
    {0x3164, 0x3164},                        // Hangul filler
    {0xD800, 0xDFFF},                        // no characters
    {0xFE00, 0xFE0F},                        // variation selectors
    {0xFEFF, 0xFEFF},                        // byte order mark
    {0xFFA0, 0xFFA0},                        // Hangul filler
    {0xFFF0, 0xFFFB},                        // annotations
    {0xFFFE, 0xFFFF},                        // no characters
    {0x110BD, 0x110BD},                      // Kaithi number signs
    {0x110CD, 0x110CD}, {0x13430, 0x1343F},  // hieroglyph joiners
    {0x1BCA0, 0x1BCA3},                      // shorthand format controls
    {0x1D173, 0x1D17A},                      // of music
    {0xE0000, 0xE0FFF},                      // tags, more selectors
};

bool is_hidden(uint32_t code) {
  const Range* found = std::upper_bound(std::begin(kHidden), std::end(kHidden), code,
                                        [](uint32_t c, const Range& r) { return c < r.first; });
  return found != std::begin(kHidden) && code <= std::prev(found)->last;
}

// Of a character that starts with `c` >= 0x80, or 0.
size_t length_by(unsigned char c) {
  if (c >= 0xF0 && c < 0xF5) return 4;
  if (c >= 0xE0 && c < 0xF0) return 3;
  return c >= 0xC2 && c < 0xE0 ? 2 : 0;
}

std::string escape(uint32_t code) {
  char text[16];
  const char* format = code < 0x80 ? "\\x%02x" : code > 0xFFFF ? "\\U%08x" : "\\u%04x";
  std::snprintf(text, sizeof text, format, code);
  return text;
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {1, byte(0)};
  const size_t bytes = length_by(byte(0));
  if (bytes == 0 || bytes > text.size()) return {};
  uint32_t code = byte(0) & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (code < kSmallest[bytes] || code > 0x10FFFF || surrogate) return {};
  return {bytes, code};
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto [bytes, code] = first_character(text);
    const size_t length = std::max<size_t>(bytes, 1);
    if (bytes == 0) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned char>(text[0]));
      out += escaped;
    } else {
      out += is_hidden(code) ? escape(code) : std::string(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace shmrec
