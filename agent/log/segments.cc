#include "agent/log/segments.h"

#include "agent/log/journal.h"
#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/log/tables.h"
#include "policy/match.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

bool equal_or_unknown(uint64_t a, uint64_t b) { return a == b || !a || !b; }

// One object may be of two kinds, by two paths that lead to it.
bool same_segment(const SegmentEntry& entry, const SegmentIdentity& identity) {
  return load(&entry.state) == static_cast<uint32_t>(EntryState::kLive) &&
         entry.device == identity.device && entry.inode == identity.inode &&
         equal_or_unknown(entry.generation, identity.generation) &&
         equal_or_unknown(entry.handle, identity.handle);
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
  process_executable(executable, sizeof executable);
  entry.mode = header.default_mode;
  entry.order = header.default_order;
  const SegmentQuestion question = {identity.kind,         identity.sysv_key, identity.name,
                                    strlen(identity.name), executable,        strlen(executable)};
  entry.rule = find_rule(rules, header.rules.count, question);
  // A rule that names the segment means it. What lies in memory was put there to be shared.
  const bool native = !entry.rule && identity.kind == SegmentKind::kFile && !identity.in_memory;
  entry.tracing = static_cast<uint32_t>(native ? Tracing::kNative : Tracing::kTraced);
  if (!entry.rule) return;
  entry.mode = rules[entry.rule - 1].mode;
  entry.order = rules[entry.rule - 1].order;
}

// Does `address` lie behind a call instruction?
bool behind_call(uint64_t address) {
  uint8_t code[7];
  if (address < kPage || !safe_copy(code, reinterpret_cast<void*>(address - 7), sizeof code))
    return false;
  const auto indirect = [&](int bytes) {  // FF /2, with that many bytes
    return code[7 - bytes] == 0xFF && (code[8 - bytes] >> 3 & 7) == 2;
  };
  return code[2] == 0xE8 || indirect(2) || indirect(3) || indirect(6) || indirect(7);
}

// Who made the object, if that is another recorded process; or who maps it first, and where in its
// code: the callers are looked for on the stack, since nothing here can unwind it. A word that is
// left over from an earlier call may be among them.
void note_creator(SegmentEntry& entry, const SegmentIdentity& identity, const Process* process,
                  const Thread* thread) {
  constexpr uint64_t kWordsSeen = 256;
  const bool other = identity.maker && identity.maker != process->pid;
  const uint32_t maker = other ? process_of(identity.maker) : 0;
  entry.creator = maker ? maker : process->index;
  const ProcessEntry& creator = log_area<ProcessEntry>(log_header().processes)[entry.creator];
  entry.creator_id_high = creator.id_high;
  entry.creator_id_low = creator.id_low;
  // What was mapped before recording began was made by no call that is seen here, and there are no
  // handlers yet for a look at the stack.
  if (maker || !thread->call.pc) return;
  entry.creator_pcs[0] = thread->call.pc;
  uint32_t found = 1;
  for (uint64_t i = 0; i < kWordsSeen && found < kCreatorPcs; ++i) {
    uint64_t word;
    if (!safe_copy(&word, reinterpret_cast<void*>(thread->regs.rsp + i * 8), 8)) return;
    if (behind_call(word)) entry.creator_pcs[found++] = word;
  }
}

// An object that is mapped again, perhaps under another name, or by somebody who knows more of it.
void segment_again(const Process* process, uint32_t index, const SegmentIdentity& identity) {
  SegmentEntry& entry = segment_entry(index);
  if (!entry.generation) entry.generation = identity.generation;
  if (!entry.handle) entry.handle = identity.handle;
  if (memcmp(entry.name, identity.name, sizeof entry.name) == 0 || !identity.name[0]) return;
  const uint64_t hash = hash_bytes(identity.name, strlen(identity.name)) | 1;
  if (entry.said_name == hash) return;
  JournalValues values;
  values.segment = index;
  values.text = identity.name;
  store(&entry.said_place, journal_append(process, JournalType::kSegmentName, values));
  entry.said_name = hash;
}

}  // namespace

uint32_t segment_enter(Process* process, const SegmentIdentity& identity, uint64_t extent_bytes) {
  Header& header = log_header();
  const TablesLock lock(process);
  uint32_t index = find_segment(identity);
  if (index) segment_again(process, index, identity);
  if (!index && header.next_segment < header.segments.count) {
    index = header.next_segment;
    SegmentEntry& entry = segment_entry(index);
    memset(&entry, 0, sizeof entry);
    entry.kind = static_cast<uint32_t>(identity.kind);
    entry.device = identity.device;
    entry.inode = identity.inode;
    entry.generation = identity.generation;
    entry.handle = identity.handle;
    entry.entered_tsc = rdtsc();
    entry.sysv_key = identity.sysv_key;
    memcpy(entry.name, identity.name, sizeof entry.name);
    apply_policy(entry, identity);
    note_creator(entry, identity, process, current_thread());
    store(&entry.state, static_cast<uint32_t>(EntryState::kLive));
    store(&header.next_segment, index + 1);
  }
  if (index)
    segment_entry(index).extent_bytes = max(segment_entry(index).extent_bytes, extent_bytes);
  if (!index) count_loss(Loss::kSegmentsDropped);
  return index;
}

