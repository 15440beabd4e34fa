// The agent's state of one thread and of one process.
//
// Ownership: a Thread lives at the start of a 256 KiB aligned block which also holds the thread's
// two agent stacks, so that a signal handler finds its Thread from its stack pointer alone. Code
// that has no stack of the agent (arch/x86_64/entry.S, which knows the offsets of the first fields,
// and what is generated per access site) finds it by the gs base; see gs.h. Threads: only the
// owning thread touches its Thread, but for `claimed` and `tid`.
#pragma once

#include "agent/agent_abi.h"
#include "agent/runtime.h"
#include "recording/log/shmlog_format.h"
#include "syscalls/written.h"

namespace shmrec::agent {

// General registers in the order of the kernel's struct sigcontext, so that one is copied to the
// other as a block.
struct Regs {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
      eflags;
};
static_assert(sizeof(Regs) == 144);

struct Site;
struct Thread;

// What an interrupted path of the agent does when it has come to its end.
enum Deferred : uint64_t {
  kDeferredSignal = 1,   // deliver Thread::deferred_info
  kDeferredNested = 4,   // it came while a handler of ours ran: deferred_mask is not set yet
  kDeferredPending = 8,  // deliver those of the waiting signals (pending.h) that are not blocked
  kDeferredFlags = 16,   // give held_flags back to the program
  kDeferredStep = 32,    // the program has the trap flag set, and an access was made for it
  kDeferredLeave = 64,   // leave the recording for good (leave.h)
  kDeferredDelivery = kDeferredSignal | kDeferredPending,
};

// What the kernel keeps per process about a signal, as the program set it.
struct SignalAction {
  uint64_t handler;  // SIG_DFL 0, SIG_IGN 1, or an address
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};

struct Siginfo {  // kernel siginfo_t, 128 bytes
  int32_t signo, err, code, pad;
  union {
    uint64_t words[14];
    struct {
      uint64_t call_addr;
      int32_t syscall;
      uint32_t arch;
    } sys;
    struct {
      uint64_t addr;
    } fault;
    struct {
      int32_t pid;
      uint32_t uid;
      int32_t status;  // SIGCHLD
    } kill;
  };
};
static_assert(sizeof(Siginfo) == 128);

struct AltStack {  // stack_t
  uint64_t sp;
  int32_t flags, pad;
  uint64_t size;  // 0: there is none, whatever the flags say
};

// Signals that wait to be taken by the program (pending.h).
constexpr int kNeededSignals = 6;
struct PendingSignals {
  uint64_t set;  // which
  struct {
    uint32_t state;
    Siginfo info;
  } slots[kNeededSignals];
};

// Of a thread at level replay (stream/turns.h).
enum class Turn : uint32_t {
  kNone,
  kHas,
  kInCall,    // it has given it away in a call
  kOfParent,  // a child that lives in its parent's memory
};

// One process: shared by its threads. A vfork child shares the memory but has its own Process.
struct Process {
  shmlog::ProcessEntry* entry;  // 0: never null: a private dummy if not entered
  uint32_t many_threads;        // 8: 1: it has or had more than one
  uint32_t in_use;
  uint32_t index;         // ProcessEntry index; 0: not entered yet (vfork child) or table full
  uint32_t parent_index;  // of the process that made this one
  int32_t pid;
  uint32_t lives_in_parent;  // 1: the memory is that of the process that made it (vfork)
  shmlog::ProcessEntry dummy;
  uint32_t leaving;          // leave.h
  uint32_t clears_handlers;  // 1: begins without its parent's handlers
  uint64_t forked_tsc;       // when it last forked; 0: never
  SpinLock signal_lock;
  SignalAction actions[65];
  PendingSignals pending;
};

constexpr uint64_t kMaxThreads = 32768;
// Where the blocks lie, one after the other.
inline uint64_t thread_blocks() { return agent_base() + kThreadOffset; }
constexpr uint64_t kBounceBytes = 20 * 1024;

// The syscall that the thread is making for the program, from its trap to its completion.
struct PendingSyscall {
  uint64_t number;
  uint64_t args[6];  // as the program gave them
  uint64_t pc;       // of the syscall instruction
  // Runs when it has returned, with regs.rax its result; null: nothing to do.
  void (*post)(Thread*);
  uint64_t event;
  void* bounce;           // memory standing in for traced memory, or null
  void* transfer;         // what descriptors.cc keeps of it, or null
  void* names;            // what names.cc keeps of it, or null
  uint32_t wants_native;  // 1: its pointers lead to native mappings (native.h)
  uint32_t uses_native;   // 1: the kernel is looking at them
  uint64_t scratch[16];   // for the handler of this syscall
  uint32_t swaps_mask;    // 1: the kernel uses `mask` while it waits (ppoll, sigsuspend...)
  uint64_t mask;          // that mask, as the program gave it
  uint64_t waits_for;     // what sigtimedwait waits for of the signals the agent needs
  // For the stream (stream/stream.h).
  uint64_t given[6];  // as args, which a handler may change
  uint64_t state;     // state_hash
  syscalls::WrittenCall written;
  uint64_t cleared_tid;     // where the end of the thread has cleared its tid; 0: nowhere
  uint32_t mapped_file;     // its number in the stream; 0: it maps none
  uint32_t copies_written;  // 1: that file is one that others write where they map it
  uint32_t streamed;        // 1: it is written down when it has returned
  uint32_t repeats;  // 1: it is made again from its instruction, with the program none the wiser
};

// Words of the program's stack that point behind a call (memory/callers.h).
struct Callers {
  uint32_t count;
  uint64_t words[shmlog::kMaxCallers];  // shmlog::caller_word
};

// Those found for an instruction with these registers.
struct KnownCallers {
  uint64_t pc, stack, frame;
  Callers callers;
};
constexpr uint32_t kKnownCallers = 256;

// What is known of accesses that a stub's part has made with one stack pointer: the next one that
// is like them is made without looking it up again (arch/x86_64/quick.S, which knows the offsets).
// Nothing of it is believed unless its first five fields are as they are now, and its callers. Its
// last three are for the place's record, which each chunk has anew.
struct QuickSite {
  uint64_t key;               // 0: where the part goes on; 0: nothing is known
  uint64_t stack;             // 8: the program's stack pointer
  uint64_t stamp;             // 16: of the chunk that has the place (Thread::chunk_stamp)
  uint32_t sequence;          // 24: of the regions' changes (regions_sequence)
  uint32_t promotions;        // 28: Header::promotions
  uint64_t begin;             // 32: addresses from here on, which is the place's...
  uint64_t span;              // 40: ...up to so many bytes further
  uint64_t alias;             // 48: what is added to an address for its alias
  uint64_t line;              // 56: for the number of its stripe, in bytes
  uint64_t offset;            // 64: of `begin` in the segment
  uint64_t place;             // 72: as the records have it, at its bits
  shmlog::UsageEntry* usage;  // 80
  uint64_t hash;              // 88: of the callers' words (callers_hash)
  uint8_t callers;            // 96
  uint8_t plain;              // 97: 1: reads are not logged
  uint8_t aligned;            // 98: 1: the instruction faults where it is not aligned
  uint8_t relaxed;            // 99: 1: order: relaxed
  uint16_t callers_at[shmlog::kMaxCallers];  // 100: words above `stack`; the last one's repeated
  uint8_t bytes;                             // 114
  uint8_t reserved1;
  uint32_t segment;  // 116
  uint64_t pc;       // 120
};
static_assert(sizeof(QuickSite) == 128 && offsetof(QuickSite, offset) == 64);
static_assert(offsetof(QuickSite, hash) == 88 && offsetof(QuickSite, callers_at) == 100);
static_assert(offsetof(QuickSite, bytes) == 114 && offsetof(QuickSite, pc) == 120);
// A place in the chunk of `stamp`, by a hash of all that it says.
struct KnownPlace {
  uint64_t hash, stamp, place;  // as in QuickSite
  uint64_t reserved;
};
constexpr uint32_t kKnownPlaces = 1024;

// There are two to this power, in pairs, by a hash of the site's number and `stack`.
constexpr uint32_t kQuickSitesBits = 13;
constexpr uint32_t kQuickSizes = 6;  // 1, 2, 4 ... 32 bytes

// The region of its last access (access/fast.h).
struct KnownRegion {
  uint32_t sequence;  // of the regions' changes, when it was found; odd: it was not
  uint32_t segment;
  uint64_t begin, end, alias, segment_offset;
  uint32_t readable, writable, writes_only, relaxed;
  uint32_t braked;  // Braked (memory/regions.h)
  shmlog::UsageEntry* usage;
};

// What the thread has spent since it was last looked what recording costs (memory/brake.h).
struct BrakeMeter {
  uint64_t thread_cpu;    // ns of processor time at its last chunk, 0: none yet
  uint64_t spent, cost;   // ns up to then
  uint64_t slow, faults;  // accesses by C++ since, and those of them that began with a fault
  uint64_t last_fault;    // TSC
};

struct Thread {
  // ---- Known to entry.S; see the asserts below.
  Thread* self;           // 0
  Regs regs;              // 8: the program's registers at the access
  Regs core;              // 152: registers with which the access instruction itself runs
  Site* site;             // 296: of the access in flight, held by it (sites/table.h)
  uint64_t core_ip;       // 304: where that instruction is
  uint64_t exit_ip;       // 312: where the program goes on
  uint64_t stack_top;     // 320: stack of the access and syscall code
  uint64_t deferred;      // 328: Deferred bits: what waits for the end of the access
  uint64_t canary_base;   // 336: fs base while foreign code (Zydis) runs; canary at +0x28
  uint64_t exit_page;     // 344: code that ends each path of the agent without a signal
  uint64_t register_gs;   // 352: the gs base while the program runs (gs.h)
  uint32_t left;          // 360: 1: stands still to leave the recording (leave.h), 2: has left it
  uint32_t own_state;     // 364: of those that are not the last of their process to leave
  uint32_t* entry_state;  // 368: ProcessEntry::state, to be ended by who leaves last
  uint32_t unsettled;     // 376: 1: a needed signal came while a handler ran (handler.cc)
  uint32_t jumped_site;   // 380: number of the patched site that was jumped from (patches/)
  uint64_t saved_rcx;     // 384: the program's while a stub looks at the address
  const struct UnwindInfo* unwind;  // 392: for debuggers, which know its place (signals/unwind.h)
  uint64_t jump_entry;              // 400: shmrec_access_jumped, in replay shmrec_access_replayed
  // The fast way (access/fast.h).
  uint64_t quick[2][kQuickSizes];   // 408: loads and stores, by size
  uint64_t fast_ea;                 // 504: the access's address
  uint64_t fast_key;                // 512: where its stub goes on
  uint64_t fast_next;               // 520: where shmrec_fast_leave goes
  uint64_t fast_flags;              // 528: the program's, as lahf and seto give them
  QuickSite* quick_sites;           // 536: null: none yet
  uint8_t* quick_end;               // 544: records end before this; null: not by quick.S
  uint64_t chunk_stamp;             // 552: ticket + 1 of the current chunk
  const uint32_t* regions_changed;  // 560: regions_sequence
  const uint32_t* promotions;       // 568: Header::promotions
  uint64_t* stripes;                // 576
  uint64_t stripe_mask;             // 584: stripes - 1
  uint64_t lane_locks;              // 592: what its lane adds to a stripe's word
  uint64_t log_base;                // 600
  Process* process;                 // 608
  uint8_t* cursor;                  // 616: next record in the current chunk
  shmlog::LaneEntry* lane_entry;    // 624
  uint64_t region_use;     // 632: 0: none; else what it uses of the regions is no older (regions.h)
  uint32_t chunk_records;  // 640: accesses in the current chunk
  uint32_t fast_done;      // 644: 1: the store has been made; 2: the load is in the log
  // Of what reads and writes: where its two ends are, and what it needs in between.
  uint8_t* chunk_begin;           // 648: of the current chunk
  uint64_t fast_end;              // 656: its second end
  uint64_t fast_alias;            // 664: where an atomic one is performed
  uint64_t saved_scratch;         // 672: the program's register that holds that meanwhile, or what
                                  // a stub looks outside of the window with
  alignas(64) uint8_t value[64];  // 704: what the fast way reads or writes
  // Syscalls from stubs (patches/call_stub.h).
  uint64_t call_entry;   // 768: shmrec_call_jumped, in replay shmrec_call_replayed
  uint64_t call_behind;  // 776: what is behind the syscall instruction, as the program has it
  uint64_t call_exit;    // 784: where shmrec_syscall_plain goes on: the exit page, or exit_ip
  uint64_t call_made;    // 792: the syscall instruction that a call from a stub is made by
  // The fast way, of what reads and writes: its first end, atomic or not, by size.
  uint64_t quick_both[2][kQuickSizes];  // 800
  uint8_t* record;                      // 896: of the access in flight while it is begun, or null
  shmlog::UsageEntry* held_usage;       // 904: of its segment
  uint32_t held_stripe;                 // 912: the number of its line's
  uint32_t record_bytes;                // 916
  uint32_t stripe[2];                   // 920: locked stripes + 1
  uint64_t stripe_word[2];              // 928: their words while locked
  uint64_t robust_head;                 // 944: as given to set_robust_list
  uint32_t held_relaxed;                // 952: 1: order: relaxed
  // ---- C++ only
  uint64_t program_gs;    // the program's gs base, as it set it
  uint32_t changes_met;   // how often text had been changed when it last met such (patches/)
  uint32_t closing;       // descriptor + 1 that its last call closed (kernel/plain_descriptors.h)
  uint32_t undispatched;  // 1: the kernel does not turn its calls into SIGSYS
  uint32_t claimed;       // 1: block in use
  int32_t tid;
  uint64_t altstack_top;
  // Signals.
  Siginfo deferred_info;
  uint64_t deferred_mask;  // the program's mask at that moment
  uint64_t virtual_mask;   // what the program blocks of the signals the agent needs
  // 1: the call was interrupted and its call.mask holds until a handler runs.
  uint32_t left_swapped;
  PendingSignals pending;   // what was sent of them meanwhile
  AltStack altstack;        // the program's own
  uint32_t keeps_handlers;  // 1: its calls are its own, its handlers the agent's (leave.h)
  struct {
    uint64_t trap, error, cr2;
  } shown_fault;          // numbers of the last fault that the program was shown
  Fault raise;            // fault to present to the program at the current site; signal 0: none
  Fault safe;             // last fault inside safe_copy
  struct Context* outer;  // context of the signal being handled, null outside of handlers
  // A signal that waits for the next event (stream/hold.h).
  uint32_t holds_signal;  // 1: there is one
  uint32_t late_looks;    // how often the program was looked at to see whether it can be released
  uint32_t late_known;    // 1: its memory has been looked at since (stops.h)
  uint32_t returned;      // 1: `settled` is where rt_sigreturn goes, in the handler that makes it
  int32_t late_timer;     // of the thread late_timer_of; -1: it can have none
  int32_t late_timer_of;
  // Where it has put copies of exec's arguments (process.cc); 0: nowhere. A vfork child leaves
  // them.
  uint64_t exec_copies;
  Turn turn;
  uint32_t offers_turn;      // 1: at its next access to traced memory
  uint32_t forbids_counter;  // 1: by PR_SET_TSC (stream/processor_reads.h)
  uint32_t forbids_cpuid;    // 1: by ARCH_SET_CPUID
  Regs settled;  // those with which the program went on after its last event (stream/stream.h)
  Siginfo held_signal;
  uint64_t held_mask;  // the program's mask at that moment
  // The access in flight (access.cc).
  uint64_t ea;  // its address
  uint64_t event;
  uint32_t phase;
  uint32_t access_bytes;      // how long it is, where the site does not say it
  uint32_t stored_by_kernel;  // 1: the instruction faulted and the kernel tried to store for it
  uint32_t mxcsr;             // as it was before an instruction that changes it though it faults
  uint64_t alias;             // where it is performed
  uint64_t versions[2];       // read versions of a read-modify-write without LOCK
  alignas(8) uint8_t old_value[64];
  KnownRegion known_region;
  uint32_t goes_quickly;  // 1: `quick` leads to quick.S
  // The lane of the log.
  uint32_t lane;         // 0: none yet
  uint32_t lane_missed;  // 1: there was none for it, which is counted
  uint8_t* chunk_end;
  uint32_t chunk_kept;  // 1: it is busy, though no access is being made (records.h)
  uint32_t chunk_left;  // record_resume: the lane's chunk before
  uint8_t* clock_due;   // where in the chunk the next clock record is, at the latest
  uint64_t clock_tsc;   // of the last one
  BrakeMeter brake_meter;
  // Syscalls.
  PendingSyscall call;
  uint64_t held_flags;  // flags of the program that the agent's own code must not run with
  uint64_t clear_tid;   // where the kernel clears the tid at the end, as the program asked
  void* child_frame;    // of a thread being cloned: the context it starts with
  uint64_t robust_bytes;
  void* filters;            // the newest seccomp filter that judges it (seccomp.h)
  uint32_t strict;          // 1: in seccomp's strict mode, where the kernel could not be told so
  uint32_t rseq_signature;  // as last given to rseq; 0: not yet
  // Large buffers.
  alignas(64) uint8_t bounce[kBounceBytes];
  alignas(64) uint8_t bounce2[kBounceBytes];
  alignas(64) uint8_t spare_record[16 * 1024];  // where records go that cannot be logged
  alignas(64) uint8_t canary[128];
  // By a hash of pc and stack. What is left of the block's last thread is compared with the stack
  // before it is used, as all of it.
  KnownCallers known_callers[kKnownCallers];
};
static_assert(offsetof(Thread, regs) == 8 && offsetof(Thread, core) == 152);
static_assert(offsetof(Thread, site) == 296 && offsetof(Thread, core_ip) == 304);
static_assert(offsetof(Thread, exit_ip) == 312 && offsetof(Thread, stack_top) == 320);
static_assert(offsetof(Thread, deferred) == 328);
static_assert(offsetof(Thread, exit_page) == 344 && offsetof(Thread, register_gs) == 352);
static_assert(offsetof(Thread, left) == 360 && offsetof(Thread, entry_state) == 368);
static_assert(offsetof(Thread, unsettled) == 376 && kThreadBlockBytes == 0x40000);
static_assert(offsetof(Thread, saved_rcx) == 384 && offsetof(Thread, jump_entry) == 400);
static_assert(offsetof(Thread, quick) == 408 && offsetof(Thread, fast_ea) == 504);
static_assert(offsetof(Thread, fast_next) == 520 && offsetof(Thread, quick_sites) == 536);
static_assert(offsetof(Thread, regions_changed) == 560 && offsetof(Thread, stripes) == 576);
static_assert(offsetof(Thread, lane_locks) == 592 && offsetof(Thread, process) == 608);
static_assert(offsetof(Thread, lane_entry) == 624 && offsetof(Thread, chunk_records) == 640);
static_assert(offsetof(Thread, fast_end) == 656 && offsetof(Thread, value) == 704);
static_assert(offsetof(Process, entry) == 0 && offsetof(Process, many_threads) == 8);
static_assert(offsetof(shmlog::ProcessEntry, events) == 56);
static_assert(offsetof(shmlog::ProcessEntry, accesses) == 64);
static_assert(offsetof(shmlog::UsageEntry, reads) == 8);
static_assert(offsetof(shmlog::UsageEntry, writes) == 16);
static_assert(offsetof(shmlog::LaneEntry, record) == 32);
static_assert(offsetof(shmlog::LaneEntry, held) == 40);
static_assert(offsetof(Thread, call_entry) == 768 && offsetof(Thread, call_behind) == 776);
static_assert(offsetof(Thread, call_exit) == 784 && offsetof(Thread, call_made) == 792);
static_assert(offsetof(Thread, unwind) == kUnwindInfoAt);
static_assert(offsetof(Thread, quick_both) == 800 && offsetof(Thread, record) == 896);
static_assert(offsetof(Thread, held_stripe) == 912 && offsetof(Thread, record_bytes) == 916);
static_assert(offsetof(Thread, stripe) == 920 && offsetof(Thread, stripe_word) == 928);
static_assert(offsetof(Thread, robust_head) == 944 && offsetof(Thread, chunk_begin) == 648);
static_assert(offsetof(shmlog::Header, robust_held) == 404);
static_assert(static_cast<uint32_t>(shmlog::EntryState::kEnded) == 3);  // entry.S knows it
static_assert(sizeof(Thread) <= 96 * 1024);

// The Thread whose agent stack we are on. REQUIRES: running on an agent stack.
inline Thread* current_thread() {
  return reinterpret_cast<Thread*>(reinterpret_cast<uint64_t>(__builtin_frame_address(0)) &
                                   ~(kThreadBlockBytes - 1));
}

// A free thread block, mapped if need be; null if memory is out. The caller fills it.
Thread* thread_allocate();
// Does `address` lie where thread blocks are, in use or not?
bool in_thread_blocks(uint64_t address);
// Lowest address of its signal stack.
uint64_t thread_signal_stack(const Thread* thread);
// Gives the block back. REQUIRES: not the caller's own block, and its thread is gone.
void thread_release(Thread* thread);
// In a forked child: every block but `self` belongs to no one.
void threads_after_fork(Thread* self);
// Calls `visit` with every recorded thread of the process.
void for_each_thread(const Process* process, void (*visit)(Thread* thread, void* context),
                     void* context);
// Calls `visit` with every block that is in use, whatever its process.
void for_each_block(void (*visit)(Thread* thread, void* context), void* context);
// The same with those that are just being made: they have no tid yet.
void for_each_claimed(const Process* process, void (*visit)(Thread* thread, void* context),
                      void* context);
// Calls `visit` with every recorded thread of this address space, a vfork child's too.
void for_each_thread_here(void (*visit)(Thread* thread, void* context), void* context);
// How many recorded threads this process has.
uint32_t threads_of(const Process* process);
// Makes the calling thread a recorded one: alternate stack, syscall dispatch. 0 or -errno.
int64_t thread_arm(Thread* thread);
// Its syscalls are its own from here on.
void thread_disarm(Thread* thread);

Process* process_allocate();
void process_release(Process* process);
// Do other processes live in this one's memory, or it in another's?
bool memory_is_shared(const Process* process);
// In a forked child: there is no other in its memory.
void processes_after_fork(const Process* self);

}  // namespace shmrec::agent
