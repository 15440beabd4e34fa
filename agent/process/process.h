// The life of processes and threads: clone in all its forms, exec, exit, and what a parent learns
// of its children; and the calls of libshmrec.
//
// Threads: the calling one; it makes the Thread and the Process of what it starts (thread.h).
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_clone(Thread* thread, void* context);  // fork, vfork, clone
Answer do_clone3(Thread* thread, void* context);
Answer do_exec(Thread* thread, void* context);   // execve, execveat
Answer do_exit(Thread* thread, void* context);   // exit, exit_group
Answer do_wait4(Thread* thread, void* context);  // wait.cc
Answer do_waitid(Thread* thread, void* context);
Answer do_getppid(Thread* thread, void* context);
Answer do_fcntl(Thread* thread, void* context);  // calls of libshmrec; else passed on
Answer do_arch_prctl(Thread* thread, void* context);
Answer do_prctl(Thread* thread, void* context);
Answer do_rseq(Thread* thread, void* context);
Answer do_set_robust_list(Thread* thread, void* context);
Answer do_set_tid_address(Thread* thread, void* context);

}  // namespace shmrec::agent
