#include "recording/export/trace_events.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/signal_name.h"
#include "recording/blame/locate.h"
#include "recording/log/names.h"
#include "recording/run/listing.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using Event = nlohmann::ordered_json;
using shmlog::JournalType;

// Of a counter; and of all together, one for each recording and segment.
constexpr uint64_t kMostBins = 1000;
constexpr uint64_t kLeastBins = 10;
constexpr uint64_t kMostPoints = 100'000;

// ---- Time ---------------------------------------------------------------------------------------

// Nothing in the log is known to be later.
uint64_t newest_clock(const Timeline& timeline) {
  const ShmlogReader& log = timeline.reader();
  uint64_t newest = log.header().start_tsc;
  for (const Recording& recording : timeline.recordings())
    newest = std::max({newest, recording.start_tsc, recording.end_tsc});
  for (const JournalItem& item : log.journal()) newest = std::max<uint64_t>(newest, item.entry.tsc);
  std::set<uint32_t> lanes;
  ChunkCopy copy;
  for (auto chunk = log.chunks().rbegin(); chunk != log.chunks().rend(); ++chunk) {
    newest = std::max(newest, chunk->header.start_tsc);
    if (!lanes.insert(chunk->header.lane).second || !log.copy_chunk(*chunk, copy)) continue;
    uint32_t at = 0;
    for (RecordView record; copy.next(at, record);)
      if (record.is_clock()) newest = std::max(newest, record.clock_tsc);
  }
  return newest;
}

// ---- What is counted ----------------------------------------------------------------------------

// Operations that do both count in both, as in shmrec ls.
struct Counts {
  uint64_t reads = 0, writes = 0;
  void add(const RecordView& record) {
    reads += record.reads();
    writes += record.writes();
  }
};

struct ThreadUse {
  uint64_t first_tsc = 0, last_tsc = 0;
  Counts counts;
};

struct Use {
  int32_t pid = 0;                                             // as its chunks say
  std::map<int32_t, ThreadUse> threads;                        // by tid
  std::map<uint32_t, std::map<uint64_t, Counts>> per_segment;  // by number, by bin
};

// ---- Numbers ------------------------------------------------------------------------------------

// The format names processes and threads by numbers that must be theirs alone, and pids are not: an
// exec keeps its own, the system uses them again, each container counts anew. The first to come has
// its own, others get one that no process can have.
class Numbers {
 public:
  int64_t take(int64_t wanted) { return taken_.insert(wanted).second ? wanted : next_++; }

 private:
  std::set<int64_t> taken_;
  int64_t next_ = (int64_t{1} << 22) + 1;  // the kernel's largest pid is 2^22
};

// ---- Events -------------------------------------------------------------------------------------

class Trace {
 public:
  Trace(const Timeline& timeline, const AccessFilter& filter,
        const std::map<std::string, std::string>& deaths,
        const std::function<bool(std::string_view)>& write)
      : timeline_(timeline),
        filter_(filter),
        deaths_(deaths),
        write_(write),
        newest_(newest_clock(timeline)) {
    const uint64_t counters = std::max<uint64_t>(timeline.reader().usage().size(), 1);
    bins_ = std::clamp(kMostPoints / counters, kLeastBins, kMostBins);
    width_us_ = bin_width(microseconds(newest_), bins_);
  }

  std::vector<Damage> run() {
    std::vector<Damage> damage = walk_accesses(
        timeline_.reader(), filter_, [&](const WalkedAccess& access) { return count(access); });
    begin();
    for (const Recording& recording : timeline_.recordings())
      if (is_wanted(recording.process)) add_recording(recording);
    for (const auto& [process, use] : uses_)
      if (timeline_.by_process(process) == nullptr) add_unknown(process, use);
    for (const JournalItem& item : timeline_.reader().journal())
      if (is_wanted(item.entry.process)) add_journal(item);
    write_("\n]}\n");
    return damage;
  }

 private:
  bool is_wanted(uint32_t process) const {
    return filter_.process == 0 || filter_.process == process;
  }

  // Since the run's start, to the nanosecond.
  double microseconds(uint64_t tsc) const {
    return std::max(0.0, std::round(timeline_.reader().seconds_since_start(tsc) * 1e9)) / 1e3;
  }

