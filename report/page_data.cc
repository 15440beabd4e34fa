#include "report/page_data.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/printable.h"
#include "base/signal_name.h"
#include "recording/blame/blame_print.h"
#include "recording/blame/code_finder.h"
#include "recording/blame/subject.h"
#include "recording/bundle/bundle_run.h"
#include "recording/log/names.h"
#include "recording/run/text.h"

namespace shmrec::report {
namespace {

using nlohmann::json;
using recording::Recording;
using recording::with_separators;

// A text of the workload's, as it may be shown, cut.
std::string shown(const std::string& text, size_t most = 200) {
  const std::string safe = printable(text);
  if (safe.size() <= most) return safe;
  size_t end = most;
  while (end > 0 && (static_cast<uint8_t>(safe[end]) & 0xC0) == 0x80) --end;
  return safe.substr(0, end) + "...";
}

json number(uint64_t value) {
  constexpr uint64_t kExact = uint64_t{1} << 53;
  return value < kExact ? json(value) : json(recording::hex(value));
}

bool is_orderly(const Recording& one) {
  return recording::ending_of(one) == recording::Ending::kOrderly;
}

class PageData {
 public:
  PageData(const PageSource& source, const PageLimits& limits)
      : source_(source),
        log_(source.timeline.reader()),
        limits_(limits),
        code_(source.timeline, source.symbols) {
    choose_processes();
  }

  json make() {
    json page = {{"format", "shmrec-report/1"},
                 {"name", shown(source_.name)},
                 {"run", run()},
                 {"story", story()},
                 {"processes", processes()},
                 {"sharing", sharing()},
                 {"timeline", timeline()},
                 {"marks", marks()},
                 {"maps", maps()},
                 {"titles", recording::blame_titles()},
                 {"coverage", coverage()}};
    page.update(lines());
    page["places"] = std::move(places_);
    page["limits"] = std::move(limits_said_);
    return page;
  }

 private:
  // ---- Processes --------------------------------------------------------------------------------

  // Those that failed, then those with the most accesses.
  void choose_processes() {
    std::vector<const Recording*> order;
    for (const Recording& one : source_.timeline.recordings()) order.push_back(&one);
    std::stable_sort(order.begin(), order.end(), [](const Recording* a, const Recording* b) {
      return std::tuple(is_orderly(*a), ~a->accesses) < std::tuple(is_orderly(*b), ~b->accesses);
    });
    if (order.size() > limits_.processes) {
      limits_said_.push_back(with_separators(order.size() - limits_.processes) +
                             " recordings with few accesses are not shown");
      order.resize(limits_.processes);
    }
    std::set<uint32_t> chosen;
    for (const Recording* one : order) chosen.insert(one->process);
    for (const Recording& one : source_.timeline.recordings())
      if (chosen.contains(one.process)) {
        number_of_[one.process] = static_cast<int>(chosen_.size());
        chosen_.push_back(&one);
      }
  }

  int process(uint32_t entry) const {
    const auto known = number_of_.find(entry);
    return known == number_of_.end() ? -1 : known->second;
  }

  int64_t microseconds(uint64_t tsc) const {
    return static_cast<int64_t>(log_.seconds_since_start(tsc) * 1e6);
  }
  int64_t time_of(uint64_t ticks) const { return microseconds(source_.survey.origin + ticks); }
  double width_of(uint64_t ticks) const {
    const auto hz = static_cast<double>(log_.header().tsc_hz);
    return hz == 0 ? 0 : static_cast<double>(ticks) / hz * 1e6;
  }

  json processes() const {
    json list = json::array();
    for (const Recording* one : chosen_) {
      json item = {{"id", one->id},
                   {"pid", one->pid},
                   {"name", shown(one->name)},
                   {"executable", shown(one->executable)},
                   {"parent", process(one->parent)},
                   {"how", recording::start_kind_name(static_cast<uint32_t>(one->start_kind))},
                   {"start", microseconds(one->start_tsc)},
                   {"end", one->end_tsc != 0 ? json(microseconds(one->end_tsc)) : json()},
                   {"status", recording::end_of_recording(*one)},
                   {"failed", !is_orderly(*one)},
                   {"accesses", number(one->accesses)}};
      if (one->degraded != shmlog::DegradedReason::kNone)
        item["note"] = recording::degraded_words(static_cast<uint64_t>(one->degraded));
      list.push_back(std::move(item));
    }
    return list;
  }

