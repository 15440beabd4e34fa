// The fast way's loads and stores (access/fast.h): what access_fast in C++ does for an access that
// is like one before it, in some 60 instructions.
//
// Called from a stub, on the thread's stack of the agent, with the program's registers but for rsp
// (in Thread::regs) and rcx (in Thread::saved_rcx, here the access's address). On the stack: where
// the stub goes on, and the number of the site.
//     load:    leaves what it has read in Thread::value
//     store:   stores what is in Thread::value
//     modify:  leaves what it has read in Thread::value; modify_end stores what is there then
//     atomic:  leaves the address in the alias in Thread::fast_alias, its stripe locked; atomic_end
//              unlocks it
// Returns with the program's registers but those two.
//
// What is known of accesses like it is in a QuickSite, by a hash of site and stack pointer. Unless
// that holds, or if anything else is out of the ordinary (the stripe is locked, the chunk is full, a
// page is not there), nothing has been done yet and access_fast does it: `missed`.
//
// Records are written as in fast.cc and places as in quick_sites.cc, in the same order: see there.
//
// Signals are deferred anywhere in here, up to the look at DEFERRED. Behind that the registers are
// complete: the handler loads them itself (quick_left).

#include "agent/arch/x86_64/offsets.inc"

#define Q_KEY 0
#define Q_STACK 8
#define Q_STAMP 16
#define Q_SEQUENCE 24
#define Q_PROMOTIONS 28
#define Q_BEGIN 32
#define Q_SPAN 40
#define Q_ALIAS 48
#define Q_LINE 56
#define Q_OFFSET 64
#define Q_PLACE 72
#define Q_USAGE 80
#define Q_HASH 88
#define Q_CALLERS 96
#define Q_PLAIN 97
#define Q_ALIGNED 98
#define Q_RELAXED 99
#define Q_CALLERS_AT 100
#define Q_BYTES 114
#define Q_SEGMENT 116
#define Q_PC 120
#define QUICK_SITE_SHIFT 7
#define QUICK_SITES_BITS 13
#define QUICK_SITE_BYTES (1 << QUICK_SITE_SHIFT)
#define HASH_FACTOR -0x61C8864F    // kHashFactor
#define NUMBER_FACTOR 0x27D4EB2F  // kNumberFactor

#define P_ENTRY 0
#define P_MANY_THREADS 8
#define E_EVENTS 56
#define E_ACCESSES 64
#define U_READS 8
#define U_WRITES 16
#define L_RECORD 32
#define L_HELD 40

// RecordHeader, which a place's record is.
#define P_COMMIT 0
#define P_SEGMENT 4
#define P_OFFSET 8
#define P_ADDRESS 16
#define P_PC 24
#define P_EVENT 32
#define P_LENGTH 40
#define PLACE_BYTES 48

// ShortRecord, with one version.
#define S_COMMIT 0
#define S_OFFSET 4
#define S_EVENT_PLACE 8
#define S_VERSION 16
#define S_VALUE 24
#define S_SECOND_VERSION 24  // of one with two
#define S_SECOND_VALUE 32
#define SHORT_READ 9
#define SHORT_WRITE 10
#define SHORT_READ_WRITE 11
#define SHORT_READ_THEN_WRITE 12
#define SHORT_PLACE 8
#define BEGUN 1
#define COMMITTED 2

#define H_ROBUST_HELD 404
#define ROBUST_PENDING 16  // in struct robust_list_head

#define ALIGNMENT_CHECKED 0x40000
#define DIRECTION 0x400
#define VERSION_SHIFT 24
#define PLACE_SHIFT 48
#define ONE_VERSION (1 << VERSION_SHIFT)

// A move that may fault, and goes on at `faulted` then (guarded.h).
.macro guarded faulted, move:vararg
9:
  \move
  .pushsection shmrec_fixups, "a"
  .balign 4
  .long 9b - ., \faulted - .
  .popsection
.endm

.macro save_quick
  mov %rax, %gs:(REGS + R_RAX)
  lahf
  seto %al
  mov %rax, %gs:FAST_FLAGS
  mov %rdx, %gs:(REGS + R_RDX)
  mov %rsi, %gs:(REGS + R_RSI)
  mov %rdi, %gs:(REGS + R_RDI)
  mov %r8, %gs:(REGS + R_R8)
  mov %r9, %gs:(REGS + R_R9)
  mov %rcx, %gs:FAST_EA
