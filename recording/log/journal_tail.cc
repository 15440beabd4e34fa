#include "recording/log/journal_tail.h"

#include <algorithm>
#include <cstring>

#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {

using shmlog::JournalEntry;
using shmlog::kJournalUnitBytes;

std::optional<TailEntry> read_journal_entry(int log, const shmlog::Area& journal, uint64_t place) {
  const uint64_t slot = place % journal.count, left = journal.count - slot;
  TailEntry found{};
  if (left < shmlog::kJournalHeadUnits) {
    found.units = static_cast<uint32_t>(left);
    return found;
  }
  alignas(JournalEntry) uint8_t bytes[shmlog::kMaxJournalUnits * kJournalUnitBytes];
  const ssize_t got =
      pread_all(log, bytes, sizeof bytes, journal.offset + slot * kJournalUnitBytes);
  if (got < static_cast<ssize_t>(sizeof found.entry)) return std::nullopt;
  std::memcpy(&found.entry, bytes, sizeof found.entry);
  const uint64_t there = static_cast<uint64_t>(got) / kJournalUnitBytes;
  if (!shmlog::journal_fits(found.entry, std::min(left, there)) ||
      shmlog::journal_sum(bytes, found.entry.units * kJournalUnitBytes) != found.entry.sum)
    return std::nullopt;
  found.text.assign(reinterpret_cast<char*>(bytes) + sizeof found.entry, found.entry.text_bytes);
  found.units = found.entry.units;
  return found;
}

uint64_t journal_resume(const shmlog::Area& journal, uint64_t next, uint64_t head,
                        uint64_t& missed) {
  if (head < next || head - next <= journal.count) return next;
  missed += head - journal.count - next;
  return head - journal.count;
}

}  // namespace shmrec::recording
