#include "recording/run/timeline.h"

#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <set>
#include <tuple>

#include "recording/run/text.h"

namespace shmrec::recording {

using shmlog::JournalType;
using shmlog::StartKind;

// ---- AddressSpace -------------------------------------------------------------------------------

// Makes `at` a border: a mapping that spans it becomes two.
void AddressSpace::split(uint64_t at) {
  auto next = mappings_.lower_bound(at);
  if (next == mappings_.begin()) return;
  Mapping& before = std::prev(next)->second;
  if (before.end <= at) return;
  Mapping after = before;
  after.offset += at - before.begin;
  after.begin = at;
  before.end = at;
  mappings_.emplace(at, std::move(after));
}

void AddressSpace::unmap(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  split(begin);
  split(end);
  mappings_.erase(mappings_.lower_bound(begin), mappings_.lower_bound(end));
}

void AddressSpace::map(Mapping mapping) {
  if (mapping.begin >= mapping.end) return;
  unmap(mapping.begin, mapping.end);
  mappings_.emplace(mapping.begin, std::move(mapping));
}

void AddressSpace::protect(uint64_t begin, uint64_t end, uint32_t protection) {
  if (begin >= end) return;
  split(begin);
  split(end);
  for (auto at = mappings_.lower_bound(begin); at != mappings_.end() && at->first < end; ++at) {
    if (at->second.segment != 0) at->second.protection = protection;
  }
}

const Mapping* AddressSpace::find(uint64_t address) const {
  auto after = mappings_.upper_bound(address);
  if (after == mappings_.begin()) return nullptr;
  const Mapping& mapping = std::prev(after)->second;
  return address < mapping.end ? &mapping : nullptr;
}

// ---- Timeline -----------------------------------------------------------------------------------

namespace {

// b is a length given by the workload; the sum saturates.
uint64_t end_of(const shmlog::JournalEntry& entry) {
  return entry.a + std::min(entry.b, std::numeric_limits<uint64_t>::max() - entry.a);
}

bool is_map(const shmlog::JournalEntry& entry) {
  const auto type = static_cast<JournalType>(entry.type);
  return type == JournalType::kModule || type == JournalType::kSegmentMap ||
         type == JournalType::kUnmap || type == JournalType::kProtect || type == JournalType::kMaps;
}

void set_wait_status(Recording& recording, int status) {
  if (WIFSIGNALED(status)) recording.signal = WTERMSIG(status);
  if (WIFEXITED(status)) recording.exit_code = WEXITSTATUS(status);
  recording.ended = true;
}

void set_end(Recording& recording, const shmlog::ProcessEntry& entry) {
  recording.became_another = entry.exit_known == 2;
  recording.ended =
      entry.exit_known != 0 || entry.state == static_cast<uint32_t>(shmlog::EntryState::kEnded);
  if (entry.exit_known == 1) set_wait_status(recording, entry.exit_status);
}

}  // namespace

std::string recording_id(uint32_t high, uint32_t low) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08x-%04x", high, low & 0xFFFF);
  return text;
}

Timeline::Timeline(const ShmlogReader& reader) : reader_(reader), by_pid_(reader) {
  for (const auto& numbered : reader.processes()) add_recording(numbered);
  std::stable_sort(
      recordings_.begin(), recordings_.end(),
      [](const Recording& a, const Recording& b) { return a.start_tsc < b.start_tsc; });
  for (size_t i = 0; i < recordings_.size(); ++i) by_process_[recordings_[i].process] = i;
  add_steps();
  for (const JournalItem& item : reader.journal()) {
    if (static_cast<JournalType>(item.entry.type) != JournalType::kChildExit) continue;
    const shmlog::ProcessEntry* parent = reader.process(item.entry.process);
    note_exit(
        {static_cast<int32_t>(item.entry.a), parent ? parent->pid_namespace : 0, item.entry.tsc},
        static_cast<int>(item.entry.b));
  }
}

void Timeline::note_exit(const PidSeen& seen, int wait_status) {
  const auto found = by_process_.find(by_pid_.find(seen));
  if (found == by_process_.end()) return;
  Recording& recording = recordings_[found->second];
  const bool known = recording.signal || recording.exit_code || recording.became_another;
  if (!known) set_wait_status(recording, wait_status);
}

