#include "report/survey.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace shmrec::report {
namespace {

using recording::ChunkCopy;
using recording::ChunkInfo;
using recording::Outcome;
using recording::RecordView;
using recording::ShmlogReader;

uint64_t since(uint64_t origin, uint64_t tsc) { return tsc > origin ? tsc - origin : 0; }

// Segments by how often they were accessed, as their counters say; the most accessed first.
std::vector<uint32_t> busiest_segments(const ShmlogReader& log) {
  std::map<uint32_t, uint64_t> accesses;
  for (const auto& numbered : log.usage())
    accesses[numbered.entry.segment] += numbered.entry.reads + numbered.entry.writes;
  std::vector<std::pair<uint64_t, uint32_t>> order;
  for (const auto& [segment, count] : accesses)
    if (count != 0) order.emplace_back(~count, segment);
  std::sort(order.begin(), order.end());
  std::vector<uint32_t> segments;
  for (const auto& [count, segment] : order) segments.push_back(segment);
  return segments;
}

class Surveyor {
 public:
  Surveyor(const recording::Timeline& timeline, Survey& survey)
      : log_(timeline.reader()), survey_(survey) {
    column_ = std::max<uint64_t>(1, survey.end / AccessMap::kColumns + 1);
    for (const uint32_t segment : busiest_segments(log_)) open_map(segment);
  }

  void read_all() {
    ChunkCopy copy;
    for (const ChunkInfo& chunk : log_.chunks())
      if (log_.copy_chunk(chunk, copy)) read(copy);
  }

 private:
  void read(const ChunkCopy& copy) {
    uint64_t time = since(survey_.origin, copy.info().header.start_tsc);
    uint32_t at = 0;
    RecordView record;
    while (copy.next(at, record)) {
      if (record.is_clock())
        time = std::max(time, since(survey_.origin, record.clock_tsc));
      else if (log_.outcome(copy.info(), record) != Outcome::kNotDone)
        add(copy.info(), record, time);
    }
    survey_.end = std::max(survey_.end, time);
  }

  void add(const ChunkInfo& chunk, const RecordView& record, uint64_t time) {
    const shmlog::RecordHeader& header = record.header;
    const uint32_t process = chunk.header.process;
    const bool reads = record.reads(), writes = record.writes();
    ++survey_.accesses;
    survey_.activity.add(process, header.segment, time, reads, writes);
    if (header.segment == 0) return;
    const uint64_t last = (header.offset + header.length - 1) / shmlog::kLineBytes;
    for (uint64_t line = header.offset / shmlog::kLineBytes; line <= last; ++line)
      survey_.lines.add(header.segment, line, process, reads, writes);
    if (AccessMap* map = map_of(header.segment)) map->add(sighting(process, record, time));
  }

  static Sighting sighting(uint32_t process, const RecordView& record, uint64_t time) {
    const shmlog::RecordHeader& header = record.header;
    Sighting access;
    access.process = process, access.segment = header.segment;
    access.time = time, access.event = header.event, access.pc = header.pc;
    access.offset = header.offset, access.length = header.length;
    access.syscall = header.syscall;
    access.reads = record.reads(), access.writes = record.writes();
    access.version = access.writes ? record.write_version(0) : record.read_version(0);
    const std::span<const uint8_t> value = access.writes ? record.output() : record.input();
    access.value_bytes = static_cast<uint8_t>(std::min(value.size(), access.value.size()));
    std::copy_n(value.begin(), access.value_bytes, access.value.begin());
    access.callers = static_cast<uint8_t>(shmlog::callers_of_flags(header.flags));
    if (access.callers != 0)
      std::memcpy(access.caller_words.data(), record.callers_at, access.callers * sizeof(uint64_t));
    return access;
  }

  // nullptr: the segment has none.
  AccessMap* map_of(uint32_t segment) {
    if (last_map_ == nullptr || last_segment_ != segment) {
      last_segment_ = segment;
      last_map_ = open_map(segment);
    }
    return last_map_;
  }

  AccessMap* open_map(uint32_t segment) {
    const auto found = survey_.maps.find(segment);
    if (found != survey_.maps.end()) return &found->second;
    if (survey_.maps.size() >= Survey::kMostMaps) return nullptr;
    return &survey_.maps.emplace(segment, AccessMap(column_)).first->second;
  }

  const ShmlogReader& log_;
  Survey& survey_;
  uint64_t column_ = 1;
  uint32_t last_segment_ = 0;
  AccessMap* last_map_ = nullptr;
};

}  // namespace

Survey survey_log(const recording::Timeline& timeline) {
  const ShmlogReader& log = timeline.reader();
  uint64_t origin = UINT64_MAX, end = 0;
  for (const ChunkInfo& chunk : log.chunks()) {
    origin = std::min(origin, chunk.header.start_tsc);
    end = std::max(end, chunk.header.start_tsc);
  }
  if (origin == UINT64_MAX) origin = log.header().start_tsc;
  for (const recording::Recording& one : timeline.recordings()) end = std::max(end, one.end_tsc);
  end = since(origin, end);
  Survey survey{origin, end, 0, Activity(end / Activity::kBins + 1), {}, LineTable()};
  Surveyor(timeline, survey).read_all();
  return survey;
}

}  // namespace shmrec::report
