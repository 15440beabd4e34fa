#include "agent/log/journal.h"

namespace shmrec::agent {

using namespace shmlog;

void journal(const Process* process, JournalType type, const JournalValues& values) {
  if (!log_attached()) return;
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
  JournalEntry* entry =
      reinterpret_cast<JournalEntry*>(log_area<uint8_t>(header.journal) + unit * kJournalUnitBytes);
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

}  // namespace

void coverage_once(const Process* process, uint64_t key, const char* why, DegradedReason reason) {
  if (!first_time(process, key)) return;
  JournalValues values;
  values.a = static_cast<uint64_t>(reason);
  values.text = why;
  journal(process, JournalType::kCoverage, values);
}

void coverage(const Process* process, const char* why, DegradedReason reason) {
  coverage_once(process, reinterpret_cast<uint64_t>(why), why, reason);
}

}  // namespace shmrec::agent
