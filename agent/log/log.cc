#include "agent/log/log.h"

#include <linux/mman.h>

#include <initializer_list>

#include "agent/access/stripes.h"
#include "agent/agent_abi.h"
#include "agent/memory/identity.h"
#include "policy/match.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kClockEvery = 64;  // records between two clock records

bool attached = false;
uint64_t own_pid_namespace = 0;
uint32_t own_launcher = 0;

uint8_t* file_base() { return reinterpret_cast<uint8_t*>(kLogBase); }

bool area_ok(const Area& area, uint64_t bytes, uint32_t entry_bytes) {
  return area.entry_bytes == entry_bytes && area.offset < bytes &&
         static_cast<uint64_t>(area.count) * entry_bytes <= bytes - area.offset;
}

// A child of fork may be in another namespace than its parent.
void find_pid_namespace() {
  if (const uint64_t found = namespace_inode("/proc/self/ns/pid")) own_pid_namespace = found;
}

}  // namespace

uint64_t pid_namespace() { return own_pid_namespace; }

LaneEntry& lane_at(uint32_t lane) { return log_area<LaneEntry>(log_header().lanes)[lane]; }

Header& log_header() { return *reinterpret_cast<Header*>(kLogBase); }

void count_loss(Loss loss, uint64_t by) {
  if (attached) fetch_add(&log_header().losses[static_cast<uint32_t>(loss)], by);
}

