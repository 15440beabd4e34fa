#include "agent/kernel/seccomp.h"

#include <asm/prctl.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "agent/agent_abi.h"
#include "agent/image_layout.h"
#include "agent/kernel/bpf.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/robust.h"
#include "agent/log/log.h"
#include "agent/process/leave.h"
#include "agent/process/stop.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/processor_reads.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {
namespace {

struct Filter {   // at the start of a mapping
  Filter* older;  // of the process
  Filter* below;  // of the thread: what judged it before, and still does
  uint32_t count;
  BpfInstruction program[];
};

struct Program {  // struct sock_fprog
  uint16_t count;
  uint64_t instructions;
};

SpinLock filters_lock;
// The newest. Not the kernel's order, which takes the strictest verdict of all.
Filter* filters = nullptr;
// One that is being given to all threads: the kernel may apply it to any of them already.
Filter* spreading = nullptr;

constexpr int kKilled = 9;  // SIGKILL

// ---- Judging ------------------------------------------------------------------------------------

struct Call {
  uint16_t number;
  uint64_t args[6];
};

SeccompData as_the_kernel_sees(uint64_t number, const uint64_t* args) {
  SeccompData call = {static_cast<int32_t>(number), kBpfX86_64, shmrec_image_layout.text_begin, {}};
  memcpy(call.args, args, sizeof call.args);
  return call;
}

uint32_t verdict(const Filter* filter, const SeccompData& call) {
  return bpf_run(filter->program, filter->count, call) & SECCOMP_RET_ACTION_FULL;
}

bool refuses(const Filter* filter, const SeccompData& call) {
  const uint32_t action = verdict(filter, call);
  return action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG;
}

bool kills(const Filter* filter, const SeccompData& call) {
  const uint32_t action = verdict(filter, call);
  return action == SECCOMP_RET_KILL_PROCESS || action == SECCOMP_RET_KILL_THREAD;
}

const Filter* newest_of(const Thread* thread) {
  return static_cast<const Filter*>(load(&thread->filters));
}

// Whether a filter that judges this thread gives such a verdict.
bool judged(const Thread* thread, bool (*so)(const Filter*, const SeccompData&),
            const SeccompData& call) {
  const Filter* arriving = load(&spreading);
  if (arriving && so(arriving, call)) return true;
  for (const Filter* filter = newest_of(thread); filter; filter = filter->below)
    if (so(filter, call)) return true;
  return false;
}

bool any_refuses(const Filter* newest, uint64_t number, const uint64_t* args) {
  const SeccompData call = as_the_kernel_sees(number, args);
  for (const Filter* filter = newest; filter; filter = filter->older)
    if (refuses(filter, call)) return true;
  return false;
}
bool any_refuses(const Filter* newest, const Call& call) {
  return any_refuses(newest, call.number, call.args);
}
template <size_t N>
bool all_refused(const Filter* newest, const Call (&calls)[N]) {
  for (const Call& call : calls)
    if (!any_refuses(newest, call)) return false;
  return true;
}

constexpr uint64_t kSomewhere = kBases[0];  // for a pointer: filters can only compare it with 0
constexpr uint64_t kNoFile = ~0ull;
constexpr uint64_t kReadWrite = PROT_READ | PROT_WRITE;
constexpr uint64_t kOwnMemory = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
constexpr uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                                  CLONE_CHILD_CLEARTID;
constexpr uint64_t kSigchld = 17;
constexpr uint64_t kForkFlags = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | kSigchld;
constexpr uint64_t kVforkFlags = CLONE_VM | CLONE_VFORK | kSigchld;

// What the program may still do decides what the agent still needs.
constexpr Call kMakeProcesses[] = {
    {__NR_fork, {}},
    {__NR_vfork, {}},
    {__NR_clone, {kSigchld}},
    {__NR_clone, {kForkFlags, 0, kSomewhere, kSomewhere}},
    {__NR_clone, {kThreadFlags, kSomewhere, kSomewhere, kSomewhere, kSomewhere}},
    {__NR_clone3, {kSomewhere, 88}},
};
constexpr Call kExecute[] = {
    {__NR_execve, {kSomewhere, kSomewhere, kSomewhere}},
    {__NR_execveat, {3, kSomewhere, kSomewhere, kSomewhere}},
};
constexpr Call kMove[] = {{__NR_mremap, {kSomewhere, kPage, 2 * kPage, MREMAP_MAYMOVE}}};
constexpr Call kFilter[] = {
    {__NR_seccomp, {SECCOMP_SET_MODE_FILTER, 0, kSomewhere}},
    {__NR_seccomp, {SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, kSomewhere}},
    {__NR_prctl, {PR_SET_SECCOMP, SECCOMP_MODE_FILTER, kSomewhere}},
};
constexpr Call kVfork[] = {{__NR_vfork, {}}};

enum class Need : uint8_t {
  kAlways,
  kProcesses,  // where the program may make threads or processes
  kExec,       // where it may execute another image
  kMove,       // where it may move traced memory
  kVfork,      // where it may call vfork, which is made by clone
  kLeave,      // where more filters may come, before which the process would leave
  kStart,      // at the start of another image alone
};

struct NeededCall {
  Call call;
  Need need;
  const char* why;  // the recording ends without it
};
#define SHMREC_WITHOUT(call) "the program's seccomp filter refuses " call ", which recording needs"
constexpr NeededCall kNeededCalls[] = {
    {{__NR_rt_sigreturn, {}}, Need::kAlways, SHMREC_WITHOUT("rt_sigreturn")},
    {{__NR_prctl, {PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, kSomewhere, kPage}},
     Need::kProcesses,
     SHMREC_WITHOUT("prctl(PR_SET_SYSCALL_USER_DISPATCH) for new threads and processes")},
    {{__NR_gettid, {}}, Need::kProcesses, SHMREC_WITHOUT("gettid")},
    {{__NR_getpid, {}}, Need::kProcesses, SHMREC_WITHOUT("getpid")},
    {{__NR_sigaltstack, {kSomewhere}},
     Need::kProcesses,
     SHMREC_WITHOUT("sigaltstack for new threads and processes")},
    {{__NR_mmap, {kSomewhere, kThreadBlockBytes, kReadWrite, kOwnMemory, kNoFile}},
     Need::kProcesses,
     SHMREC_WITHOUT("mmap(MAP_FIXED_NOREPLACE) for new threads")},
    {{__NR_mremap, {kSomewhere, 0, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, kSomewhere}},
     Need::kProcesses,
     SHMREC_WITHOUT("mremap for new threads")},
    {{__NR_rt_sigprocmask, {2 /* SIG_SETMASK */, kSomewhere, 0, 8}},
     Need::kExec,
     SHMREC_WITHOUT("rt_sigprocmask before execve")},
    {{__NR_mprotect, {kSomewhere, kPage, PROT_NONE}},
     Need::kMove,
     SHMREC_WITHOUT("mprotect for memory that is moved")},
    {{__NR_clone, {kVforkFlags}}, Need::kVfork, SHMREC_WITHOUT("clone, but not vfork")},
    {{__NR_rt_sigaction, {11, kSomewhere, 0, 8}},
     Need::kLeave,
     SHMREC_WITHOUT("rt_sigaction where another filter may follow")},
    {{__NR_rt_sigprocmask, {0 /* SIG_BLOCK */, kSomewhere, 0, 8}},
     Need::kLeave,
     SHMREC_WITHOUT("rt_sigprocmask where another filter may follow")},
    {{__NR_prctl, {PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF}},
     Need::kLeave,
     SHMREC_WITHOUT("prctl(PR_SET_SYSCALL_USER_DISPATCH) where another filter may follow")},
    {{__NR_mprotect, {kSomewhere, kPage, kReadWrite}},
     Need::kLeave,
     SHMREC_WITHOUT("mprotect where another filter may follow")},
    {{__NR_sigaltstack, {kSomewhere}},
     Need::kLeave,
     SHMREC_WITHOUT("sigaltstack where another filter may follow")},
    {{__NR_rt_tgsigqueueinfo, {2, 2, 31, kSomewhere}},
     Need::kLeave,
     SHMREC_WITHOUT("rt_tgsigqueueinfo where another filter may follow")},
    {{__NR_rt_sigtimedwait, {kSomewhere, kSomewhere, kSomewhere, 8}},
     Need::kLeave,
     SHMREC_WITHOUT("rt_sigtimedwait where another filter may follow")},
    // A new image knows nothing of the filters, so they must let everything pass.
    {{__NR_fcntl, {kNoFile, kCallCommand, kCallHello}}, Need::kStart, nullptr},
    {{__NR_mmap, {kSomewhere, kPage, kReadWrite | PROT_EXEC, kOwnMemory, kNoFile}},
     Need::kStart,
     nullptr},
    {{__NR_mmap, {kSomewhere, kPage, kReadWrite, MAP_SHARED | MAP_FIXED_NOREPLACE, 3}},
     Need::kStart,
     nullptr},
    {{__NR_mprotect, {kSomewhere, kPage, PROT_READ | PROT_EXEC}}, Need::kStart, nullptr},
    {{__NR_munmap, {kSomewhere, kPage}}, Need::kStart, nullptr},
    {{__NR_madvise, {kSomewhere, kPage, MADV_RANDOM}}, Need::kStart, nullptr},
    {{__NR_madvise, {kSomewhere, kPage, MADV_DONTFORK}}, Need::kStart, nullptr},
    {{__NR_tgkill, {2, 2, 0}}, Need::kStart, nullptr},
    {{__NR_sched_yield, {}}, Need::kStart, nullptr},
    {{__NR_pidfd_open, {2, 0}}, Need::kStart, nullptr},
    {{__NR_poll, {kSomewhere, 1, 0}}, Need::kStart, nullptr},
    {{__NR_open, {kSomewhere, O_CLOEXEC}}, Need::kStart, nullptr},
    {{__NR_read, {3, kSomewhere, kPage}}, Need::kStart, nullptr},
    {{__NR_close, {3}}, Need::kStart, nullptr},
    {{__NR_readlink, {kSomewhere, kSomewhere, kPage}}, Need::kStart, nullptr},
    {{__NR_statx, {3, kSomewhere, AT_EMPTY_PATH, 0x901, kSomewhere}}, Need::kStart, nullptr},
    {{__NR_name_to_handle_at, {3, kSomewhere, kSomewhere, kSomewhere, AT_EMPTY_PATH}},
     Need::kStart,
     nullptr},
    {{__NR_getppid, {}}, Need::kStart, nullptr},
    {{__NR_prctl, {PR_SET_DUMPABLE, 1}}, Need::kStart, nullptr},
    {{__NR_prctl, {PR_GET_NAME, kSomewhere}}, Need::kStart, nullptr},
    {{__NR_arch_prctl, {ARCH_GET_CPUID}}, Need::kStart, nullptr},
};
#undef SHMREC_WITHOUT

// Why recording would end with this filter; null: it would not.
const char* what_ends_recording(const Filter* newest) {
  if (bpf_reads_instruction_pointer(newest->program, newest->count))
    return "the program's seccomp filter looks at where a call is made from, which is the agent";
  const bool needed[] = {
      true,
      !all_refused(newest, kMakeProcesses),
      !all_refused(newest, kExecute),
      !regions_empty() && !all_refused(newest, kMove),
      !all_refused(newest, kVfork),
      !all_refused(newest, kFilter),
      false,
  };
  for (const NeededCall& row : kNeededCalls)
    if (needed[static_cast<int>(row.need)] && any_refuses(newest, row.call)) return row.why;
  return nullptr;
}

bool start_is_refused(const Thread* thread) {
  for (const NeededCall& row : kNeededCalls)
    if (judged(thread, refuses, as_the_kernel_sees(row.call.number, row.call.args))) return true;
  return false;
}

// ---- Installing ---------------------------------------------------------------------------------

uint64_t filter_bytes(uint32_t count) {
  return page_up(sizeof(Filter) + count * sizeof(BpfInstruction));
}

// Each in a place of its own: the kernel takes a wish if it is free.
Filter* filter_allocate(uint32_t count) {
  static uint64_t used = 0;
  const uint64_t place = agent_base() + kFilterOffset + fetch_add(&used, filter_bytes(count));
  const int64_t at = sys(__NR_mmap, place, filter_bytes(count), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(at)) return nullptr;
  Filter* filter = reinterpret_cast<Filter*>(at);
  filter->count = count;
  return filter;
}

void filter_free(Filter* filter) { sys(__NR_munmap, filter, filter_bytes(filter->count)); }

// A copy of the program at `address`; null if it cannot be read, or is none that the kernel takes.
Filter* copy_filter(Thread* thread, uint64_t address) {
  Program from;
  Fault fault;
  if (!traced_read(thread, call_origin(thread), &from, address, sizeof from, &fault))
    return nullptr;
  if (!from.count || from.count > kBpfMaxInstructions) return nullptr;
  Filter* filter = filter_allocate(from.count);
  if (!filter) return nullptr;
  if (traced_read(thread, call_origin(thread), filter->program, from.instructions,
                  from.count * sizeof(BpfInstruction), &fault) &&
      bpf_valid(filter->program, filter->count))
    return filter;
  filter_free(filter);
  return nullptr;
}

// What the post step of an installation needs.
struct Installation {
  Program program;
  Filter* filter;
  bool gives_listener, for_all_threads;
};
static_assert(sizeof(Installation) <= sizeof(PendingSyscall::scratch));
Installation& installation_of(Thread* thread) {
  return *reinterpret_cast<Installation*>(thread->call.scratch);
}

void keep_filter(Thread* thread, Filter* filter, bool for_all_threads) {
  Locked lock(filters_lock);
  filter->older = filters;
  filter->below = static_cast<Filter*>(thread->filters);
  store(&filters, filter);
  store(&thread->filters, static_cast<void*>(filter));
  if (for_all_threads) store(&spreading, filter);
  filtered = true;
}

void forget_filter(Thread* thread, const Filter* filter) {
  Locked lock(filters_lock);
  store(&thread->filters, static_cast<void*>(filter->below));
  Filter** at = &filters;
  while (*at && *at != filter) at = &(*at)->older;
  if (*at) *at = filter->older;
}

void give(Thread* thread, void* filter) { store(&thread->filters, filter); }

// To those that are just being made, too: what they inherit is decided under the same lock.
void spread(const Process* process, Filter* filter) {
  Locked lock(filters_lock);
  for_each_claimed(process, give, filter);
}

void after_install(Thread* thread) {
  const Installation installation = installation_of(thread);
  const int64_t result = static_cast<int64_t>(thread->regs.rax);
  const bool installed = installation.gives_listener ? !failed(result) : result == 0;
  restore_arguments(thread);
  if (!installed) forget_filter(thread, installation.filter);
  if (installation.for_all_threads) {
    if (installed) spread(thread->process, installation.filter);
    store(&spreading, static_cast<Filter*>(nullptr));
  }
  if (!installed) filter_free(installation.filter);
}

// A filter of the launcher's is there, which has the one listener that there may be.
bool under_launcher() {
  return shmrec_boot_info.mode == static_cast<uint32_t>(BootMode::kInjected);
}

// Nobody else has set the mode that the kernel has: not the program, not what ran the launcher.
bool mode_is_launchers(const Thread* thread) {
  const BootInfo& boot = shmrec_boot_info;
  return under_launcher() && !boot.seccomp_alone && !boot.seccomp_inherited && !newest_of(thread);
}

// Without a way back from handlers nobody can make accesses for the process, whose memory others
// have too.
constexpr Call kReturn = {__NR_rt_sigreturn, {}};
void stop_for_all(const Thread* thread) {
  stop_tracing_range(thread->process, 0, ~0ull, shmlog::DegradedReason::kSeccomp,
                     "the seccomp filter of a process in this one's memory (vfork) refuses "
                     "rt_sigreturn: the memory is not traced from here on");
}

// The agent executes cpuid by turning it on and off again.
constexpr Call kLetCpuidPass = {__NR_arch_prctl, {ARCH_SET_CPUID, 1}};
constexpr Call kLetCpuidTrap = {__NR_arch_prctl, {ARCH_SET_CPUID, 0}};
bool refuses_cpuid(const Filter* newest) {
  return any_refuses(newest, kLetCpuidPass) || any_refuses(newest, kLetCpuidTrap);
}

// `argument`: which one points to the filter.
Answer install(Thread* thread, Context* context, int argument, uint64_t flags) {
  const bool listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;
  if (listener && under_launcher()) return Answer::kNative;  // EBUSY
  Filter* filter = copy_filter(thread, arg(thread, argument));
  if (!filter) return Answer::kNative;
  filter->older = load(&filters);
  if (const char* why = what_ends_recording(filter)) {
    if (thread->process->lives_in_parent && any_refuses(filter, kReturn)) stop_for_all(thread);
    filter_free(filter);
    return leave_before_call(thread, context, shmlog::DegradedReason::kSeccomp, why);
  }
  if (cpuid_trapped() && refuses_cpuid(filter)) leave_cpuid(thread);
  const bool for_all_threads = flags & SECCOMP_FILTER_FLAG_TSYNC;
  Installation& installation = installation_of(thread);
  installation = {
      {static_cast<uint16_t>(filter->count), reinterpret_cast<uint64_t>(filter->program)},
      filter,
      listener,
      for_all_threads};
  keep_filter(thread, filter, for_all_threads);
  set_arg(thread, argument, reinterpret_cast<uint64_t>(&installation.program));
  thread->call.post = after_install;
  return Answer::kPost;
}

// ---- Strict mode --------------------------------------------------------------------------------

constexpr BpfInstruction loads(uint32_t offset) { return {0x20, 0, 0, offset}; }
constexpr BpfInstruction returns(uint32_t value) { return {0x06, 0, 0, value}; }
// Goes on if the loaded word is `value`, else skips `skipped` instructions.
constexpr BpfInstruction if_equal(uint32_t value, uint8_t skipped) {
  return {0x15, 0, skipped, value};
}
constexpr uint32_t kNumberAt = 0, kArchitectureAt = 4, kArgumentAt = 16;

// What strict mode allows, and the death that it has for all else, which the agent has to send.
uint32_t strict_program(uint32_t pid, BpfInstruction* to) {
  const BpfInstruction program[] = {
      loads(kArchitectureAt),     if_equal(kBpfX86_64, 15),
      loads(kNumberAt),           if_equal(__NR_read, 1),
      returns(SECCOMP_RET_ALLOW), if_equal(__NR_write, 1),
      returns(SECCOMP_RET_ALLOW), if_equal(__NR_exit, 1),
      returns(SECCOMP_RET_ALLOW), if_equal(__NR_rt_sigreturn, 1),
      returns(SECCOMP_RET_ALLOW), if_equal(__NR_kill, 5),
      loads(kArgumentAt),         if_equal(pid, 3),
      loads(kArgumentAt + 8),     if_equal(kKilled, 1),
      returns(SECCOMP_RET_ALLOW), returns(SECCOMP_RET_KILL_PROCESS),
  };
  memcpy(to, program, sizeof program);
  return sizeof program / sizeof program[0];
}

// The kernel knows one mode, and the launcher's filter has settled it. The program is held to
// strict mode by a filter; what that cannot do, the death by SIGKILL, is the agent's.
Answer install_strict(Thread* thread) {
  if (!mode_is_launchers(thread)) return Answer::kNative;
  Filter* filter = filter_allocate(kPage / sizeof(BpfInstruction) / 2);
  if (!filter) return done(thread, -ENOMEM);
  filter->count = strict_program(static_cast<uint32_t>(thread->process->pid), filter->program);
  const Program program = {static_cast<uint16_t>(filter->count),
                           reinterpret_cast<uint64_t>(filter->program)};
  leave_cpuid(thread);
  const int64_t result = sys(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
  if (failed(result)) {
    filter_free(filter);
    return done(thread, result);
  }
  keep_filter(thread, filter, false);
  thread->strict = true;
  return done(thread, 0);
}

// ---- Refused calls ------------------------------------------------------------------------------

void dies(Thread* thread, uint64_t signal) {
  lane_release(thread);
  robust_walk_at_exit(thread);
  if (threads_of(thread->process) < 2)
    process_ends(thread->process, static_cast<int>(signal), false);
}

// Strict mode kills the thread, with the process's status if it was the last.
Answer die_strictly(Thread* thread) {
  dies(thread, kKilled);
  if (threads_of(thread->process) < 2) sys(__NR_kill, thread->process->pid, kKilled);
  thread->regs.rax = __NR_exit;
  return Answer::kNative;
}

}  // namespace

bool filtered = false;

bool lets_pass(int64_t number, const uint64_t* args) {
  return !any_refuses(load(&filters), static_cast<uint64_t>(number), args);
}

bool seccomp_refuses(Thread* thread, Answer* answer) {
  if (!filtered) return false;
  const SeccompData call = as_the_kernel_sees(thread->call.number, thread->call.args);
  if (!judged(thread, refuses, call)) return false;
  *answer = Answer::kNative;
  if (thread->strict)
    *answer = die_strictly(thread);
  else if (judged(thread, kills, call))
    dies(thread, kSigsys);
  return true;
}

uint64_t seccomp_exec_argument(const Thread* thread) {
  const bool inherited = shmrec_boot_info.seccomp_inherited;
  if (!newest_of(thread)) return inherited ? kExecFiltered : 0;
  if (!start_is_refused(thread)) return kExecFiltered;
  coverage(thread->process,
           "a program executed behind a seccomp filter that refuses what the agent needs "
           "is not recorded",
           shmlog::DegradedReason::kSeccomp);
  return kExecUnrecorded;
}

Answer do_seccomp(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  if (arg(thread, 0) == SECCOMP_SET_MODE_FILTER) return install(thread, context, 2, arg(thread, 1));
  if (arg(thread, 0) != SECCOMP_SET_MODE_STRICT) return kernel_access(thread, raw);
  return arg(thread, 1) || arg(thread, 2) ? Answer::kNative : install_strict(thread);
}

Answer set_seccomp(Thread* thread, void* raw) {
  if (arg(thread, 1) == SECCOMP_MODE_FILTER)
    return install(thread, static_cast<Context*>(raw), 2, 0);
  return arg(thread, 1) == SECCOMP_MODE_STRICT ? install_strict(thread) : Answer::kNative;
}

Answer get_seccomp(Thread* thread) {
  return mode_is_launchers(thread) ? done(thread, SECCOMP_MODE_DISABLED) : Answer::kNative;
}

void seccomp_inherit(Thread* child, const Thread* thread) {
  Locked lock(filters_lock);
  store(&child->filters, thread->filters);
  child->strict = thread->strict;
}

void* seccomp_save() { return filters; }

void seccomp_restore(void* saved) {
  store(&filters, static_cast<Filter*>(saved));
  filtered = filters != nullptr;
}

void seccomp_after_fork() {
  filters_lock.reset();
  spreading = nullptr;
}

}  // namespace shmrec::agent
