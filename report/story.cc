#include "report/story.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/signal_name.h"
#include "recording/blame/blame_print.h"
#include "recording/blame/subject.h"
#include "recording/crash/core_backtrace.h"
#include "recording/run/text.h"

namespace shmrec::report {
namespace {

using recording::BlameAnswer;
using recording::BlameRow;
using recording::Recording;

constexpr size_t kReadings = 3;

// A read that an answer is wanted for.
struct ReadMade {
  uint32_t segment = 0;
  uint64_t offset = 0, length = 0, event = 0;
  bool same_bytes(const ReadMade& other) const {
    return segment == other.segment && offset == other.offset && length == other.length;
  }
};

std::string name_of(const Recording& one) {
  return one.name + " (pid " + std::to_string(one.pid) + ")";
}

std::string in_code(const BlameRow& row) {
  const std::string function = recording::function_text(row, row.access.header.syscall),
                    place = recording::place_text(row);
  if (function.empty()) return place.empty() ? "" : " in " + place;
  return " in " + function + (place.empty() ? "" : " (" + place + ")");
}

std::string number_of(uint64_t count, const char* what) {
  return recording::with_separators(count) + " " + what + (count == 1 ? "" : "s");
}

std::vector<const Recording*> failed_ones(const recording::Timeline& timeline) {
  std::vector<const Recording*> failed;
  for (const Recording& one : timeline.recordings())
    if (recording::ending_of(one) != recording::Ending::kOrderly) failed.push_back(&one);
  std::stable_sort(failed.begin(), failed.end(), [](const Recording* a, const Recording* b) {
    return recording::goes_before(*a, *b);
  });
  return failed;
}

// The reads of a chunk that only read, as those that also write are mostly locks.
void add_reads(const recording::ShmlogReader& log, const recording::ChunkCopy& copy,
               std::vector<ReadMade>& reads) {
  uint32_t at = 0;
  recording::RecordView record;
  while (copy.next(at, record)) {
    if (record.is_clock() || !record.reads() || record.writes()) continue;
    if (log.outcome(copy.info(), record) == recording::Outcome::kNotDone) continue;
    const shmlog::RecordHeader& header = record.header;
    reads.push_back({header.segment, header.offset, header.length, header.event});
  }
}

// The latest of the thread, or without one (0) of the process, of different bytes.
std::vector<ReadMade> last_reads(const recording::ShmlogReader& log, uint32_t process, int tid,
                                 size_t most) {
  constexpr int kMostChunks = 8;
  std::vector<ReadMade> reads;
  recording::ChunkCopy copy;
  int seen = 0;
  for (auto chunk = log.chunks().rbegin(); chunk != log.chunks().rend(); ++chunk) {
    const shmlog::ChunkHeader& header = chunk->header;
    if (header.process != process || (tid != 0 && header.tid != tid)) continue;
    if (log.copy_chunk(*chunk, copy)) add_reads(log, copy, reads);
    if (++seen == kMostChunks || (reads.size() >= most && tid != 0)) break;
  }
  std::sort(reads.begin(), reads.end(),
            [](const ReadMade& a, const ReadMade& b) { return a.event > b.event; });
  std::vector<ReadMade> distinct;
  for (const ReadMade& read : reads) {
    if (distinct.size() == most) break;
    if (std::none_of(distinct.begin(), distinct.end(),
                     [&](const ReadMade& other) { return other.same_bytes(read); }))
      distinct.push_back(read);
  }
  return distinct;
}

class StoryTeller {
 public:
  StoryTeller(const recording::RunFiles& files, const recording::AccessIndex& index,
              const recording::Timeline& timeline, recording::Symbols& symbols)
      : files_(files), timeline_(timeline), blame_(index, timeline, symbols) {}

  Story tell() {
    const std::vector<const Recording*> failed = failed_ones(timeline_);
    if (failed.empty()) {
      story_.sentences.push_back("No process is known to have failed.");
      tell_standing();
    } else {
      story_.subject = failed[0];
      tell_death(*failed[0]);
      tell_others(failed);
    }
    tell_unknown();
    return std::move(story_);
  }

 private:
  void say(const std::string& sentence) { story_.sentences.push_back(sentence); }

  // Where processes that run on stood when somebody asked: what a hang is made of.
  void tell_standing() {
    for (const auto& [id, line] : recording::core_lines(files_, timeline_))
      if (!line.ended) say(line.text + " when its core was taken.");
  }

  void tell_death(const Recording& one) {
    const std::string core = files_.core(one.id);
    int tid = 0;
    std::string died;
    if (!core.empty()) {
      const auto stacks = recording::read_core_stacks(core, recording::finder_of(files_));
      if (stacks && stacks->ended()) {
        tid = stacks->threads.front().tid;
        died = recording::core_text(one.name, one.pid, *stacks);
      }
    }
    if (died.empty())
      died = name_of(one) + (one.signal ? " died of " + signal_name(*one.signal)
                                        : " failed: " + recording::end_of_recording(one));
    say(died + at_time(one) + ".");
    tell_reads(one, tid);
  }

  std::string at_time(const Recording& one) const {
    if (one.end_tsc == 0) return "";
    return ", " + seconds_text(timeline_.reader().seconds_since_start(one.end_tsc)) +
           " after the recording began";
  }