  // ---- Story ------------------------------------------------------------------------------------

  json run() const {
    json run = {{"accesses", number(source_.survey.accesses)},
                {"recordings", source_.timeline.recordings().size()},
                {"segments", log_.segments().size()},
                {"end", time_of(source_.survey.end)}};
    if (source_.files.directory().empty()) return run;
    const recording::RunFacts facts = recording::read_run_facts(source_.files.directory());
    run["host"] = shown(facts.run_text("hostname"));
    run["started"] = shown(facts.run_text("startTime"));
    run["version"] = shown(facts.run_text("version"));
    std::string command;
    const auto words = facts.run.find("command");
    if (words != facts.run.end() && words->is_array())
      for (const json& word : *words)
        if (word.is_string())
          command += (command.empty() ? "" : " ") + recording::shell_quoted(word);
    run["command"] = shown(command, 500);
    return run;
  }

  json story() const {
    json sentences = json::array(), readings = json::array();
    for (const std::string& sentence : source_.story.sentences)
      sentences.push_back(shown(sentence, 1000));
    for (const Story::Reading& reading : source_.story.readings)
      readings.push_back(blame_table(shown(reading.title, 400), reading.answer));
    return {{"sentences", sentences}, {"readings", readings}};
  }

  // Those of the process that the story is about are marked.
  json blame_table(const std::string& title, const recording::BlameAnswer& answer) const {
    json rows = json::array(), notes = json::array();
    for (const recording::BlameRow& row : answer.rows) {
      json cells = json::array({is_subject(row) ? "*" : row.later ? ">" : ""});
      for (const std::string& cell : recording::blame_cells(answer, row))
        cells.push_back(shown(cell));
      rows.push_back(std::move(cells));
    }
    for (const std::string& note : answer.notes) notes.push_back(shown(note, 400));
    // What blame says last of them names an option of its own.
    if (answer.left_out != 0)
      notes.back() = with_separators(answer.left_out) +
                     " or more earlier rows are left out: shmrec timeline lists them";
    return {{"title", title}, {"rows", rows}, {"notes", notes}};
  }

  bool is_subject(const recording::BlameRow& row) const {
    return row.recording != nullptr && row.recording == source_.story.subject;
  }

  // ---- Who shares what --------------------------------------------------------------------------

  std::string label(uint32_t segment) const {
    return shown(recording::segment_label(segment, log_.segment(segment)));
  }

  json segment_head(uint32_t number) const {
    json head = {{"segment", number}, {"label", label(number)}};
    const shmlog::SegmentEntry* entry = log_.segment(number);
    if (entry == nullptr) return head;
    head["kind"] = recording::segment_kind_name(entry->kind);
    head["bytes"] = this->number(entry->extent_bytes);
    head["writesOnly"] = recording::has_writes_only(*entry);
    return head;
  }

  json number(uint64_t value) const { return report::number(value); }

  json sharing() {
    struct Row {
      uint64_t accesses = 0;
      uint32_t segment = 0;
      std::vector<std::tuple<int, uint64_t, uint64_t, uint64_t>> users;
    };
    std::map<uint32_t, Row> by_segment;
    for (const auto& numbered : log_.usage()) {
      const shmlog::UsageEntry& usage = numbered.entry;
      if (usage.reads + usage.writes == 0) continue;
      Row& row = by_segment[usage.segment];
      row.segment = usage.segment, row.accesses += usage.reads + usage.writes;
      if (const int who = process(usage.process); who >= 0)
        row.users.emplace_back(who, usage.reads, usage.writes, usage.kernel);
    }
    std::vector<Row> rows;
    for (auto& [segment, row] : by_segment) rows.push_back(std::move(row));
    std::stable_sort(rows.begin(), rows.end(),
                     [](const Row& a, const Row& b) { return a.accesses > b.accesses; });
    if (rows.size() > limits_.segments) {
      limits_said_.push_back(with_separators(rows.size() - limits_.segments) +
                             " segments with few accesses are not shown");
      rows.resize(limits_.segments);
    }
    json list = json::array();
    for (const Row& row : rows) {
      json item = segment_head(row.segment);
      for (const auto& [who, reads, writes, kernel] : row.users)
        item["users"].push_back({who, number(reads), number(writes), number(kernel)});
      list.push_back(std::move(item));
    }
    return list;
  }

