#include "agent/log/journal.h"

#include "agent/log/processes.h"
#include "agent/log/records.h"
#include "agent/log/segments.h"
#include "agent/log/tables.h"
#include "agent/memory/modules.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// ---- The ring -----------------------------------------------------------------------------------

// Units that are kept free for what is written again when the tail moves.
constexpr uint32_t kReserve = 4 * kMaxJournalUnits;

uint32_t ring_units() { return log_header().journal.count; }

uint8_t* at_place(uint64_t place) {
  return log_area<uint8_t>(log_header().journal) + place % ring_units() * kJournalUnitBytes;
}

uint64_t units_to_end(uint64_t place) { return ring_units() - place % ring_units(); }

uint64_t units_free() {
  const uint64_t used = load(&log_header().journal_units) - load(&log_header().journal_tail);
  return used < ring_units() ? ring_units() - used : 0;
}

// The entry at a place, if a sound one is there; its size in units.
const JournalEntry* entry_at(uint64_t place, uint32_t* units) {
  const JournalEntry* entry = reinterpret_cast<const JournalEntry*>(at_place(place));
  if (units_to_end(place) < kJournalHeadUnits) return nullptr;
  const JournalEntry head = *entry;  // the program may be writing there
  if (!journal_fits(head, units_to_end(place)) ||
      journal_sum(entry, head.units * kJournalUnitBytes) != head.sum)
    return nullptr;
  *units = head.units;
  return entry;
}

// Fills units that no entry is written to. Less than an entry's head needs nothing, since no entry
// begins there. REQUIRES: they do not cross the end of the area.
void fill_up(uint64_t place, uint64_t units) {
  if (units < kJournalHeadUnits) return;
  JournalEntry* filling = reinterpret_cast<JournalEntry*>(at_place(place));
  memset(filling, 0, units * kJournalUnitBytes);
  filling->magic = kJournalMagic;
  filling->units = static_cast<uint16_t>(units);
  filling->place = place;
  filling->sum = journal_sum(filling, static_cast<uint32_t>(units * kJournalUnitBytes));
}

// Where an entry of `units` units goes at the head. Where it would cross the end of the area, what
// is left there is filled.
uint64_t place_at_head(uint64_t head, uint32_t units) {
  const uint64_t left = units_to_end(head);
  if (left >= units) return head;
  fill_up(head, left);
  return head + left;
}

// What was written becomes part of the log. False: the lock was taken from us meanwhile, and
// somebody else has written there.
bool head_moves(uint64_t from, uint64_t to) {
  return compare_exchange(&log_header().journal_units, from, to);
}

// The one from whom the lock was taken may go on at any time, and write at most this from the head
// on: the entry, and what it fills before the end of the area. It is left to it.
void leave_to_former_holder() {
  constexpr uint64_t kItsUnits = 2 * kMaxJournalUnits;
  const uint64_t head = load(&log_header().journal_units);
  if (units_free() < kItsUnits + kMaxJournalUnits) return;
  const uint64_t before_end = min(kItsUnits, units_to_end(head));
  fill_up(head, before_end);
  fill_up(head + before_end, kItsUnits - before_end);
  head_moves(head, head + kItsUnits);
}

// ---- What is still needed -----------------------------------------------------------------------

bool is_map(JournalType type) {
  return type == JournalType::kModule || type == JournalType::kSegmentMap ||
         type == JournalType::kUnmap || type == JournalType::kProtect || type == JournalType::kMaps;
}

bool is_state(JournalType type) {
  return is_map(type) || type == JournalType::kProcessStart || type == JournalType::kCoverage ||
         type == JournalType::kPromoted || type == JournalType::kSignal ||
         type == JournalType::kPointers;
}

enum class Need {
  kNone,
  kRecords,  // for records of an ended process, or from before a list of its maps
  kLiving,
};

Need need_of_map(const JournalEntry& entry, const ProcessEntry& process, Need need) {
  if (entry.place < load(&process.maps_from)) return Need::kNone;
  if (entry.place >= load(&process.checkpoint)) return need;
  return ticket_in_log(load(&process.checkpoint_ticket)) ? Need::kRecords : Need::kNone;
}

// Of what was decided the last times that the brake was set, and of what the living did about it.
Need need_of_brake(const JournalEntry& entry) {
  constexpr uint64_t kDecisions = 64, kFollowed = 2;
  if (!segment_known(entry.segment)) return Need::kNone;
  const uint64_t age = uint64_t{load(&segment_entry(entry.segment).braked)} - entry.d;
  if (entry.c != static_cast<uint64_t>(BrakeReason::kFollowed))
    return age < kDecisions ? Need::kLiving : Need::kNone;
  ProcessEntry* process = process_entry(entry.process);
  return age < kFollowed && process && process_living(*process) ? Need::kLiving : Need::kNone;
}