  // Of what it read last; what the program itself read before what a library did for it.
  void tell_reads(const Recording& one, int tid) {
    constexpr size_t kLooked = 16;
    std::vector<ReadMade> reads = last_reads(timeline_.reader(), one.process, tid, kLooked);
    if (reads.empty()) reads = last_reads(timeline_.reader(), one.process, 0, kLooked);
    std::vector<Story::Reading> own, others;
    for (const ReadMade& read : reads) {
      if (own.size() == kReadings) break;
      std::optional<BlameAnswer> answer = ask(one, read);
      if (!answer) continue;
      const BlameRow* row = row_of(*answer, read);
      if (row == nullptr) continue;
      const bool in_library = !row->called.empty();
      const std::string title = title_of(one, *answer, *row);
      (in_library ? others : own).push_back({title, std::move(*answer)});
    }
    for (Story::Reading& reading : others)
      if (own.size() < kReadings) own.push_back(std::move(reading));
    story_.readings = std::move(own);
    if (story_.readings.empty()) say("No read of shared memory by it is in the log.");
    for (size_t i = 0; i < story_.readings.size(); ++i) tell_reading(story_.readings[i], i == 0);
  }

  std::optional<BlameAnswer> ask(const Recording& one, const ReadMade& read) const {
    recording::BlameQuery query;
    query.where = std::to_string(read.segment) + "+" + recording::hex(read.offset);
    query.recording = one.id;
    query.time.event = read.event;
    query.length = read.length;
    query.limit = 20;
    Result<BlameAnswer> answer = blame_.ask(query);
    if (!answer) return std::nullopt;
    return std::move(*answer);
  }

  static const BlameRow* row_of(const BlameAnswer& answer, const ReadMade& read) {
    for (const BlameRow& row : answer.rows)
      if (row.current && !row.unrecorded_writer && row.access.header.event == read.event)
        return &row;
    return nullptr;
  }

  static std::string title_of(const Recording& one, const BlameAnswer& answer,
                              const BlameRow& read) {
    return one.name + " read " + number_of(answer.location.length, "byte") + " at " +
           answer.segment + "+" + recording::hex(answer.location.offset) + in_code(read);
  }

  void tell_reading(const Story::Reading& reading, bool first) {
    const BlameAnswer& answer = reading.answer;
    const BlameRow& read = *std::find_if(answer.rows.rbegin(), answer.rows.rend(),
                                         [](const BlameRow& row) { return row.current; });
    say(std::string(first ? "The last that it read of shared memory was "
                          : "Before that it read ") +
        recording::value_text(answer.type, read.value) + " at " + answer.segment + "+" +
        recording::hex(answer.location.offset) + " (" + number_of(answer.location.length, "byte") +
        ")" + in_code(read) + ".");
    tell_writer(answer, read);
  }

  // Who made the value: the newest write among the rows before the read.
  void tell_writer(const BlameAnswer& answer, const BlameRow& read) {
    const BlameRow* writer = nullptr;
    for (const BlameRow& row : answer.rows) {
      if (&row == &read) break;
      if (row.unrecorded_writer || row.access.writes()) writer = &row;
    }
    if (writer == nullptr)
      say("No write of that is in the log.");
    else if (writer->unrecorded_writer)
      say("No recorded process had written that.");
    else if (writer->recording == nullptr)
      say("A process that the log does not name any more had written it.");
    else if (writer->current)
      say("It had written that itself" + written(answer, *writer));
    else
      say(name_of(*writer->recording) + ", recording " + writer->recording->id +
          ", had written it" + written(answer, *writer));
  }

  static std::string written(const BlameAnswer& answer, const BlameRow& writer) {
    const bool in_part = writer.value.size() < answer.location.length;
    return in_code(writer) + " at " +
           recording::format_time(writer.access.header.event, writer.access.header.pc) +
           (in_part ? ", in part." : ".");
  }

  void tell_others(const std::vector<const Recording*>& failed) {
    constexpr size_t kNamed = 5;
    if (failed.size() == 1) return;
    std::string others;
    for (size_t i = 1; i < failed.size() && i <= kNamed; ++i)
      others += (i > 1 ? ", " : "") + name_of(*failed[i]) + ": " +
                recording::end_of_recording(*failed[i]);
    if (failed.size() > kNamed + 1)
      others += ", and " + recording::with_separators(failed.size() - kNamed - 1) + " more";
    say("Beside it failed " + others + ".");
  }

  void tell_unknown() {
    const auto count = static_cast<uint64_t>(std::count_if(
        timeline_.recordings().begin(), timeline_.recordings().end(), [](const Recording& one) {
          return !one.ended && !one.signal && !one.exit_code && !one.became_another;
        }));
    if (count > 0)
      say("Of " + number_of(count, "recording") + " no end is known: killed, or still running.");
  }

  const recording::RunFiles& files_;
  const recording::Timeline& timeline_;
  recording::Blame blame_;
  Story story_;
};

}  // namespace

std::string seconds_text(double seconds) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6f s", seconds);
  return text;
}

Story tell_story(const recording::RunFiles& files, const recording::AccessIndex& index,
                 const recording::Timeline& timeline, recording::Symbols& symbols) {
  return StoryTeller(files, index, timeline, symbols).tell();
}

}  // namespace shmrec::report
