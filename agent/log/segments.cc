#include "agent/log/segments.h"

#include "agent/log/journal.h"
#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/log/tables.h"
#include "agent/log/usage.h"
#include "agent/memory/modules.h"
#include "policy/match.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// ---- The table ----------------------------------------------------------------------------------

uint32_t entry_count() { return log_header().segments.count; }
uint32_t slot_of(uint32_t number) { return table_slot(number, entry_count()); }
SegmentEntry& entry_of_slot(uint32_t slot) {
  return log_area<SegmentEntry>(log_header().segments)[slot];
}
SegmentEntry& place_of(uint32_t number) {
  return entry_at<SegmentEntry>(log_header().segments, number);
}
// Entries from this place on have never been used.
uint32_t used_slots() { return min(load(&log_header().next_segment), entry_count()); }

constexpr uint32_t kLive = static_cast<uint32_t>(EntryState::kLive);
constexpr uint32_t kEnded = static_cast<uint32_t>(EntryState::kEnded);

SegmentEntry* known_entry(uint32_t segment) {
  return entry_of<SegmentEntry>(log_header().segments, segment);
}

// ---- Looking one up -----------------------------------------------------------------------------

uint64_t hash_of(uint64_t device, uint64_t inode) {
  constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
  return (device * kSpread + inode) * kSpread;
}

// A bit for each segment, by hash. Bits of those that are forgotten stay, until as many have come
// as the table has entries: then they are made anew beside the old ones.
constexpr uint32_t kBits = 1 << 16;
struct KnownSegments {
  uint64_t bits[kBits / 64];
  uint32_t next;  // segments before this number have their bit
  uint32_t made;  // what it was when they were made
  void add(const SegmentEntry& entry) {
    const uint64_t at = hash_of(entry.device, entry.inode) >> 48;
    __atomic_fetch_or(&bits[at / 64], uint64_t{1} << at % 64, __ATOMIC_RELAXED);
  }
  bool has(uint64_t device, uint64_t inode) const {
    const uint64_t at = hash_of(device, inode) >> 48;
    return load(&bits[at / 64]) >> at % 64 & 1;
  }
};
KnownSegments known_segments[2];
uint32_t known_now = 0;    // which of them is asked
uint32_t known_maker = 0;  // 1: somebody makes it anew

void know_again(uint32_t next) {
  if (!compare_exchange(&known_maker, 0u, 1u)) return;
  KnownSegments& other = known_segments[1 - load(&known_now)];
  memset(other.bits, 0, sizeof other.bits);
  for (uint32_t slot = used_slots(); slot-- > 1;) other.add(entry_of_slot(slot));
  other.next = other.made = next;
  store(&known_now, 1 - load(&known_now));
  store(&known_maker, 0u);
}

}  // namespace

// A number is handed out when its entry is filled. Threads that add one at once set the same bits.
bool segment_maybe(uint64_t device, uint64_t inode) {
  const uint32_t next = load(&log_header().next_segment);
  if (next - known_segments[load(&known_now)].made > entry_count()) know_again(next);
  KnownSegments& known = known_segments[load(&known_now)];
  const uint32_t oldest = next > entry_count() ? next - entry_count() : 0;
  for (uint32_t number = max(load(&known.next), oldest); number < next; ++number)
    known.add(place_of(number));
  if (load(&known.next) < next) store(&known.next, next);
  return known.has(device, inode);
}

namespace {

bool equal_or_unknown(uint64_t a, uint64_t b) { return a == b || !a || !b; }

// One object may be of two kinds, by two paths that lead to it.
bool same_segment(const SegmentEntry& entry, const SegmentIdentity& identity) {
  return is_used(entry) && entry.device == identity.device && entry.inode == identity.inode &&
         equal_or_unknown(entry.generation, identity.generation) &&
         equal_or_unknown(entry.handle, identity.handle);
}

// Where objects were found. A hint is looked at again each time.
constexpr uint32_t kHints = 4096;
uint16_t hints[kHints];

uint32_t find_segment(const SegmentIdentity& identity) {
  uint16_t& hint = hints[hash_of(identity.device, identity.inode) >> 52];
  const SegmentEntry& hinted = entry_of_slot(load(&hint));
  if (identity.generation && hinted.generation == identity.generation &&
      same_segment(hinted, identity))
    return load(&hinted.number);
  if (!segment_maybe(identity.device, identity.inode)) return 0;
  uint32_t found = 0;  // the newest, if what is known does not tell them apart
  for (uint32_t slot = used_slots(); slot-- > 1;) {
    const SegmentEntry& entry = entry_of_slot(slot);
    if (!same_segment(entry, identity) || entry.number < found) continue;
    found = entry.number;
    store(&hint, static_cast<uint16_t>(slot));
  }
  return found;
}

// ---- Using entries again ------------------------------------------------------------------------

// A bit for each entry.
class Slots {
 public:
  void add(uint32_t slot) { bits_[slot / 64 % kWords] |= uint64_t{1} << slot % 64; }
  bool has(uint32_t slot) const { return bits_[slot / 64 % kWords] >> slot % 64 & 1; }

