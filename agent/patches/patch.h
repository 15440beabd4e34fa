// Patched sites: instructions of the program that touch traced memory, or make a syscall, and that
// have become jumps to stubs, so that they do so without a fault or a signal.
//
// A site is patched when it has faulted twice, by the first of the tactics (tactics.h) that can; a
// syscall when call_sites.h says so. Where it meets traced memory outside of the window, it gets
// another stub, which looks there too (stub.h). It is put back when its code is about to be written
// or is gone, when a stray jump meets what the jump has overwritten again and again, and when the
// brake (memory/brake.h) leaves it nothing to do: then the same jump may come back.
//
// What a patch must not change:
//  - what the program sees of itself: signals that find a thread in a stub show the program's own
//    address and registers (patch_leave_stub), and programs go on from there (patch_resume);
//  - code that is not the program's own file, or was ever writable: it is left alone;
//  - programs that use the gs register, which stubs need (gs.h), or give traced memory a protection
//    key, which stubs do not ask for: none of theirs is patched.
//
// Invariants
//  1. A byte of the program's text is part of at most one patch. Its original is kept.
//  2. A stub lives as long as the module, but for replay: threads may be in it though its site is
//     put back.
// Threads: lookups without a lock, by a table that only grows while a module lives; changes under
// patches_lock, which is taken after regions_lock and before the table of sites'.
#pragma once

#include "agent/patches/stub.h"
#include "agent/signals/signals.h"

namespace shmrec::agent {

// Patches the site if one of the tactics can. `outside`: its stub is to look outside of the window,
// which a patch that is there does from then on. REQUIRES: the thread holds it, no lock is held.
void patch_site(Thread* thread, Site& site, bool outside);
// The same for the syscall instruction at `ip`. `strays`: what is behind it is often jumped to.
// `traps`: so many calls of the process have trapped. False: that is not worth it yet.
bool patch_call(Thread* thread, uint64_t ip, bool strays, uint32_t traps);

// Patches the first instruction of a function, so that calls of it with pointers to traced memory
// are performed as a whole (access/routines.h). `outside`: as above. REQUIRES: regions_lock held.
void patch_routine(Thread* thread, uint64_t ip, Routine routine, bool outside);

// Undoes the patch of a site, which its next two faults bring back. False: it cannot be undone.
// REQUIRES: no lock is held.
bool patch_put_back(const Thread* thread, const Site& site);

// Where in a stub a thread is.
struct StubPlace {
  uint64_t ip;       // of the instruction that is next, as the program has it
  uint64_t copy;     // where the stub has it; 0: behind the last one
  const Site* site;  // of that instruction; null: it does not ask
  bool asks;         // it has not come to the copy yet
  bool loaded;       // it is a load that has been made and is in the log, but not executed
  bool begins;       // it has just come here from the instruction before
  bool rcx_saved, rax_saved, stack_saved;
  bool holds;  // it is between the two ends of what reads and writes, and cannot be left yet
  bool call;   // the instruction is a syscall, which is to be made
};
bool in_stub(uint64_t rip);
// False: in none.
bool patch_place(uint64_t rip, StubPlace* place);
// Makes the registers of a thread that is in a stub those that the program has at the instruction
// that is next. False: it is in none.
bool patch_leave_stub(const Thread* thread, Regs* regs);
// Where the program goes on that is to be at `ip`: there, or at the part of a stub that stands for
// an instruction which a jump has overwritten.
uint64_t patch_resume(uint64_t ip);
// Has a thread met the breakpoint of a site that is being replaced, or an overwritten instruction?
// It goes on then.
bool patch_trapped(Thread* thread, Context* context);

// For replay, where the program's mappings come where they were then: what lies in arenas that
// reach into [begin, end) goes, and so do these. Sites are put back. False: one cannot be.
// REQUIRES: no lock is held, the thread is in no stub.
bool patches_vacate(uint64_t begin, uint64_t end);

// The place of a stop, while replay looks for it: there is at most one, between two events. Nothing
// else is patched meanwhile.
// Threads: there is one.
struct StopTest;
// False: there is no room. REQUIRES: as patches_vacate.
bool patch_stop(Thread* thread, const StopTest& test);
void patch_stop_end();
enum class StopTrap { kNone, kMet, kRepeated };
// Has a thread with these registers trapped at the place? Then they are those that the program has
// there. kRepeated: the copy of its instruction has executed as often as rcx said.
StopTrap patch_stop_trap(Regs* regs);
// Where the program goes on from there that is not what was looked for, and where the copy is.
uint64_t patch_stop_missed();
uint64_t patch_stop_repeat();

// Puts what jumps have overwritten of the code at `ip` back into a copy of it.
void patch_original(uint64_t ip, uint8_t* code, uint64_t bytes);

// REQUIRES for these: regions_lock held.
void patches_forget(uint64_t begin, uint64_t end);  // [begin, end) is gone
void patches_undo(uint64_t begin, uint64_t end);    // it is about to be written
// New code uses gs: no site of this address space is patched any more.
void patches_end_locked();
// The same. REQUIRES: no lock is held.
void patches_end();
// The same where a lock may be held, by code that has failed: nothing happens then.
void patches_end_if_free();

// For debuggers (signals/unwind.h).
struct UnwindInfo;
void patch_describe(UnwindInfo* info);

void patches_before_fork();
void patches_after_fork();

}  // namespace shmrec::agent
