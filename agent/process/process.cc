#include "agent/process/process.h"

#include <asm/prctl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "agent/agent_abi.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/kernel/plain_descriptors.h"
#include "agent/kernel/robust.h"
#include "agent/kernel/seccomp.h"
#include "agent/memory/maps.h"
#include "agent/memory/modules.h"
#include "agent/memory/pointers.h"
#include "agent/patches/patch.h"
#include "agent/process/event.h"
#include "agent/process/leave.h"
#include "agent/process/stop.h"
#include "agent/signals/core_call.h"
#include "agent/signals/pending.h"
#include "agent/signals/signal_sets.h"
#include "agent/signals/signals.h"
#include "agent/sites/table.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/stream.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint64_t kSigchld = 17;

// A pointer that the kernel will write through.
uint64_t reachable(uint64_t address, uint64_t bytes) {
  const uint64_t alias = alias_of(address, bytes);
  return alias ? alias : address;
}

// ---- clone --------------------------------------------------------------------------------------

// The same for all calls that make a thread or a process.
struct CloneRequest {
  uint64_t flags, stack, parent_tid, child_tid, tls;
  clone_args* args;  // of clone3, as the kernel gets them but for the stack; null: another call
  uint64_t args_bytes;
  // CLONE_CLEAR_SIGHAND, which is the agent's to do: the handlers are its own.
  bool clears_handlers;
};

CloneRequest request_of(const Thread* thread) {
  CloneRequest request = {};
  request.flags = kSigchld;
  if (thread->call.number == __NR_fork) return request;
  request.flags |= CLONE_VM | CLONE_VFORK;
  if (thread->call.number == __NR_vfork) return request;
  request.flags = arg(thread, 0);
  request.stack = arg(thread, 1);
  request.parent_tid = reachable(arg(thread, 2), 4);
  request.child_tid = reachable(arg(thread, 3), 4);
  request.tls = arg(thread, 4);
  return request;
}

int64_t make_fork(const Thread* thread, const CloneRequest& request) {
  if (thread->call.number == __NR_fork) return pass(thread);
  if (!request.args)
    return sys(__NR_clone, request.flags, 0, request.parent_tid, request.child_tid, request.tls);
  request.args->stack = request.args->stack_size = 0;  // the child comes out of this function
  return sys(__NR_clone3, request.args, request.args_bytes);
}

// The child starts on its signal stack, below the context that it will continue in: the frame of a
// signal that comes before that goes below both. On another stack the kernel would put it at the
// top of the signal stack, where the context is.
int64_t make_sharing(const CloneRequest& request, Thread* child) {
  const uint64_t stack = reinterpret_cast<uint64_t>(child->child_frame);
  if (!request.args)
    return shmrec_clone(request.flags, stack, request.parent_tid, request.child_tid, request.tls,
                        child);
  request.args->stack = stack - kPage;
  request.args->stack_size = kPage;
  return shmrec_clone3(request.args, request.args_bytes, child);
}

// What is sent to the child from its first moment on must not be taken for what waits for its
// parent, which it does not inherit: the needed signals are let in when that has been forgotten.
void block_needed(int how) {
  const uint64_t needed = kNeeded;
  sys(__NR_rt_sigprocmask, how, &needed, 0, kSetBytes);
}

// The child of a fork has this thread's copied stack, so it comes out of the same call.
void become_forked_child(Thread* thread, const CloneRequest& request) {
  Process* process = thread->process;
  regions_lock.reset();
  process->signal_lock.reset();
  patches_after_fork();
  sites_after_fork();
  pointers_after_fork();
  threads_after_fork(thread);
  processes_after_fork(process);
  pending_after_fork(thread);
  leave_after_fork(process);
  block_needed(kSigUnblock);
  process->lives_in_parent = process->many_threads = 0;
  thread->lane = thread->lane_missed = 0;
  thread->lane_entry = nullptr;
  thread->cursor = thread->chunk_end = thread->quick_end = nullptr;
  thread->chunk_kept = 0;
  thread->chunk_stamp = 0;
  thread->known_region.sequence = 1;  // it counts the parent's accesses
  thread->robust_head = 0;            // the kernel forgets it too
  seccomp_after_fork();
  if (request.clears_handlers) signals_clear(process);
  if (request.flags & CLONE_CHILD_CLEARTID) thread->clear_tid = request.child_tid;
  const uint32_t parent = process->index;
  const uint64_t forked_at = thread->call.event;
  process->index = 0;
  process->entry = &process->dummy;
  memset(&process->dummy, 0, sizeof process->dummy);
  process_enter(process, parent, StartKind::kFork);
  thread->call.event = next_event(thread);
  maps_after_fork(process);
  maps_list(process);
  thread_arm(thread);
  thread->regs.rax = 0;
  if (request.stack) thread->regs.rsp = request.stack;
  const bool sets_tid = request.flags & CLONE_CHILD_SETTID;
  stream_after_fork(thread, parent, forked_at, sets_tid ? request.child_tid : 0);
}