void Timeline::add_recording(const Numbered<shmlog::ProcessEntry>& numbered) {
  const shmlog::ProcessEntry& entry = numbered.entry;
  Recording recording;
  recording.process = numbered.index;
  recording.id = recording_id(entry.id_high, entry.id_low);
  recording.name = fixed_text(entry.name);
  recording.pid = entry.pid;
  recording.parent_pid = entry.parent_pid;
  recording.pid_namespace = entry.pid_namespace;
  recording.parent = entry.parent;
  recording.start_kind = static_cast<StartKind>(entry.start_kind);
  recording.degraded = static_cast<shmlog::DegradedReason>(entry.degraded);
  recording.start_tsc = entry.start_tsc;
  recording.end_tsc = entry.end_tsc;
  recording.events = entry.events;
  recording.accesses = entry.accesses;
  recording.journal_begin = reader_.journal().size();
  recording.maps_from = entry.maps_from;
  set_end(recording, entry);
  recordings_.push_back(std::move(recording));
}

// Sorts the journal by process. Before version 3 restores full event numbers: they
// grow within a process, so a low half smaller than the one before means a
// carry. Threads may be late by a few events.
void Timeline::add_steps() {
  constexpr uint64_t kLateness = uint64_t{1} << 31;
  const std::vector<JournalItem>& journal = reader_.journal();
  for (size_t i = 0; i < journal.size(); ++i) {
    const shmlog::JournalEntry& entry = journal[i].entry;
    const auto known = by_process_.find(entry.process);
    if (known == by_process_.end()) continue;
    std::vector<Step>& steps = steps_[entry.process];
    const uint64_t before = steps.empty() ? 0 : steps.back().event;
    const bool before_ring = reader_.header().version < 3;
    uint64_t event = entry.event;
    if (before_ring) event |= before & ~uint64_t{UINT32_MAX};
    if (before_ring && event + kLateness < before) event += uint64_t{1} << 32;
    Recording& recording = recordings_[known->second];
    const bool given_up = is_map(entry) && entry.place < recording.maps_from;
    if (!given_up) steps.push_back({i, event});
    recording.journal_begin = std::min(recording.journal_begin, i);
    const auto type = static_cast<JournalType>(entry.type);
    if (type == JournalType::kProcessStart && recording.executable.empty()) {
      recording.executable = journal[i].text;
      if (recording.name.empty()) recording.name = base_name(recording.executable);
    }
    if (type == JournalType::kSignal && !recording.signal) {
      recording.signal = static_cast<int>(entry.a & 0x7F);
      recording.ended = true;
    }
  }
}

const Recording* Timeline::by_process(uint32_t process) const {
  const auto known = by_process_.find(process);
  return known == by_process_.end() ? nullptr : &recordings_[known->second];
}

Result<const Recording*> Timeline::find(const std::string& id_or_name) const {
  constexpr size_t kShortestPrefix = 4;
  std::vector<const Recording*> matches;
  for (const Recording& recording : recordings_) {
    if (recording.id == id_or_name) return &recording;
    const bool prefix =
        id_or_name.size() >= kShortestPrefix && recording.id.starts_with(id_or_name);
    if (prefix || recording.name == id_or_name || std::to_string(recording.pid) == id_or_name) {
      matches.push_back(&recording);
    }
  }
  if (matches.size() == 1) return matches[0];
  constexpr size_t kListed = 20;
  std::string list;
  const bool none = matches.empty();
  if (none) {
    for (const Recording& recording : recordings_) matches.push_back(&recording);
  }
  for (size_t i = 0; i < matches.size() && i < kListed; ++i) {
    list += "\n  " + matches[i]->id + "  pid " + std::to_string(matches[i]->pid) + "  " +
            matches[i]->name;
  }
  if (matches.size() > kListed)
    list += "\n  ... and " + std::to_string(matches.size() - kListed) + " more";
  return Error{"--recording " + id_or_name +
               (none ? ": no such recording" : ": more than one recording") +
               "; expected one of these IDs:" + list};
}

// The first of the steps that make up the address space before `before_item` at
// `event`: that of the newest whole list of maps, else the first of all.
size_t Timeline::first_step(const std::vector<Step>& steps, size_t before_item, uint64_t event,
                            bool* listed) const {
  const std::vector<JournalItem>& journal = reader_.journal();
  for (size_t i = steps.size(); i-- > 0;) {
    const shmlog::JournalEntry& entry = journal[steps[i].item].entry;
    if (static_cast<JournalType>(entry.type) != JournalType::kMaps) continue;
    if (steps[i].item >= before_item || steps[i].event > event) continue;
    *listed = true;
    size_t first = i;
    while (first > 0 && journal[steps[first - 1].item].place >= entry.a) --first;
    return first;
  }
  return 0;
}

namespace {

Mapping mapping_of(const JournalItem& item) {
  const shmlog::JournalEntry& entry = item.entry;
  if (static_cast<JournalType>(entry.type) == JournalType::kModule) {
    return {entry.a, end_of(entry), entry.c, 0, 0, item.text};
  }
  return {entry.a, end_of(entry), entry.c, entry.segment, static_cast<uint32_t>(entry.d), ""};
}

}  // namespace

