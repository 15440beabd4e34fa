#include "agent/stream/state.h"

#include <initializer_list>

#include "agent/memory/identity.h"
#include "agent/memory/maps.h"

namespace shmrec::agent {

using stream::mix;

uint64_t state_hash(const Regs& regs, uint64_t pc) {
  uint64_t hash = mix(0, pc);
  for (const uint64_t each : {regs.rbx, regs.rbp, regs.rsp, regs.r12, regs.r13, regs.r14, regs.r15})
    hash = mix(hash, each);
  return hash;
}

uint64_t registers_hash(const Regs& regs) {
  uint64_t hash = state_hash(regs, regs.rip);
  for (const uint64_t each : {regs.rax, regs.rdx, regs.rdi, regs.rsi, regs.r8, regs.r9, regs.r10})
    hash = mix(hash, each);
  return hash;
}

// Below the stack pointer, and what a function may use below it, there is what is left of calls
// that have returned: of the dynamic linker, for instance, what XSAVEC says of components that may
// be in their initial state, or not.
uint64_t used_stack(uint64_t stack) {
  constexpr uint64_t kRedZone = 128;
  return (stack - kRedZone) & ~uint64_t{7};
}

// It may have no page behind it (a file's end): then it counts as zero.
uint64_t page_hash(uint64_t address, uint64_t stack) {
  const uint64_t used = used_stack(stack);
  const bool cuts = page_down(used) == address;
  uint64_t words[64], hash = 0, any = 0;
  for (uint64_t at = address; at < address + kPage; at += sizeof words) {
    if (!safe_copy(words, reinterpret_cast<void*>(at), sizeof words)) return 0;
    for (uint64_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
      const uint64_t word = cuts && at + i * sizeof words[0] < used ? 0 : words[i];
      any |= word;
      hash = mix(hash, word);
    }
  }
  return any ? hash : 0;
}

namespace {

// What sanitizers reserve has terabytes, of which most pages have never been used.
constexpr uint64_t kMostBytes = uint64_t{64} << 30;

struct Walk {
  uint64_t stack;
  MemoryHash* result;
  void (*each)(uint64_t page, uint64_t hash);
};

bool add_mapping(const MapLine& line, void* raw) {
  const Walk& walk = *static_cast<Walk*>(raw);
  const bool is_shadow = line.end - line.begin > kMostBytes;
  if (line.shared || !line.writable || !line.readable || is_shadow) return true;
  const bool has_stack = walk.stack >= line.begin && walk.stack < line.end;
  const uint64_t begin = has_stack ? page_down(used_stack(walk.stack)) : line.begin;
  for (uint64_t page = max(begin, line.begin); page < line.end; page += kPage) {
    AgentsPart part;
    if (next_agents_part(page, page + kPage, &part)) {
      page = part.end - kPage;
      continue;
    }
    const uint64_t hash = page_hash(page, walk.stack);
    if (!hash) continue;
    walk.result->hash = mix(mix(walk.result->hash, page), hash);
    ++walk.result->pages;
    if (walk.each) walk.each(page, hash);
  }
  return true;
}

}  // namespace

bool memory_hash(uint64_t stack, MemoryHash* result, void (*each)(uint64_t page, uint64_t hash)) {
  *result = {};
  Walk walk = {stack, result, each};
  return for_each_map(add_mapping, &walk);
}

}  // namespace shmrec::agent