.endm

.macro load_quick
  load_fast_flags
  mov %gs:(REGS + R_R8), %r8
  mov %gs:(REGS + R_R9), %r9
  mov %gs:(REGS + R_RDX), %rdx
  mov %gs:(REGS + R_RSI), %rsi
  mov %gs:(REGS + R_RDI), %rdi
  mov %gs:(REGS + R_RAX), %rax
.endm

// Adds a word that was a caller to the hash in rdi. rsi: the program's stack pointer. Uses rax.
.macro hash_caller index, missed
  movzwl (Q_CALLERS_AT + 2 * \index)(%rdx), %eax
  guarded \missed, xor (%rsi,%rax,8), %rdi
  imul $HASH_FACTOR, %rdi, %rdi
.endm

// rdx: the QuickSite, if it is that of this site and of this part of the address space; and the
// access lies in its region and its line.
.macro find_quick bytes, missed=missed
  mov %gs:(REGS + R_RSP), %rsi
  mov %rsi, %rdx
  shr $4, %rdx
  imul $NUMBER_FACTOR, 8(%rsp), %eax
  add %eax, %edx
  imul $HASH_FACTOR, %edx, %edx
  shr $(32 - QUICK_SITES_BITS), %edx
  shl $QUICK_SITE_SHIFT, %edx
  add %gs:QUICK_SITES, %rdx
  movq $1, %gs:REGION_USE  // no later than any change that waits
  mov (%rsp), %rax
  cmp %rax, Q_KEY(%rdx)
  jne 2f
  cmp %rsi, Q_STACK(%rdx)
  jne 2f
3:
  mov %gs:REGIONS_CHANGED, %rax
  mov (%rax), %eax
  cmp %eax, Q_SEQUENCE(%rdx)
  jne \missed
  mov %gs:PROMOTIONS, %rax
  mov (%rax), %eax
  cmp %eax, Q_PROMOTIONS(%rdx)
  jne \missed
  mov %rcx, %rax
  sub Q_BEGIN(%rdx), %rax
  cmp Q_SPAN(%rdx), %rax
  ja \missed
  // Within a line; where it is not aligned, if that may be.
  .if \bytes > 1
  test $(\bytes - 1), %cl
  jz 1f
  .if \bytes > 8
  cmpb $0, Q_ALIGNED(%rdx)
  jne \missed
  .endif
  pushfq
  testl $ALIGNMENT_CHECKED, (%rsp)
  lea 8(%rsp), %rsp
  jnz \missed
  mov %ecx, %eax
  and $63, %eax
  cmp $(64 - \bytes), %eax
  ja \missed
1:
  .endif
  .pushsection .text, 1
2:  // the other one of the pair
  xor $QUICK_SITE_BYTES, %rdx
  cmp %rax, Q_KEY(%rdx)
  jne \missed
  cmp %rsi, Q_STACK(%rdx)
  jne \missed
  jmp 3b
  .popsection
.endm

// rdi: where the record goes. Its place is the one that the QuickSite has: the same callers. If it
// is not in this chunk yet, it is written. `record_bytes`: how long the record is.
.macro find_place record_bytes, missed=missed
  movzbl Q_CALLERS(%rdx), %eax
  mov %rax, %rdi
  test %eax, %eax
  jz 1f
  hash_caller 0, \missed
  hash_caller 1, \missed
  hash_caller 2, \missed
  cmpb $3, Q_CALLERS(%rdx)
  jbe 1f
  hash_caller 3, \missed
  hash_caller 4, \missed
  hash_caller 5, \missed
  hash_caller 6, \missed
1:
  cmp %rdi, Q_HASH(%rdx)
  jne \missed
  mov %gs:CURSOR, %rdi
  mov %gs:CHUNK_STAMP, %rax
  cmp %rax, Q_STAMP(%rdx)
  jne 2f
3:
  lea \record_bytes(%rdi), %rax
  cmp %gs:QUICK_END, %rax
  ja \missed
  movq $0, (%rax)  // the chunk ends behind it
  .pushsection .text.unlikely, "ax", @progbits
