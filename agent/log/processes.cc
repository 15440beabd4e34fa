#include "agent/log/processes.h"

#include "agent/log/journal.h"
#include "agent/log/lanes.h"
#include "agent/log/records.h"
#include "agent/log/tables.h"

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

// ---- The table ----------------------------------------------------------------------------------

namespace {

ProcessEntry& place_of(uint32_t number) {
  return entry_at<ProcessEntry>(log_header().processes, number);
}

// Whether the kernel has been asked about a process a moment ago: the tail of the journal meets
// many entries of one.
uint64_t found_living = 0;
uint64_t moment(uint32_t number) { return uint64_t{number} << 32 | (rdtsc() >> 20 & 0xFFFFFFFF); }

bool process_gone(const ProcessEntry& entry) {
  LaneEntry probe = {};
  probe.state = static_cast<uint32_t>(EntryState::kLive);
  probe.pid = probe.tid = load(&entry.pid);
  probe.pid_namespace = static_cast<uint32_t>(load(&entry.pid_namespace));
  return lane_dead(probe);
}

// The number of an entry that is free or not needed any more: the oldest, as numbers go round. One
// that is claimed was left by a claimer that died. REQUIRES: the tables are locked.
uint32_t claim_number() {
  Header& header = log_header();
  for (uint32_t tries = 1; tries < header.processes.count; ++tries) {
    const uint32_t number = load(&header.next_process);
    if (!compare_exchange(&header.next_process, number, number + 1) || !number) continue;
    ProcessEntry& entry = place_of(number);
    if (is_used(entry)) {
      if (ticket_in_log(load(&entry.last_ticket)) || process_living(entry)) continue;
      count_loss(Loss::kProcessesOverwritten);
    }
    store(&entry.state, static_cast<uint32_t>(EntryState::kClaimed));
    return number;
  }
  return 0;
}

void fill(ProcessEntry& entry, uint32_t number, const Process* process, uint32_t parent,
          StartKind kind) {
  const uint64_t events = process->entry->events;  // a vfork child's own so far
  memset(reinterpret_cast<uint8_t*>(&entry) + sizeof entry.state, 0,
         sizeof entry - sizeof entry.state);
  entry.number = number;
  random_id(entry);
  entry.pid = process->pid;
  entry.parent_pid = static_cast<int32_t>(sys(__NR_getppid));
  entry.pid_namespace = pid_namespace();
  entry.parent = parent;
  entry.start_kind = static_cast<uint32_t>(kind);
  entry.start_tsc = rdtsc();
  entry.agent_base = agent_base();
  entry.events = events;
  read_comm(entry.name, sizeof entry.name);
  store(&entry.state, static_cast<uint32_t>(EntryState::kLive));
}

}  // namespace

ProcessEntry* process_entry(uint32_t number) {
  return entry_of<ProcessEntry>(log_header().processes, number);
}

bool process_living(ProcessEntry& entry) {
  const uint32_t live = static_cast<uint32_t>(EntryState::kLive);
  if (load(&entry.state) != live) return false;
  const uint64_t now = moment(load(&entry.number));
  if (load(&found_living) == now) return true;
  if (process_gone(entry)) {
    compare_exchange(&entry.state, live, static_cast<uint32_t>(EntryState::kEnded));
    return false;
  }
  store(&found_living, now);
  return true;
}

void process_has_chunk(const Process* process, uint64_t ticket) {
  uint64_t* last = &process->entry->last_ticket;
  uint64_t before = load(last);
  while (before <= ticket && !compare_exchange(last, before, ticket + 1)) before = load(last);
}

void process_enter(Process* process, uint32_t parent, StartKind kind) {
  process->pid = static_cast<int32_t>(sys(__NR_getpid));
  if (kind != StartKind::kVfork) pid_namespace_refresh();  // its memory is its parent's
  static SearchPause pause;
  uint32_t number = 0;
  if (pause.over()) {
    const TablesLock lock(process);
    number = claim_number();
    if (number) {
      ProcessEntry& entry = place_of(number);
      fill(entry, number, process, parent, kind);
      process->index = number;
      process->entry = &entry;
    }
    if (!number) pause.begin();
  }
  if (!number) return count_loss(Loss::kProcessesDropped);
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
  return found ? load(&entries[found].number) : 0;
}

// A child that has just been forked has the agent, where its parent has it, before it has an entry.
uint64_t process_agent_base(int32_t pid) {
  const Header& header = log_header();
  const ProcessEntry* entries = log_area<ProcessEntry>(header.processes);
  for (uint32_t i = min(load(&header.next_process), header.processes.count); i-- > 1;)
    if (entries[i].pid == pid && entries[i].pid_namespace == pid_namespace() &&
        load(&entries[i].state) == static_cast<uint32_t>(EntryState::kLive) &&
        load(&entries[i].exit_known) != 2)
      return entries[i].agent_base;
  return has_agent(pid, agent_base()) ? agent_base() : 0;
}

void process_ends(Process* process, int wait_status, bool replaced_by_exec) {
  ProcessEntry* entry = process->entry;
  entry->end_tsc = rdtsc();
  entry->exit_status = wait_status;
  store(&entry->exit_known, replaced_by_exec ? 2u : 1u);
  // One that is replaced ends when the new image says so: the exec may fail.
  if (replaced_by_exec) return;
  store(&entry->state, static_cast<uint32_t>(EntryState::kEnded));
  if (!process->index) return;
  JournalValues values;
  values.a = static_cast<uint64_t>(wait_status);
  journal(process, JournalType::kProcessExit, values);
}

void process_replaced(const Process* process, uint32_t number) {
  ProcessEntry* entry = process_entry(number);
  if (entry && load(&entry->pid) == process->pid)
    store(&entry->state, static_cast<uint32_t>(EntryState::kEnded));
}

}  // namespace shmrec::agent
