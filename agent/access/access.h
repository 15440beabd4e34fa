// Performing and logging accesses to traced memory: the implementation that makes all of them, used
// by instructions (through generated code), by emulated instructions, and for the kernel. What is
// frequent and plain is made by fast.h, which leaves the rest to this.
//
// Invariants
//  1. The access is made on the alias, never on the program's own mapping.
//  2. The program's protection is obeyed: an access that it forbids faults as it would alone, at
//     the same byte, and logs nothing of what did not happen.
//  3. A value in a record and its version belong together: both are taken under one stripe word
//     (stripes.h).
//  4. A write's record is in the log before the first byte of it is stored.
// Threads: any, each for itself. Units: bytes; addresses are the program's unless they say `alias`.
#pragma once

#include "agent/log/log.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

// Who makes an access, as its record says it.
struct Origin {
  uint64_t pc;  // of the instruction, or of the syscall instruction
  uint64_t event;
  // 0: an instruction; else the number + 1 of a syscall.
  uint16_t syscall;
  uint16_t flags = 0;  // shmlog::RecordFlags
  // The program's stack pointer, above which its callers are found (0: none), and rbp, which may be
  // its frame pointer.
  uint64_t stack = 0, frame = 0;
  uint64_t caller = 0;  // what the stack pointer points to, where that is a return address
};

// Reads [address, address + bytes) of the program into `to`, logging what is traced in it; private
// memory in between, and memory of which only writes are traced, is just read. False: faulted,
// `fault` says where (program addresses). `done` receives the number of bytes before the fault.
// Checks the program's own protections.
bool traced_read(Thread* thread, const Origin& origin, void* to, uint64_t address, uint64_t bytes,
                 Fault* fault, uint64_t* done = nullptr);
// The same for writes. Each line is written under its stripe; the record is written ahead.
bool traced_write(Thread* thread, const Origin& origin, uint64_t address, const void* from,
                  uint64_t bytes, Fault* fault, uint64_t* done = nullptr);

// Could the program write all these bytes? Changes and logs nothing.
bool traced_writable(uint64_t address, uint64_t bytes, Fault* fault);

// Logs an atomic read-modify-write of an aligned 4-byte word that `perform` does on the alias (for
// the kernel: futex operations). Returns what perform returns; `word_at` is the alias address.
int64_t traced_atomic(Thread* thread, const Origin& origin, uint64_t address,
                      int64_t (*perform)(uint32_t* word, void* context), void* context,
                      Fault* fault);

// ---- For instructions, whose access lies in one region
// A read-modify-write without LOCK: one record, made when it is written. Between the two the thread
// keeps what was read. REQUIRES: bytes <= 64, both calls with the same region, address and bytes.
bool modify_begin(Thread* thread, const Region& region, uint8_t* to, uint64_t address,
                  uint32_t bytes, Fault* fault);
bool modify_end(Thread* thread, const Origin& origin, const Region& region, const uint8_t* from,
                uint64_t address, uint32_t bytes, Fault* fault);
// An atomic one: between the two the thread holds the stripes, and the operation is made on
// thread->alias. False: faulted, nothing is held.
bool atomic_begin(Thread* thread, const Origin& origin, const Region& region, uint64_t address,
                  uint32_t bytes, Fault* fault);
void atomic_end(Thread* thread, bool happened);
// Counts an access in the usage table; those above count by themselves, but for the atomic one.
void count_usage(Thread* thread, const Region& region, const Origin& origin, bool reads,
                 bool writes);
// The entry that counts the accesses of this process to the segment.
shmlog::UsageEntry& usage_of(Thread* thread, uint32_t segment);

// The region has been written: what is executed of it must be fetched anew.
void code_written(const Region& region);

// The alias of a program address if `bytes` bytes of it lie in one traced region; else 0.
uint64_t alias_of(uint64_t address, uint64_t bytes);

// A fault hit the generated instruction of the current access: gives locks back, leaves the
// program's registers in thread->regs with rip at the access. `address` is translated to the
// program's.
void access_abort(Thread* thread, uint64_t* address);

}  // namespace shmrec::agent