2:
  call put_place
  jc \missed
  jmp 3b
  .popsection
.endm

// rsi: the stripe. rcx becomes the address in the alias.
.macro find_line
  mov Q_LINE(%rdx), %rsi
  add %rcx, %rsi
  shr $6, %rsi
  and %gs:STRIPE_MASK, %rsi
  mov %rcx, %rax
  sub Q_BEGIN(%rdx), %rax
  mov %eax, S_OFFSET(%rdi)
  add Q_ALIAS(%rdx), %rcx
.endm

// The event of the access. Uses rax, rcx.
.macro take_event
  mov %gs:PROCESS, %rax
  cmpl $0, P_MANY_THREADS(%rax)
  mov P_ENTRY(%rax), %rax
  jne 1f
  mov E_EVENTS(%rax), %rcx
  inc %rcx
  mov %rcx, E_EVENTS(%rax)
  jmp 2f
1:
  mov $1, %ecx
  lock xadd %rcx, E_EVENTS(%rax)
  inc %rcx
2:
  or Q_PLACE(%rdx), %rcx
  mov %rcx, S_EVENT_PLACE(%rdi)
.endm

// `usage`: where the segment's is found. Uses rax, rcx.
.macro count usage, first, second
  mov %gs:PROCESS, %rcx
  mov \usage, %rax
  cmpl $0, P_MANY_THREADS(%rcx)
  mov P_ENTRY(%rcx), %rcx
  jne 1f
  incq E_ACCESSES(%rcx)
  incq \first(%rax)
  .ifnb \second
  incq \second(%rax)
  .endif
  jmp 2f
1:
  lock incq E_ACCESSES(%rcx)
  lock incq \first(%rax)
  .ifnb \second
  lock incq \second(%rax)
  .endif
2:
  incl %gs:CHUNK_RECORDS
.endm

// A value, or 8 bytes of it, by way of r8; above a shorter one there is zero.
.macro load_part bytes, from
  .if \bytes == 1
  movzbl \from, %r8d
  .elseif \bytes == 2
  movzwl \from, %r8d
  .elseif \bytes == 4
  movl \from, %r8d
  .else
  movq \from, %r8
  .endif
.endm

.macro store_part bytes, to
  .if \bytes == 1
  movb %r8b, \to
  .elseif \bytes == 2
  movw %r8w, \to
  .elseif \bytes == 4
  movl %r8d, \to
  .else
  movq %r8, \to
  .endif
.endm

// order: relaxed, where the version is a reading of the clock. Uses rax, r9.
.macro read_clock
  mov %rdx, %r9
  rdtsc
  shl $32, %rdx
  or %rdx, %rax
  mov %r9, %rdx
  mov %rax, S_VERSION(%rdi)
.endm

// rsi: a stripe whose word is r9 as long as it has not been taken from this thread. It is unlocked,
// with version rax. Uses rax.
.macro release
  shl $VERSION_SHIFT, %rax
  cmp %r9, (%rsi)
  jne 1f
  mov %rax, (%rsi)
1:
.endm

.macro load_parts bytes
  .set at, 0
  .rept (\bytes + 7) / 8
  guarded missed, load_part \bytes, at(%rcx)
  mov %r8, (S_VALUE + at)(%rdi)
  mov %r8, %gs:(VALUE + at)
  .set at, at + 8
  .endr
.endm

.macro store_parts bytes, faulted
  .set at, 0
  .rept (\bytes + 7) / 8
  load_part \bytes, %gs:(VALUE + at)
  guarded \faulted, store_part \bytes, at(%rcx)
  .set at, at + 8
  .endr
.endm

.macro load bytes, name
function shmrec_quick_load\name
  save_quick
  find_quick \bytes
  cmpb $0, Q_PLAIN(%rdx)
  jne 5f
  .if \bytes < 8
  find_place (S_VALUE + 8)
  .else
  find_place (S_VALUE + \bytes)
  .endif
  find_line
  cmpb $0, Q_RELAXED(%rdx)
  jne 7f
  mov %gs:STRIPES, %rax
  lea (%rax,%rsi,8), %rsi
  mov (%rsi), %rax
  test $1, %al
  jnz missed
  load_parts \bytes
  cmp %rax, (%rsi)
  jne missed
  shr $VERSION_SHIFT, %rax
  inc %rax
  mov %rax, S_VERSION(%rdi)