 private:
  static constexpr uint32_t kWords = 8192 / 64;
  uint64_t bits_[kWords] = {};
};

bool process_lives(uint32_t number) {
  ProcessEntry* process = process_entry(number);
  return process && process_living(*process);
}

// Ends the entries that nobody living maps. What a process mapped when it died its children may
// have, who say so within a second. REQUIRES: the tables are locked.
void end_unmapped() {
  Slots mapped, left;
  const uint64_t now = rdtsc(), newest = load(&log_header().next_ticket);
  const Area& area = log_header().usage;
  const UsageEntry* usages = log_area<UsageEntry>(area);
  for (uint32_t i = 1; i < area.count; ++i) {
    const uint64_t word = load(&usages[i].mapped);
    const bool maps = word & kMapped;
    if ((!maps && word < now) || !segment_known(usages[i].segment)) continue;
    const bool held = !maps || process_lives(load(&usages[i].process));
    (held ? mapped : left).add(slot_of(usages[i].segment));
  }
  for (uint32_t slot = used_slots(); slot-- > 1;) {
    SegmentEntry& entry = entry_of_slot(slot);
    if (load(&entry.state) != kLive || load(&entry.pinned) || mapped.has(slot)) continue;
    entry.vacant_tsc = left.has(slot) ? now + log_header().tsc_hz : now;
    entry.last_ticket = newest;
    compare_exchange(&entry.state, kLive, kEnded);
  }
  store(&log_header().swept_segment, load(&log_header().next_segment));
}

// May the entry be used for another segment?
bool is_vacant(const SegmentEntry& entry) {
  if (!is_used(entry)) return true;  // never used, or left by a claimer that died
  return load(&entry.state) == kEnded && rdtsc() >= entry.vacant_tsc;
}

constexpr uint32_t kChoice = 64;

// Of the next kChoice numbers one whose entry is vacant: rather one of which no record is left.
// 0: none is.
uint32_t vacant_from(uint32_t number) {
  uint32_t with_records = 0;
  for (uint32_t i = 0; i < kChoice; ++i) {
    const SegmentEntry& entry = place_of(number + i);
    if (!(number + i) || !is_vacant(entry)) continue;
    if (!is_used(entry) || !ticket_in_log(entry.last_ticket)) return number + i;
    if (!with_records) with_records = number + i;
  }
  return with_records;
}

// As numbers go round from `next` on.
uint32_t find_vacant(uint32_t next) {
  uint32_t number = 0;
  for (uint32_t passed = 0; !number && passed < entry_count(); passed += kChoice)
    number = vacant_from(next + passed);
  return number;
}

// The number of an entry that is vacant; it is claimed. 0: all are mapped. REQUIRES: the tables are
// locked.
uint32_t claim_number() {
  Header& header = log_header();
  const uint32_t next = load(&header.next_segment);
  const bool due =
      next > entry_count() / 2 && next - load(&header.swept_segment) > entry_count() / 16;
  if (due) end_unmapped();
  uint32_t number = find_vacant(next);
  if (!number && !due) {
    end_unmapped();
    number = find_vacant(next);
  }
  if (!number) return 0;
  SegmentEntry& entry = place_of(number);
  if (is_used(entry) && ticket_in_log(entry.last_ticket)) count_loss(Loss::kSegmentsOverwritten);
  store(&entry.state, static_cast<uint32_t>(EntryState::kClaimed));
  return number;
}

// ---- Filling one --------------------------------------------------------------------------------

void apply_policy(SegmentEntry& entry, const SegmentIdentity& identity) {
  const Header& header = log_header();
  const PolicyRule* rules = log_area<PolicyRule>(header.rules);
  char executable[512];
  process_executable(executable, sizeof executable);
  entry.mode = header.default_mode;
  entry.order = header.default_order;
  entry.accesses = static_cast<uint16_t>(header.default_accesses);
  const SegmentQuestion question = {identity.kind,         identity.sysv_key, identity.name,
                                    strlen(identity.name), executable,        strlen(executable)};
  entry.rule = find_rule(rules, header.rules.count, question);
  // A rule that names the segment means it. What lies in memory was put there to be shared.
  const bool native = !entry.rule && identity.kind == SegmentKind::kFile && !identity.in_memory;
  entry.tracing = static_cast<uint32_t>(native ? Tracing::kNative : Tracing::kTraced);
  if (!entry.rule) return;
  entry.mode = rules[entry.rule - 1].mode;
  entry.order = rules[entry.rule - 1].order;
  entry.accesses = rules[entry.rule - 1].accesses;
}

// Who made the object, if that is another recorded process; or who maps it first, and where in its
// code: the callers are looked for on the stack, since nothing here can unwind it. A word that is
// left over from an earlier call may be among them.
void note_creator(SegmentEntry& entry, const SegmentIdentity& identity, const Thread* thread) {
  const Process* process = thread->process;
  constexpr uint64_t kWordsSeen = 256;
  const bool other = identity.maker && identity.maker != process->pid;
  const uint32_t maker = other ? process_of(identity.maker) : 0;
  entry.creator = maker ? maker : process->index;
  if (const ProcessEntry* creator = process_entry(entry.creator)) {
    entry.creator_id_high = creator->id_high;
    entry.creator_id_low = creator->id_low;
  }
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

// Fills a claimed entry; its number is handed out.
void fill(uint32_t number, const SegmentIdentity& identity, const Thread* thread) {
  SegmentEntry& entry = place_of(number);
  memset(reinterpret_cast<uint8_t*>(&entry) + sizeof entry.state, 0,
         sizeof entry - sizeof entry.state);
  entry.number = number;
  entry.kind = static_cast<uint32_t>(identity.kind);
  entry.device = identity.device;
  entry.inode = identity.inode;
  entry.generation = identity.generation;
  entry.handle = identity.handle;
  entry.entered_tsc = rdtsc();
  entry.sysv_key = identity.sysv_key;
  memcpy(entry.name, identity.name, sizeof entry.name);
  apply_policy(entry, identity);
  note_creator(entry, identity, thread);
  store(&entry.state, kLive);
  store(&log_header().next_segment, number + 1);
}

void note_mapped(SegmentEntry& entry, const Process* process, UsageEntry* usage) {
  // What a vfork child maps stays in its parent.
  if (usage->segment == entry.number && !process->lives_in_parent)
    compare_exchange(&usage->mapped, load(&usage->mapped) & ~kMapped, rdtsc() | kMapped);
  else
    store(&entry.pinned, 1u);
  compare_exchange(&entry.state, kEnded, kLive);
}

uint64_t name_hash(const char* name) { return hash_bytes(name, strlen(name)) | 1; }

void tell_name(const Process* process, SegmentEntry& entry, const char* name, NameReason reason) {
  JournalValues values;
  values.segment = entry.number;
  values.a = static_cast<uint64_t>(reason);
  values.text = name;
  const uint32_t at = entry.names_told++ % kSegmentTold;
  entry.name_hashes[at] = name_hash(name);
  store(&entry.name_places[at], journal_append(process, JournalType::kSegmentName, values));
}

// An object that is mapped again, perhaps under another name, or by somebody who knows more of it.
void segment_again(const Process* process, uint32_t index, const SegmentIdentity& identity) {
  SegmentEntry& entry = segment_entry(index);
  if (!entry.generation) entry.generation = identity.generation;
  if (!entry.handle) entry.handle = identity.handle;
  if (memcmp(entry.name, identity.name, sizeof entry.name) == 0 || !identity.name[0]) return;
  const uint64_t hash = name_hash(identity.name);
  for (const uint64_t told : entry.name_hashes)
    if (told == hash) return;
  tell_name(process, entry, identity.name, NameReason::kMapped);
}

}  // namespace

uint32_t segment_enter(const Thread* thread, const SegmentIdentity& identity,
                       uint64_t extent_bytes) {
  const Process* process = thread->process;
  static SearchPause pause;
  const TablesLock lock(process);
  uint32_t number = find_segment(identity);
  if (number) segment_again(process, number, identity);
  if (!number && pause.over()) {
    number = claim_number();
    if (number) fill(number, identity, thread);
    if (!number) pause.begin();
  }
  if (!number) {
    count_loss(Loss::kSegmentsDropped);
    return 0;
  }
  SegmentEntry& entry = place_of(number);
  entry.extent_bytes = max(entry.extent_bytes, extent_bytes);
  if (entry.mode == static_cast<uint32_t>(SegmentMode::kTrace))
    note_mapped(entry, process, usage_entered(process, number));
  return number;
}

uint32_t segment_find(const SegmentIdentity& identity) { return find_segment(identity); }

bool segment_mapped(uint32_t segment) {
  const Area& area = log_header().usage;
  const UsageEntry* usages = log_area<UsageEntry>(area);
  if (load(&segment_entry(segment).pinned)) return true;
  for (uint32_t i = 1; i < area.count; ++i)
    if (usages[i].segment == segment && (load(&usages[i].mapped) & kMapped) &&
        process_lives(load(&usages[i].process)))
      return true;
  return false;
}

void segment_inherited(const Process* process, uint32_t segment) {
  SegmentEntry* entry = known_entry(segment);
  if (entry) note_mapped(*entry, process, usage_enter(process, segment));
}

void segment_unmapped(const Process* process, uint32_t segment) {
  UsageEntry* usage = usage_find(process, segment);
  if (!usage) return;
  const bool inherited = load(&usage->mapped) < process->forked_tsc;
  const uint64_t until = inherited ? process->forked_tsc + log_header().tsc_hz : 0;
  store(&usage->mapped, until & ~kMapped);
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

void segment_named(const Process* process, uint32_t segment, const char* name, NameReason reason) {
  const TablesLock lock(process);
  if (SegmentEntry* entry = known_entry(segment)) tell_name(process, *entry, name, reason);
}

void segment_lives(const Process* process, uint32_t segment, SegmentEvent event,
                   const char* lost_name, uint64_t before, uint64_t after) {
  const TablesLock lock(process);
  SegmentEntry* entry = known_entry(segment);
  if (!entry) return;
  JournalValues values;
  values.segment = segment;
  values.a = static_cast<uint64_t>(event);
  values.b = before;
  values.c = after;
  values.text = lost_name;
  const uint32_t at = entry->lives_told++ % kSegmentTold;
  store(&entry->life_places[at], journal_append(process, JournalType::kSegmentLife, values));
}

bool segment_told_at(uint32_t segment, uint64_t place) {
  const SegmentEntry* entry = known_entry(segment);
  for (uint32_t i = 0; entry && i < kSegmentTold; ++i)
    if (load(&entry->name_places[i]) == place || load(&entry->life_places[i]) == place) return true;
  return false;
}

bool segment_known(uint32_t segment) { return known_entry(segment); }

SegmentEntry& segment_entry(uint32_t segment) {
  static SegmentEntry forgotten;
  if (SegmentEntry* entry = known_entry(segment)) return *entry;
  forgotten.mode = static_cast<uint32_t>(SegmentMode::kTrace);
  forgotten.order = static_cast<uint32_t>(Order::kExact);
  return forgotten;
}

bool segment_writes_only(uint32_t segment) {
  return load(&segment_entry(segment).accesses) == static_cast<uint16_t>(Accesses::kWrites);
}

bool segment_traced_sysv(uint64_t id, uint64_t ipc_namespace) {
  for (uint32_t slot = used_slots(); slot-- > 1;) {
    const SegmentEntry& entry = entry_of_slot(slot);
    if (is_used(entry) && entry.kind == static_cast<uint32_t>(SegmentKind::kSysV) &&
        entry.inode == id && entry.generation == ipc_namespace)
      return entry.mode == static_cast<uint32_t>(SegmentMode::kTrace);
  }
  return false;
}

}  // namespace shmrec::agent