  bool count(const WalkedAccess& access) {
    const shmlog::ChunkHeader& chunk = access.chunk.header;
    Use& use = uses_[chunk.process];
    use.pid = chunk.pid;
    const auto [thread, fresh] = use.threads.try_emplace(chunk.tid);
    if (fresh) thread->second.first_tsc = access.tsc;
    thread->second.first_tsc = std::min(thread->second.first_tsc, access.tsc);
    thread->second.last_tsc = std::max(thread->second.last_tsc, access.tsc);
    thread->second.counts.add(access.record);
    const auto last = static_cast<double>(bins_);
    const double bin = std::min(microseconds(access.tsc) / static_cast<double>(width_us_), last);
    const uint32_t segment = access.record.header.segment;
    const bool known = timeline_.reader().segment(segment) != nullptr;
    use.per_segment[known ? segment : 0][static_cast<uint64_t>(bin)].add(access.record);
    return true;
  }

  void begin() {
    const shmlog::Header& header = timeline_.reader().header();
    const Event about = {
        {"tool", "shmrec"},
        {"runId", hex(header.run_id)},
        {"startRealtimeNs", header.start_realtime_ns},
        {"binMicroseconds", width_us_},
        {"recordsOverwritten", timeline_.reader().loss(shmlog::Loss::kRecordsOverwritten)}};
    write_("{\"displayTimeUnit\":\"ns\",\"otherData\":" + text_of(about) + ",\"traceEvents\":[");
  }

  static std::string text_of(const Event& event) {
    return event.dump(-1, ' ', false, Event::error_handler_t::replace);
  }

  void put(const Event& event) {
    write_((first_ ? "\n" : ",\n") + text_of(event));
    first_ = false;
  }

  // ---- Processes and threads

  void add_recording(const Recording& recording) {
    const int64_t number = number_of(recording.process, recording.pid);
    name(number, number, "process_name", recording.name + " (" + recording.id + ")");
    name(number, number, "thread_name", recording.name);
    const uint64_t end =
        std::max(recording.start_tsc, recording.end_tsc != 0 ? recording.end_tsc : newest_);
    Event args = {{"recording", recording.id},
                  {"pid", recording.pid},
                  {"executable", recording.executable},
                  {"started", start_kind_name(static_cast<uint32_t>(recording.start_kind))},
                  {"ended", end_of_recording(recording)},
                  {"accesses", recording.accesses}};
    if (const Recording* parent = timeline_.by_process(recording.parent))
      args["parent"] = parent->id;
    if (recording.degraded != shmlog::DegradedReason::kNone)
      args["degraded"] = degraded_name(static_cast<uint32_t>(recording.degraded));
    slice(number, number, "recording " + recording.id, recording.start_tsc, end, args);
    add_end(recording, number, end);
    const auto use = uses_.find(recording.process);
    if (use != uses_.end()) add_use(use->second, number, recording.pid, recording.start_tsc, end);
  }

  // One whose entry in the table of processes was used again.
  void add_unknown(uint32_t process, const Use& use) {
    const int64_t number = number_of(process, use.pid);
    name(number, number, "process_name", "process#" + std::to_string(process));
    name(number, number, "thread_name", "process#" + std::to_string(process));
    add_use(use, number, use.pid, 0, UINT64_MAX);
  }

  int64_t number_of(uint32_t process, int32_t pid) {
    return numbers_of_[process] = numbers_.take(pid);
  }

  // `begin`, `end`: of the slice of the recording, which slices of its first thread must nest in.
  void add_use(const Use& use, int64_t process, int32_t pid, uint64_t begin, uint64_t end) {
    for (const auto& [tid, thread] : use.threads) {
      const int64_t number = tid == pid ? process : numbers_.take(tid);
      if (tid != pid) name(process, number, "thread_name", "thread " + std::to_string(tid));
      slice(process, number, "accesses to shared memory", std::clamp(thread.first_tsc, begin, end),
            std::clamp(thread.last_tsc, begin, end),
            {{"reads", thread.counts.reads}, {"writes", thread.counts.writes}});
    }
    for (const auto& [segment, bins] : use.per_segment) add_counter(process, segment, bins);
  }

  void add_counter(int64_t process, uint32_t segment, const std::map<uint64_t, Counts>& bins) {
    const std::string label = counter_name(segment);
    for (auto bin = bins.begin(); bin != bins.end(); ++bin) {
      point(process, label, bin->first, bin->second);
      const auto next = std::next(bin);
      if (next == bins.end() || next->first != bin->first + 1)
        point(process, label, bin->first + 1, {});
    }
  }

