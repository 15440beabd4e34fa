#include "agent/process/tracer.h"

#include <linux/fcntl.h>
#include <linux/ptrace.h>
#include <linux/time_types.h>

#include "agent/agent_abi.h"
#include "agent/kernel/kernel_access.h"
#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "agent/process/leave.h"
#include "agent/signals/signal_sets.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// ---- What the kernel says of a task -------------------------------------------------------------

struct Task {
  int32_t tid = 0;
  int32_t pid = 0;      // of its process, in our PID namespace
  int32_t own_pid = 0;  // the same in its own
  int32_t tracer = 0;   // 0: none, or none that is seen from here
  char state = 0;
  bool has_agent = false;  // the handlers of one, at least
};

uint64_t number_at(const char* text, uint64_t base) {
  uint64_t value = 0;
  for (;; ++text) {
    const char c = *text;
    const uint64_t digit = c >= '0' && c <= '9'   ? static_cast<uint64_t>(c - '0')
                           : c >= 'a' && c <= 'f' ? static_cast<uint64_t>(c - 'a' + 10)
                                                  : base;
    if (digit >= base) return value;
    value = value * base + digit;
  }
}

// What follows `key` at the beginning of a line; null: there is no such line.
const char* field(const char* text, const char* key) {
  for (; *text; ++text) {
    size_t same = 0;
    while (key[same] && text[same] == key[same]) ++same;
    if (!key[same]) return text + same;
  }
  return nullptr;
}

// The last of the numbers in a line: the one of the innermost namespace.
const char* last_in_line(const char* text) {
  const char* last = text;
  for (; *text && *text != '\n'; ++text)
    if (*text == '\t') last = text + 1;
  return last;
}

