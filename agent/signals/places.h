// Interrupted places: which code a signal found, and how the program is made of it.
//
// A signal's handler finds an instruction pointer. If it is the program's, the registers in the
// frame are the program's and a frame for its handler can be built from them. If it is the agent's,
// the table in places.cc says how this place is left: by going forward to the next place of the
// program, by going back to the last one, or, where neither is possible, not yet: the signal is
// deferred until the path comes to a place where it is.
//
// Invariants
//  1. Each address has one place; the first row of the table that holds it. What is in no row is
//     the program's.
//  2. Going forward does what the rest of the path would have done, going back undoes what it has
//     done: nothing of the program happens twice or not at all.
// Threads: of the calling thread alone; runs in a handler.
#pragma once

#include "agent/signals/signals.h"

namespace shmrec::agent {

enum class Place : uint8_t {
  kProgram,           // code of the program
  kExitPage,          // the last instructions of a path of the agent
  kTail,              // the end of an access or of a call: the program's registers are complete
  kCallLoad,          // before it: the call comes from a stub, and nothing of it is done...
  kCallMake,          // ...or all that comes before it is made
  kCall,              // at the syscall instruction that stands for the program's
  kCallReturned,      // behind it
  kPostCall,          // the same for a call that has a `post` step
  kOldCall,           // at the int 0x80 that stands for the program's
  kOldCallReturned,   // behind it
  kPostCallReturned,  // only its first instruction: behind it, the agent works on the result
  kExec,              // between the decision to exec and the kernel's
  kSafeCopy,          // copies memory that may fault
  kDeferredTrap,      // the trap at the end of a path for which something waits
  kRaiseTrap,         // the trap at the end of an access that meets a fault
  kAccessCore,        // generated code: the access instruction itself and what is around it
  kFastLeave,         // the end of the fast way: the program's registers are being loaded
  kQuickLeave,        // the same of what goes back to the stub (quick.S)
  kStub,              // the code that a patched site jumps to
  kHoldingStub,       // the same between the two ends of an access that reads and writes
  kAgent,             // all other code of the agent, Zydis included
};

Place place_of(uint64_t ip);
inline bool in_agent(const Context* context) {
  const Place place = place_of(context->regs.rip);
  return place != Place::kProgram && place != Place::kStub;
}

// Makes an interrupted path of the agent look like a place in the program. False: it cannot be yet,
// and nothing was changed.
bool leave_agent(Thread* thread, Context* context);
// The end of an access or a call: the registers with which the program goes on.
void leave_tail(Thread* thread, Context* context);

// The trap flag and the alignment check are the program's: what the agent executes for it is
// executed without them.
void hold_flags(Thread* thread, Context* context);
void give_flags_back(Thread* thread, Context* context);

// Is the syscall instruction that stands for the program's the next to be executed?
bool at_call(const Context* context);
// Has that call just returned, and nothing been done with its result?
bool call_returned(const Context* context);
// Has it ended because of the signal?
bool interrupted_call(const Context* context);
// Has it, and did another mask hold while it waited (PendingSyscall::mask)?
bool interrupted_masked_call(const Thread* thread, const Context* context);
// The program must not see that its syscall was interrupted: it is made again.
void undo_interruption(Context* context);
// Puts into `regs` what the program had there when it made the pending call.
void restore_arguments(const Thread* thread, Regs& regs);

// The kernel would make an exec's call again after this handler: it ends instead, so that the
// program's handler runs before it.
void end_exec(Context* context);

}  // namespace shmrec::agent
