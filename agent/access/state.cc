// Instructions whose memory operand is the state of the processor: FXSAVE, XSAVE and their kind,
// tile registers, and the pointers that x87 instructions leave behind.
#include "agent/access/performance.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/arch/x86_64/vector_state.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kLegacyBytes = 512, kHeaderBytes = 64;
constexpr char kTooLong[] =
    "an instruction saves or loads a processor state in traced memory that the agent does not know";

uint64_t enabled_components() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// The components that the instruction is asked for in edx:eax.
uint64_t requested(const Regs& regs) {
  return (regs.rdx << 32 | static_cast<uint32_t>(regs.rax)) & enabled_components();
}

}  // namespace

// ---- XSAVE and its kind -------------------------------------------------------------------------

// Saves into two buffers: components that are not asked for, or are in their initial state, are not
// written, and nor is what the format reserves.
int begin_save_state(Thread* thread, const Site& site) {
  Fault fault;
  const uint64_t components = site.state.extended ? requested(thread->regs) : 0;
  thread->access_bytes = site.state.extended
                             ? xsave_extent(components, components, site.state.compacted)
                             : kLegacyBytes;
  if (!thread->access_bytes || thread->access_bytes > kMaxBounced)
    return give_up(thread, site, kTooLong);
  fill_differently(thread, thread->access_bytes);
  if (!site.state.merges) return begin_written(thread, site);
  // The first word of the header says what the area holds; what is saved is added to it.
  uint8_t* header = bounce_for(thread->bounce, thread->ea) + kLegacyBytes;
  if (!traced_read(thread, origin_of(thread, site), header, thread->ea + kLegacyBytes,
                   sizeof(uint64_t), &fault)) {
    fault.error |= kFaultWrite;
    return raise(thread, site, fault);
  }
  memcpy(bounce_for(thread->bounce2, thread->ea) + kLegacyBytes, header, sizeof(uint64_t));
  return begin_written(thread, site);
}

namespace {

// What XRSTOR and its kind read, as the header has it.
struct Loaded {
  bool laid_out;    // the layout can be told; else the core raises a general protection fault
  bool valid;       // else it does so, too
  bool legacy;      // also the legacy part
  uint32_t extent;  // of all that is asked for, also what the area does not hold; 0: unknown
};

Loaded loaded_by(const uint8_t* header, const Regs& regs) {
  constexpr uint64_t kCompacted = uint64_t{1} << 63, kLegacy = 3;
  uint64_t held, layout;
  memcpy(&held, header, sizeof held);
  memcpy(&layout, header + sizeof held, sizeof layout);
  const uint64_t asked = requested(regs), enabled = enabled_components();
  const bool compacted = layout & kCompacted;
  const uint64_t components = compacted ? layout & ~kCompacted : asked;
  const bool laid_out = !(components & ~enabled);
  const bool valid =
      laid_out && (compacted ? !(held & ~components) : !(held & ~enabled) && !layout);
  const uint32_t extent = laid_out ? xsave_extent(components, asked & components, compacted) : 0;
  return {laid_out, valid, !compacted || (asked & kLegacy), extent};
}

}  // namespace

// Loads from the second buffer only: XSAVEOPT leaves out what has not changed since an XRSTOR from
// the same address, and what lies at this address changes with each access.
//
// What faults first differs. AMD's processors read the fixed part, and the rest only if the header
// is valid. Intel's begin with the header; whatever has a layout must be there, and only then it is
// looked at whether the header is valid.
int begin_load_state(Thread* thread, const Site& site) {
  constexpr uint32_t kFixed = kLegacyBytes + kHeaderBytes;
  Fault fault;
  uint8_t* bounce = bounce_for(thread->bounce2, thread->ea);
  const auto reads = [&](uint32_t first, uint32_t end) {
    return first >= end || traced_read(thread, origin_of(thread, site), bounce + first,
                                       thread->ea + first, end - first, &fault);
  };
  const bool amd = made_by_amd();
  if (!reads(amd ? 0 : kLegacyBytes, kFixed)) return raise(thread, site, fault);
  const Loaded loaded = loaded_by(bounce + kLegacyBytes, thread->regs);
  if (amd ? loaded.valid : loaded.laid_out) {
    if (!loaded.extent || loaded.extent > kMaxBounced) return give_up(thread, site, kTooLong);
    const bool legacy = !amd && loaded.legacy;
    if (!reads(kFixed, loaded.extent) || (legacy && !reads(0, kLegacyBytes)))
      return raise(thread, site, fault);
  }
  return run_core(thread, site, reinterpret_cast<uint64_t>(bounce), site.core);
}

// ---- Tiles --------------------------------------------------------------------------------------