8:
  take_event
  count Q_USAGE(%rdx), U_READS
  .if \bytes < 8
  movl $((S_VALUE + 8) / 8 | SHORT_READ << 16 | COMMITTED << 24), S_COMMIT(%rdi)
  add $(S_VALUE + 8), %rdi
  .else
  movl $((S_VALUE + \bytes) / 8 | SHORT_READ << 16 | COMMITTED << 24), S_COMMIT(%rdi)
  add $(S_VALUE + \bytes), %rdi
  .endif
  mov %rdi, %gs:CURSOR
6:
  movq $0, %gs:REGION_USE
  movl $2, %gs:FAST_DONE
  cmpq $0, %gs:DEFERRED
  jne deferred
  jmp shmrec_quick_leave
5:  // as alone
  .set at, 0
  .rept (\bytes + 7) / 8
  guarded missed, load_part \bytes, at(%rcx)
  mov %r8, %gs:(VALUE + at)
  .set at, at + 8
  .endr
  jmp 6b
7:
  read_clock
  load_parts \bytes
  jmp 8b
.endm

// The lane says which stripe it is about to lock. rsi: its number. r8: the lane's entry. eax becomes
// what names it.
.macro announce
  lea 1(%rsi), %eax
  mov %eax, L_HELD(%r8)
.endm

// rsi: a stripe's number, becomes its address. rax becomes its word, r9 that word when it is locked.
.macro lock_stripe busy
  mov %gs:STRIPES, %rax
  lea (%rax,%rsi,8), %rsi
  mov (%rsi), %rax
  mov %rax, %r9
  add %gs:LANE_LOCKS, %r9
  test $1, %al
  jnz \busy
  lock cmpxchg %r9, (%rsi)
  jne \busy
.endm

// The record becomes one that is begun. r8 becomes the lane's entry. Uses rax.
.macro begin_record kind
  movl $(record_bytes / 8 | \kind << 16 | BEGUN << 24), S_COMMIT(%rdi)
  mov %rdi, %rax
  sub %gs:LOG_BASE, %rax
  mov %gs:LANE_ENTRY, %r8
  mov %rax, L_RECORD(%r8)
.endm

// It is complete, the access made, nothing held. Uses rdi, r8.
.macro end_record kind
  movl $(record_bytes / 8 | \kind << 16 | COMMITTED << 24), S_COMMIT(%rdi)
  add $(record_bytes), %rdi
  mov %rdi, %gs:CURSOR
  mov %gs:LANE_ENTRY, %r8
  movq $0, L_RECORD(%r8)
  movl $0, L_HELD(%r8)
  movq $0, %gs:REGION_USE
  movl $1, %gs:FAST_DONE
  cmpq $0, %gs:DEFERRED
  jne deferred
  jmp shmrec_quick_leave
.endm

.macro store bytes, name
function shmrec_quick_store\name
  save_quick
  find_quick \bytes
  .if \bytes < 8
  .set record_bytes, S_VALUE + 8
  .else
  .set record_bytes, S_VALUE + \bytes
  .endif
  find_place record_bytes
  find_line
  guarded missed, movzbl (%rcx), %eax
  .set at, 0
  .rept (\bytes + 7) / 8
  load_part \bytes, %gs:(VALUE + at)
  mov %r8, (S_VALUE + at)(%rdi)
  .set at, at + 8
  .endr
  movq $0, S_VERSION(%rdi)
  mov %rcx, %r9
  take_event
  mov %r9, %rcx
  begin_record SHORT_WRITE
  cmpb $0, Q_RELAXED(%rdx)
  jne 7f
  announce
  lock_stripe give_back
  shr $VERSION_SHIFT, %rax
  inc %rax
  mov %rax, S_VERSION(%rdi)
  store_parts \bytes, unlock
  release
8:
  count Q_USAGE(%rdx), U_WRITES
  end_record SHORT_WRITE
7:
  read_clock
  store_parts \bytes, give_back
  jmp 8b
.endm

// ---- What reads and writes ----------------------------------------------------------------------

