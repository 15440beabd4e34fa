// Linux AIO. The kernel takes an iocb from the program's memory, works on the buffer that it names,
// perhaps after the call, and tells of the end in an event. A buffer in traced memory is replaced
// by its alias for the time of io_submit, in the iocb itself: the event shall name the iocb that
// the program knows. What the kernel has put into such a buffer is logged when the program fetches
// the event by io_getevents; events that it takes out of the ring by itself are not seen.
//
// Threads: any. Ownership: requests under way are in one table of the process, under a lock.
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

Answer do_io_submit(Thread* thread, void* context);
// io_getevents has returned: its events are where args[3] in thread->regs points to.
void aio_fetched(Thread* thread);

}  // namespace shmrec::agent
