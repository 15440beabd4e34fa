// Names in arch/x86_64/entry.S that the C++ side needs: code to enter, and labels between which the
// signal handler finds out how far an interrupted path has come.
#pragma once

#include "agent/process/thread.h"

extern "C" {
void shmrec_restorer();
void shmrec_restorer_end();
void shmrec_begin_at(void* ucontext);
void shmrec_return_to(void* ucontext);
int64_t shmrec_clone(uint64_t flags, uint64_t stack, uint64_t parent_tid, uint64_t child_tid,
                     uint64_t tls, shmrec::agent::Thread* child);
int64_t shmrec_clone3(const void* args, uint64_t bytes, shmrec::agent::Thread* child);
int64_t shmrec_exec(const uint64_t* args, uint64_t number);
void shmrec_exec_call_done();
void shmrec_exec_interrupted();
int64_t shmrec_on_stack(uint64_t stack_top, int64_t number, const void* argument);
void shmrec_syscall_plain();
void shmrec_syscall_plain_done();
void shmrec_syscall_plain_end();
void shmrec_int80();
void shmrec_int80_done();
void shmrec_int80_end();
void shmrec_syscall_post();
void shmrec_syscall_post_done();
void shmrec_call_jumped();
void shmrec_call_replayed();
void shmrec_call_load();
void shmrec_call_load_end();
void shmrec_call_make();
void shmrec_call_make_end();
void shmrec_call_end();
void shmrec_call_end_end();
void shmrec_tail_begin();
void shmrec_tail_end();
void shmrec_deferred_trap();
extern const uint8_t shmrec_exit_begin[], shmrec_exit_left[], shmrec_exit_end[];
void shmrec_raise_trap();
void shmrec_access_enter();
void shmrec_access_jumped();
void shmrec_access_replayed();
void shmrec_quick_none();
void shmrec_quick_load1();
void shmrec_quick_load2();
void shmrec_quick_load4();
void shmrec_quick_load8();
void shmrec_quick_load16();
void shmrec_quick_load32();
void shmrec_quick_store1();
void shmrec_quick_store2();
void shmrec_quick_store4();
void shmrec_quick_store8();
void shmrec_quick_store16();
void shmrec_quick_store32();
void shmrec_quick_atomic1();
void shmrec_quick_atomic2();
void shmrec_quick_atomic4();
void shmrec_quick_atomic8();
void shmrec_quick_modify1();
void shmrec_quick_modify2();
void shmrec_quick_modify4();
void shmrec_quick_modify8();
void shmrec_fast_begin();
void shmrec_fast_end();
void shmrec_fast_end_leave();
void shmrec_quick_leave();
void shmrec_quick_leave_end();
void shmrec_quick_end();
void shmrec_fast_leave();
void shmrec_fast_leave_end();
void shmrec_safe_measure_begin();
void shmrec_safe_measure_end();
void shmrec_serialize();
void shmrec_safe_begin();
void shmrec_safe_end();
void shmrec_safe_faulted();
}