Answer fork_process(Thread* thread, const CloneRequest& request) {
  stream_fork_begins(thread);
  regions_lock.lock();
  patches_before_fork();
  sites_before_fork();
  block_needed(kSigBlock);
  const int64_t result = make_fork(thread, request);
  if (result != 0) {
    thread->process->forked_tsc = rdtsc();
    block_needed(kSigUnblock);
    sites_after_fork();
    patches_after_fork();
    regions_lock.unlock();
    return done(thread, result);
  }
  become_forked_child(thread, request);
  return Answer::kDone;
}

Process* process_for_child(Thread* thread, const CloneRequest& request) {
  if (request.flags & CLONE_THREAD) {
    store(&thread->process->many_threads, 1u);
    return thread->process;
  }
  Process* process = process_allocate();
  if (!process) return nullptr;
  memcpy(process->actions, thread->process->actions, sizeof process->actions);
  process->parent_index = thread->process->index;
  process->lives_in_parent = 1;
  return process;
}

// For exec's strings and vectors, where they lie in traced memory.
constexpr uint64_t kExecCopyBytes = 8 << 20;

void free_exec_copies(Thread* thread) {
  if (thread->exec_copies) sys(__NR_munmap, thread->exec_copies, kExecCopyBytes);
  thread->exec_copies = 0;
}

// A thread, or a process that shares this memory (vfork): starts on a block of its own.
Answer clone_sharing(Thread* thread, Context* context, const CloneRequest& request) {
  Thread* child = thread_allocate();
  if (!child) return done(thread, -EAGAIN);
  child->process = process_for_child(thread, request);
  if (!child->process) {
    thread_release(child);
    return done(thread, -EAGAIN);
  }
  child->virtual_mask = thread->virtual_mask;
  gs_set(child, thread->program_gs);
  seccomp_inherit(child, thread);
  if (child->process != thread->process) child->process->clears_handlers = request.clears_handlers;
  child->shown_fault = thread->shown_fault;
  child->forbids_counter = thread->forbids_counter;
  child->forbids_cpuid = thread->forbids_cpuid;
  if (request.flags & CLONE_VFORK)
    memcpy(&child->altstack, &thread->altstack, sizeof child->altstack);
  if (request.flags & CLONE_CHILD_CLEARTID) child->clear_tid = request.child_tid;
  Context* frame = context_for_child(*context, child->altstack_top);
  frame->regs = thread->regs;
  frame->regs.rax = 0;
  if (request.stack) frame->regs.rsp = request.stack;
  // The kernel sets the alternate stack from the context it returns to.
  frame->stack.sp = thread_signal_stack(child);
  frame->stack.flags = 0;
  frame->stack.size = child->altstack_top - frame->stack.sp;
  child->child_frame = frame;
  child->outer = frame;  // what is sent to it waits until it begins
  child->regs = frame->regs;
  child->exit_ip = frame->regs.rip;
  void* seccomp = seccomp_save();
  const bool is_thread = request.flags & CLONE_THREAD;
  const bool waits = (request.flags & CLONE_VFORK) && !is_thread;
  const uint64_t fs_base = request.flags & CLONE_SETTLS ? request.tls : read_fs_base();
  child->turn = is_thread ? Turn::kNone : Turn::kOfParent;
  if (waits) stream_child_begins(thread, frame->regs, fs_base);
  if (is_thread) stream_thread_begins(thread, frame->regs, fs_base);
  const int64_t result = make_sharing(request, child);
  if (waits) stream_child_ends(thread);
  if (request.flags & CLONE_VFORK) free_exec_copies(child);
  const bool separate = !is_thread;
  if (separate && (request.flags & CLONE_VFORK)) seccomp_restore(seccomp);
  if (failed(result) || (request.flags & CLONE_VFORK)) {
    if (separate) process_release(child->process);
    thread_release(child);
  }
  return done(thread, result);
}

}  // namespace

