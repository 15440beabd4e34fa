// Glob patterns of the policy: segment names, executables, names to redact.
//
//   *        any run of characters but '/'          **       any run of characters
//   ?        one character but '/'                  \c       the character c
//   [abc]  [a-z]  [!a]   one character of a set (but never '/'); ']' first in a set is itself
//
// Context: included by the in-process agent, so it uses nothing but <stddef.h> and <stdint.h>, no
// heap, no recursion. The matcher runs the pattern as a set of states held in a bitmap: the time is
// bounded by pattern length x text length, whatever the pattern says.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace shmrec {

// Longer patterns match nothing; the parser refuses them.
inline constexpr size_t kMaxGlobBytes = 255;

enum GlobFlags : uint32_t {
  kGlobFoldCase = 1,      // ASCII letters match in either case
  kGlobCrossSlashes = 2,  // '/' is a character like any other
};

namespace glob_internal {

inline constexpr size_t kWords = kMaxGlobBytes / 64 + 1;

struct States {
  uint64_t words[kWords] = {};
  void add(size_t state) { words[state / 64] |= uint64_t{1} << (state % 64); }
  bool has(size_t state) const { return words[state / 64] >> (state % 64) & 1; }
  bool empty() const {
    uint64_t any = 0;
    for (uint64_t word : words) any |= word;
    return any == 0;
  }
};

inline unsigned char fold(unsigned char c, uint32_t flags) {
  return (flags & kGlobFoldCase) != 0 && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

// Position after the ']' that ends the set which opens at `at`, or 0 if nothing ends it.
inline size_t set_end(const char* pattern, size_t bytes, size_t at) {
  size_t i = at + 1;
  if (i < bytes && pattern[i] == '!') ++i;
  for (bool first = true; i < bytes; first = false) {
    if (pattern[i] == ']' && !first) return i + 1;
    i += pattern[i] == '\\' && i + 1 < bytes ? 2 : 1;
  }
  return 0;
}

// One element of the pattern, starting at `at`.
enum class Kind { kStar, kDoubleStar, kAny, kSet, kCharacter };
struct Element {
  Kind kind;
  size_t end;          // where the next element starts
  unsigned char byte;  // of kCharacter
};

inline Element element_at(const char* pattern, size_t bytes, size_t at) {
  const auto byte = static_cast<unsigned char>(pattern[at]);
  if (byte == '*') {
    const bool twice = at + 1 < bytes && pattern[at + 1] == '*';
    return {twice ? Kind::kDoubleStar : Kind::kStar, at + (twice ? 2 : 1), 0};
  }
  if (byte == '?') return {Kind::kAny, at + 1, 0};
  if (byte == '\\' && at + 1 < bytes) {
    return {Kind::kCharacter, at + 2, static_cast<unsigned char>(pattern[at + 1])};
  }
  const size_t end = byte == '[' ? set_end(pattern, bytes, at) : 0;
  if (end != 0) return {Kind::kSet, end, 0};
  return {Kind::kCharacter, at + 1, byte};
}

// Whether the set in pattern[at, end) holds `c`.
inline bool set_holds(const char* pattern, size_t at, size_t end, unsigned char c, uint32_t flags) {
  size_t i = at + 1;
  const bool negated = pattern[i] == '!';
  if (negated) ++i;
  auto member = [&] {
    if (pattern[i] == '\\' && i + 2 < end) ++i;
    return fold(static_cast<unsigned char>(pattern[i++]), flags);
  };
  bool held = false;
  while (i + 1 < end) {
    const unsigned char low = member();
    unsigned char high = low;
    if (i + 2 < end && pattern[i] == '-') {
      ++i;
      high = member();
    }
    held |= low <= c && c <= high;
  }
  return held != negated;
}

inline bool consumes(const Element& element, const char* pattern, size_t at, unsigned char c,
                     uint32_t flags) {
  const bool slash = c == '/' && (flags & kGlobCrossSlashes) == 0;
  switch (element.kind) {
    case Kind::kDoubleStar:
      return true;
    case Kind::kStar:
    case Kind::kAny:
      return !slash;
    case Kind::kSet:
      return !slash && set_holds(pattern, at, element.end, c, flags);
    case Kind::kCharacter:
      return fold(element.byte, flags) == c;
  }
  return false;
}

inline bool is_star(const Element& element) {
  return element.kind == Kind::kStar || element.kind == Kind::kDoubleStar;
}

// Calls `visit(state)` for each state below `limit`, ascending; visit may add higher states.
template <typename Visit>
inline void for_each_state(const States& states, size_t limit, Visit visit) {
  for (size_t word = 0; word < kWords; ++word) {
    uint64_t seen = 0;
    while (uint64_t left = states.words[word] & ~seen) {
      const uint64_t lowest = left & -left;
      seen |= lowest;
      const size_t state = word * 64 + static_cast<size_t>(__builtin_ctzll(lowest));
      if (state >= limit) return;
      visit(state);
    }
  }
}

// A star may match nothing: whoever stands before it stands behind it too.
inline void pass_stars(const char* pattern, size_t bytes, States& states) {
  for_each_state(states, bytes, [&](size_t at) {
    const Element element = element_at(pattern, bytes, at);
    if (is_star(element)) states.add(element.end);
  });
}

}  // namespace glob_internal

inline bool glob_match(const char* pattern, size_t pattern_bytes, const char* text,
                       size_t text_bytes, uint32_t flags = 0) {
  using namespace glob_internal;
  if (pattern_bytes > kMaxGlobBytes) return false;
  States now;
  now.add(0);
  pass_stars(pattern, pattern_bytes, now);
  for (size_t i = 0; i < text_bytes; ++i) {
    const unsigned char c = fold(static_cast<unsigned char>(text[i]), flags);
    States next;
    for_each_state(now, pattern_bytes, [&](size_t at) {
      const Element element = element_at(pattern, pattern_bytes, at);
      if (consumes(element, pattern, at, c, flags)) next.add(is_star(element) ? at : element.end);
    });
    if (next.empty()) return false;
    pass_stars(pattern, pattern_bytes, next);
    now = next;
  }
  return now.has(pattern_bytes);
}

// What is wrong with a pattern's text, or nullptr. `at` gets the offset of the trouble.
inline const char* glob_error(const char* pattern, size_t bytes, size_t& at) {
  using namespace glob_internal;
  for (at = 0; at < bytes; at = element_at(pattern, bytes, at).end) {
    if (pattern[at] == '\\' && at + 1 == bytes) return "a backslash quotes nothing";
    if (pattern[at] != '[') continue;
    if (set_end(pattern, bytes, at) == 0) return "'[' has no ']'";
    if (pattern[at + 1] == '^') return "sets are negated by '!', not '^'";
  }
  return nullptr;
}

}  // namespace shmrec
