#include "agent/memory/callers.h"

#include "agent/memory/modules.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// How far the callers of a runtime library's functions are looked for: most keep less on the stack.
constexpr uint32_t kWordsSeen = 32;

// The words of the stack that can be read. One that lies in two pages may end with the first.
uint32_t read_words(uint64_t stack, uint32_t wanted, uint64_t* words) {
  const uint64_t in_page = (page_down(stack) + kPage - stack) / 8;
  const uint32_t first = static_cast<uint32_t>(min<uint64_t>(wanted, in_page));
  if (!safe_copy(words, reinterpret_cast<void*>(stack), first * 8)) return 0;
  const bool more =
      first < wanted &&
      safe_copy(words + first, reinterpret_cast<void*>(stack + first * 8), (wanted - first) * 8);
  return more ? wanted : first;
}

}  // namespace

bool behind_call(uint64_t address) {
  uint8_t code[7];
  if (address < kPage || !safe_copy(code, reinterpret_cast<void*>(address - 7), sizeof code))
    return false;
  const auto indirect = [&](int bytes) {  // FF /2, with that many bytes
    return code[7 - bytes] == 0xFF && (code[8 - bytes] >> 3 & 7) == 2;
  };
  return code[2] == 0xE8 || indirect(2) || indirect(3) || indirect(6) || indirect(7);
}

Callers callers_of(uint64_t pc, uint64_t stack) {
  Callers callers = {};
  if (!stack || stack % 8) return callers;
  uint64_t words[kWordsSeen];
  const uint32_t count =
      read_words(stack, code_owner(pc) == CodeOwner::kRuntime ? kWordsSeen : 1, words);
  for (uint32_t i = 0; i < count && callers.count < kMaxCallers; ++i)
    if (code_owner(words[i]) != CodeOwner::kNobody && behind_call(words[i]))
      callers.words[callers.count++] = caller_word(i, words[i]);
  return callers;
}

}  // namespace shmrec::agent
