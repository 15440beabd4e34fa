#include "recording/blame/touched.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "recording/blame/blame.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;
using shmlog::kLineBytes;

// The segment cut where accesses begin and end, and at each line, since the order is per line.
class Pieces {
 public:
  void add(const ChunkInfo& chunk, const RecordView& record) {
    const uint64_t begin = record.header.offset, end = begin + record.header.length;
    for (uint64_t at = begin; at < end;) {
      const uint64_t stop = std::min(end, (at / kLineBytes + 1) * kLineBytes);
      const auto line = static_cast<uint32_t>(at / kLineBytes - begin / kLineBytes);
      add_to_line(chunk, record, line, at, stop);
      at = stop;
    }
  }

  std::vector<TouchedRange> merged() const {
    std::vector<TouchedRange> ranges;
    for (const auto& [begin, piece] : pieces_) {
      const TouchedRange& range = piece.range;
      if (range.reads == 0 && range.writes == 0) continue;
      TouchedRange* last = ranges.empty() ? nullptr : &ranges.back();
      if (last != nullptr && last->offset + last->length == begin && last->reads == range.reads &&
          last->writes == range.writes && last->last_process == range.last_process &&
          last->last_event == range.last_event) {
        last->length += range.length;
      } else {
        ranges.push_back(range);
      }
    }
    return ranges;
  }

 private:
  struct Piece {
    TouchedRange range;
    uint64_t version = 0;  // of its last write
  };

  void add_to_line(const ChunkInfo& chunk, const RecordView& record, uint32_t line, uint64_t begin,
                   uint64_t end) {
    cut(begin);
    cut(end);
    uint64_t at = begin;
    while (at < end) {
      auto piece = pieces_.lower_bound(at);
      if (piece == pieces_.end() || piece->first > at) {
        const uint64_t stop = piece == pieces_.end() ? end : std::min(end, piece->first);
        piece = pieces_.emplace(at, Piece{{.offset = at, .length = stop - at}, 0}).first;
      }
      count(chunk, record, line, piece->second);
      at += piece->second.range.length;
    }
  }

  static void count(const ChunkInfo& chunk, const RecordView& record, uint32_t line, Piece& piece) {
    if (record.reads()) ++piece.range.reads;
    if (!record.writes()) return;
    ++piece.range.writes;
    if (record.write_version(line) < piece.version) return;
    piece.version = record.write_version(line);
    piece.range.last_process = chunk.header.process;
    piece.range.last_event = record.header.event;
    piece.range.last_pc = record.header.pc;
  }

  // A piece that holds bytes on both sides of `at` becomes two.
  void cut(uint64_t at) {
    auto piece = pieces_.lower_bound(at);
    if (piece == pieces_.begin()) return;
    --piece;
    TouchedRange& left = piece->second.range;
    if (left.offset + left.length <= at) return;
    Piece right = piece->second;
    right.range.offset = at;
    right.range.length = left.offset + left.length - at;
    left.length = at - left.offset;
    pieces_.emplace(at, right);
  }

  std::map<uint64_t, Piece> pieces_;
};

std::string writer_text(const Timeline& timeline, const TouchedRange& range) {
  if (range.writes == 0) return "-";
  const Recording* writer = timeline.by_process(range.last_process);
  return (writer ? writer->name + " " + writer->id : "?") + " " +
         format_time(range.last_event, range.last_pc);
}

}  // namespace

std::vector<TouchedRange> touched_ranges(const ShmlogReader& log, uint32_t segment) {
  Pieces pieces;
  ChunkCopy copy;
  for (const ChunkInfo& chunk : log.chunks()) {
    if (!log.copy_chunk(chunk, copy)) continue;
    uint32_t at = 0;
    RecordView record;
    while (copy.next(at, record)) {
      if (!record.is_clock() && record.header.segment == segment &&
          log.outcome(copy.info(), record) != Outcome::kNotDone)
        pieces.add(copy.info(), record);
    }
  }
  return pieces.merged();
}

std::string touched_text(const Timeline& timeline, const std::vector<TouchedRange>& ranges,
                         uint64_t limit, bool writes_only) {
  std::vector<std::vector<std::string>> rows = {
      {"Offset", "Length", "Reads", "Writes", "Last written by"}};
  for (size_t i = 0; i < ranges.size() && i < limit; ++i) {
    const TouchedRange& range = ranges[i];
    const bool known = range.reads != 0 || !writes_only;
    rows.push_back({hex(range.offset), with_separators(range.length),
                    known ? with_separators(range.reads) : "not logged",
                    with_separators(range.writes), printable(writer_text(timeline, range))});
  }
  std::string text = columns(rows, "  ");
  if (ranges.size() > limit)
    text += "  " + with_separators(ranges.size() - limit) + " more; --limit 0 shows all\n";
  return text;
}

json touched_json(const Timeline& timeline, const std::vector<TouchedRange>& ranges) {
  json list = json::array();
  for (const TouchedRange& range : ranges) {
    json item = {{"offset", range.offset},
                 {"length", range.length},
                 {"reads", range.reads},
                 {"writes", range.writes}};
    const Recording* writer = timeline.by_process(range.last_process);
    if (range.writes != 0 && writer != nullptr)
      item["lastWriter"] = {{"recording", writer->id},
                            {"name", writer->name},
                            {"time", format_time(range.last_event, range.last_pc)}};
    list.push_back(item);
  }
  return list;
}

}  // namespace shmrec::recording
