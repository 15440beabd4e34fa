#include "agent/log/processes.h"

#include "agent/log/journal.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

void read_comm(char* name, size_t bytes) {
  char comm[16] = {};
  sys(__NR_prctl, 16 /* PR_GET_NAME */, comm);
  memset(name, 0, bytes);
  memcpy(name, comm, min(bytes, sizeof comm) - 1);
}

void random_id(ProcessEntry& entry) {
  struct {
    uint32_t high;
    uint16_t low;
  } id;
  if (sys(__NR_getrandom, &id, sizeof id, 1 /* GRND_NONBLOCK */) != sizeof id) {
    const uint64_t mixed = rdtsc() * 0x9E3779B97F4A7C15ull;
    id.high = static_cast<uint32_t>(mixed >> 32);
    id.low = static_cast<uint16_t>(mixed >> 16);
  }
  entry.id_high = id.high;
  entry.id_low = id.low;
}

}  // namespace

void process_executable(char* path, size_t bytes) {
  const int64_t size = sys(__NR_readlink, "/proc/self/exe", path, bytes - 1);
  path[failed(size) ? 0 : size] = 0;
}

void process_renamed(Process* process) {
  read_comm(process->entry->name, sizeof process->entry->name);
}

void process_enter(Process* process, uint32_t parent, StartKind kind) {
  Header& header = log_header();
  process->pid = static_cast<int32_t>(sys(__NR_getpid));
  if (kind != StartKind::kVfork) pid_namespace_refresh();  // its memory is its parent's
  const uint32_t index = load(&header.next_process) < header.processes.count
                             ? fetch_add(&header.next_process, 1u)
                             : header.processes.count;
  if (!index || index >= header.processes.count) {
    count_loss(Loss::kProcessesDropped);
    return;
  }
  ProcessEntry& entry = log_area<ProcessEntry>(header.processes)[index];
  entry.state = static_cast<uint32_t>(EntryState::kClaimed);
  random_id(entry);
  entry.pid = process->pid;
  entry.parent_pid = static_cast<int32_t>(sys(__NR_getppid));
  entry.pid_namespace = pid_namespace();
  entry.parent = parent;
  entry.start_kind = static_cast<uint32_t>(kind);
  entry.start_tsc = rdtsc();
  entry.agent_base = agent_base();
  entry.events = process->entry->events;  // a vfork child's own so far
  entry.accesses = 0;
  read_comm(entry.name, sizeof entry.name);
  process->index = index;
  process->entry = &entry;
  store(&entry.state, static_cast<uint32_t>(EntryState::kLive));
  char path[512];
  process_executable(path, sizeof path);
  JournalValues values;
  values.a = static_cast<uint64_t>(process->pid);
  values.b = parent;
  values.text = path;
  journal(process, JournalType::kProcessStart, values);
}

namespace {

// Is our image at `base` in that process too?
bool has_agent(int32_t pid, uint64_t base) {
  uint8_t ours[64], theirs[sizeof ours];  // the beginning of the image: an ELF header
  memcpy(ours, reinterpret_cast<void*>(agent_base()), sizeof ours);
  const uint64_t local[2] = {reinterpret_cast<uint64_t>(theirs), sizeof theirs};
  const uint64_t remote[2] = {base, sizeof theirs};
  return sys(__NR_process_vm_readv, pid, local, 1, remote, 1, 0) == sizeof theirs &&
         memcmp(ours, theirs, sizeof ours) == 0;
}

}  // namespace

uint32_t process_of(int32_t pid) {
  const Header& header = log_header();
  const ProcessEntry* entries = log_area<ProcessEntry>(header.processes);
  uint32_t found = 0;
  for (uint32_t i = min(load(&header.next_process), header.processes.count); i-- > 1;)
    if (entries[i].pid == pid && entries[i].pid_namespace == pid_namespace() &&
        load(&entries[i].state) >= static_cast<uint32_t>(EntryState::kLive) &&
        (!found || entries[i].start_tsc > entries[found].start_tsc))
      found = i;
  return found;
}

// A child that has just been forked has the agent, where its parent has it, before it has an entry.
uint64_t process_agent_base(int32_t pid) {
  const Header& header = log_header();
  const ProcessEntry* entries = log_area<ProcessEntry>(header.processes);
  for (uint32_t i = min(load(&header.next_process), header.processes.count); i-- > 1;)
    if (entries[i].pid == pid && entries[i].pid_namespace == pid_namespace() &&
        load(&entries[i].state) == static_cast<uint32_t>(EntryState::kLive))
      return entries[i].agent_base;
  return has_agent(pid, agent_base()) ? agent_base() : 0;
}

void process_ends(Process* process, int wait_status, bool replaced_by_exec) {
  ProcessEntry* entry = process->entry;
  entry->end_tsc = rdtsc();
  entry->exit_status = wait_status;
  store(&entry->exit_known, replaced_by_exec ? 2u : 1u);
  store(&entry->state, static_cast<uint32_t>(EntryState::kEnded));
  if (replaced_by_exec || !process->index) return;
  JournalValues values;
  values.a = static_cast<uint64_t>(wait_status);
  journal(process, JournalType::kProcessExit, values);
}

}  // namespace shmrec::agent