  // ---- Timeline ---------------------------------------------------------------------------------

  json timeline() {
    Activity activity = source_.survey.activity;
    activity.coarsen(limits_.used_bins);
    json rows = json::array();
    uint64_t unknown = 0;
    for (const auto& [pair, counts] : activity.pairs()) {
      if (process(pair.first) < 0) {
        ++unknown;
        continue;
      }
      json bins = json::array();
      for (size_t i = 0; i < counts.size(); ++i)
        if (counts[i].reads + counts[i].writes != 0)
          bins.insert(bins.end(), {i, number(counts[i].reads), number(counts[i].writes)});
      rows.push_back({{"process", process(pair.first)},
                      {"segment", pair.second},
                      {"label", label(pair.second)},
                      {"bins", std::move(bins)}});
    }
    if (activity.left_out() != 0)
      limits_said_.push_back("The timeline has " + with_separators(Activity::kMostPairs) +
                             " pairs of process and segment; " +
                             with_separators(activity.left_out()) +
                             " accesses of others are not in it");
    if (unknown != 0)
      limits_said_.push_back("The timeline lacks " + with_separators(unknown) +
                             " pairs of process and segment whose process is not shown");
    return {{"origin", time_of(0)},
            {"width", width_of(activity.axis().width())},
            {"rows", std::move(rows)}};
  }

  json marks() {
    json list = json::array();
    uint64_t left_out = 0;
    for (const recording::JournalItem& item : log_.journal()) {
      const auto type = static_cast<shmlog::JournalType>(item.entry.type);
      const bool mark = type == shmlog::JournalType::kMark;
      if (!mark && type != shmlog::JournalType::kSignal) continue;
      if (process(item.entry.process) < 0 || list.size() >= limits_.marks) {
        ++left_out;
        continue;
      }
      const int signal = static_cast<int>(item.entry.a & 0x7F);
      list.push_back({{"process", process(item.entry.process)},
                      {"time", microseconds(item.entry.tsc)},
                      {"kind", mark ? "mark" : "signal"},
                      {"text", mark ? shown(item.text) : signal_name(signal)}});
    }
    if (left_out != 0)
      limits_said_.push_back(with_separators(left_out) + " marks and signals are not shown");
    return list;
  }

  // ---- Maps -------------------------------------------------------------------------------------

  json maps() {
    std::vector<std::pair<uint64_t, uint32_t>> order;  // most accesses first
    std::map<uint32_t, size_t> cells;
    for (const auto& [segment, map] : source_.survey.maps) {
      uint64_t accesses = 0;
      size_t& count = cells[segment];
      for_each_cell(map, [&](uint32_t, uint32_t, const AccessMap::Cell& cell) {
        accesses += cell.reads + cell.writes;
        ++count;
      });
      if (accesses != 0) order.emplace_back(~accesses, segment);
    }
    std::sort(order.begin(), order.end());
    std::vector<uint32_t> chosen;
    size_t all_cells = 0;
    for (const auto& [accesses, segment] : order) {
      if (!chosen.empty() && all_cells + cells[segment] > limits_.cells) break;
      all_cells += cells[segment];
      chosen.push_back(segment);
    }
    note_segments_without_map(chosen.size());
    const size_t rows_each = limits_.rows / std::max<size_t>(1, all_cells);
    json list = json::array();
    for (const uint32_t segment : chosen)
      list.push_back(map_of(segment, source_.survey.maps.at(segment), rows_each));
    return list;
  }

