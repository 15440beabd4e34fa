// Moves that may meet a fault, and go on elsewhere then: what safe_copy does, without a call.
//
// Each names where it stands and where it goes on in a table (fixup_of), which the handler of
// faults asks (signals/faults.cc). Both are relative to the entry, so that the table needs no
// relocation.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

#define SHMREC_GUARDED(move) \
  "1: " move                 \
  "\n.pushsection shmrec_fixups, \"a\"\n.balign 4\n.long 1b - ., %l[faulted] - .\n.popsection"
#define SHMREC_GUARDED_LOAD(move) \
  asm goto(SHMREC_GUARDED(move) : [value] "=r"(value) : [from] "r"(from) : "memory" : faulted)
#define SHMREC_GUARDED_STORE(move) \
  asm goto(SHMREC_GUARDED(move)::[to] "r"(to), [value] "q"(value) : "memory" : faulted)

// `bytes`: 1, 2, 4 or 8; what is above them in *to is zero.
inline bool guarded_load(uint64_t* to, uint64_t from, uint32_t bytes = 8) {
  uint64_t value;
  if (bytes == 8)
    SHMREC_GUARDED_LOAD("movq (%[from]), %[value]");
  else if (bytes == 4)
    SHMREC_GUARDED_LOAD("movl (%[from]), %k[value]");
  else if (bytes == 2)
    SHMREC_GUARDED_LOAD("movzwl (%[from]), %k[value]");
  else
    SHMREC_GUARDED_LOAD("movzbl (%[from]), %k[value]");
  *to = value;
  return true;
faulted:
  return false;
}

inline bool guarded_store(uint64_t to, uint64_t value, uint32_t bytes) {
  if (bytes == 8)
    SHMREC_GUARDED_STORE("movq %[value], (%[to])");
  else if (bytes == 4)
    SHMREC_GUARDED_STORE("movl %k[value], (%[to])");
  else if (bytes == 2)
    SHMREC_GUARDED_STORE("movw %w[value], (%[to])");
  else
    SHMREC_GUARDED_STORE("movb %b[value], (%[to])");
  return true;
faulted:
  return false;
}

// Two lines of what cannot fault, 8 bytes at a time and upwards: `rep movs` promises no order.
inline bool guarded_store_lines(uint64_t to, const uint8_t* from) {
  asm volatile goto(
      ".irp at, 0,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120\n"
      "movq \\at(%[from]), %%rax\n" SHMREC_GUARDED("movq %%rax, \\at(%[to])") "\n.endr"
      :
      : [to] "r"(to), [from] "r"(from)
      : "rax", "memory"
      : faulted);
  return true;
faulted:
  return false;
}

// Upwards. False: some of it may have been copied.
inline bool guarded_copy(void* to, const void* from, uint64_t bytes) {
  asm volatile goto(SHMREC_GUARDED("rep movsb")
                    : "+D"(to), "+S"(from), "+c"(bytes)
                    :
                    : "memory"
                    : faulted);
  return true;
faulted:
  return false;
}

#undef SHMREC_GUARDED_STORE
#undef SHMREC_GUARDED_LOAD
#undef SHMREC_GUARDED

// Where a move at `ip` goes on after a fault; 0: there is none.
uint64_t fixup_of(uint64_t ip);

}  // namespace shmrec::agent