// What is known between its two ends, for the second one and for C++. rcx: the address in the
// alias. Uses rax.
.macro hold end
  mov %rcx, %gs:FAST_ALIAS
  mov %rdi, %gs:RECORD
  movl $(record_bytes), %gs:RECORD_BYTES
  mov Q_USAGE(%rdx), %rax
  mov %rax, %gs:HELD_USAGE
  lea \end(%rip), %rax
  mov %rax, %gs:FAST_END
  mov 8(%rsp), %eax
  mov %eax, %gs:JUMPED_SITE
.endm

.macro end_both kind
  count %gs:HELD_USAGE, U_READS, U_WRITES
  movq $0, %gs:RECORD
  end_record \kind
.endm

// Might it lock or unlock a robust mutex (kernel/robust.h)? Uses rax.
.macro look_for_robust
  mov %gs:LOG_BASE, %rax
  cmpl $0, H_ROBUST_HELD(%rax)
  jne begin_missed
  mov %gs:ROBUST_HEAD, %rax
  test %rax, %rax
  jz 1f
  guarded begin_missed, cmpq $0, ROBUST_PENDING(%rax)
  jne begin_missed
1:
.endm

// The value before the instruction is at S_VALUE, that behind it follows.
.macro atomic bytes
function shmrec_quick_atomic\bytes
  .set record_bytes, S_VALUE + (2 * \bytes + 7) / 8 * 8
  save_quick
  find_quick \bytes, begin_missed
  cmpb $0, Q_RELAXED(%rdx)
  jne begin_missed
  .if \bytes == 4
  look_for_robust
  .endif
  find_place record_bytes, begin_missed
  find_line
  guarded begin_missed, movzbl (%rcx), %eax
  mov %rcx, %r9
  take_event
  mov %r9, %rcx
  mov %gs:LANE_ENTRY, %r8
  announce
  mov %eax, %gs:STRIPE
  lock_stripe begin_back
  mov %r9, %gs:STRIPE_WORD
  guarded begin_unlock, load_part \bytes, (%rcx)
  mov %r8, S_VALUE(%rdi)
  .if \bytes == 8
  movq $0, (S_VALUE + 8)(%rdi)
  .endif
  shr $VERSION_SHIFT, %rax
  inc %rax
  mov %rax, S_VERSION(%rdi)
  begin_record SHORT_READ_WRITE
  hold shmrec_quick_atomic_end\bytes
  load_quick
  ret $8

function shmrec_quick_atomic_end\bytes
  save_quick
  mov %gs:FAST_ALIAS, %rcx
  mov %gs:RECORD, %rdi
  guarded 3f, load_part \bytes, (%rcx)
3:
  store_part \bytes, (S_VALUE + \bytes)(%rdi)
  mov %gs:STRIPE, %esi
  mov %gs:STRIPES, %rax
  lea -8(%rax,%rsi,8), %rsi
  mov %gs:STRIPE_WORD, %r9
  mov %r9, %rax
  shr $VERSION_SHIFT, %rax
  inc %rax
  release
  movl $0, %gs:STRIPE
  end_both SHORT_READ_WRITE
.endm

.macro modify bytes
function shmrec_quick_modify\bytes
  .set record_bytes, S_SECOND_VALUE + (2 * \bytes + 7) / 8 * 8
  save_quick
  find_quick \bytes, begin_missed
  cmpb $0, Q_RELAXED(%rdx)
  jne begin_missed
  find_place record_bytes, begin_missed
  find_line
  mov %esi, %gs:HELD_STRIPE
  mov %gs:STRIPES, %rax
  lea (%rax,%rsi,8), %rsi
  mov (%rsi), %rax
  test $1, %al
  jnz begin_missed
  guarded begin_missed, load_part \bytes, (%rcx)
  cmp %rax, (%rsi)
  jne begin_missed
  shr $VERSION_SHIFT, %rax
  inc %rax
  mov %rax, S_VERSION(%rdi)
  movq $0, S_SECOND_VERSION(%rdi)
  mov %r8, S_SECOND_VALUE(%rdi)
  .if \bytes == 8
  movq $0, (S_SECOND_VALUE + 8)(%rdi)
  .endif
  mov %r8, %gs:VALUE
  hold shmrec_quick_modify_end\bytes
  take_event
  load_quick
  ret $8

