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

inline bool guarded_load(uint64_t* to, uint64_t from) {
  uint64_t value;
  asm goto(SHMREC_GUARDED("mov (%[from]), %[value]")
           : [value] "=r"(value)
           : [from] "r"(from)
           : "memory"
           : faulted);
  *to = value;
  return true;
faulted:
  return false;
}

// `bytes`: 1, 2, 4 or 8; what is above them in *to is zero.
inline bool guarded_load(uint64_t* to, uint64_t from, uint32_t bytes) {
  uint64_t value;
  if (bytes == 8) return guarded_load(to, from);
  if (bytes == 4)
    asm goto(SHMREC_GUARDED("movl (%[from]), %k[value]")
             : [value] "=r"(value)
             : [from] "r"(from)
             : "memory"
             : faulted);
  else if (bytes == 2)
    asm goto(SHMREC_GUARDED("movzwl (%[from]), %k[value]")
             : [value] "=r"(value)
             : [from] "r"(from)
             : "memory"
             : faulted);
  else
    asm goto(SHMREC_GUARDED("movzbl (%[from]), %k[value]")
             : [value] "=r"(value)
             : [from] "r"(from)
             : "memory"
             : faulted);
  *to = value;
  return true;
faulted:
  return false;
}

inline bool guarded_store(uint64_t to, uint64_t value, uint32_t bytes) {
  if (bytes == 8)
    asm goto(SHMREC_GUARDED("movq %[value], (%[to])")
             :
             : [to] "r"(to), [value] "r"(value)
             : "memory"
             : faulted);
  else if (bytes == 4)
    asm goto(SHMREC_GUARDED("movl %k[value], (%[to])")
             :
             : [to] "r"(to), [value] "r"(value)
             : "memory"
             : faulted);
  else if (bytes == 2)
    asm goto(SHMREC_GUARDED("movw %w[value], (%[to])")
             :
             : [to] "r"(to), [value] "r"(value)
             : "memory"
             : faulted);
  else
    asm goto(SHMREC_GUARDED("movb %b[value], (%[to])")
             :
             : [to] "r"(to), [value] "q"(value)
             : "memory"
             : faulted);
  return true;
faulted:
  return false;
}

#undef SHMREC_GUARDED

// Where a move at `ip` goes on after a fault; 0: there is none.
uint64_t fixup_of(uint64_t ip);

}  // namespace shmrec::agent