  void note_segments_without_map(size_t with_map) {
    std::set<uint32_t> accessed;
    for (const auto& [pair, counts] : source_.survey.activity.pairs()) accessed.insert(pair.second);
    if (accessed.size() > with_map)
      limits_said_.push_back("There are maps of the " + with_separators(with_map) +
                             " segments with the most accesses, and none of " +
                             with_separators(accessed.size() - with_map) + " others");
  }

  template <typename Visit>
  static void for_each_cell(const AccessMap& map, const Visit& visit) {
    for (uint32_t row = 0; row < AccessMap::kRows; ++row)
      for (uint32_t column = 0; column < AccessMap::kColumns; ++column)
        if (!map.cell(row, column).empty()) visit(row, column, map.cell(row, column));
  }

  json map_of(uint32_t segment, const AccessMap& map, size_t rows_each) {
    json out = segment_head(segment);
    out["rowBytes"] = number(map.row_bytes());
    out["rows"] = AccessMap::kRows;
    out["columns"] = AccessMap::kColumns;
    out["origin"] = time_of(0);
    out["columnWidth"] = width_of(map.column_ticks());
    json cells = json::array();
    for_each_cell(map, [&](uint32_t row, uint32_t column, const AccessMap::Cell& cell) {
      cells.push_back(cell_of(row, column, cell, rows_each));
    });
    out["cells"] = std::move(cells);
    return out;
  }

  // [row, column, reads, writes, last writer or null, [writers], more writers, [accesses]]
  json cell_of(uint32_t row, uint32_t column, const AccessMap::Cell& cell, size_t rows_each) {
    json writers = json::array(), accesses = json::array();
    for (uint8_t i = 0; i < cell.writers.count; ++i)
      writers.push_back(process(cell.writers.named[i]));
    const Sighting* last = cell.last_writes.newest();
    for (const Sighting* access : chosen_accesses(cell, rows_each))
      accesses.push_back(access_of(*access));
    return {row,
            column,
            number(cell.reads),
            number(cell.writes),
            last ? json(process(last->process)) : json(),
            writers,
            cell.writers.more,
            accesses};
  }

  // The newest writes and reads in turn, as many as may be; then the oldest first.
  static std::vector<const Sighting*> chosen_accesses(const AccessMap::Cell& cell, size_t most) {
    const auto newer = [](const Sighting* a, const Sighting* b) { return is_newer(*a, *b); };
    const auto sorted = [&](const AccessMap::Newest& newest) {
      std::vector<const Sighting*> list;
      for (const Sighting& access : newest) list.push_back(&access);
      std::sort(list.begin(), list.end(), newer);
      return list;
    };
    const std::vector<const Sighting*> writes = sorted(cell.last_writes),
                                       reads = sorted(cell.last_reads);
    std::vector<const Sighting*> chosen;
    for (size_t i = 0; i < AccessMap::Newest::kMost; ++i) {
      if (i < writes.size() && chosen.size() < most) chosen.push_back(writes[i]);
      if (i < reads.size() && chosen.size() < most) chosen.push_back(reads[i]);
    }
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](const Sighting* a, const Sighting* b) { return newer(b, a); });
    return chosen;
  }

  // [process, kind, time, event, place, offset, length, value]
  json access_of(const Sighting& access) {
    const std::vector<uint8_t> bytes(access.value.begin(),
                                     access.value.begin() + access.value_bytes);
    std::string value = recording::format_value(bytes);
    if (access.length > access.value_bytes) value += " ...";
    return {process(access.process), access.reads && access.writes ? 2 : access.writes ? 1 : 0,
            time_of(access.time),    number(access.event),
            place_of(access),        number(access.offset),
            access.length,           value};
  }