int64_t log_attach(int fd, uint64_t bytes, uint32_t launcher) {
  const int64_t at = sys(__NR_mmap, kLogBase, bytes, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  if (at != static_cast<int64_t>(kLogBase)) return failed(at) ? at : -17;
  const Header& header = log_header();
  const bool ok = memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.version == kVersion &&
                  header.file_bytes == bytes && area_ok(header.rules, bytes, sizeof(PolicyRule)) &&
                  area_ok(header.stripes, bytes, 8) &&
                  area_ok(header.processes, bytes, sizeof(ProcessEntry)) &&
                  area_ok(header.lanes, bytes, sizeof(LaneEntry)) &&
                  area_ok(header.segments, bytes, sizeof(SegmentEntry)) &&
                  area_ok(header.usage, bytes, sizeof(UsageEntry)) &&
                  area_ok(header.journal, bytes, kJournalUnitBytes) &&
                  area_ok(header.chunks, bytes, kChunkBytes) &&
                  (header.stripes.count & (header.stripes.count - 1)) == 0 && header.stripes.count;
  if (!ok) {
    sys(__NR_munmap, kLogBase, bytes);
    return -22;
  }
  attached = true;
  own_launcher = launcher;
  find_pid_namespace();
  return 0;
}

// ---- Lanes --------------------------------------------------------------------------------------

bool lane_dead(const LaneEntry& lane) {
  if (load(&lane.state) == static_cast<uint32_t>(EntryState::kEnded)) return true;
  if (load(&lane.launcher) == kLauncherGone) return true;
  // Its pid means nothing here; stripes.cc takes its stripes in time.
  if (load(&lane.pid_namespace) != own_pid_namespace) return false;
  const int32_t pid = load(&lane.pid), tid = load(&lane.tid);
  if (pid <= 0 || sys(__NR_tgkill, pid, tid, 0) == -ESRCH) return true;
  const int64_t pidfd = sys(__NR_pidfd_open, pid, 0);  // a zombie still takes signals
  if (failed(pidfd)) return pidfd == -ESRCH;
  struct {
    int32_t fd;
    int16_t events, revents;
  } poll = {static_cast<int32_t>(pidfd), 1, 0};
  const bool gone = sys(__NR_poll, &poll, 1, 0) == 1;
  sys(__NR_close, pidfd);
  return gone;
}

namespace {

bool claim_lane(uint32_t index, bool ended) {
  LaneEntry& lane = lane_at(index);
  const uint32_t from = static_cast<uint32_t>(ended ? EntryState::kEnded : EntryState::kFree);
  return compare_exchange(&lane.state, from, static_cast<uint32_t>(EntryState::kClaimed));
}

bool take_dead_lane(uint32_t index, bool with_robust) {
  LaneEntry& lane = lane_at(index);
  const uint32_t live = static_cast<uint32_t>(EntryState::kLive);
  const uint32_t robust = load(&lane.robust_count);
  if (load(&lane.state) != live || (robust && !with_robust) || !lane_dead(lane)) return false;
  if (!compare_exchange(&lane.state, live, static_cast<uint32_t>(EntryState::kClaimed)))
    return false;
  if (robust) fetch_add(&log_header().robust_held, 0u - min(robust, kRobustSlots));
  stripes_recover(index);
  return true;
}

uint32_t find_lane() {
  const Area& lanes = log_header().lanes;
  const uint32_t fresh = fetch_add(&log_header().next_lane, 1u);
  if (fresh && fresh < lanes.count && claim_lane(fresh, false)) return fresh;
  for (uint32_t i = 1; i < lanes.count; ++i)
    if (claim_lane(i, true)) return i;
  // What a dead thread's lane says of its robust mutexes is for their next owner: the last to be
  // reused.
  for (const bool with_robust : {false, true})
    for (uint32_t i = 1; i < lanes.count; ++i)
      if (take_dead_lane(i, with_robust)) return i;
  return 0;
}

}  // namespace

bool lane_take(Thread* thread) {
  // A vfork child becomes a recording only if it touches shared memory before its exec.
  Process* process = thread->process;
  if (!process->index) process_enter(process, process->parent_index, StartKind::kVfork);
  const uint32_t index = find_lane();
  if (!index) {
    count_loss(Loss::kLanesDropped);
    return false;
  }
  LaneEntry& lane = lane_at(index);
  memset(&lane.process, 0, sizeof lane - offsetof(LaneEntry, process));
  lane.process = thread->process->index;
  lane.pid = thread->process->pid;
  lane.tid = thread->tid;
  lane.pid_namespace = static_cast<uint32_t>(own_pid_namespace);
  lane.launcher = own_launcher;
  store(&lane.state, static_cast<uint32_t>(EntryState::kLive));
  thread->lane = index;
  thread->lane_entry = &lane;
  return true;
}

namespace {

// ---- Chunks -------------------------------------------------------------------------------------

ChunkHeader* chunk_at(uint32_t index) {
  return reinterpret_cast<ChunkHeader*>(file_base() + log_header().chunks.offset +
                                        static_cast<uint64_t>(index) * kChunkBytes);
}
constexpr uint32_t chunk_word(ChunkState state, uint32_t lane) {
  return static_cast<uint32_t>(state) | lane << 8;
}

uint32_t records_in(const uint8_t* chunk) {
  uint32_t records = 0;
  for (uint32_t at = sizeof(ChunkHeader); at + 8 <= kChunkBytes;) {
    const uint32_t commit = load(reinterpret_cast<const uint32_t*>(chunk + at));
    const uint32_t bytes = (commit & 0xFFFF) * 8;
    if (!bytes) break;
    if ((commit >> 16 & 0xFF) != static_cast<uint32_t>(RecordKind::kClock)) ++records;
    at += bytes;
  }
  return records;
}

// Claims the chunk at `index` for the lane if it is free, full, or its owner is dead.
bool chunk_claim(uint32_t index, uint32_t lane) {
  ChunkHeader* chunk = chunk_at(index);
  const uint32_t word = load(&chunk->state);
  const ChunkState state = static_cast<ChunkState>(word & 0xFF);
  if (state == ChunkState::kReady || state == ChunkState::kClaimed) {
    const uint32_t owner = word >> 8;
    if (owner && owner < log_header().lanes.count) {
      const LaneEntry& entry = lane_at(owner);
      const bool holds = load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) &&
                         load(&entry.chunk) == index + 1;
      if (holds && !lane_dead(entry)) return false;
      if (!holds && state == ChunkState::kClaimed &&
          load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) && !lane_dead(entry))
        return false;  // being prepared right now
    }
  }
  return compare_exchange(&chunk->state, word, chunk_word(ChunkState::kClaimed, lane));
}