  // Of two segments with one name each has its number.
  std::string counter_name(uint32_t segment) const {
    const ShmlogReader& log = timeline_.reader();
    const std::string label = segment_label(segment, log.segment(segment));
    const auto same = std::count_if(
        log.segments().begin(), log.segments().end(),
        [&](const auto& other) { return segment_label(other.index, &other.entry) == label; });
    return same > 1 ? label + " (segment " + std::to_string(segment) + ")" : label;
  }

  // ---- Moments

  void add_end(const Recording& recording, int64_t number, uint64_t end) {
    if (!recording.ended && !recording.signal) return;
    Event args = {{"recording", recording.id}};
    const auto death = deaths_.find(recording.id);
    if (death != deaths_.end()) args["where"] = death->second;
    const std::string how = end_of_recording(recording);
    instant(number, recording.signal ? "died of " + how : how, recording.signal ? "death" : "exit",
            end, args);
  }

  void add_journal(const JournalItem& item) {
    const shmlog::JournalEntry& entry = item.entry;
    const auto number = numbers_of_.find(entry.process);
    if (number == numbers_of_.end()) return;
    const auto type = static_cast<JournalType>(entry.type);
    if (type == JournalType::kMark)
      instant(number->second, item.text, "mark", entry.tsc, {{"event", entry.event}});
    if (type == JournalType::kSignal)
      instant(number->second, signal_name(static_cast<int>(entry.a & 0x7F)), "signal", entry.tsc,
              {{"event", entry.event}, {"address", hex(entry.c)}, {"pc", hex(entry.d)}});
  }

  // ---- Forms of events

  void name(int64_t process, int64_t thread, const char* what, const std::string& text) {
    put({{"ph", "M"},
         {"pid", process},
         {"tid", thread},
         {"name", what},
         {"args", {{"name", text}}}});
  }

  void slice(int64_t process, int64_t thread, const std::string& text, uint64_t begin, uint64_t end,
             const Event& args) {
    const double from = microseconds(begin);
    put({{"ph", "X"},
         {"pid", process},
         {"tid", thread},
         {"ts", from},
         {"dur", std::max(0.0, std::round((microseconds(end) - from) * 1e3) / 1e3)},
         {"name", text},
         {"cat", "recording"},
         {"args", args}});
  }

  void point(int64_t process, const std::string& label, uint64_t bin, const Counts& counts) {
    put({{"ph", "C"},
         {"pid", process},
         {"ts", bin * width_us_},
         {"name", label},
         {"cat", "accesses"},
         {"args", {{"reads", counts.reads}, {"writes", counts.writes}}}});
  }

  void instant(int64_t process, const std::string& text, const char* category, uint64_t tsc,
               const Event& args) {
    put({{"ph", "i"},
         {"s", "p"},
         {"pid", process},
         {"tid", process},
         {"ts", microseconds(tsc)},
         {"name", text},
         {"cat", category},
         {"args", args}});
  }

  const Timeline& timeline_;
  const AccessFilter& filter_;
  const std::map<std::string, std::string>& deaths_;
  const std::function<bool(std::string_view)>& write_;
  const uint64_t newest_;
  uint64_t bins_ = 0;             // the last is the one behind the run's end
  uint64_t width_us_ = 1;         // of one
  std::map<uint32_t, Use> uses_;  // by process
  Numbers numbers_;
  std::map<uint32_t, int64_t> numbers_of_;  // by process
  bool first_ = true;
};

}  // namespace

uint64_t bin_width(double length_us, uint64_t bins) {
  constexpr uint64_t kSteps[] = {1, 2, 5};
  constexpr uint64_t kLargest = 1'000'000'000'000'000;
  for (uint64_t power = 1; power < kLargest; power *= 10)
    for (const uint64_t step : kSteps)
      if (static_cast<double>(step * power) * static_cast<double>(bins) >= length_us)
        return step * power;
  return kLargest;
}

std::vector<Damage> write_trace_events(const Timeline& timeline, const AccessFilter& filter,
                                       const std::map<std::string, std::string>& deaths,
                                       const std::function<bool(std::string_view)>& write) {
  return Trace(timeline, filter, deaths, write).run();
}

}  // namespace shmrec::recording