Need need_of(const JournalEntry& entry) {
  const JournalType type = static_cast<JournalType>(entry.type);
  if (type == JournalType::kCoverage && !entry.process) return Need::kLiving;
  if (type == JournalType::kSegmentName || type == JournalType::kSegmentLife)
    return segment_told_at(entry.segment, entry.place) ? Need::kLiving : Need::kNone;
  if (type == JournalType::kBrake) return need_of_brake(entry);
  if (!is_state(type)) return Need::kNone;  // history
  ProcessEntry* process = process_entry(entry.process);
  if (!process) return Need::kNone;
  const bool living = process_living(*process);
  if (!living && !ticket_in_log(load(&process->last_ticket))) return Need::kNone;
  const Need need = living ? Need::kLiving : Need::kRecords;
  if (type == JournalType::kPointers && entry.a < load(&process->pointer_look)) return Need::kNone;
  return is_map(type) ? need_of_map(entry, *process, need) : need;
}

// ---- Moving the tail ----------------------------------------------------------------------------

// What is written again at the head.
enum class Keep { kAll, kOfLiving, kNothing };

bool kept(Need need, Keep keep) {
  return keep == Keep::kAll ? need != Need::kNone
                            : keep == Keep::kOfLiving && need == Need::kLiving;
}

// Writes the entry at the head once more, as one of `process`.
bool write_again(const JournalEntry* entry, uint32_t units, uint32_t process) {
  const uint64_t head = load(&log_header().journal_units);
  if (units > kMaxJournalUnits || units_free() < uint64_t{units} + kMaxJournalUnits) return false;
  const uint64_t place = place_at_head(head, units);
  JournalEntry* to = reinterpret_cast<JournalEntry*>(at_place(place));
  memcpy(to, entry, units * kJournalUnitBytes);
  to->process = process;
  to->sum = journal_sum(to, units * kJournalUnitBytes);
  return head_moves(head, place + units);
}

// Of the text without its numbers.
uint64_t hash_of_kind(const JournalEntry* entry) {
  const char* text = reinterpret_cast<const char*>(entry + 1);
  const uint64_t bytes = min<uint64_t>(entry->text_bytes, kMaxJournalText);
  uint64_t hash = 0;
  for (uint64_t i = 0; i < bytes; ++i)
    if (text[i] < '0' || text[i] > '9') hash = (hash ^ static_cast<uint8_t>(text[i])) * kHashPrime;
  return hash | 1;
}

// What was said of processes of which nothing is left stays said, once for each kind.
bool keep_said(const JournalEntry* entry, uint32_t units) {
  if (static_cast<JournalType>(entry->type) != JournalType::kCoverage) return false;
  const uint64_t hash = hash_of_kind(entry);
  for (uint64_t& said : log_header().journal_said) {
    if (said == hash) return false;
    if (said) continue;
    said = hash;
    return write_again(entry, units, 0);
  }
  count_loss(Loss::kJournalDropped);
  return false;
}

void give_up(const JournalEntry& entry, Need need) {
  if (static_cast<JournalType>(entry.type) == JournalType::kNothing) return;
  count_loss(need == Need::kNone ? Loss::kJournalOverwritten : Loss::kJournalDropped);
  if (need == Need::kNone || !is_map(static_cast<JournalType>(entry.type))) return;
  // What was mapped there before is not known any more; better nothing than what is wrong.
  ProcessEntry* process = process_entry(entry.process);
  if (process && load(&process->maps_from) <= entry.place)
    store(&process->maps_from, entry.place + 1);
}

// Passes the entry at the tail. Returns its units.
uint64_t pass_tail(Keep keep) {
  Header& header = log_header();
  const uint64_t tail = load(&header.journal_tail);
  uint32_t units = 1;
  if (units_to_end(tail) < kJournalHeadUnits) units = static_cast<uint32_t>(units_to_end(tail));
  if (const JournalEntry* entry = entry_at(tail, &units)) {
    const Need need = need_of(*entry);
    const bool again = need == Need::kNone
                           ? keep_said(entry, units)
                           : kept(need, keep) && write_again(entry, units, entry->process);
    if (!again) give_up(*entry, need);
  }
  compare_exchange(&header.journal_tail, tail, tail + units);
  return units;
}

