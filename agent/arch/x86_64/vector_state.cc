#include "agent/arch/x86_64/vector_state.h"

#include <asm/prctl.h>
#include <cpuid.h>

#include "recording/stream/stream_format.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kXsaveLeaf = 0xD;
constexpr uint32_t kComponents = 32, kKeysComponent = 9;
constexpr uint32_t kHeaderEnd = 576;  // of the legacy area and the XSAVE header

struct Component {
  uint32_t offset, bytes;
  bool aligned;  // to 64 bytes, in the compacted format
};
// By component number. The first two are at fixed places; a component of 0 bytes does not exist.
Component components[kComponents] = {{0, 160, false}, {160, 256, false}};

bool is_zero(const uint8_t* bytes, uint32_t count) {
  uint8_t any = 0;
  for (uint32_t i = 0; i < count; ++i) any |= bytes[i];
  return !any;
}

// The rights of this handler, which are the kernel's default.
uint32_t read_keys() {
  uint32_t rights, high;
  asm volatile("rdpkru" : "=a"(rights), "=d"(high) : "c"(0));
  return rights;
}

}  // namespace

void fp_reset(uint64_t fpstate) {
  if (!fpstate) return;
  FxArea* area = reinterpret_cast<FxArea*>(fpstate);
  area->mxcsr = kInitialMxcsr;
  if (area->magic1 != kXstateMagic) return;
  area->xstate_bv = 0;
  const Component& keys = components[kKeysComponent];
  if (!(area->features & kKeysState) || !keys.bytes) return;
  const uint32_t rights = read_keys();
  area->xstate_bv = kKeysState;
  memcpy(reinterpret_cast<uint8_t*>(fpstate) + keys.offset, &rights, sizeof rights);
}

namespace {

struct Span {
  uint32_t begin, end;
};
// What an XSAVE always writes: MXCSR and its mask; the kernel's part and the header.
constexpr Span kAlways[] = {{24, 32}, {464, kHeaderEnd}};
constexpr uint32_t kMagicBytes = 4;  // at the very end, the kernel's too
constexpr uint16_t kInitialControl = 0x37F;

bool is_saved(uint32_t at, uint64_t saved, uint32_t end) {
  for (const Span& span : kAlways)
    if (at >= span.begin && at < span.end) return true;
  for (uint32_t i = 0; i < kComponents; ++i)
    if ((saved >> i & 1) && at - components[i].offset < components[i].bytes) return true;
  return at >= end - kMagicBytes;
}

}  // namespace

void fp_fill(uint64_t fpstate) {
  constexpr uint32_t kGrain = 8;  // of all spans and components
  FxArea* area = reinterpret_cast<FxArea*>(fpstate);
  if (!fpstate || area->magic1 != kXstateMagic) return;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(fpstate);
  const uint64_t saved = area->xstate_bv;
  for (uint32_t at = 0; at < area->extended_size; at += kGrain)
    if (!is_saved(at, saved, area->extended_size))
      memset(bytes + at, 0, min(kGrain, area->extended_size - at));
  if (!(saved & 1)) memcpy(bytes, &kInitialControl, sizeof kInitialControl);
  // Which components are in their initial state is not only for the program to say: a processor may
  // find out, or not.
  area->xstate_bv |= area->features | kLegacyState;
}

namespace {

uint64_t hash_of(uint64_t hash, const uint8_t* bytes, uint64_t count) {
  for (uint64_t at = 0; at < count; at += sizeof(uint64_t)) {
    uint64_t word = 0;
    memcpy(&word, bytes + at, min(count - at, sizeof word));
    hash = stream::mix(hash, word);
  }
  return hash;
}

}  // namespace

uint64_t fp_hash(uint64_t fpstate) {
  constexpr uint32_t kControlBytes = 6, kRegistersAt = 32, kRegistersBytes = 384;
  if (!fpstate) return 0;
  FxArea& area = *reinterpret_cast<FxArea*>(fpstate);
  const uint64_t in_use = area.xstate_bv;
  const bool extended = area.magic1 == kXstateMagic;
  fp_fill(fpstate);
  if (extended) area.xstate_bv = in_use;
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(fpstate);
  uint64_t hash = hash_of(area.mxcsr, bytes, kControlBytes);
  hash = hash_of(hash, bytes + kRegistersAt, kRegistersBytes);
  for (uint32_t i = 2; extended && i < kComponents; ++i)
    if ((area.features >> i & 1) && i != kKeysComponent)
      hash = hash_of(hash, bytes + components[i].offset, components[i].bytes);
  return hash;
}

