// What a site is: an instruction of the program that touched traced memory, with all that is needed
// to perform it. decode.h describes one, emit.h makes its code, table.h finds it and owns it.
#pragma once

#include "agent/process/thread.h"

namespace shmrec::agent {

// How a site is performed; instructions.cc has the functions of each.
enum class Form : uint8_t {
  // These run the instruction itself, on an address that the agent chooses (Site::core).
  kLoad,         // on a private copy of what was read
  kStore,        // on private memory, which is then written
  kModify,       // read-modify-write without LOCK: a read, the instruction, a write
  kAtomic,       // LOCK, xchg and the like: on the alias under the stripe lock
  kMaskedLoad,   // on a private copy; which bytes are read is found by a probe first
  kMaskedStore,  // twice on memory filled differently: bytes that agree were written
  kSaveState,    // the same, for FXSAVE and the XSAVE family: the length is known when it runs
  kLoadState,    // the XRSTOR family: the length is in what it reads
  kLoadTile,     // TILELOADD: the rows are copied one by one
  kStoreTile,    // TILESTORED
  kTouch,        // cache hints and monitors: on the alias, nothing to log
  kPopSegment,   // pop of a segment register: the stack is read, the register loaded by mov
  // These are emulated: they have no memory operand that could be exchanged.
  kMovs,
  kStos,
  kLods,
  kCmps,
  kScas,  // string instructions, with their repeat
  kPush,
  kPop,
  kCall,
  kJump,
  kReturn,
  kEnter,
  kLeave,
  kPushFlags,
  kPopFlags,
  kFarJump,
  kFarCall,
  kFarReturn,
  kInterruptReturn,
  kXlat,
  kMoveDirect,  // MOVDIR64B, which has two memory operands
  kRoutine,     // the first instruction of a routine that is performed as a whole (routines.h)
  kGather,      // gathers and scatters: in the fault handler, which has the vector registers
  kUnknown,     // nobody here knows what it does to memory: the process is not traced any more
};
constexpr bool runs_core(Form form) { return form <= Form::kPopSegment; }
// Nothing of what it accesses is written.
constexpr bool only_reads(Form form) {
  return form == Form::kLoad || form == Form::kMaskedLoad || form == Form::kLoadState ||
         form == Form::kLoadTile;
}

// A register of the program as an index into Regs.
constexpr int8_t kNoRegister = -1;

// Which base is added to an address.
enum class Segment : uint8_t { kNone, kFs, kGs };

enum class Repeat : uint8_t { kNone, kWhileEqual /* also plain rep */, kWhileNotEqual };

// kGather: what is moved between a vector register and memory (gather.h).
struct Gather {
  uint8_t data, index;  // vector registers, 0..31
  uint8_t mask;         // opmask or vector register
  uint8_t opmask;    // 1: the mask is an opmask (EVEX), 0: the elements' top bits in a vector (VEX)
  uint8_t scatter;   // 1: to memory
  uint8_t elements;  // how many
  uint8_t element_bytes;  // in memory and in `data`: 4 or 8
  uint8_t index_bytes;    // 4 or 8
};

// kSaveState, kLoadState
struct State {
  uint8_t extended;   // 1: XSAVE family, 0: FXSAVE
  uint8_t compacted;  // 1: XSAVEC
  uint8_t merges;     // 1: what it saves is added to the header that is there (XSAVE, XSAVEOPT)
};

// kRoutine: what the function does that begins there (access/routines.h).
enum class Routine : uint8_t { kNone, kCopy, kCopyToEnd, kSet, kCompare, kFind, kCount };

constexpr uint32_t kMaxInstruction = 15;

// Is it part of a patch (patches/patch.h)?
enum Patched : uint8_t { kNotPatched = 0, kPatched, kUnpatchable };

struct Site {
  uint64_t ip;      // 0: describes nothing
  uint64_t core;    // generated code: the instruction itself
  uint64_t probe;   // kMaskedLoad: generated code that finds the mask
  uint64_t valued;  // kLoad, kStore, kModify: the instruction on Thread::value, by gs; not run here
  Site* next;       // in its hash bucket
  int64_t displacement;
  int64_t immediate;  // kPush: the value; kCall, kJump: target relative to the next instruction;
                      // kReturn, kFarReturn: bytes; kEnter: bytes
  uint32_t bytes;     // of the memory operand (string instructions, gathers: of one element)
  Form form;
  uint8_t length;         // of the instruction
  uint8_t core_length;    // of the one at `core`
  uint8_t valued_length;  // of the one at `valued`; 0: there is none
  uint8_t code[kMaxInstruction];
  int8_t base, index;  // registers of the address
  uint8_t scale;
  Segment segment;
  uint8_t rip_relative, address32;
  uint8_t line;             // the address is that of the 64 bytes around it (CLZERO)
  int8_t scratch;           // register that holds the address in `core`
  int8_t second_scratch;    // kLoadTile, kStoreTile: register that holds the rows' distance
  int8_t bit_register;      // bt family: register with the bit offset
  uint8_t packed;           // kMaskedLoad: expand, reads as many elements as the mask has bits
  uint8_t converts;         // kMaskedStore: may raise flags in MXCSR
  uint8_t unaligned;        // its operand may lie anywhere, however long it is
  uint8_t x87;              // leaves instruction and data pointers in the x87 environment
  Repeat repeat;            // string instructions
  int8_t value_register;    // kPush, kPop: the register; kMoveDirect: the target's address
  uint8_t value_segment;    // kPush: 1 fs, 2 gs
  uint8_t value_is_memory;  // kPush, kPop, kCall, kJump: the operand is the memory operand
  uint8_t value_bytes;      // of what goes to the stack or comes from it: 2, 4 or 8
  uint8_t levels;           // kEnter
  uint8_t tile;             // kLoadTile, kStoreTile: number of the tile register
  Gather gather;
  State state;
  // The patches' (patches/patch.h).
  uint64_t miss;    // the instruction's copy in its stub
  uint64_t behind;  // and what is behind it; 0: what is behind it in the program
  uint64_t finish;  // what runs a load's instruction on Thread::value
  uint8_t faults;   // how often it faulted, as far as that matters
  Patched patched;
  uint8_t stray;         // 1: what is behind it is often jumped to
  uint8_t outside;       // 1: it has met memory outside of the window, and its stub looks there
  uint8_t put_backs;     // how often it was put back for the brake (memory/brake.h)...
  uint16_t old_patch;    // ...the patch that it had then, 0: none
  uint32_t put_back_at;  // ...since Header::promotions was this
  Routine routine;       // kRoutine
  // The table's.
  uint8_t used;  // looked up since the hand passed
  uint8_t held;  // by a thread, at the last look at all of them
};

inline uint64_t& reg(Regs& regs, int8_t index) { return (&regs.r8)[index]; }
inline uint64_t reg(const Regs& regs, int8_t index) { return (&regs.r8)[index]; }

// The base that the calling thread of the program has in the site's segment register.
uint64_t segment_base(const Site& site);
// The program address that the instruction's memory operand names; `vector_index`: of one element.
uint64_t effective_address(const Site& site, const Regs& regs, uint64_t vector_index = 0);
// An address that is in a register, as the site's prefixes have it (string instructions).
inline uint64_t address_in(const Site& site, uint64_t value) {
  return site.address32 ? static_cast<uint32_t>(value) : value;
}

}  // namespace shmrec::agent