  // Number of the code's place in "places": [pc, function, file and line].
  size_t place_of(const Sighting& access) {
    using Words = std::array<uint64_t, shmlog::kMaxCallers>;
    const std::tuple<uint32_t, uint16_t, uint64_t, Words> key{access.process, access.syscall,
                                                              access.pc, access.caller_words};
    const auto [known, fresh] = place_numbers_.try_emplace(key, places_.size());
    if (!fresh) return known->second;
    const Recording* recording = source_.timeline.by_process(access.process);
    const auto callers = access.caller_words.begin();
    recording::CodeSite site;
    if (recording != nullptr && places_.size() < limits_.places)
      site = code_.find(*recording, access.event, access.pc, {callers, callers + access.callers});
    places_.push_back({recording::hex(access.pc),
                       shown(recording::function_text(site, access.syscall)),
                       shown(recording::place_text(site))});
    return known->second;
  }

  // ---- Lines ------------------------------------------------------------------------------------

  // {"hot": [...], "contested": [...], "lines": [...]}: the first two are places in the third.
  json lines() {
    const LineTable& table = source_.survey.lines;
    std::map<std::pair<uint32_t, uint64_t>, size_t> numbers;
    json list = json::array();
    const auto all = [&](const std::vector<LineTable::Line>& lines) {
      json chosen = json::array();
      for (const LineTable::Line& line : lines) {
        const auto [known, fresh] = numbers.try_emplace({line.segment, line.line}, list.size());
        if (fresh) list.push_back(line_of(line));
        chosen.push_back(known->second);
      }
      return chosen;
    };
    json hot = all(table.hottest(limits_.lines)), contested = all(table.contested(limits_.lines));
    if (table.missed() != 0)
      limits_said_.push_back(
          "Lines were too many to count each: one that is not listed may have been accessed " +
          with_separators(table.missed()) + " times or more in turns");
    return {{"hot", hot}, {"contested", contested}, {"lines", list}};
  }

  json line_of(const LineTable::Line& line) {
    constexpr uint64_t kRows = 12;
    recording::BlameQuery query;
    query.where =
        std::to_string(line.segment) + "+" + recording::hex(line.line * shmlog::kLineBytes);
    query.length = shmlog::kLineBytes;
    query.all = true;
    query.limit = kRows;
    const std::string title = label(line.segment) + "+" +
                              recording::hex(line.line * shmlog::kLineBytes) +
                              ", 64 bytes: the newest accesses";
    const auto answer =
        recording::Blame(source_.index, source_.timeline, source_.symbols).ask(query);
    json writers = json::array();
    for (uint8_t i = 0; i < line.writers.count; ++i)
      writers.push_back(process(line.writers.named[i]));
    return {{"segment", line.segment},
            {"label", label(line.segment)},
            {"offset", number(line.line * shmlog::kLineBytes)},
            {"reads", number(line.reads)},
            {"writes", number(line.writes)},
            {"writers", writers},
            {"more", line.writers.more},
            {"table", answer ? blame_table(title, *answer)
                             : json{{"title", title},
                                    {"rows", json::array()},
                                    {"notes", json::array({shown(answer.error().message, 400)})}}}};
  }

  // ---- Coverage ---------------------------------------------------------------------------------

  json coverage() {
    json list = json::array();
    const std::vector<recording::CoverageItem> items = source_.files.coverage();
    for (const recording::CoverageItem& item : items) {
      if (list.size() == limits_.coverage) {
        limits_said_.push_back(with_separators(items.size() - list.size()) +
                               " more lines of coverage: shmrec ls lists them");
        break;
      }
      list.push_back({{"what", shown(item.what, 300)},
                      {"why", shown(item.why, 300)},
                      {"count", number(item.count)},
                      {"process", shown(item.process)},
                      {"gap", item.gap}});
    }
    return list;
  }

  const PageSource& source_;
  const recording::ShmlogReader& log_;
  const PageLimits& limits_;
  recording::CodeFinder code_;
  std::vector<const Recording*> chosen_;
  std::map<uint32_t, int> number_of_;
  std::map<std::tuple<uint32_t, uint16_t, uint64_t, std::array<uint64_t, shmlog::kMaxCallers>>,
           size_t>
      place_numbers_;
  json places_ = json::array();
  json limits_said_ = json::array();
};

}  // namespace

json page_data(const PageSource& source, const PageLimits& limits) {
  return PageData(source, limits).make();
}

}  // namespace shmrec::report
