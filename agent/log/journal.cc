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

}  // namespace shmrec::agent
