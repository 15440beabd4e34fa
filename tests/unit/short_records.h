// Says records shortly, as the agent does: for tests and benchmarks.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <tuple>
#include <vector>

#include "recording/log/shmlog_format.h"

namespace shmrec::testing {

// What stands for a record.
struct ShortForm {
  std::vector<uint8_t> place;   // a new one that goes before it, or nothing
  std::vector<uint8_t> record;  // as long as before if it cannot be short
};

// The places of one chunk.
class Places {
 public:
  // Of the long record `record`, which goes to `at` in the chunk. A new place is remembered. It and
  // the short record are at most a RecordHeader longer than the long one.
  ShortForm shorten(const std::vector<uint8_t>& record, uint32_t at) {
    shmlog::RecordHeader header;
    std::memcpy(&header, record.data(), sizeof(header));
    if (!can_be_short(header)) return {{}, record};
    const ptrdiff_t callers = shmlog::callers_of_flags(header.flags) * 8;
    const std::vector<uint8_t> words(record.end() - callers, record.end());
    const Key key = {header.segment, header.pc,    header.length, header.address - header.offset,
                     header.syscall, header.flags, words};
    const auto known = places_.find(key);
    ShortForm form;
    if (known == places_.end() || header.offset - known->second.offset > UINT32_MAX) {
      places_[key] = {at, header.offset - kBefore};
      form.place = place_record(header, words);
    }
    form.record = short_record(header, places_[key]);
    form.record.insert(form.record.end(), record.begin() + sizeof(header), record.end() - callers);
    return form;
  }

 private:
  struct Place {
    uint32_t at;
    uint64_t offset;
  };
  using Key =
      std::tuple<uint32_t, uint64_t, uint32_t, uint64_t, uint16_t, uint16_t, std::vector<uint8_t>>;
  // How far before its first access a place lies: it may lie before the segment.
  static constexpr uint64_t kBefore = 0x1000;

  static shmlog::RecordKind kind_of(const shmlog::RecordHeader& header) {
    return static_cast<shmlog::RecordKind>(header.commit >> 16 & 0xFF);
  }

  static bool can_be_short(const shmlog::RecordHeader& header) {
    return kind_of(header) <= shmlog::RecordKind::kReadThenWrite &&
           shmlog::lines_touched(header.offset, header.length) == 1 &&
           header.event == shmlog::short_event(header.event);
  }

  static std::vector<uint8_t> place_record(shmlog::RecordHeader header,
                                           const std::vector<uint8_t>& callers) {
    const uint32_t size = shmlog::place_record_bytes(static_cast<uint32_t>(callers.size() / 8));
    header.commit =
        shmlog::commit_word(size, shmlog::RecordKind::kPlace, shmlog::RecordState::kCommitted);
    header.offset -= kBefore;
    header.address -= kBefore;
    header.event = 0;
    const auto* from = reinterpret_cast<const uint8_t*>(&header);
    std::vector<uint8_t> bytes(from, from + sizeof(header));
    bytes.insert(bytes.end(), callers.begin(), callers.end());
    return bytes;
  }

  // Without versions and values.
  static std::vector<uint8_t> short_record(const shmlog::RecordHeader& header, const Place& place) {
    const shmlog::RecordKind kind = shmlog::short_kind(kind_of(header));
    shmlog::ShortRecord record{};
    record.commit = shmlog::commit_word(shmlog::short_record_bytes(kind, header.length), kind,
                                        static_cast<shmlog::RecordState>(header.commit >> 24));
    record.offset = static_cast<uint32_t>(header.offset - place.offset);
    record.event_place = header.event | uint64_t{place.at / 8} << shmlog::kPlaceShift;
    const auto* from = reinterpret_cast<const uint8_t*>(&record);
    return {from, from + sizeof(record)};
  }

  std::map<Key, Place> places_;
};

// The log with short records wherever they fit, and rubbish behind each chunk's last: the rest
// is as it was.
inline std::vector<uint8_t> with_short_records(std::vector<uint8_t> log) {
  shmlog::Header header;
  std::memcpy(&header, log.data(), sizeof(header));
  for (uint32_t i = 0; i < header.chunks.count; ++i) {
    uint8_t* chunk = &log[header.chunks.offset + uint64_t{i} * shmlog::kChunkBytes];
    Places places;
    std::vector<uint8_t> made(chunk, chunk + sizeof(shmlog::ChunkHeader));
    for (uint32_t at = sizeof(shmlog::ChunkHeader); at + 8 <= shmlog::kChunkBytes;) {
      uint32_t commit;
      std::memcpy(&commit, chunk + at, 4);
      const uint32_t bytes = (commit & 0xFFFF) * 8;
      if (bytes == 0) break;
      const std::vector<uint8_t> record(chunk + at, chunk + at + bytes);
      const ShortForm form = bytes < sizeof(shmlog::RecordHeader)
                                 ? ShortForm{{}, record}
                                 : places.shorten(record, static_cast<uint32_t>(made.size()));
      made.insert(made.end(), form.place.begin(), form.place.end());
      made.insert(made.end(), form.record.begin(), form.record.end());
      at += bytes;
    }
    made.resize(made.size() + 8);
    if (made.size() > shmlog::kChunkBytes) continue;
    made.resize(shmlog::kChunkBytes, 0xEE);
    std::memcpy(chunk, made.data(), made.size());
  }
  return log;
}

}  // namespace shmrec::testing
