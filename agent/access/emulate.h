// What the forms of instructions have in common, and those that are emulated: they have no memory
// operand that could be exchanged (string instructions, the stack, control transfers).
//
// Each function performs one instruction of thread->regs at its site and returns what entry.S does
// next. A fault leaves the registers as the processor would, and raises it at the instruction.
#pragma once

#include "agent/access/access.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

enum Next : int {
  kTail = 0,  // the access is over: go on at thread->exit_ip
  kCore = 1,  // run the generated instruction with thread->core
};

inline Origin origin_of(const Thread* thread, const Site& site) {
  return {site.ip, thread->event, 0, 0, thread->regs.rsp, thread->regs.rbp};
}

// The program is to see this fault at the instruction. Returns kTail.
int raise(Thread* thread, const Site& site, const Fault& fault);
// The instruction cannot be performed here: the process is not traced any more, and executes it
// itself. Returns kTail.
int give_up(Thread* thread, const Site& site, const char* why);

int emulate_movs(Thread* thread, const Site& site);
int emulate_stos(Thread* thread, const Site& site);
int emulate_compare(Thread* thread, const Site& site);  // LODS, SCAS, CMPS
int emulate_push(Thread* thread, const Site& site);
int emulate_pop(Thread* thread, const Site& site);
int emulate_call(Thread* thread, const Site& site);
int emulate_jump(Thread* thread, const Site& site);
int emulate_return(Thread* thread, const Site& site);
int emulate_enter(Thread* thread, const Site& site);
int emulate_leave(Thread* thread, const Site& site);
int emulate_far_jump(Thread* thread, const Site& site);
int emulate_far_call(Thread* thread, const Site& site);
int emulate_far_return(Thread* thread, const Site& site);
int emulate_interrupt_return(Thread* thread, const Site& site);
int emulate_push_flags(Thread* thread, const Site& site);
int emulate_pop_flags(Thread* thread, const Site& site);
int emulate_xlat(Thread* thread, const Site& site);
int emulate_move_direct(Thread* thread, const Site& site);

}  // namespace shmrec::agent
