// Instructions that the agent meets: whatever the bytes, a description that holds together, and
// code that stays within a site's room and does the same to memory at the agent's address alone.
//
// The first byte of the input chooses the processor's maker, the rest is the instruction.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "agent/sites/emit.h"

extern "C" void shmrec_access_leave() {}

namespace shmrec::agent {
namespace {

bool amd = false;

void require(bool condition) {
  if (!condition) abort();
}

bool is_register(int8_t index) { return index >= kNoRegister && index < 16; }

// What the functions that perform a site rely on.
void check_site(const Site& site) {
  require(site.length > 0 && site.length <= kMaxInstruction);
  require(is_register(site.base) && is_register(site.index) && is_register(site.value_register));
  require(site.scale == 0 || site.scale == 1 || site.scale == 2 || site.scale == 4 ||
          site.scale == 8);
  if (site.form == Form::kGather) {
    require(site.gather.data < 32 && site.gather.index < 32 && site.gather.mask < 32);
    require(site.gather.element_bytes == 4 || site.gather.element_bytes == 8);
    require(site.gather.elements <= 16);
  }
}

bool describe_bytes(const uint8_t* bytes, size_t count, Site& site, Decoded& decoded) {
  static Thread thread;
  thread.canary_base = read_fs_base();
  decode_start(&thread);
  site = {};
  site.ip = 0x401000;
  memcpy(site.code, bytes, count < kMaxInstruction ? count : kMaxInstruction);
  return describe(&thread, site, decoded);
}

// Generated code does the same to memory, at the address in the scratch register and nowhere else.
void check_core(const Site& site, const uint8_t* code) {
  const uint8_t* core = reinterpret_cast<const uint8_t*>(site.core);
  require(core >= code && core < code + kSiteCodeBytes);
  Site again;
  Decoded decoded;
  require(describe_bytes(core, static_cast<size_t>(code + kSiteCodeBytes - core), again, decoded));
  if (site.form == Form::kPopSegment) return;  // a move to the segment register
  require(again.form == site.form && again.bytes == site.bytes);
  const bool tile = site.form == Form::kLoadTile || site.form == Form::kStoreTile;
  require(again.base == site.scratch && again.displacement == 0);
  require(again.index == (tile ? site.second_scratch : kNoRegister));
  require(again.segment == Segment::kNone && !again.rip_relative);
}

void try_instruction(const uint8_t* bytes, size_t count) {
  Site site;
  Decoded decoded;
  if (!describe_bytes(bytes, count, site, decoded)) return;
  check_site(site);
  uint8_t code[kSiteCodeBytes + 16];
  memset(code, 0xCC, sizeof code);
  emit(site, decoded, code);
  for (size_t i = kSiteCodeBytes; i < sizeof code; ++i) require(code[i] == 0xCC);
  if (runs_core(site.form)) check_core(site, code);
}

}  // namespace

bool made_by_amd() { return amd; }

}  // namespace shmrec::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  shmrec::agent::amd = data[0] & 1;
  shmrec::agent::try_instruction(data + 1, size - 1);
  return 0;
}