function shmrec_quick_modify_end\bytes
  save_quick
  mov %gs:FAST_ALIAS, %rcx
  mov %gs:RECORD, %rdi
  load_part \bytes, %gs:VALUE
  store_part \bytes, (S_SECOND_VALUE + \bytes)(%rdi)
  begin_record SHORT_READ_THEN_WRITE
  mov %gs:HELD_STRIPE, %esi
  announce
  lock_stripe end_in_c
  shr $VERSION_SHIFT, %rax
  inc %rax
  mov %rax, S_SECOND_VERSION(%rdi)
  load_part \bytes, %gs:VALUE
  guarded end_unlock, store_part \bytes, (%rcx)
  release
  end_both SHORT_READ_THEN_WRITE
.endm

  .text

  load 1, 1
  load 2, 2
  load 4, 4
  load 8, 8
  load 16, 16
  load 32, 32
  store 1, 1
  store 2, 2
  store 4, 4
  store 8, 8
  store 16, 16
  store 32, 32
  atomic 1
  atomic 2
  atomic 4
  atomic 8
  modify 1
  modify 2
  modify 4
  modify 8

// Writes the place of the QuickSite rdx into the chunk, at rdi, which moves on. rsi: the program's
// stack pointer. Carry: it cannot. Uses rax, r8, r9.
put_place:
  movzbl Q_CALLERS(%rdx), %r9d
  lea (PLACE_BYTES + 8)(%rdi,%r9,8), %rax
  cmp %rax, %gs:QUICK_END
  jb 3f
  movq $0, -8(%rax)  // the chunk ends behind it
  test %r9d, %r9d
  jz 2f
1:
  movzwl (Q_CALLERS_AT - 2)(%rdx,%r9,2), %eax
  guarded 4f, mov (%rsi,%rax,8), %r8
  shl $48, %rax
  or %rax, %r8
  mov %r8, (PLACE_BYTES - 8)(%rdi,%r9,8)
  dec %r9d
  jnz 1b
2:
  movzbl Q_CALLERS(%rdx), %r9d
  mov %r9d, %eax
  shl $8, %eax
  movzbl Q_RELAXED(%rdx), %r8d
  or %r8d, %eax
  shl $48, %rax
  movzbl Q_BYTES(%rdx), %r8d
  or %r8, %rax
  mov %rax, P_LENGTH(%rdi)  // with the flags
  mov Q_OFFSET(%rdx), %rax
  mov %rax, P_OFFSET(%rdi)
  mov Q_BEGIN(%rdx), %rax
  mov %rax, P_ADDRESS(%rdi)
  mov Q_PC(%rdx), %rax
  mov %rax, P_PC(%rdi)
  movq $0, P_EVENT(%rdi)
  mov Q_SEGMENT(%rdx), %eax
  mov %eax, P_SEGMENT(%rdi)
  lea (PLACE_BYTES / 8 | SHORT_PLACE << 16 | COMMITTED << 24)(%r9), %eax
  mov %eax, P_COMMIT(%rdi)
  mov %rdi, %rax
  sub %gs:CHUNK_BEGIN, %rax
  shl $(PLACE_SHIFT - 3), %rax
  mov %rax, Q_PLACE(%rdx)
  mov %gs:CHUNK_STAMP, %rax
  mov %rax, Q_STAMP(%rdx)
  lea PLACE_BYTES(%rdi,%r9,8), %rdi
  mov %rdi, %gs:CURSOR
  clc
3:
  ret
4:
  stc
  ret

// The store faulted though its page was there: the stripe is released as it was.
unlock:
  mov S_VERSION(%rdi), %rax
  dec %rax
  release
// A store whose stripe another has: there is no record yet.
give_back:
  mov %gs:LANE_ENTRY, %r8
  movl $0, S_COMMIT(%rdi)
  movq $0, L_RECORD(%r8)
  movl $0, L_HELD(%r8)
  jmp missed

// An atomic one meets a page that has gone, with its stripe locked.
begin_unlock:
  shr $VERSION_SHIFT, %rax
  release
// Its stripe is another's: there is no record yet.
begin_back:
  mov %gs:LANE_ENTRY, %r8
  movl $0, L_HELD(%r8)
  movl $0, %gs:STRIPE