// Room for an entry of `units` units, and some more: so that what is written again fits, and that
// the work is in proportion to `units`, but where what is kept fills three quarters of the ring.
void make_room(uint32_t units) {
  Header& header = log_header();
  const uint64_t enough = ring_units() / 4 + units;
  const uint64_t least = uint64_t{units} + kMaxJournalUnits + kReserve;
  const uint64_t patient = uint64_t{units} * 8 + 256, hopeless = patient + ring_units();
  for (uint64_t passed = 0; units_free() < (passed < patient ? enough : least);) {
    if (load(&header.journal_tail) >= load(&header.journal_units)) break;
    passed += pass_tail(passed < patient    ? Keep::kAll
                        : passed < hopeless ? Keep::kOfLiving
                                            : Keep::kNothing);
  }
}

// ---- Writing ------------------------------------------------------------------------------------

void fill_entry(JournalEntry* entry, const Process* process, JournalType type,
                const JournalValues& values, uint32_t text_bytes) {
  const uint32_t units = journal_units_for(text_bytes);
  entry->magic = kJournalMagic;
  entry->units = static_cast<uint16_t>(units);
  entry->type = static_cast<uint16_t>(type);
  entry->process = process->index;
  entry->segment = values.segment;
  entry->tsc = rdtsc();
  entry->a = values.a;
  entry->b = values.b;
  entry->c = values.c;
  entry->d = values.d;
  entry->event = load(&process->entry->events);
  entry->text_bytes = text_bytes;
  uint8_t* text = reinterpret_cast<uint8_t*>(entry + 1);
  if (text_bytes) memcpy(text, values.text, text_bytes);
  memset(text + text_bytes, 0, units * kJournalUnitBytes - sizeof *entry - text_bytes);
}

}  // namespace

uint64_t journal_append(const Process* process, JournalType type, const JournalValues& values) {
  if (!log_attached()) return 0;
  Header& header = log_header();
  const size_t size = values.text && !values.text_bytes ? strlen(values.text) : values.text_bytes;
  const uint32_t text_bytes = static_cast<uint32_t>(min<size_t>(size, kMaxJournalText));
  const uint32_t units = journal_units_for(text_bytes);
  for (;;) {
    const LogLock lock(&header.journal_lock, process);
    if (lock.taken_from_living()) leave_to_former_holder();
    make_room(units);
    const uint64_t head = load(&header.journal_units), place = place_at_head(head, units);
    JournalEntry* entry = reinterpret_cast<JournalEntry*>(at_place(place));
    fill_entry(entry, process, type, values, text_bytes);
    entry->place = place;
    entry->sum = journal_sum(entry, units * kJournalUnitBytes);
    if (head_moves(head, place + units)) return place;
  }
}

void journal(const Process* process, JournalType type, const JournalValues& values) {
  journal_append(process, type, values);
  if (is_map(type)) maps_journalled(process);
}

// ---- Coverage -----------------------------------------------------------------------------------

namespace {

// What has been said. Forked children and vfork children see their parent's: a note names its
// process. Of two threads that say the same at once both may.
struct Said {
  uint64_t process, key;
};
Said said[64];
uint32_t said_next = 0;

uint64_t name_of(const Process* process) {
  return process ? static_cast<uint64_t>(process->index) << 32 | static_cast<uint32_t>(process->pid)
                 : 0;
}

bool first_time(const Process* process, uint64_t key) {
  const uint64_t name = name_of(process);
  for (const Said& note : said)
    if (load(&note.key) == key && load(&note.process) == name) return false;
  Said& note = said[fetch_add(&said_next, 1u) % (sizeof said / sizeof said[0])];
  store(&note.key, uint64_t{0});
  store(&note.process, name);
  store(&note.key, key);
  return true;
}

void coverage_once(const Process* process, uint64_t key, const char* why, DegradedReason reason) {
  if (!first_time(process, key)) return;
  JournalValues values;
  values.a = static_cast<uint64_t>(reason);
  values.text = why;
  journal(process, JournalType::kCoverage, values);
}

}  // namespace

void coverage(const Process* process, const char* why, DegradedReason reason) {
  coverage_once(process, reinterpret_cast<uint64_t>(why), why, reason);
}

void coverage_text(const Process* process, const char* why) {
  constexpr uint64_t kNoAddress = uint64_t{1} << 63;
  coverage_once(process, kNoAddress | hash_bytes(why, strlen(why)), why, {});
}

}  // namespace shmrec::agent
