#include "recording/run/listing.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/signal_name.h"
#include "recording/blame/locate.h"
#include "recording/log/names.h"
#include "recording/log/runtime_libraries.h"
#include "recording/run/gaps.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;

// The segments each recording mapped, whether or not it touched them.
using Users = std::map<std::pair<uint32_t, uint32_t>, SegmentUser>;  // by segment and process

void add_mapping(SegmentUser& user, const Mapping& mapping) {
  const bool known = std::any_of(user.mappings.begin(), user.mappings.end(), [&](const Mapping& m) {
    return m.begin == mapping.begin && m.end == mapping.end && m.offset == mapping.offset;
  });
  if (!known) user.mappings.push_back(mapping);
}

Users collect_users(const Timeline& timeline) {
  Users users;
  for (const Recording& recording : timeline.recordings()) {
    for (const Mapping& mapping : timeline.segments_mapped(recording)) {
      SegmentUser& user = users[{mapping.segment, recording.process}];
      user.recording = &recording;
      add_mapping(user, mapping);
    }
  }
  for (const auto& numbered : timeline.reader().usage()) {
    const shmlog::UsageEntry& usage = numbered.entry;
    const Recording* recording = timeline.by_process(usage.process);
    if (recording == nullptr) continue;
    SegmentUser& user = users[{usage.segment, usage.process}];
    user.recording = recording;
    user.reads += usage.reads;
    user.writes += usage.writes;
    user.kernel += usage.kernel;
  }
  return users;
}

std::string size_text(uint64_t bytes) {
  return bytes % 1024 == 0 && bytes > 0 ? with_separators(bytes / 1024) + " KiB"
                                        : with_separators(bytes) + " B";
}

std::string start_text(const Timeline& timeline, const Recording& recording) {
  const std::string how = start_kind_name(static_cast<uint32_t>(recording.start_kind));
  const Recording* parent = timeline.by_process(recording.parent);
  return parent ? how + " by " + parent->id : how;
}

std::string label_of(const LauncherListing& launcher) {
  return launcher.container.empty() ? launcher.command : launcher.container;
}

// Whose processes count in this PID namespace, if that is one launcher's alone.
std::string container_of(const Listing& listing, const Recording& recording) {
  std::string found;
  for (const LauncherListing& launcher : listing.launchers) {
    if (launcher.pid_namespace == 0 || launcher.pid_namespace != recording.pid_namespace) continue;
    if (!found.empty() && found != label_of(launcher)) return "";
    found = label_of(launcher);
  }
  return found;
}

std::string recordings_text(const Listing& listing) {
  const Timeline& timeline = *listing.timeline;
  std::vector<std::vector<std::string>> rows = {
      {"ID", "PID", "Name", "Started", "Ended", "Events", "Accesses", "Note"}};
  for (const Recording& recording : timeline.recordings()) {
    const bool degraded = recording.degraded != shmlog::DegradedReason::kNone;
    rows.push_back(
        {recording.id, std::to_string(recording.pid), recording.name,
         start_text(timeline, recording), end_of_recording(recording),
         with_separators(recording.events), with_separators(recording.accesses),
         degraded ? "degraded: " + degraded_name(static_cast<uint32_t>(recording.degraded)) : ""});
    if (!listing.launchers.empty())
      rows.back().insert(rows.back().begin() + 2, container_of(listing, recording));
  }
  if (!listing.launchers.empty()) rows[0].insert(rows[0].begin() + 2, "Container");
  return "Recordings\n" + columns(rows, "  ");
}

std::string launchers_text(const Listing& listing) {
  if (listing.launchers.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{"Container", "Command", "Ended", "Directory"}};
  for (const LauncherListing& launcher : listing.launchers)
    rows.push_back({launcher.container, launcher.command, launcher.end,
                    launcher.name.empty() ? "." : "members/" + launcher.name});
  return "\nLaunchers\n" + columns(rows, "  ");
}

bool is_native(const shmlog::SegmentEntry& entry) {
  return entry.mode == static_cast<uint32_t>(shmlog::SegmentMode::kTrace) &&
         entry.tracing == static_cast<uint32_t>(shmlog::Tracing::kNative);
}

std::string mode_text(const shmlog::SegmentEntry& entry) {
  if (!is_native(entry) && has_writes_only(entry))
    return "trace (writes only: reads are not logged)";
  return is_native(entry) ? "native (nobody wrote it: reads are not logged)"
                          : segment_mode_name(entry.mode);
}

