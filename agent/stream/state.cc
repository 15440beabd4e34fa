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

// It may have no page behind it (a file's end): then it counts as zero.
uint64_t page_hash(uint64_t address) {
  uint64_t words[64], hash = 0, any = 0;
  for (uint64_t at = address; at < address + kPage; at += sizeof words) {
    if (!safe_copy(words, reinterpret_cast<void*>(at), sizeof words)) return 0;
    for (const uint64_t word : words) {
      any |= word;
      hash = mix(hash, word);
    }
  }
  return any ? hash : 0;
}

namespace {

struct Walk {
  MemoryHash* result;
  void (*each)(uint64_t page, uint64_t hash);
};

bool add_mapping(const MapLine& line, void* raw) {
  const Walk& walk = *static_cast<Walk*>(raw);
  if (line.shared || !line.writable || !line.readable) return true;
  for (uint64_t page = line.begin; page < line.end; page += kPage) {
    AgentsPart part;
    if (next_agents_part(page, page + kPage, &part)) {
      page = part.end - kPage;
      continue;
    }
    const uint64_t hash = page_hash(page);
    if (!hash) continue;
    walk.result->hash = mix(mix(walk.result->hash, page), hash);
    ++walk.result->pages;
    if (walk.each) walk.each(page, hash);
  }
  return true;
}

}  // namespace

bool memory_hash(MemoryHash* result, void (*each)(uint64_t page, uint64_t hash)) {
  *result = {};
  Walk walk = {result, each};
  return for_each_map(add_mapping, &walk);
}

}  // namespace shmrec::agent