uint32_t segment_find(const SegmentIdentity& identity) { return find_segment(identity); }

// A bit for each segment, by hash. Entries never change what they stand for, so that only new ones
// are looked at. Threads that do so at once set the same bits.
bool segment_maybe(uint64_t device, uint64_t inode) {
  constexpr uint32_t kBits = 1 << 16;
  static uint64_t known[kBits / 64];
  static uint32_t seen = 1;  // entries before this one have their bit
  const auto bit_of = [](uint64_t of_device, uint64_t of_inode) {
    constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
    return static_cast<uint32_t>((of_device * kSpread + of_inode) * kSpread >> 48) % kBits;
  };
  const Header& header = log_header();
  const SegmentEntry* entries = log_area<SegmentEntry>(header.segments);
  const uint32_t count = min(load(&header.next_segment), header.segments.count);
  for (uint32_t i = load(&seen); i < count; ++i) {
    const uint32_t at = bit_of(entries[i].device, entries[i].inode);
    __atomic_fetch_or(&known[at / 64], uint64_t{1} << at % 64, __ATOMIC_RELAXED);
  }
  if (load(&seen) < count) store(&seen, count);
  const uint32_t at = bit_of(device, inode);
  return load(&known[at / 64]) >> at % 64 & 1;
}

bool segment_native(uint32_t segment) {
  return load(&segment_entry(segment).tracing) == static_cast<uint32_t>(Tracing::kNative);
}

void segment_promote(uint32_t segment) {
  SegmentEntry& entry = segment_entry(segment);
  if (!compare_exchange(&entry.tracing, static_cast<uint32_t>(Tracing::kNative),
                        static_cast<uint32_t>(Tracing::kTraced)))
    return;
  store(&entry.traced_tsc, rdtsc());
  fetch_add(&log_header().promotions, 1u);
}

bool segment_named_at(uint32_t segment, uint64_t place) {
  if (!segment || segment >= log_header().segments.count) return false;
  return load(&segment_entry(segment).said_place) == place;
}

SegmentEntry& segment_entry(uint32_t segment) {
  return log_area<SegmentEntry>(log_header().segments)[segment];
}

// ---- Usage --------------------------------------------------------------------------------------

namespace {

constexpr uint32_t kProbes = 64;  // entries looked at for a pair, from the one it hashes to on

// Counters of a process that is gone and has no records left say nothing about
// the log any more.
bool usage_needed(uint32_t number) {
  ProcessEntry* process = process_entry(number);
  return process && (process_living(*process) || ticket_in_log(load(&process->last_ticket)));
}

UsageEntry* usage_claim(UsageEntry* entry, const Process* process, uint32_t segment) {
  if (entry->process) count_loss(Loss::kUsageOverwritten);
  store(&entry->process, kUsageClaimed);
  memset(&entry->segment, 0, sizeof *entry - offsetof(UsageEntry, segment));
  entry->segment = segment;
  store(&entry->process, process->index);
  store(&log_header().next_usage, log_header().usage.count);  // they lie scattered
  return entry;
}

}  // namespace

UsageEntry* usage_enter(const Process* process, uint32_t segment) {
  static UsageEntry spare;
  const Area& area = log_header().usage;
  UsageEntry* entries = log_area<UsageEntry>(area);
  const uint32_t first = static_cast<uint32_t>(
      (uint64_t{process->index} * kStripeSpread + uint64_t{segment} * 0x85EBCA6Bu) >> 7);
  UsageEntry *vacant = nullptr, *found = nullptr;
  const TablesLock lock(process);
  for (uint32_t i = 0; process->index && i < kProbes && !found; ++i) {
    UsageEntry* entry = &entries[1 + (first + i) % (area.count - 1)];
    const uint32_t owner = load(&entry->process);
    if (owner == process->index && entry->segment == segment) found = entry;
    // One that is being filled under the lock that is ours was left by a
    // claimer that died.
    const bool left = !owner || owner == kUsageClaimed;
    if (!vacant && (left || !usage_needed(owner))) vacant = entry;
  }
  if (!found && vacant) found = usage_claim(vacant, process, segment);
  if (found) return found;
  count_loss(Loss::kUsageDropped);
  return &spare;
}

}  // namespace shmrec::agent