std::string segment_text(const Timeline& timeline, const SegmentListing& segment) {
  std::string text = "  " + std::to_string(segment.index) + "  " + printable(segment.label) + "  " +
                     segment_kind_name(segment.entry.kind) + ", " +
                     size_text(segment.entry.extent_bytes) + ", " + mode_text(segment.entry) +
                     ", order " + order_name(segment.entry.order) + "\n";
  if (!segment.creator.empty()) text += "       " + printable(segment.creator) + "\n";
  for (size_t i = 1; i < segment.history.size(); ++i)
    text += "       " + printable(happening_text(timeline, segment.history[i])) + "\n";
  // Every shell maps the locale's files: those that only mapped it are counted when they are many.
  constexpr size_t kIdleShown = 4;
  const auto idle = [](const SegmentUser& user) { return user.reads == 0 && user.writes == 0; };
  const auto idle_users =
      static_cast<size_t>(std::count_if(segment.users.begin(), segment.users.end(), idle));
  std::vector<std::vector<std::string>> rows;
  for (const SegmentUser& user : segment.users) {
    if (idle_users > kIdleShown && idle(user)) continue;
    const bool counted = user.reads != 0 || !has_writes_only(segment.entry);
    std::string reads = counted ? with_separators(user.reads) + " reads" : "reads not logged";
    std::string writes = with_separators(user.writes) + " writes";
    if (user.kernel != 0) writes += " (" + with_separators(user.kernel) + " by the kernel)";
    std::vector<std::string> row = {user.recording->id, user.recording->name, reads, writes};
    for (size_t i = 0; i < user.mappings.size() || i == 0; ++i) {
      if (i > 0) row = {"", "", "", ""};
      if (i < user.mappings.size()) {
        const Mapping& mapping = user.mappings[i];
        row.push_back(hex(mapping.begin) + "-" + hex(mapping.end) +
                      (mapping.offset ? " +" + hex(mapping.offset) : ""));
      }
      rows.push_back(row);
    }
  }
  text += columns(rows, "       ");
  if (idle_users > kIdleShown) {
    text += "       and " + std::to_string(idle_users) + " recordings that mapped it and did not " +
            (has_writes_only(segment.entry) ? "write" : "access") + " it (--json lists them)\n";
  }
  return text;
}

json mapping_json(const Mapping& mapping) {
  return {{"begin", hex(mapping.begin)},
          {"end", hex(mapping.end)},
          {"offset", mapping.offset},
          {"protection", mapping.protection}};
}

json recording_json(const Timeline& timeline, const Recording& recording) {
  json out = {{"id", recording.id},
              {"process", recording.process},
              {"pid", recording.pid},
              {"parentPid", recording.parent_pid},
              {"pidNamespace", recording.pid_namespace},
              {"name", recording.name},
              {"executable", recording.executable},
              {"started", start_kind_name(static_cast<uint32_t>(recording.start_kind))},
              {"ended", end_of_recording(recording)},
              {"events", recording.events},
              {"accesses", recording.accesses},
              {"startSeconds", timeline.reader().seconds_since_start(recording.start_tsc)}};
  if (recording.end_tsc != 0)
    out["endSeconds"] = timeline.reader().seconds_since_start(recording.end_tsc);
  if (recording.signal) out["signal"] = *recording.signal;
  if (recording.exit_code) out["exitCode"] = *recording.exit_code;
  if (const Recording* parent = timeline.by_process(recording.parent)) out["parent"] = parent->id;
  if (recording.degraded != shmlog::DegradedReason::kNone) {
    out["degraded"] = degraded_name(static_cast<uint32_t>(recording.degraded));
  }
  return out;
}

json segment_json(const SegmentListing& segment) {
  json users = json::array();
  for (const SegmentUser& user : segment.users) {
    json mappings = json::array();
    for (const Mapping& mapping : user.mappings) mappings.push_back(mapping_json(mapping));
    users.push_back({{"recording", user.recording->id},
                     {"reads", user.reads},
                     {"writes", user.writes},
                     {"kernel", user.kernel},
                     {"mappings", mappings}});
  }
  json history = json::array();
  for (const Happening& happening : segment.history) {
    json item = {{"what", happening.what}, {"tsc", happening.tsc}, {"event", happening.event}};
    if (happening.recording != nullptr) item["recording"] = happening.recording->id;
    history.push_back(item);
  }
  return {{"number", segment.index},
          {"label", segment.label},
          {"name", fixed_text(segment.entry.name)},
          {"otherNames", segment.other_names},
          {"history", history},
          {"creator", segment.creator},
          {"native", is_native(segment.entry)},
          {"kind", segment_kind_name(segment.entry.kind)},
          {"bytes", segment.entry.extent_bytes},
          {"mode", segment_mode_name(segment.entry.mode)},
          {"order", order_name(segment.entry.order)},
          {"accesses", accesses_name(segment.entry.accesses)},
          {"device", segment.entry.device},
          {"inode", segment.entry.inode},
          {"users", users}};
}

}  // namespace