void Timeline::apply(AddressSpace& space, const JournalItem& item) const {
  const shmlog::JournalEntry& entry = item.entry;
  switch (static_cast<JournalType>(entry.type)) {
    case JournalType::kSegmentMap:
      if (entry.segment == 0) return;
      [[fallthrough]];
    case JournalType::kModule:
      return space.map(mapping_of(item));
    case JournalType::kUnmap:
      return space.unmap(entry.a, end_of(entry));
    case JournalType::kProtect:
      return space.protect(entry.a, end_of(entry), static_cast<uint32_t>(entry.d));
    default:
      return;
  }
}

// Applies the recording's steps that stand before `before_item` in the journal and whose event is
// not later than `event`. A parent is visited up to the child's first item, which lies strictly
// before everything the child did, so that even a hostile ring of parents ends.
void Timeline::build_space(AddressSpace& space, const Recording& recording, size_t before_item,
                           uint64_t event) const {
  struct Generation {
    const Recording* recording;
    size_t before_item;
    uint64_t event;
  };
  std::vector<Generation> line{{&recording, before_item, event}};
  while (true) {
    const Recording& child = *line.back().recording;
    const bool inherits =
        child.start_kind == StartKind::kFork || child.start_kind == StartKind::kVfork;
    const Generation& last = line.back();
    const auto own = steps_.find(child.process);
    bool listed = false;
    if (own != steps_.end()) first_step(own->second, last.before_item, last.event, &listed);
    const Recording* parent = inherits && !listed ? by_process(child.parent) : nullptr;
    if (parent == nullptr || parent->journal_begin >= child.journal_begin) break;
    line.push_back({parent, child.journal_begin, UINT64_MAX});
  }
  for (auto generation = line.rbegin(); generation != line.rend(); ++generation) {
    const auto steps = steps_.find(generation->recording->process);
    if (steps == steps_.end()) continue;
    bool listed = false;
    const std::vector<Step>& all = steps->second;
    for (size_t i = first_step(all, generation->before_item, generation->event, &listed);
         i < all.size() && all[i].item < generation->before_item; ++i) {
      if (all[i].event <= generation->event) apply(space, reader_.journal()[all[i].item]);
    }
  }
}

AddressSpace Timeline::address_space(const Recording& recording, uint64_t event) const {
  AddressSpace space;
  build_space(space, recording, reader_.journal().size(), event);
  return space;
}

std::vector<uint64_t> Timeline::changes_at(const Recording& recording,
                                           const std::vector<uint64_t>& addresses) const {
  std::set<uint64_t> events;
  const auto steps = steps_.find(recording.process);
  if (steps == steps_.end()) return {};
  for (const Step& step : steps->second) {
    const shmlog::JournalEntry& entry = reader_.journal()[step.item].entry;
    if (!is_map(entry)) continue;
    const bool all = static_cast<JournalType>(entry.type) == JournalType::kMaps;
    const auto is_there = [&](uint64_t address) {
      return address >= entry.a && address < end_of(entry);
    };
    if (all || std::any_of(addresses.begin(), addresses.end(), is_there)) events.insert(step.event);
  }
  return {events.begin(), events.end()};
}

std::vector<Mapping> Timeline::segments_mapped(const Recording& recording) const {
  std::vector<Mapping> found;
  // Lists of all maps name again what was mapped before.
  std::set<std::tuple<uint64_t, uint64_t, uint64_t, uint32_t>> known;
  const auto add = [&](Mapping mapping) {
    if (known.insert({mapping.begin, mapping.end, mapping.offset, mapping.segment}).second)
      found.push_back(std::move(mapping));
  };
  AddressSpace inherited;
  build_space(inherited, recording, recording.journal_begin, UINT64_MAX);
  for (const auto& [begin, mapping] : inherited.mappings()) {
    if (mapping.segment != 0) add(mapping);
  }
  const auto steps = steps_.find(recording.process);
  if (steps == steps_.end()) return found;
  for (const Step& step : steps->second) {
    const JournalItem& item = reader_.journal()[step.item];
    const bool map = static_cast<JournalType>(item.entry.type) == JournalType::kSegmentMap;
    if (map && item.entry.segment != 0) add(mapping_of(item));
  }
  return found;
}

std::vector<std::string> Timeline::other_names(uint32_t segment) const {
  std::vector<std::string> names;
  for (const JournalItem& item : reader_.journal()) {
    const bool wanted = static_cast<JournalType>(item.entry.type) == JournalType::kSegmentName &&
                        item.entry.segment == segment;
    if (wanted && std::find(names.begin(), names.end(), item.text) == names.end())
      names.push_back(item.text);
  }
  return names;
}

}  // namespace shmrec::recording
