// Code in which a stop is looked for, and that the program may write before it comes there, as one
// that makes its code does: its pages cannot be written meanwhile.
//
// An instruction that writes there faults; the caller puts the code back as the program has it, the
// instruction is executed with the pages as they were, alone, and then the stop is looked for in
// what is there now.
//
// Threads: the one there is, in a handler.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

// The program's code at `ip`, where it can be written. Else nothing is done.
void code_guard(uint64_t ip);
void code_unguard();
bool code_guarded();
// The protection of a guarded page as it is now. False: it is none.
bool guarded_protection(uint64_t address, int* protection);
// Has the program faulted because it is about to write there? Then code_let_write() lets it, and
// has it trap behind the instruction.
bool code_meets_guard(const Siginfo& info, const Context& context);
void code_let_write(Context* context);
// Has it trapped there? kWritten: nothing can be written there any more.
enum class CodeWrite { kNone, kWriting, kWritten };
CodeWrite code_written(const Siginfo& info, Context* context);

}  // namespace shmrec::agent