std::string end_of_recording(const Recording& recording) {
  if (recording.signal) return signal_name(*recording.signal);
  if (recording.exit_code) return "exit " + std::to_string(*recording.exit_code);
  if (recording.became_another) return "exec";
  return recording.ended ? "ended" : "running or killed";
}

namespace {

// The nearest caller that is not libc's own: the wrapper of the syscall is nothing to know. In a
// static program the wrapper has the syscall's name.
std::string creating_function(const Recording& recording, const shmlog::SegmentEntry& entry,
                              const PlaceOf& place_of) {
  static constexpr const char* kWrappers[] = {"mmap",  "mmap64",  "__mmap", "__mmap64",
                                              "shmat", "__shmat", "syscall"};
  for (const uint64_t pc : entry.creator_pcs) {
    if (pc == 0) break;
    const CodePlace place = place_of(recording, pc);
    const bool wrapper = std::any_of(std::begin(kWrappers), std::end(kWrappers),
                                     [&](const char* name) { return place.function == name; });
    if (!place.function.empty() && !wrapper && !is_runtime_library(place.module.c_str()))
      return place.function;
  }
  return "";
}

std::string creator_of(const Timeline& timeline, const shmlog::SegmentEntry& entry,
                       const PlaceOf& place_of) {
  const Recording* recording = timeline.by_process(entry.creator);
  if (recording == nullptr ||
      recording->id != recording_id(entry.creator_id_high, entry.creator_id_low))
    return "";
  const std::string who = recording->name + " " + recording->id;
  const std::string function = place_of ? creating_function(*recording, entry, place_of) : "";
  const bool sysv = entry.kind == static_cast<uint32_t>(shmlog::SegmentKind::kSysV);
  if (entry.creator_pcs[0] == 0) return "made by " + who;
  const std::string where =
      function.empty() ? who : (sysv ? "shmat in " : "mmap in ") + function + ", " + who;
  return "first mapped by " + where;
}

}  // namespace

Listing make_listing(const Timeline& timeline, const PlaceOf& place_of) {
  Listing listing;
  listing.timeline = &timeline;
  Users users = collect_users(timeline);
  for (const auto& [index, entry] : timeline.reader().segments()) {
    SegmentListing segment{index,
                           segment_label(index, &entry),
                           entry,
                           timeline.other_names(index),
                           segment_history(timeline, index),
                           creator_of(timeline, entry, place_of),
                           {}};
    const auto begin = users.lower_bound({index, 0});
    const auto end = users.upper_bound({index, UINT32_MAX});
    for (auto at = begin; at != end; ++at) segment.users.push_back(std::move(at->second));
    std::stable_sort(segment.users.begin(), segment.users.end(),
                     [](const SegmentUser& a, const SegmentUser& b) {
                       return a.recording->start_tsc < b.recording->start_tsc;
                     });
    listing.segments.push_back(std::move(segment));
  }
  return listing;
}

std::string listing_text(const Listing& listing) {
  std::string text = recordings_text(listing) + launchers_text(listing) + "\nSegments\n";
  for (const SegmentListing& segment : listing.segments)
    text += segment_text(*listing.timeline, segment);
  if (listing.segments.empty()) text += "  none was mapped\n";
  text += gaps_text(*listing.timeline, listing.coverage);
  return text;
}

json listing_json(const Listing& listing) {
  json recordings = json::array();
  json segments = json::array();
  for (const Recording& recording : listing.timeline->recordings()) {
    recordings.push_back(recording_json(*listing.timeline, recording));
  }
  for (const SegmentListing& segment : listing.segments) segments.push_back(segment_json(segment));
  json launchers = json::array();
  for (const LauncherListing& launcher : listing.launchers)
    launchers.push_back({{"directory", launcher.name},
                         {"container", launcher.container},
                         {"command", launcher.command},
                         {"ended", launcher.end},
                         {"pidNamespace", launcher.pid_namespace}});
  const json coverage = coverage_document(listing.coverage);
  return {{"format", "shmrec-ls/2"},          {"recordings", recordings},
          {"launchers", launchers},           {"segments", segments},
          {"complete", coverage["complete"]}, {"coverage", coverage["items"]}};
}

}  // namespace shmrec::recording
