// An entry of the journal as it lies in a log: for tests that write logs by hand.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "recording/log/shmlog_format.h"

namespace shmrec {

// What is not given of `entry` is filled in.
inline std::vector<uint8_t> journal_bytes(shmlog::JournalEntry entry, uint64_t place,
                                          const std::string& text = "") {
  entry.magic = shmlog::kJournalMagic;
  entry.text_bytes = static_cast<uint32_t>(text.size());
  entry.units = static_cast<uint16_t>(shmlog::journal_units_for(entry.text_bytes));
  entry.place = place;
  std::vector<uint8_t> bytes(uint64_t{entry.units} * shmlog::kJournalUnitBytes);
  std::memcpy(bytes.data(), &entry, sizeof entry);
  std::memcpy(bytes.data() + sizeof entry, text.data(), text.size());
  entry.sum = shmlog::journal_sum(bytes.data(), static_cast<uint32_t>(bytes.size()));
  std::memcpy(bytes.data(), &entry, sizeof entry);
  return bytes;
}

}  // namespace shmrec