extern "C" void shmrec_clone_child(Thread* thread) {
  if (!thread->process->pid) thread->process->pid = static_cast<int32_t>(sys(__NR_getpid));
  thread_arm(thread);
  if (thread->process->clears_handlers) signals_clear(thread->process);
  if (leaving(thread->process))
    leave_when_called(thread, static_cast<Context*>(thread->child_frame));
  else if (thread->turn != Turn::kOfParent)
    stream_thread_runs(thread, static_cast<Context*>(thread->child_frame)->regs);
  shmrec_begin_at(thread->child_frame);
}

namespace {

Answer make(Thread* thread, void* raw, const CloneRequest& request) {
  const bool shares_memory = request.flags & CLONE_VM, shares_files = request.flags & CLONE_FILES;
  const bool is_thread = request.flags & CLONE_THREAD;
  if ((shares_files && !shares_memory) || (is_thread && !shares_files)) plain_descriptors_end();
  return request.flags & CLONE_VM ? clone_sharing(thread, static_cast<Context*>(raw), request)
                                  : fork_process(thread, request);
}

// What a program built against newer headers says beyond what is known here has to be zero.
int64_t check_rest(Thread* thread, uint64_t address, uint64_t bytes) {
  Fault fault;
  for (uint8_t byte; bytes; ++address, --bytes) {
    if (!traced_read(thread, call_origin(thread), &byte, address, 1, &fault)) return -EFAULT;
    if (byte) return -E2BIG;
  }
  return 0;
}

// Reads the structure as the kernel does. 0 or -errno.
int64_t read_clone_args(Thread* thread, clone_args* args) {
  const uint64_t address = arg(thread, 0), bytes = arg(thread, 1);
  if (bytes > kPage) return -E2BIG;
  if (bytes < CLONE_ARGS_SIZE_VER0) return -EINVAL;
  const uint64_t known = min<uint64_t>(bytes, sizeof *args);
  if (const int64_t error = check_rest(thread, address + known, bytes - known)) return error;
  memset(args, 0, sizeof *args);
  Fault fault;
  return traced_read(thread, call_origin(thread), args, address, known, &fault) ? 0 : -EFAULT;
}

// The PIDs that the child is to have, which may be in traced memory. How many there may be, and
// whether there is a pointer where there is a number, is the kernel's to say.
int64_t take_set_tid(Thread* thread, clone_args* args) {
  constexpr uint64_t kMost = 32;  // MAX_PID_NS_LEVEL
  static_assert(kMost * sizeof(int32_t) <= sizeof(PendingSyscall::scratch));
  if (!args->set_tid || !args->set_tid_size || args->set_tid_size > kMost) return 0;
  Fault fault;
  if (!traced_read(thread, call_origin(thread), thread->call.scratch, args->set_tid,
                   args->set_tid_size * sizeof(int32_t), &fault))
    return -EFAULT;
  args->set_tid = reinterpret_cast<uint64_t>(thread->call.scratch);
  return 0;
}

}  // namespace

Answer do_clone(Thread* thread, void* raw) { return make(thread, raw, request_of(thread)); }

// The kernel judges the arguments, but for those that it does not get to see.
Answer do_clone3(Thread* thread, void* raw) {
  clone_args args;
  if (const int64_t error = read_clone_args(thread, &args)) return done(thread, error);
  const bool clears = args.flags & CLONE_CLEAR_SIGHAND;
  if ((clears && (args.flags & CLONE_SIGHAND)) || !args.stack != !args.stack_size)
    return done(thread, -EINVAL);
  if (const int64_t error = take_set_tid(thread, &args)) return done(thread, error);
  args.flags &= ~uint64_t{CLONE_CLEAR_SIGHAND};
  args.pidfd = reachable(args.pidfd, sizeof(int32_t));
  args.parent_tid = reachable(args.parent_tid, sizeof(int32_t));
  args.child_tid = reachable(args.child_tid, sizeof(int32_t));
  CloneRequest request = {};
  request.flags = args.flags;
  request.stack = args.stack + args.stack_size;
  request.child_tid = args.child_tid;
  request.tls = args.tls;
  request.args = &args;
  request.args_bytes = min<uint64_t>(arg(thread, 1), sizeof args);
  request.clears_handlers = clears;
  return make(thread, raw, request);
}

