#include "recording/run/gaps.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

constexpr size_t kShown = 20;                         // of a section; a server can have thousands
constexpr const char* kNotRecorded = "not recorded";  // why, where the section's name says it

struct Row {
  CoverageItem item;              // the first, with the count of all
  std::set<std::string> said_by;  // recordings
};

std::vector<Row> merged(const std::vector<CoverageItem>& items, bool gap) {
  std::vector<Row> rows;
  std::map<std::tuple<std::string, std::string, std::string>, size_t> known;
  for (const CoverageItem& item : items) {
    if (item.gap != gap) continue;
    const auto [at, is_new] = known.insert({{item.source, item.what, item.why}, rows.size()});
    if (is_new) rows.push_back({item, {}});
    Row& row = rows[at->second];
    if (!is_new) row.item.count += item.count;
    if (!item.process.empty()) row.said_by.insert(item.process);
  }
  return rows;
}

std::string name_of(const Timeline& timeline, const std::string& id) {
  for (const Recording& recording : timeline.recordings())
    if (recording.id == id) return id + " (" + recording.name + ")";
  return id;
}

std::string row_text(const Timeline& timeline, const Row& row) {
  const CoverageItem& item = row.item;
  const bool counted = item.source == "log";  // what the number is of comes behind it
  std::string text;
  if (row.said_by.size() == 1) text += name_of(timeline, *row.said_by.begin()) + ": ";
  if (row.said_by.size() > 1) text += with_separators(row.said_by.size()) + " recordings: ";
  if (counted) text += with_separators(item.count) + " ";
  text += item.what;
  if (!counted && item.count > 1 && item.count != row.said_by.size())
    text += ", " + with_separators(item.count) + " times";
  return item.why == kNotRecorded ? text : text + ": " + item.why;
}

std::string section(const Timeline& timeline, const char* title, const std::vector<Row>& rows) {
  std::string text = std::string("\n") + title + "\n";
  for (size_t i = 0; i < std::min(rows.size(), kShown); ++i)
    text += "  " + printable(row_text(timeline, rows[i])) + "\n";
  if (rows.size() > kShown)
    text += "  and " + with_separators(rows.size() - kShown) + " more (--json lists them)\n";
  return text;
}

bool mapped(const Timeline& timeline, const Recording& recording, uint32_t segment) {
  const std::vector<Mapping> mappings = timeline.segments_mapped(recording);
  return std::any_of(mappings.begin(), mappings.end(),
                     [&](const Mapping& mapping) { return mapping.segment == segment; });
}

}  // namespace

std::string gaps_text(const Timeline& timeline, const std::vector<CoverageItem>& items) {
  const std::vector<Row> gaps = merged(items, true), notes = merged(items, false);
  std::string text = section(timeline, "Not recorded", gaps);
  if (gaps.empty()) text += "  nothing is missing\n";
  if (!notes.empty()) text += section(timeline, "Nothing is missing, but worth knowing", notes);
  return text;
}

std::vector<CoverageItem> gaps_of_segment(const Timeline& timeline, uint32_t segment,
                                          const std::vector<CoverageItem>& items) {
  std::set<std::string> users;
  std::set<std::string> unrecorded;  // of these, from some point on
  for (const Recording& recording : timeline.recordings()) {
    if (!mapped(timeline, recording, segment)) continue;
    users.insert(recording.id);
    if (recording.degraded != shmlog::DegradedReason::kNone) unrecorded.insert(recording.id);
  }
  std::vector<std::string> names = timeline.other_names(segment);
  if (const shmlog::SegmentEntry* entry = timeline.reader().segment(segment))
    names.push_back(fixed_text(entry->name));
  const shmlog::SegmentEntry* asked = timeline.reader().segment(segment);
  const std::string reads = asked ? unlogged_reads(segment, *asked) : "";
  const auto concerns = [&](const CoverageItem& item) {
    if (item.why == kWritesOnly) return item.what == reads;
    if (item.source == "log") return item.gap;
    if (item.source == "journal" && users.contains(item.process)) return true;
    if (unrecorded.contains(item.process)) return true;
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return !name.empty() && item.what.find(name) != std::string::npos;
    });
  };
  std::vector<CoverageItem> found;
  std::copy_if(items.begin(), items.end(), std::back_inserter(found), concerns);
  return found;
}

}  // namespace shmrec::recording
