// Which rule of the policy holds for a segment. The agent asks when a process first maps a segment;
// tests and tools ask the same code.
//
// Context: included by the in-process agent: freestanding, no heap.
// Trust: the rules lie in the shmlog, which the recorded program can write: strings are read within
// their fields.
#pragma once

#include "policy/glob.h"
#include "recording/log/shmlog_format.h"

namespace shmrec {

struct SegmentQuestion {
  shmlog::SegmentKind kind;
  int32_t sysv_key;  // of kSysV
  const char* name;  // as in SegmentEntry::name, but not cut
  size_t name_bytes;
  const char* executable;  // absolute path of the asking process's image
  size_t executable_bytes;
};

namespace match_internal {
inline size_t bounded_length(const char* text, size_t limit) {
  size_t n = 0;
  while (n < limit && text[n] != '\0') ++n;
  return n;
}

inline bool pattern_holds(const char* pattern, size_t field_bytes, const char* text, size_t bytes) {
  const size_t pattern_bytes = bounded_length(pattern, field_bytes);
  return pattern_bytes == 0 || glob_match(pattern, pattern_bytes, text, bytes);
}
}  // namespace match_internal

inline bool rule_matches(const shmlog::PolicyRule& rule, const SegmentQuestion& segment) {
  using match_internal::pattern_holds;
  if ((rule.kinds >> static_cast<uint32_t>(segment.kind) & 1) == 0) return false;
  if (rule.has_key != 0 && rule.key != segment.sysv_key) return false;
  return pattern_holds(rule.name, sizeof rule.name, segment.name, segment.name_bytes) &&
         pattern_holds(rule.executable, sizeof rule.executable, segment.executable,
                       segment.executable_bytes);
}

// Index of the first rule that matches + 1, or 0: the default holds.
inline uint32_t find_rule(const shmlog::PolicyRule* rules, uint32_t count,
                          const SegmentQuestion& segment) {
  for (uint32_t i = 0; i < count; ++i) {
    if (rule_matches(rules[i], segment)) return i + 1;
  }
  return 0;
}

}  // namespace shmrec
