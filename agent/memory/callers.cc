#include "agent/memory/callers.h"

#include "agent/arch/x86_64/guarded.h"
#include "agent/memory/modules.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// How far callers are looked for beside the stack pointer: most functions of runtime libraries, and
// templates that were not inlined, keep less on the stack.
constexpr uint32_t kWordsSeen = 64;
// How many frame pointers are followed, and how far above the stack pointer.
constexpr uint32_t kFramesSeen = kMaxCallers;
constexpr uint64_t kMaxPlace = 4096;  // in words

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

void add(Callers& callers, uint64_t place, uint64_t word) {
  if (callers.count == kMaxCallers || !may_be_return(word)) return;
  for (uint32_t i = 0; i < callers.count; ++i)
    if (caller_place(callers.words[i]) == place) return;
  callers.words[callers.count++] = caller_word(place, word);
}

// Is it in one of the two, which are looked up once?
struct CodeRanges {
  CodeRange program = {load(&program_range.begin), load(&program_range.end)};
  CodeRange library = {load(&library_range.begin), load(&library_range.end)};
  bool hold(uint64_t word) const {
    return word - program.begin < program.end - program.begin ||
           word - library.begin < library.end - library.begin;
  }
};

// A frame pointer points to the one before it, with the return address behind it.
void follow_frames(Callers& callers, uint64_t stack, uint64_t frame) {
  uint64_t words[2];
  uint64_t least = stack;
  for (uint32_t i = 0; i < kFramesSeen; ++i) {
    if (frame % 8 || frame < least || frame - stack >= kMaxPlace * 8) return;  // 0, too
    if (!safe_copy(words, reinterpret_cast<void*>(frame), sizeof words)) return;
    if (may_be_code(words[1])) add(callers, (frame - stack) / 8 + 1, words[1]);
    least = frame + sizeof words;
    frame = words[0];
  }
}

// The same instruction, in the same frames: a thread makes the next access mostly so.
bool still_there(const KnownCallers& known) {
  for (uint32_t i = 0; i < known.callers.count; ++i) {
    const uint64_t word = known.callers.words[i];
    uint64_t now;
    if (!guarded_load(&now, known.stack + caller_place(word) * 8) ||
        caller_address(now) != caller_address(word))
      return false;
  }
  return true;
}

}  // namespace

const Callers& callers_of(Thread* thread, uint64_t pc, uint64_t stack, uint64_t frame,
                          uint64_t caller) {
  static constexpr Callers kNone = {};
  if (!stack || stack % 8) return kNone;
  if (frame % 8 || frame - stack >= kMaxPlace * 8) frame = 0;  // rbp is used for something else
  const uint64_t key = pc ^ pc >> 8 ^ stack >> 4 ^ caller ^ caller >> 8;
  KnownCallers& known = thread->known_callers[key % kKnownCallers];
  if (known.pc == pc && known.stack == stack && known.frame == frame && still_there(known))
    return known.callers;
  Callers callers = {};
  follow_frames(callers, stack, frame);
  uint64_t words[kWordsSeen];
  const uint32_t count = read_words(stack, kWordsSeen, words);
  const CodeRanges code;
  for (uint32_t i = 0; i < count && callers.count < kMaxCallers; ++i)
    if (code.hold(words[i])) add(callers, i, words[i]);
  known = {pc, stack, frame, callers};
  return known.callers;
}

}  // namespace shmrec::agent