bool look_up(int32_t tid, Task* task) {
  TextBuffer<32> path;
  path.add("/proc/").add_decimal(static_cast<uint64_t>(tid)).add("/status");
  const int64_t fd = sys(__NR_open, path.data, O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return false;
  char text[4096];
  const int64_t bytes = sys(__NR_read, fd, text, sizeof text - 1);
  sys(__NR_close, fd);
  text[bytes > 0 ? bytes : 0] = 0;
  const char* const state = field(text, "\nState:\t");
  const char* const pid = field(text, "\nTgid:\t");
  const char* const own_pid = field(text, "\nNStgid:\t");
  const char* const tracer = field(text, "\nTracerPid:\t");
  const char* const handled = field(text, "\nSigCgt:\t");
  if (!state || !pid || !tracer || !handled) return false;
  task->tid = tid;
  task->pid = static_cast<int32_t>(number_at(pid, 10));
  task->own_pid = own_pid ? static_cast<int32_t>(number_at(last_in_line(own_pid), 10)) : task->pid;
  task->tracer = static_cast<int32_t>(number_at(tracer, 10));
  task->state = *state;
  task->has_agent = (number_at(handled, 16) & kNeeded) == kNeeded;
  return true;
}

// ---- Whether the kernel would attach ------------------------------------------------------------

// Reads a byte that nobody has: the kernel asks for the same permission as for attaching before it
// looks for the byte.
int64_t probe_memory(int32_t pid) {
  uint8_t byte;
  const uint64_t here[2] = {reinterpret_cast<uint64_t>(&byte), 1}, there[2] = {0, 1};
  return sys(__NR_process_vm_readv, pid, here, 1, there, 1, 0);
}

// Where that call itself is refused, its answer says nothing.
bool may_attach(const Thread* thread, const Task& task) {
  return probe_memory(task.tid) != -EPERM || probe_memory(thread->process->pid) == -EPERM;
}

// The arguments of a PTRACE_SEIZE that is not refused for them. PTRACE_O_SUSPEND_SECCOMP always is,
// to a process that has a filter.
bool seizes(const Thread* thread) {
  constexpr uint64_t kOptions = 0xFF | PTRACE_O_EXITKILL;
  return !arg(thread, 2) && !(arg(thread, 3) & ~kOptions);
}

bool attaches(const Thread* thread) {
  return arg(thread, 0) == PTRACE_ATTACH || (arg(thread, 0) == PTRACE_SEIZE && seizes(thread));
}

bool ended(const Task& task) { return task.state == 'Z' || task.state == 'X'; }

// ---- Its recording ------------------------------------------------------------------------------

// The newest recording of the process; null: there is none.
const ProcessEntry* entry_of(const Task& task) {
  TextBuffer<32> link;
  link.add("/proc/").add_decimal(static_cast<uint64_t>(task.pid)).add("/ns/pid");
  const uint64_t found = namespace_inode(link.data), space = found ? found : pid_namespace();
  const Header& header = log_header();
  const uint32_t next = load(&header.next_process);
  for (uint32_t age = 1; age < header.processes.count && age < next; ++age) {
    const ProcessEntry* entry = process_entry(next - age);
    if (entry && entry->pid == task.own_pid && entry->pid_namespace == space) return entry;
  }
  return nullptr;
}

bool live(const ProcessEntry* entry) {
  return entry && load(&entry->state) == static_cast<uint32_t>(EntryState::kLive) &&
         load(&entry->exit_known) != 2;  // about to be another image
}

// Has the launcher put an agent into it?
bool has_image(const Task& task) {
  for (const uint64_t base : kBases) {
    uint8_t magic[4] = {};
    const uint64_t here[2] = {reinterpret_cast<uint64_t>(magic), sizeof magic},
                   there[2] = {base, sizeof magic};
    sys(__NR_process_vm_readv, task.tid, here, 1, there, 1, 0);
    if (memcmp(magic, __ehdr_start, sizeof magic) == 0) return true;
  }
  return false;
}

// Is a process on its way to be recorded: does it execute a program, or is it the child of a fork
// that has not said yet that it is there?
class Arrival {
 public:
  bool awaited(const ProcessEntry* entry, const Task& task) {
    if (live(entry) && (task.has_agent || load(&entry->degraded))) return false;
    const bool injected =
        task.tracer && static_cast<uint32_t>(task.tracer) == log_header().launcher_pid;
    if (injected) since_ = rdtsc();
    if (entry && load(&entry->exit_known) == 2) since_ = max(since_, entry->end_tsc);
    if (live(entry)) since_ = max(since_, entry->start_tsc);
    if (!entry && !since_ && has_image(task)) since_ = rdtsc();
    const bool has_left = entry && leaves_for(load(&entry->degraded)) && since_ <= entry->start_tsc;
    return !has_left && (task.has_agent || (since_ && rdtsc() - since_ < log_header().tsc_hz));
  }

 private:
  uint64_t since_ = 0;  // it was seen to execute
};

// ---- The call -----------------------------------------------------------------------------------

constexpr uint32_t kNapsPerCall = 200;

// False: it may not be called. One that leaves already need not be.
bool call(const Thread* thread, const ProcessEntry* entry, const Task& task) {
  const TablesLock lock(thread->process);
  if (!live(entry) || leaves_for(load(&entry->degraded))) return true;
  return call_to_leave(task.pid, task.tid);
}

class Patience {
 public:
  // Lets some time pass; false: there was enough. A thread that is itself called has none.
  bool left(const Thread* thread) {
    if (thread->deferred & kDeferredLeave || rdtsc() - since_ > 3 * log_header().tsc_hz)
      return false;
    const __kernel_timespec interval = {0, 100'000};
    sys(__NR_nanosleep, &interval, 0);
    return true;
  }

 private:
  const uint64_t since_ = rdtsc();
};

// Called until it has left: the kernel keeps one SIGSYS of several that are pending.
bool leaves_in_time(const Thread* thread, const ProcessEntry* entry, const Task& task,
                    Patience& patience) {
  for (uint32_t naps = 0; live(entry); ++naps) {
    if (naps % kNapsPerCall == 0 && !call(thread, entry, task)) return false;
    if (task.state == 'T' || !patience.left(thread)) return false;
  }
  return true;
}

// Takes the task's process out of the recording, if it is in it. False: it may still be.
bool let_go(const Thread* thread, int32_t tid) {
  Arrival arrival;
  for (Patience patience;;) {
    Task task;
    if (!look_up(tid, &task) || ended(task) || task.pid == thread->process->pid) return true;
    const ProcessEntry* entry = entry_of(task);
    if (arrival.awaited(entry, task)) {
      if (!may_attach(thread, task)) return true;
      if (!patience.left(thread)) return false;
      continue;
    }
    if (task.tracer || !live(entry) || !task.has_agent || !may_attach(thread, task)) return true;
    if (!leaves_in_time(thread, entry, task, patience)) return false;
  }
}

}  // namespace

bool is_traced() {
  Task self;
  return look_up(static_cast<int32_t>(sys(__NR_gettid)), &self) && self.tracer;
}

Answer do_ptrace(Thread* thread, void* raw) {
  Context* context = static_cast<Context*>(raw);
  if (arg(thread, 0) == PTRACE_TRACEME)
    return leave_before_call(thread, context, DegradedReason::kTraced, kTracedWhy);
  if (attaches(thread) && !let_go(thread, static_cast<int32_t>(arg(thread, 1)))) {
    if (thread->deferred & kDeferredLeave) {  // once more, when it has left itself
      back_to_call(thread, context);
      return Answer::kResume;
    }
    coverage(thread->process,
             "a debugger attached to a process that had not left the recording: it sees a SIGSYS "
             "of the recorder");
  }
  return kernel_access(thread, raw);
}

}  // namespace shmrec::agent