begin_missed:
  movq $0, %gs:REGION_USE
  jmp begin_in_c

// One that modifies cannot store, though it could read: C++ finds out once more. Or another has the
// stripe.
end_unlock:
  mov S_SECOND_VERSION(%rdi), %rax
  dec %rax
  release
  movq $0, S_SECOND_VERSION(%rdi)
end_in_c:
  mov %gs:LANE_ENTRY, %r8
  movl $0, L_HELD(%r8)
  jmp fast_end_in_c

// The registers that C++ may change and save_quick has not saved. Uses rcx.
.macro save_rest
  mov %gs:SAVED_RCX, %rcx
  mov %rcx, %gs:(REGS + R_RCX)
  mov %rbp, %gs:(REGS + R_RBP)  // for debuggers
  mov %r10, %gs:(REGS + R_R10)
  mov %r11, %gs:(REGS + R_R11)
.endm

// Whose access it is. Uses rax.
.macro save_site
  mov (%rsp), %rax
  mov %rax, %gs:FAST_KEY
  mov 8(%rsp), %eax
  mov %eax, %gs:JUMPED_SITE
.endm

// Both, of an access that has not been made.
.macro save_for_c
  movl $0, %gs:FAST_DONE
  save_site
  save_rest
.endm

// For threads of which nothing is known, or that may not go this way.
function shmrec_quick_none
  save_quick
missed:
  movq $0, %gs:REGION_USE
  save_for_c
  pushfq
  testl $(ALIGNMENT_CHECKED | DIRECTION), (%rsp)  // C++ knows of neither
  mov %gs:STACK_TOP, %rsp
  jne 1f
  mov %gs:(REGS + R_RSP), %rsi
  mov %rbp, %rdx
  mov %gs:0, %rdi
  call access_fast
  mov %rax, %gs:FAST_NEXT
  cmpq $0, %gs:DEFERRED
  jne fast_deferred
function shmrec_fast_leave
  load_unkept
  jmp *%gs:FAST_NEXT
function shmrec_fast_leave_end
1:
  lea shmrec_access_jumped(%rip), %rax
4:
  mov %rax, %gs:FAST_NEXT
  cmpq $0, %gs:DEFERRED
  jne fast_deferred
  jmp shmrec_fast_leave

// The two ends of an instruction that reads and writes, called by its stub as those above. Between
// them signals are deferred too (places.cc).
function shmrec_fast_begin
  save_quick
begin_in_c:
  save_for_c
  pushfq
  testl $(ALIGNMENT_CHECKED | DIRECTION), (%rsp)
  lea 8(%rsp), %rsp
  jne 1b
  mov %gs:(REGS + R_RSP), %rsi
  mov %rbp, %rdx
  mov %gs:0, %rdi
  call access_fast_begin
  test %rax, %rax
  jnz 4b
  mov %gs:(REGS + R_R10), %r10
  mov %gs:(REGS + R_R11), %r11
  load_quick
  ret $8

function shmrec_fast_end
  save_quick
fast_end_in_c:
  save_rest
  mov %gs:0, %rdi
  call access_fast_end
  mov %rax, %gs:FAST_NEXT
  cmpq $0, %gs:DEFERRED
  jne 1f
  cmpl $0, %gs:FAST_DONE
  je shmrec_fast_leave
  jmp shmrec_fast_end_leave
1:
  mov %gs:STACK_TOP, %rsp
  jmp fast_deferred

// Something waits for the thread, which has made its access.
deferred:
  save_site
  save_rest
  mov %gs:STACK_TOP, %rsp
fast_deferred:
  save_kept REGS
  load_fast_flags
  pushfq
  popq %gs:(REGS + R_EFLAGS)
  cld
  mov %gs:0, %rdi
  call access_fast_deferred
  jmp shmrec_tail_begin

function shmrec_fast_end_leave
  mov %gs:(REGS + R_R10), %r10
  mov %gs:(REGS + R_R11), %r11
function shmrec_quick_leave
  load_quick
  ret $8
function shmrec_quick_leave_end
  nop

  .text 2
function shmrec_quick_end
  nop

  .section .note.GNU-stack, "", @progbits