void vector_state_start() {
  const bool instruction_off = sys(__NR_arch_prctl, ARCH_GET_CPUID) == 0;
  if (instruction_off || __get_cpuid_max(0, nullptr) < kXsaveLeaf) return;
  uint32_t bytes, offset, flags, reserved, user_components;
  __cpuid_count(kXsaveLeaf, 0, user_components, offset, flags, reserved);
  for (uint32_t i = 2; i < kComponents; ++i) {
    if (!(user_components >> i & 1))
      continue;  // in a virtual machine each cpuid costs microseconds
    __cpuid_count(kXsaveLeaf, i, bytes, offset, flags, reserved);
    components[i] = {offset, bytes, (flags & 2) != 0};
  }
}

uint32_t xsave_extent(uint64_t laid_out, uint64_t wanted, bool compacted) {
  uint32_t at = kHeaderEnd, end = kHeaderEnd;
  for (uint32_t i = 2; i < kComponents; ++i) {
    if (!(laid_out >> i & 1)) continue;
    const Component& component = components[i];
    if (!component.bytes) return 0;
    if (compacted && component.aligned) at = (at + 63) & ~63u;
    if (!compacted) at = component.offset;
    at += component.bytes;
    if (wanted >> i & 1) end = max(end, at);
  }
  return end;
}

// Where some bytes of a register lie.
struct VectorState::Part {
  uint32_t component;
  uint32_t offset;  // in the component
  uint32_t bytes;
};

// The parts of a vector register, lowest bytes first.
int VectorState::parts_of(int number, Part parts[3]) {
  const uint32_t n = static_cast<uint32_t>(number);
  if (n >= 16) {
    parts[0] = {7, (n - 16) * 64, 64};
    return 1;
  }
  parts[0] = {1, n * 16, 16};
  parts[1] = {2, n * 16, 16};
  parts[2] = {6, n * 32, 32};
  return 3;
}

bool VectorState::holds(uint64_t wanted) const {
  constexpr uint64_t kCompacted = uint64_t{1} << 63;
  if (!area_ || header().magic1 != kXstateMagic || (header().features & wanted) != wanted)
    return false;
  if (header().xcomp_bv & kCompacted) return false;
  for (uint32_t i = 0; i < kComponents; ++i) {
    const Component& component = components[i];
    const bool fits = component.bytes && component.offset + component.bytes <= header().xstate_size;
    if ((wanted >> i & 1) && !fits) return false;
  }
  return true;
}

void VectorState::read_part(const Part& part, uint8_t* to) const {
  if (header().features & header().xstate_bv & uint64_t{1} << part.component)
    memcpy(to, area_ + components[part.component].offset + part.offset, part.bytes);
  else
    memset(to, 0, part.bytes);
}

void VectorState::write_part(const Part& part, const uint8_t* from) {
  const Component& component = components[part.component];
  const uint64_t bit = uint64_t{1} << part.component;
  if (!(header().features & bit)) return;
  if (!(header().xstate_bv & bit)) {
    if (is_zero(from, part.bytes)) return;
    memset(area_ + component.offset, 0, component.bytes);
    reinterpret_cast<FxArea*>(area_)->xstate_bv |= bit;
  }
  memcpy(area_ + component.offset + part.offset, from, part.bytes);
}

void VectorState::read(int number, uint8_t to[kVectorBytes]) const {
  Part parts[3];
  memset(to, 0, kVectorBytes);
  for (int i = 0, count = parts_of(number, parts); i < count; to += parts[i++].bytes)
    read_part(parts[i], to);
}

void VectorState::write(int number, const uint8_t from[kVectorBytes]) {
  Part parts[3];
  for (int i = 0, count = parts_of(number, parts); i < count; from += parts[i++].bytes)
    write_part(parts[i], from);
}

uint64_t VectorState::opmask(int number) const {
  uint64_t value;
  read_part({5, static_cast<uint32_t>(number) * 8, 8}, reinterpret_cast<uint8_t*>(&value));
  return value;
}

void VectorState::set_opmask(int number, uint64_t value) {
  write_part({5, static_cast<uint32_t>(number) * 8, 8}, reinterpret_cast<const uint8_t*>(&value));
}

}  // namespace shmrec::agent