// ---- exec ---------------------------------------------------------------------------------------

namespace {

// Copies of exec's strings and vectors, for those that lie in traced memory.
struct ExecCopies {
  Thread* thread;
  uint8_t* at = nullptr;
  uint8_t* end = nullptr;

  bool open() {
    const int64_t map = sys(__NR_mmap, 0, kExecCopyBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (failed(map)) return false;
    thread->exec_copies = static_cast<uint64_t>(map);
    at = reinterpret_cast<uint8_t*>(map);
    end = at + kExecCopyBytes;
    return true;
  }
};

bool copy_string(Thread* thread, ExecCopies& copies, uint64_t* pointer) {
  if (!*pointer || !region_overlaps(*pointer, 1)) return true;
  const Origin origin = call_origin(thread);
  const uint64_t copy = reinterpret_cast<uint64_t>(copies.at);
  Fault fault;
  for (uint64_t from = *pointer; copies.at < copies.end; ++from) {
    if (!traced_read(thread, origin, copies.at, from, 1, &fault)) return false;
    if (!*copies.at++) break;
  }
  *pointer = copy;
  return true;
}

bool copy_vector(Thread* thread, ExecCopies& copies, uint64_t* vector) {
  if (!*vector) return true;
  const Origin origin = call_origin(thread);
  uint64_t count = 0;
  Fault fault;
  copies.at = reinterpret_cast<uint8_t*>((reinterpret_cast<uint64_t>(copies.at) + 7) & ~7ull);
  uint64_t* out = reinterpret_cast<uint64_t*>(copies.at);
  for (uint64_t value = 1; value; ++count) {
    if (copies.at + 8 > copies.end) return false;
    if (!traced_read(thread, origin, &value, *vector + count * 8, 8, &fault)) return false;
    out[count] = value;
    copies.at += 8;
  }
  for (uint64_t i = 0; i + 1 < count; ++i)
    if (!copy_string(thread, copies, &out[i])) return false;
  *vector = reinterpret_cast<uint64_t>(out);
  return true;
}

// The new image inherits the program's mask, not this handler's. -EINTR: a signal has to be handled
// first (the kernel has no such error for execve; it comes from the wait for the launcher).
int64_t exec_with_program_mask(Thread* thread, const Context* context, uint64_t* args) {
  if (!signals_before_exec(thread, context)) return -EINTR;
  args[5] = seccomp_exec_argument(thread);
  int64_t result = shmrec_exec(args, thread->call.number);
  if (result == -ENOSYS) {
    coverage(thread->process, "a program executed after the launcher's death is not recorded",
             DegradedReason::kLauncherGone);
    args[5] = kExecUnrecorded;
    result = shmrec_exec(args, thread->call.number);
  }
  signals_after_failed_exec(thread);
  return result;
}

}  // namespace

Answer do_exec(Thread* thread, void* raw) {
  const bool at_form = thread->call.number == __NR_execveat;
  uint64_t a[6];
  memcpy(a, thread->call.args, sizeof a);
  uint64_t* path = &a[at_form ? 1 : 0];
  ExecCopies copies = {thread};
  if (!regions_empty() && copies.open() &&
      !(copy_string(thread, copies, path) && copy_vector(thread, copies, path + 1) &&
        copy_vector(thread, copies, path + 2))) {
    free_exec_copies(thread);
    return done(thread, -EFAULT);
  }
  // The launcher attaches to put the agent into the new image; a process that changed its user may
  // not be attached to until its exec, which resets this anyway.
  const int64_t dumpable = sys(__NR_prctl, PR_GET_DUMPABLE);
  if (dumpable != 1) sys(__NR_prctl, PR_SET_DUMPABLE, 1);
  lane_release(thread);
  {
    const TablesLock lock(thread->process);  // from here on no tracer's agent calls (tracer.h)
    process_ends(thread->process, 0, true);
  }
  Context* context = static_cast<Context*>(raw);
  stream_exec(thread);
  reads_left(thread);  // else the new image's first reads would fault, before its agent comes
  const int64_t result = exec_with_program_mask(thread, context, a);
  if (streaming()) let_reads_trap(thread, true);
  store(&thread->process->entry->exit_known, 0u);
  if (dumpable != 1) sys(__NR_prctl, PR_SET_DUMPABLE, dumpable);
  free_exec_copies(thread);
  if (result != -EINTR) return done(thread, result);
  context->regs.rip = thread->call.pc;  // once more, after the handler
  return Answer::kResume;
}

// ---- exit ---------------------------------------------------------------------------------------

namespace {

// The kernel clears the tid word of an ending thread and wakes who waits for it; in traced memory
// it cannot.
void clear_tid(Thread* thread) {
  const uint64_t alias = thread->clear_tid ? alias_of(thread->clear_tid, 4) : 0;
  if (!alias) return;
  const Origin origin = call_origin(thread);
  const uint32_t zero = 0;
  Fault fault;
  if (threads_of(thread->process) < 2) return;
  traced_write(thread, origin, thread->clear_tid, &zero, 4, &fault);
  sys(__NR_futex, alias, 1 /* FUTEX_WAKE */, 1);
}

}  // namespace

Answer do_exit(Thread* thread, void* context) {
  const bool group = thread->call.number == __NR_exit_group || threads_of(thread->process) <= 1;
  if (group) core_before_exit(thread, *static_cast<const Context*>(context), arg(thread, 0));
  robust_walk_at_exit(thread);
  if (thread->call.number == __NR_exit) clear_tid(thread);
  lane_release(thread);
  if (group) {
    pointers_at_end(thread->process);
    process_ends(thread->process, static_cast<int>((arg(thread, 0) & 0xFF) << 8), false);
  }
  return Answer::kNative;
}

// ---- Calls of libshmrec and odds ----------------------------------------------------------------

namespace {

int64_t call_mark(Thread* thread) {
  char name[256] = {};
  const uint64_t bytes = arg(thread, 4);
  if (!bytes || bytes >= sizeof name) return -EINVAL;
  if (!safe_copy(name, reinterpret_cast<void*>(arg(thread, 3)), bytes)) return -EFAULT;
  JournalValues values;
  values.a = thread->call.event;
  values.text = name;
  journal(thread->process, JournalType::kMark, values);
  return 0;
}

int64_t call_id(Thread* thread) {
  const ProcessEntry& entry = *thread->process->entry;
  char text[14];
  for (int i = 0; i < 8; ++i) text[i] = "0123456789abcdef"[entry.id_high >> (28 - 4 * i) & 15];
  text[8] = '-';
  for (int i = 0; i < 4; ++i) text[9 + i] = "0123456789abcdef"[entry.id_low >> (12 - 4 * i) & 15];
  text[13] = 0;
  return safe_copy(reinterpret_cast<void*>(arg(thread, 3)), text, sizeof text) ? 0 : -EFAULT;
}

int64_t call_stop(Thread* thread) {
  lane_release(thread);
  stop_tracing(thread->process, DegradedReason::kStopped, "stopped by shmrec_stop");
  process_ends(thread->process, 0, false);
  store(&thread->process->entry->exit_known, 0u);
  // The threads that it makes from now on are not seen: they would have its Thread by the gs base.
  patches_end();
  thread_disarm(thread);
  return 0;
}

}  // namespace

Answer do_fcntl(Thread* thread, void* context) {
  const bool ours = static_cast<int32_t>(arg(thread, 0)) == -1 &&
                    static_cast<uint32_t>(arg(thread, 1)) == kCallCommand;
  if (!ours) return kernel_access(thread, context);
  switch (arg(thread, 2)) {
    case kCallIsRecording:
      return done(thread, thread->process->entry->degraded ? 0 : 1);
    case kCallMark:
      return done(thread, call_mark(thread));
    case kCallStop:
      return done(thread, call_stop(thread));
    case kCallRecordingId:
      return done(thread, call_id(thread));
    default:
      return done(thread, -EINVAL);
  }
}

// The kernel answers for the register, which is the agent's here.
Answer do_arch_prctl(Thread* thread, void* context) {
  constexpr uint64_t kSetGs = 0x1001, kGetGs = 0x1004;
  if (arg(thread, 0) == kGetGs) {
    Fault fault;
    const bool told = traced_write(thread, call_origin(thread), arg(thread, 1), &thread->program_gs,
                                   sizeof thread->program_gs, &fault);
    return done(thread, told ? 0 : -EFAULT);
  }
  if (cpuid_trapped() && arg(thread, 0) == ARCH_SET_CPUID)
    return done(thread, cpuid_set(thread, arg(thread, 1)));
  if (cpuid_trapped() && arg(thread, 0) == ARCH_GET_CPUID)
    return done(thread, cpuid_allowed(thread));
  if (arg(thread, 0) != kSetGs) return kernel_access(thread, context);
  const int64_t result = pass(thread);  // it clears the selector, too
  if (!failed(result)) gs_set(thread, read_gs_base());
  write_gs_base(reinterpret_cast<uint64_t>(thread));
  return done(thread, result);
}

// The main thread's name is the process's, and the recording's. A name in traced memory is left to
// kernel_access, which logs the kernel's reading of it; the recording then keeps its old name.
Answer set_name(Thread* thread, void* context) {
  char name[16];
  if (thread->tid != thread->process->pid || !safe_string(name, arg(thread, 1), sizeof name)) {
    return kernel_access(thread, context);
  }
  const int64_t result = sys(__NR_prctl, PR_SET_NAME, name);
  if (!failed(result)) process_renamed(thread->process);
  return done(thread, result);
}

Answer do_prctl(Thread* thread, void* context) {
  // A recording goes by the name of its process, as ps shows it.
  if (arg(thread, 0) == PR_SET_NAME && thread->tid == thread->process->pid) {
    char name[16] = {};
    if (safe_string(name, arg(thread, 1), sizeof name))
      memcpy(thread->process->entry->name, name, sizeof name);
  }
  if (arg(thread, 0) == PR_SET_SYSCALL_USER_DISPATCH) return done(thread, -EINVAL);
  if (arg(thread, 0) == PR_SET_NAME) return set_name(thread, context);
  if (arg(thread, 0) == PR_SET_SECCOMP) return set_seccomp(thread, context);
  if (arg(thread, 0) == PR_GET_SECCOMP) return get_seccomp(thread);
  if (reads_trapped() && arg(thread, 0) == PR_SET_TSC)
    return done(thread, counter_set(thread, arg(thread, 1)));
  if (reads_trapped() && arg(thread, 0) == PR_GET_TSC) {
    const uint32_t state = counter_state(thread);
    Fault fault;
    const bool told =
        traced_write(thread, call_origin(thread), arg(thread, 1), &state, sizeof state, &fault);
    return done(thread, told ? 0 : -EFAULT);
  }
  if (arg(thread, 0) == PR_SET_TSC && arg(thread, 1) == PR_TSC_SIGSEGV)
    forbid_counter(log_header().tsc_hz);
  return kernel_access(thread, context);
}

// The kernel writes to a thread's area whenever it moves the thread, and says so to nobody. What
// becomes of a sequence that the agent interrupts: faults.cc.
Answer do_rseq(Thread* thread, void*) {
  if (streaming()) return done(thread, -ENOSYS);  // nobody could say what it writes when
  Region region;
  if (!arg(thread, 2) && region_find(arg(thread, 0), &region))
    stop_tracing_range(thread->process, region.begin, region.end,
                       shmlog::DegradedReason::kInstruction,
                       "the kernel writes to a thread's area (rseq) in this process's shared "
                       "memory: the mapping is not traced from here on");
  const int64_t result = pass(thread);
  if (!failed(result)) thread->rseq_signature = static_cast<uint32_t>(arg(thread, 3));
  return done(thread, result);
}

Answer do_set_robust_list(Thread* thread, void*) {
  const int64_t result = sys(__NR_set_robust_list, arg(thread, 0), arg(thread, 1));
  if (!failed(result)) {
    thread->robust_head = arg(thread, 0);
    thread->robust_bytes = arg(thread, 1);
  }
  return done(thread, result);
}

// Orphans are adopted by the launcher; alone init does that.
Answer do_getppid(Thread* thread, void*) {
  constexpr int64_t kInit = 1;
  const BootInfo& boot = shmrec_boot_info;
  const int64_t parent = pass(thread);
  const bool adopted = parent && parent == boot.launcher_pid &&
                       thread->process->pid != boot.command_pid &&
                       pid_namespace() == boot.launcher_namespace;
  return done(thread, adopted ? kInit : parent);
}

Answer do_set_tid_address(Thread* thread, void*) {
  thread->clear_tid = arg(thread, 0);
  return done(thread, sys(__NR_set_tid_address, reachable(arg(thread, 0), 4)));
}

}  // namespace shmrec::agent
