#include "agent/stream/state.h"

#include <initializer_list>

#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/memory/used_pages.h"

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

namespace {

bool is_without(uint64_t word, const NotHashed& without) {
  const uint64_t used = used_stack(without.stack);
  if (page_down(used) == page_down(word) && word < used) return true;
  for (uint32_t i = 0; i < without.count; ++i) {
    const stream::Range& range = without.ranges[i];
    if (word + sizeof word > range.address && word < range.address + range.bytes) return true;
  }
  return false;
}

bool touches(uint64_t page, const NotHashed& without) {
  for (uint32_t i = 0; i < without.count; ++i) {
    const stream::Range& range = without.ranges[i];
    if (page + kPage > range.address && page < range.address + range.bytes) return true;
  }
  return page == page_down(used_stack(without.stack));
}

}  // namespace

// It may have no page behind it (a file's end): then it counts as zero.
uint64_t page_hash(uint64_t address, const NotHashed& without) {
  const bool cuts = touches(address, without);
  uint64_t words[64], hash = 0, any = 0;
  for (uint64_t at = address; at < address + kPage; at += sizeof words) {
    if (!safe_copy(words, reinterpret_cast<void*>(at), sizeof words)) return 0;
    for (uint64_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
      const bool counts = !cuts || !is_without(at + i * sizeof words[0], without);
      const uint64_t word = counts ? words[i] : 0;
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
  const NotHashed& without;
  UsedPages& used;
  MemoryHash* result;
  void (*each)(uint64_t page, uint64_t hash);
};

// The first page from `page` on that may not be zero.
uint64_t next_page(const Walk& walk, const MapLine& line, uint64_t page) {
  return line.inode ? page : walk.used.next(page, line.end);
}

bool add_mapping(const MapLine& line, void* raw) {
  const Walk& walk = *static_cast<Walk*>(raw);
  const bool is_shadow = line.end - line.begin > kMostBytes;
  if (line.shared || !line.writable || !line.readable || is_shadow) return true;
  const uint64_t stack = walk.without.stack;
  const bool has_stack = stack >= line.begin && stack < line.end;
  const uint64_t begin = has_stack ? page_down(used_stack(stack)) : line.begin;
  for (uint64_t page = next_page(walk, line, max(begin, line.begin)); page < line.end;
       page = next_page(walk, line, page + kPage)) {
    AgentsPart part;
    if (next_agents_part(page, page + kPage, &part)) {
      page = part.end - kPage;
      continue;
    }
    const uint64_t hash = page_hash(page, walk.without);
    if (!hash) continue;
    walk.result->hash = mix(mix(walk.result->hash, page), hash);
    ++walk.result->pages;
    if (walk.each) walk.each(page, hash);
  }
  return true;
}

}  // namespace

bool memory_hash(const NotHashed& without, MemoryHash* result,
                 void (*each)(uint64_t page, uint64_t hash)) {
  *result = {};
  UsedPages used;
  Walk walk = {without, used, result, each};
  return for_each_map(add_mapping, &walk);
}

}  // namespace shmrec::agent
