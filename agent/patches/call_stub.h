// The code that a patched syscall instruction jumps to.
//
//     site:  jmp stub                      stub:  movabs $behind, %rcx
//            ...rest of what the                  lea    next(%rip), %r11
//            jump overwrote                       jmp    *%gs:call_entry        (jumped_call.h)
//     back:                                       syscall
//                                          next:  what was behind the syscall
//                                                 jmp    back
//
// rcx and r11 are the program's no more at a syscall: the kernel puts there what is behind it and
// the flags. The syscall instruction in the stub traps; it is for calls that need their signal.
//
// Example: glibc's `0f 05 | 48 3d 00 f0 ff ff` (syscall; cmp $-4096,%rax).
//
// What moves behind the call may also be a jump or a return, after which only what is never
// executed may be overwritten. It does not ask whether it touches traced memory: it faults then.
#pragma once

#include "agent/patches/stub.h"

namespace shmrec::agent {

// Adds the next instruction of a call's site. False: it cannot be moved.
bool call_cover_next(Thread* thread, CoveredCode* covered);
// stub_emit for a call.
bool call_stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout);

}  // namespace shmrec::agent
