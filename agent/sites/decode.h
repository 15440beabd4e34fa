// Access sites: instructions of the program that touched traced memory, decoded once, with the code
// that performs each on other memory.
//
// Sites are never freed or changed: code that is rewritten (JIT, dlclose) gets a new site, found by
// comparing the bytes. Lookups take no lock.
#pragma once

#include "agent/agent_abi.h"
#include "agent/process/thread.h"

namespace shmrec::agent {

// How a site is performed; instructions.cc has the functions of each.
enum class Form : uint8_t {
  kLoad,         // the instruction runs on a private copy of what was read
  kStore,        // it runs on private memory, which is then written
  kModify,       // read-modify-write without LOCK: a read, the instruction, a write
  kAtomic,       // LOCK or xchg: it runs on the alias under the stripe lock
  kMaskedLoad,   // which bytes are read is found by a probe first
  kMaskedStore,  // it runs twice on memory filled differently: bytes that agree were written
  kTouch,        // cache hints: runs on the alias, nothing to log
  kMovs,
  kStos,
  kLods,
  kCmps,
  kScas,  // string instructions, emulated with their repeat
  kPush,
  kPop,
  kCall,
  kJump,
  kReturn,
  kLeave,
  kPushFlags,
  kPopFlags,
  kXlat,    // emulated
  kGather,  // gathers and scatters: emulated in the fault handler, which has the vector registers
  kStep,    // everything else: single step on an opened page
};

constexpr int8_t kNoRegister = -1;

// Which base is added to an address.
enum class Segment : uint8_t { kNone, kFs, kGs };

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

struct Site {
  uint64_t ip;
  uint64_t entry;  // generated code: start of an access
  uint64_t core;   // generated code: the instruction itself
  uint64_t probe;  // kMaskedLoad: finds the mask
  Site* next;      // in its hash bucket
  int64_t displacement;
  uint32_t index_in_table;
  uint16_t bytes;  // of the memory operand (string instructions, gathers: of one element)
  Form form;
  uint8_t length;  // of the instruction
  uint8_t code[15];
  int8_t base, index;  // register of the address, as an index into Regs; kNoRegister: none
  uint8_t scale;
  Segment segment;
  uint8_t rip_relative, address32;
  int8_t scratch;           // register that holds the address in `core`
  int8_t bit_register;      // bt family: register with the bit offset, kNoRegister: none
  uint8_t packed;           // kMaskedLoad: expand, reads as many elements as the mask has bits
  uint8_t repeat;           // 0 none, 1 rep/repe, 2 repne
  int8_t value_register;    // kPush, kPop: the register, kNoRegister: none
  uint8_t value_is_memory;  // kPush, kPop, kCall, kJump: the operand is the memory operand
  uint8_t value_bytes;      // kPush, kPop: 8 or 2
  int64_t immediate;  // kPush: the value; kCall: target relative to the next instruction; kReturn:
                      // bytes
  Gather gather;      // kGather
};

// The site of the instruction at ip, made on first use. Null: unreadable, undecodable or no room.
Site* site_for(Thread* thread, uint64_t ip);
Site& site_at(uint64_t index);

// The base that the calling thread of the program has in the site's segment register.
uint64_t segment_base(const Site& site);
// The program address that the instruction's memory operand names; `vector_index`: of one element.
uint64_t effective_address(const Site& site, const Regs& regs, uint64_t vector_index = 0);
inline uint64_t& reg(Regs& regs, int8_t index) { return (&regs.r8)[index]; }
inline uint64_t reg(const Regs& regs, int8_t index) { return (&regs.r8)[index]; }

// Where generated code lies.
inline uint64_t code_base() { return agent_base() + kCodeOffset; }
inline bool in_generated(uint64_t ip) { return ip - code_base() < kCodeBytes; }

void decode_start(Thread* thread);
void decode_after_fork();

}  // namespace shmrec::agent
