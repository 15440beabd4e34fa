// Accesses to traced segments that go through no mapping: write and pread on the file that is
// mapped, sendfile, splice and copy_file_range into or out of it, ftruncate, fallocate, a clone of
// another file's blocks; and memory of other recorded processes, by process_vm_writev or
// /proc/PID/mem. The kernel makes them, as it would alone: nothing of a call is replaced but
// addresses.
//
//     pwrite(fd, "abcd", 4, 64)
//       before   record written ahead: segment+64, "abcd", first = versions now, last = 0
//       the call
//       after    the line's stripe is taken: last = its version; the record is final, the stripe
//                goes on to the next version
//
// The kernel takes no stripes, so the access lies somewhere between `first` and `last`
// (shmlog_format.h, kReadBetween and kWriteBetween): who reads the log decides by the value.
//
// Invariants
//  1. A write whose bytes are known before the call and that fits into kMaxAhead records is in the
//     log before it can happen: kill -9 loses none.
//  2. Where no segment is known to the run, a call costs one load.
// Threads: the calling one. Ownership: what a call needs lies in its bounce arena (bounce.h).
#pragma once

#include "agent/kernel/syscalls.h"

namespace shmrec::agent {

// Is this a call that may reach a segment by a descriptor or in another process?
bool descriptors_concerned(const Thread* thread);
// Before the call; thread->regs have the arguments that the kernel will get. True: one of the next
// two must follow.
bool descriptors_begin(Thread* thread);
// Makes a begun call here and now, if it must be made in pieces: true, with the result in regs.rax.
bool descriptors_make(Thread* thread);
void descriptors_end(Thread* thread);     // the call has returned, regs.rax is its result
void descriptors_cancel(Thread* thread);  // it is not made; harmless if there is none

// For requests that a call only hands in (aio.h). descriptors_write_begins is called before it: the
// bytes of these vectors are about to be written to the file. If the file is a segment, it returns
// what descriptors_write_ends wants when the call has returned; else null. `handed_in`: the kernel
// has taken the request.
struct Vector;
struct Transfer;
Transfer* descriptors_write_begins(Thread* thread, int fd, uint64_t position, const Vector* vectors,
                                   uint64_t count);
void descriptors_write_ends(Thread* thread, Transfer* transfer, bool handed_in);
// The same for bytes of a segment that are about to become zero.
Transfer* descriptors_zeros_begin(Thread* thread, uint32_t segment, uint64_t offset,
                                  uint64_t bytes);
// Bytes have arrived in the program's memory by such a request.
void descriptors_log_arrived(Thread* thread, uint64_t address, uint64_t bytes);

}  // namespace shmrec::agent