namespace {

constexpr uint32_t kMaxRows = 16, kMaxRowBytes = 64;

struct TileConfig {  // as STTILECFG stores it
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

struct Tile {
  uint32_t rows, row_bytes;
  uint64_t address, distance;  // of the first row; from row to row
};

Tile tile_of(const Thread* thread, const Site& site) {
  TileConfig config;
  asm volatile(".byte 0xC4, 0xE2, 0x79, 0x49, 0x00" ::"a"(&config) : "memory");  // sttilecfg (%rax)
  const uint64_t distance =
      site.index == kNoRegister ? 0 : reg(thread->regs, site.index) * site.scale;
  return {min<uint32_t>(config.rows[site.tile], kMaxRows),
          min<uint32_t>(config.row_bytes[site.tile], kMaxRowBytes), thread->ea - distance,
          distance};
}

int run_on_rows(Thread* thread, const Site& site) {
  run_core(thread, site, reinterpret_cast<uint64_t>(thread->bounce), site.core);
  reg(thread->core, site.second_scratch) = kMaxRowBytes;
  return kCore;
}

}  // namespace

int begin_load_tile(Thread* thread, const Site& site) {
  Fault fault;
  const Tile tile = tile_of(thread, site);
  for (uint32_t row = 0; row < tile.rows; ++row)
    if (!traced_read(thread, origin_of(thread, site), thread->bounce + row * kMaxRowBytes,
                     tile.address + row * tile.distance, tile.row_bytes, &fault))
      return raise(thread, site, fault);
  return run_on_rows(thread, site);
}

int begin_store_tile(Thread* thread, const Site& site) { return run_on_rows(thread, site); }

int end_store_tile(Thread* thread, const Site& site) {
  Fault fault;
  take_core(thread, site);
  const Tile tile = tile_of(thread, site);
  for (uint32_t row = 0; row < tile.rows; ++row) {
    const uint64_t to = tile.address + row * tile.distance;
    if (!traced_writable(to, tile.row_bytes, &fault) ||
        !traced_write(thread, origin_of(thread, site), to, thread->bounce + row * kMaxRowBytes,
                      tile.row_bytes, &fault))
      return raise(thread, site, fault);
  }
  return kTail;
}

// ---- x87 pointers -------------------------------------------------------------------------------

namespace {

struct Environment {  // as FNSTENV stores it
  uint32_t control, status, tags, ip;
  uint16_t code_segment, opcode;
  uint32_t data, data_segment;
};
static_assert(sizeof(Environment) == 28);

struct LegacyState {  // the x87 part of an XSAVE area, and its header
  uint16_t control, status, tags, opcode;
  uint64_t ip, data;
  uint8_t rest[kLegacyBytes - 24];
  uint64_t holds, layout, reserved[6];
};
static_assert(sizeof(LegacyState) == 576);

// The opcode as x87 keeps it: the low bits of its first byte, and ModRM.
uint16_t x87_opcode(const Site& site) {
  int at = 0;
  while ((site.code[at] & 0xF8) != 0xD8) ++at;  // prefixes
  return static_cast<uint16_t>((site.code[at] & 7) << 8 | site.code[at + 1]);
}

}  // namespace

// Each pointer is changed only if it is what the core left: processors differ in which they keep.
// The environment has 32 bits of an address, and is what makers agree to keep until the next
// instruction; XSAVE has 64, and keeps them on some processors only while an exception is pending.
void x87_pointers_as_alone(Thread* thread, const Site& site) {
  const uint64_t ip = site.core, data = reg(thread->core, site.scratch);
  Environment environment;
  asm volatile("fnstenv %0" : "=m"(environment));
  const bool kept = environment.ip == static_cast<uint32_t>(ip);
  if (kept) environment.ip = static_cast<uint32_t>(site.ip);
  if (kept && environment.data == static_cast<uint32_t>(data))
    environment.data = static_cast<uint32_t>(thread->ea);
  if (kept && environment.opcode & 0x7FF) environment.opcode = x87_opcode(site);
  const bool whole = kept && has_xsave();
  alignas(64) LegacyState state;
  if (whole) {
    memset(&state, 0, sizeof state);
    asm volatile("xsave64 %0" : "+m"(state) : "a"(1), "d"(0));
  }
  asm volatile("fldenv %0" ::"m"(environment));
  if (!whole || state.ip != ip) return;
  asm volatile("xsave64 %0" : "+m"(state) : "a"(1), "d"(0));
  state.ip = site.ip;
  if (environment.data == static_cast<uint32_t>(thread->ea)) state.data = thread->ea;
  asm volatile("xrstor64 %0" ::"m"(state), "a"(1), "d"(0));
}

}  // namespace shmrec::agent