void chunk_prepare(Thread* thread, uint32_t index, uint64_t ticket) {
  ChunkHeader* chunk = chunk_at(index);
  if (chunk->magic == kChunkMagic) {
    count_loss(Loss::kChunksOverwritten);
    count_loss(Loss::kRecordsOverwritten, records_in(reinterpret_cast<uint8_t*>(chunk)));
    chunk->magic = 0;
    compiler_fence();
    memset(chunk + 1, 0, kChunkBytes - sizeof(ChunkHeader));
  }
  chunk->ticket = ticket;
  chunk->process = thread->process->index;
  chunk->lane = thread->lane;
  chunk->pid = thread->process->pid;
  chunk->tid = thread->tid;
  chunk->start_tsc = rdtsc();
  store(&chunk->magic, kChunkMagic);
  thread->lane_entry->chunk = index + 1;
  store(&chunk->state, chunk_word(ChunkState::kReady, thread->lane));
  thread->cursor = reinterpret_cast<uint8_t*>(chunk + 1);
  thread->chunk_end = reinterpret_cast<uint8_t*>(chunk) + kChunkBytes;
}

void chunk_give_up(Thread* thread) {
  if (!thread->lane_entry || !thread->lane_entry->chunk) return;
  const uint32_t index = thread->lane_entry->chunk - 1;
  thread->lane_entry->chunk = 0;
  store(&chunk_at(index)->state, chunk_word(ChunkState::kFull, 0));
  thread->cursor = thread->chunk_end = nullptr;
}

bool chunk_take(Thread* thread) {
  if (!thread->lane && !lane_take(thread)) return false;
  chunk_give_up(thread);
  const uint32_t count = log_header().chunks.count;
  for (uint32_t tries = 0; tries < count; ++tries) {
    const uint64_t ticket = fetch_add(&log_header().next_ticket, uint64_t{1});
    const uint32_t index = static_cast<uint32_t>(ticket % count);
    if (!chunk_claim(index, thread->lane)) continue;
    chunk_prepare(thread, index, ticket);
    return true;
  }
  return false;
}

void clock_if_due(Thread* thread) {
  if (thread->since_clock++ < kClockEvery) return;
  if (thread->chunk_end - thread->cursor < static_cast<int64_t>(sizeof(ClockRecord)) + 8) return;
  ClockRecord* record = reinterpret_cast<ClockRecord*>(thread->cursor);
  record->tsc = rdtsc();
  store(&record->commit,
        commit_word(sizeof(ClockRecord), RecordKind::kClock, RecordState::kCommitted));
  thread->cursor += sizeof(ClockRecord);
  thread->since_clock = 0;
}

}  // namespace

uint8_t* record_reserve(Thread* thread, uint32_t bytes) {
  clock_if_due(thread);
  if (thread->chunk_end - thread->cursor >= static_cast<int64_t>(bytes) || chunk_take(thread))
    return thread->cursor;
  memset(thread->spare_record, 0, bytes);
  return thread->spare_record;
}

void record_begin(Thread* thread, uint8_t* record, uint32_t bytes, RecordKind kind) {
  if (record == thread->spare_record) return;
  store(reinterpret_cast<uint32_t*>(record), commit_word(bytes, kind, RecordState::kBegun));
  store(&thread->lane_entry->record, static_cast<uint64_t>(record - file_base()));
}

void record_commit(Thread* thread, uint8_t* record, uint32_t bytes, RecordKind kind,
                   RecordState state) {
  if (record == thread->spare_record) {
    count_loss(Loss::kRecordsDropped);
    return;
  }
  store(reinterpret_cast<uint32_t*>(record), commit_word(bytes, kind, state));
  thread->cursor = record + bytes;
  store(&thread->lane_entry->record, uint64_t{0});
  fetch_add(&thread->process->entry->accesses, uint64_t{1});
}

void record_abandon(uint8_t* record, uint32_t bytes) { memset(record, 0, bytes); }

void lane_release(Thread* thread) {
  if (!thread->lane) return;
  chunk_give_up(thread);
  const bool keep = thread->lane_entry->robust_count != 0;
  if (!keep) store(&thread->lane_entry->state, static_cast<uint32_t>(EntryState::kEnded));
  thread->lane = 0;
  thread->lane_entry = nullptr;
}

uint64_t next_event(Thread* thread) {
  return fetch_add(&thread->process->entry->events, uint64_t{1}) + 1;
}

// ---- Journal ------------------------------------------------------------------------------------

void journal(const Process* process, JournalType type, const JournalValues& values) {
  if (!attached) return;
  Header& header = log_header();
  const uint64_t text_bytes = values.text ? min<size_t>(strlen(values.text), 4000) : 0;
  const uint64_t units = 1 + (text_bytes + kJournalUnitBytes - 1) / kJournalUnitBytes;
  // The last quarter is kept for what the records cannot be understood without.
  const bool essential = type == JournalType::kProcessStart || type == JournalType::kModule ||
                         type == JournalType::kCoverage;
  const uint64_t limit = essential ? header.journal.count : header.journal.count / 4 * 3;
  if (load(&header.journal_units) + units > limit) return count_loss(Loss::kJournalDropped);
  const uint64_t unit = fetch_add(&header.journal_units, units);
  if (unit + units > header.journal.count) return count_loss(Loss::kJournalDropped);
  JournalEntry* entry = reinterpret_cast<JournalEntry*>(file_base() + header.journal.offset +
                                                        unit * kJournalUnitBytes);
  entry->units = static_cast<uint16_t>(units);
  entry->type = static_cast<uint16_t>(type);
  entry->process = process ? process->index : 0;
  entry->segment = values.segment;
  entry->tsc = rdtsc();
  entry->a = values.a;
  entry->b = values.b;
  entry->c = values.c;
  entry->d = values.d;
  entry->text_bytes = static_cast<uint32_t>(text_bytes);
  entry->event_low = process ? static_cast<uint32_t>(load(&process->entry->events)) : 0;
  if (text_bytes) memcpy(entry + 1, values.text, text_bytes);
  store(&entry->magic, kJournalMagic);
}

void coverage(const Process* process, const char* why, DegradedReason reason) {
  // One entry per text: the address of the literal identifies it.
  static const char* said[64];
  for (const char*& slot : said) {
    if (slot == why) return;
    if (slot) continue;
    slot = why;
    break;
  }
  JournalValues values;
  values.a = static_cast<uint64_t>(reason);
  values.text = why;
  journal(process, JournalType::kCoverage, values);
}

// ---- Processes ----------------------------------------------------------------------------------

namespace {

void read_comm(char* name, size_t bytes) {
  char comm[16] = {};
  sys(__NR_prctl, 16 /* PR_GET_NAME */, comm);
  memset(name, 0, bytes);
  memcpy(name, comm, min(bytes, sizeof comm) - 1);
}

void read_executable(char* path, size_t bytes) {
  const int64_t size = sys(__NR_readlink, "/proc/self/exe", path, bytes - 1);
  path[failed(size) ? 0 : size] = 0;
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

void process_renamed(Process* process) {
  read_comm(process->entry->name, sizeof process->entry->name);
}

void process_enter(Process* process, uint32_t parent, StartKind kind) {
  Header& header = log_header();
  process->pid = static_cast<int32_t>(sys(__NR_getpid));
  if (kind != StartKind::kVfork) find_pid_namespace();  // its memory is its parent's
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
  entry.pid_namespace = own_pid_namespace;
  entry.parent = parent;
  entry.start_kind = static_cast<uint32_t>(kind);
  entry.start_tsc = rdtsc();
  read_comm(entry.name, sizeof entry.name);
  process->index = index;
  process->entry = &entry;
  store(&entry.state, static_cast<uint32_t>(EntryState::kLive));
  char path[512];
  read_executable(path, sizeof path);
  JournalValues values;
  values.a = static_cast<uint64_t>(process->pid);
  values.b = parent;
  values.text = path;
  journal(process, JournalType::kProcessStart, values);
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

// ---- Segments -----------------------------------------------------------------------------------

namespace {

bool same_segment(const SegmentEntry& entry, const SegmentIdentity& identity) {
  return load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) &&
         entry.device == identity.device && entry.inode == identity.inode &&
         entry.generation == identity.generation &&
         entry.kind == static_cast<uint32_t>(identity.kind);
}

uint32_t find_segment(const SegmentIdentity& identity) {
  const Header& header = log_header();
  const SegmentEntry* entries = log_area<SegmentEntry>(header.segments);
  const uint32_t count = min(load(&header.next_segment), header.segments.count);
  for (uint32_t i = count; i-- > 1;)  // newest first
    if (same_segment(entries[i], identity)) return i;
  return 0;
}

void apply_policy(SegmentEntry& entry, const SegmentIdentity& identity) {
  const Header& header = log_header();
  const PolicyRule* rules = log_area<PolicyRule>(header.rules);
  char executable[512];
  read_executable(executable, sizeof executable);
  entry.mode = header.default_mode;
  entry.order = header.default_order;
  const SegmentQuestion question = {identity.kind,         identity.sysv_key, identity.name,
                                    strlen(identity.name), executable,        strlen(executable)};
  entry.rule = find_rule(rules, header.rules.count, question);
  if (!entry.rule) return;
  entry.mode = rules[entry.rule - 1].mode;
  entry.order = rules[entry.rule - 1].order;
}

// Whether the holder of the tables is dead. One of another namespace never is: its pid means
// nothing here.
bool table_holder_dead(uint32_t word) {
  const uint32_t pid = word & ((1u << kTableLockPidBits) - 1);
  if (word != table_lock_word(own_pid_namespace, pid)) return false;
  LaneEntry probe = {};
  probe.pid = probe.tid = static_cast<int32_t>(pid);
  probe.pid_namespace = static_cast<uint32_t>(own_pid_namespace);
  return lane_dead(probe);
}

// Held for the time of entering one segment. A dead holder is replaced, and one that does not move.
void tables_lock() {
  Header& header = log_header();
  const uint32_t self = table_lock_word(own_pid_namespace, static_cast<uint32_t>(sys(__NR_getpid)));
  for (uint32_t tries = 1; !compare_exchange(&header.table_lock, 0u, self); ++tries) {
    sys(__NR_sched_yield);
    const uint32_t holder = load(&header.table_lock);
    if (holder && tries % 64 == 0 && (table_holder_dead(holder) || tries > 100000))
      compare_exchange(&header.table_lock, holder, 0u);
  }
}

}  // namespace

uint32_t segment_enter(Process* process, const SegmentIdentity& identity, uint64_t extent_bytes) {
  (void)process;
  Header& header = log_header();
  tables_lock();
  uint32_t index = find_segment(identity);
  if (!index && header.next_segment < header.segments.count) {
    index = header.next_segment;
    SegmentEntry& entry = segment_entry(index);
    memset(&entry, 0, sizeof entry);
    entry.kind = static_cast<uint32_t>(identity.kind);
    entry.device = identity.device;
    entry.inode = identity.inode;
    entry.generation = identity.generation;
    entry.sysv_key = identity.sysv_key;
    memcpy(entry.name, identity.name, sizeof entry.name);
    apply_policy(entry, identity);
    store(&entry.state, static_cast<uint32_t>(EntryState::kLive));
    store(&header.next_segment, index + 1);
  }
  if (index)
    segment_entry(index).extent_bytes = max(segment_entry(index).extent_bytes, extent_bytes);
  store(&header.table_lock, 0u);
  if (!index) count_loss(Loss::kSegmentsDropped);
  return index;
}

SegmentEntry& segment_entry(uint32_t segment) {
  return log_area<SegmentEntry>(log_header().segments)[segment];
}

UsageEntry* usage_enter(const Process* process, uint32_t segment) {
  static UsageEntry spare;
  Header& header = log_header();
  UsageEntry* entries = log_area<UsageEntry>(header.usage);
  const uint32_t count = min(load(&header.next_usage), header.usage.count);
  for (uint32_t i = count; i-- > 1;)
    if (entries[i].process == process->index && entries[i].segment == segment) return &entries[i];
  const uint32_t index = fetch_add(&header.next_usage, 1u);
  if (!index || index >= header.usage.count || !process->index) {
    count_loss(Loss::kUsageDropped);
    return &spare;
  }
  entries[index].segment = segment;
  store(&entries[index].process, process->index);
  return &entries[index];
}

}  // namespace shmrec::agent
