#include "recording/log/shmlog_dump.h"

#include <nlohmann/json.hpp>

#include "recording/blame/blame_print.h"
#include "recording/log/names.h"
#include "recording/log/syscall_names.h"
#include "recording/run/pointers_seen.h"
#include "recording/run/text.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {
namespace {

using Item = nlohmann::ordered_json;

std::string to_text(const Item& item) {
  std::string line = item["type"].get<std::string>();
  for (const auto& [key, value] : item.items()) {
    if (key == "type") continue;
    line +=
        "  " + key + "=" + (value.is_string() ? printable(value.get<std::string>()) : value.dump());
  }
  return line;
}

Item area_item(const char* name, const shmlog::Area& area) {
  return {{"type", "area"},
          {"name", name},
          {"offset", hex(area.offset)},
          {"count", area.count},
          {"entryBytes", area.entry_bytes}};
}

Item header_item(const ShmlogReader& log) {
  const shmlog::Header& header = log.header();
  Item item = {{"type", "header"},
               {"version", header.version},
               {"fileBytes", header.file_bytes},
               {"runId", hex(header.run_id)},
               {"startTsc", header.start_tsc},
               {"startRealtimeNs", header.start_realtime_ns},
               {"startMonotonicNs", header.start_monotonic_ns},
               {"tscHz", header.tsc_hz},
               {"build", fixed_text(header.build)},
               {"defaultMode", segment_mode_name(header.default_mode)},
               {"defaultOrder", order_name(header.default_order)},
               {"defaultAccesses", accesses_name(header.default_accesses)},
               {"maxSlowdown", header.max_slowdown},
               {"failureClosed", header.failure_closed != 0},
               {"closed", header.closed != 0},
               {"launcherPid", header.launcher_pid},
               {"tickets", header.next_ticket},
               {"journalUnits", header.journal_units},
               {"promotions", header.promotions},
               {"journalTail", header.journal_tail}};
  for (uint32_t i = 0; i < static_cast<uint32_t>(shmlog::Loss::kCount); ++i) {
    if (header.losses[i] != 0)
      item[loss_words(static_cast<shmlog::Loss>(i)).name] = header.losses[i];
  }
  return item;
}

Item rule_item(size_t index, const shmlog::PolicyRule& rule) {
  Item item = {{"type", "rule"},
               {"number", index},
               {"kinds", hex(rule.kinds)},
               {"mode", segment_mode_name(rule.mode)},
               {"order", order_name(rule.order)},
               {"accesses", accesses_name(rule.accesses)},
               {"name", fixed_text(rule.name)},
               {"executable", fixed_text(rule.executable)},
               {"policyLine", rule.line}};
  if (rule.has_key != 0) item["key"] = hex(static_cast<uint32_t>(rule.key));
  return item;
}

Item process_item(uint32_t index, const shmlog::ProcessEntry& entry) {
  Item item = {{"type", "process"},
               {"number", index},
               {"id", recording_id(entry.id_high, entry.id_low)},
               {"name", fixed_text(entry.name)},
               {"state", entry_state_name(entry.state)},
               {"pid", entry.pid},
               {"parentPid", entry.parent_pid},
               {"pidNamespace", entry.pid_namespace},
               {"parent", entry.parent},
               {"started", start_kind_name(entry.start_kind)},
               {"startTsc", entry.start_tsc},
               {"endTsc", entry.end_tsc},
               {"events", entry.events},
               {"accesses", entry.accesses}};
  if (entry.exit_known != 0) item["exitKnown"] = entry.exit_known;
  if (entry.exit_known == 1) item["exitStatus"] = entry.exit_status;
  if (entry.degraded != 0) item["degraded"] = degraded_name(entry.degraded);
  return item;
}

Item lane_item(uint32_t index, const shmlog::LaneEntry& entry) {
  Item item = {{"type", "lane"},
               {"number", index},
               {"state", entry_state_name(entry.state)},
               {"process", entry.process},
               {"pid", entry.pid},
               {"tid", entry.tid},
               {"chunk", entry.chunk},
               {"record", hex(entry.record)},
               {"held", {entry.held[0], entry.held[1]}}};
  for (const auto& robust : entry.robust) {
    if (robust.segment != 0)
      item["robust"].push_back(std::to_string(robust.segment) + "+" + hex(robust.offset));
  }
  return item;
}

Item segment_item(uint32_t index, const shmlog::SegmentEntry& entry) {
  return {{"type", "segment"},
          {"number", index},
          {"kind", segment_kind_name(entry.kind)},
          {"name", fixed_text(entry.name)},
          {"device", hex(entry.device)},
          {"inode", entry.inode},
          {"generation", entry.generation},
          {"extentBytes", entry.extent_bytes},
          {"mode", segment_mode_name(entry.mode)},
          {"order", order_name(entry.order)},
          {"accesses", accesses_name(entry.accesses)},
          {"tracing", tracing_name(entry.tracing)},
          {"brake", brake_name(static_cast<uint32_t>(shmlog::brake_level(entry.brake)))},
          {"braked", entry.braked},
          {"handle", hex(entry.handle)},
          {"creator", entry.creator},
          {"enteredTsc", entry.entered_tsc},
          {"tracedTsc", entry.traced_tsc},
          {"rule", entry.rule},
          {"sysvKey", hex(static_cast<uint32_t>(entry.sysv_key))}};
}

Item usage_item(const shmlog::UsageEntry& entry) {
  return {{"type", "usage"},      {"process", entry.process}, {"segment", entry.segment},
          {"reads", entry.reads}, {"writes", entry.writes},   {"kernel", entry.kernel}};
}

Item journal_item(const JournalItem& journal) {
  const shmlog::JournalEntry& entry = journal.entry;
  Item item = {
      {"type", "journal"},        {"place", journal.place}, {"what", journal_type_name(entry.type)},
      {"process", entry.process}, {"event", entry.event},   {"tsc", entry.tsc}};
  if (entry.segment != 0) item["segment"] = entry.segment;
  const std::pair<const char*, uint64_t> values[] = {
      {"a", entry.a}, {"b", entry.b}, {"c", entry.c}, {"d", entry.d}};
  for (const auto& [key, value] : values) {
    if (value != 0) item[key] = hex(value);
  }
  if (static_cast<shmlog::JournalType>(entry.type) == shmlog::JournalType::kPointers) {
    for (const shmlog::PointerPair& pair : pointer_pairs(journal))
      item["pointers"].push_back(hex(pair.address) + " -> " + hex(pair.value));
  } else if (!journal.text.empty()) {
    item["text"] = journal.text;
  }
  return item;
}

Item chunk_item(const ChunkInfo& chunk) {
  const shmlog::ChunkHeader& header = chunk.header;
  return {{"type", "chunk"},
          {"number", chunk.index},
          {"state", chunk_state_name(header.state & 0xFF)},
          {"ticket", header.ticket},
          {"process", header.process},
          {"lane", header.lane},
          {"pid", header.pid},
          {"tid", header.tid},
          {"startTsc", header.start_tsc},
          {"records", header.records}};
}

Item record_item(const ShmlogReader& log, const ChunkInfo& chunk, const RecordView& record) {
  if (record.is_clock()) return {{"type", "clock"}, {"at", record.at}, {"tsc", record.clock_tsc}};
  const shmlog::RecordHeader& header = record.header;
  Item item = {{"type", "record"},
               {"at", record.at},
               {"kind", record_kind_name(static_cast<uint32_t>(record.kind))},
               {"state", record_state_name(static_cast<uint32_t>(record.state))},
               {"outcome", outcome_name(log.outcome(chunk, record))},
               {"segment", header.segment},
               {"offset", hex(header.offset)},
               {"length", header.length},
               {"address", hex(header.address)},
               {"pc", hex(header.pc)},
               {"event", header.event}};
  if (header.syscall != 0) item["syscall"] = syscall_name(header.syscall - 1u);
  const uint16_t flags = header.flags & ((1u << shmlog::kCallersShift) - 1);
  if (flags != 0) item["flags"] = hex(flags);
  for (const uint64_t word : record.callers()) {
    item["callers"].push_back(hex(shmlog::caller_address(word)) + "@" +
                              std::to_string(shmlog::caller_place(word)));
  }
  for (uint32_t i = 0; i < record.lines(); ++i) item["versions"].push_back(record.read_version(i));
  for (uint32_t i = 0; record.between() && i < record.lines(); ++i)
    item["firstVersions"].push_back(record.first_version(i));
  if (record.kind == shmlog::RecordKind::kReadThenWrite) {
    for (uint32_t i = 0; i < record.lines(); ++i)
      item["writeVersions"].push_back(record.write_version(i));
  }
  if (record.reads()) item["read"] = format_value({record.input().begin(), record.input().end()});
  if (record.writes())
    item["written"] = format_value({record.output().begin(), record.output().end()});
  return item;
}

Item damage_item(const Damage& damage) {
  return {{"type", "damage"},
          {"reason", damage.reason},
          {"count", damage.count},
          {"bytes", damage.bytes}};
}

// Turns items into lines until the sink has had enough.
class Printer {
 public:
  Printer(bool json, const LineSink& sink) : json_(json), sink_(sink) {}
  bool operator()(const Item& item) {
    using nlohmann::detail::error_handler_t;
    go_on_ = go_on_ &&
             sink_(json_ ? item.dump(-1, ' ', false, error_handler_t::replace) : to_text(item));
    return go_on_;
  }
  bool go_on() const { return go_on_; }

 private:
  bool json_;
  const LineSink& sink_;
  bool go_on_ = true;
};

void dump_areas(const shmlog::Header& header, Printer& print) {
  const std::pair<const char*, const shmlog::Area*> areas[] = {
      {"rules", &header.rules},         {"stripes", &header.stripes},
      {"processes", &header.processes}, {"lanes", &header.lanes},
      {"segments", &header.segments},   {"usage", &header.usage},
      {"journal", &header.journal},     {"chunks", &header.chunks}};
  for (const auto& [name, area] : areas) print(area_item(name, *area));
}

void dump_chunk(const ShmlogReader& log, const ChunkInfo& chunk, ChunkCopy& copy, Printer& print) {
  print(chunk_item(chunk));
  if (!log.copy_chunk(chunk, copy)) {
    print(damage_item({"chunk claimed anew while it was read", 1, shmlog::kChunkBytes}));
    return;
  }
  uint32_t at = 0;
  RecordView record;
  while (print.go_on() && copy.next(at, record)) print(record_item(log, chunk, record));
  if (const char* reason = copy.damage_at(at))
    print(damage_item({reason, 1, copy.bytes_after(at)}));
}

}  // namespace

void dump_shmlog(const ShmlogReader& log, bool json, const LineSink& sink) {
  Printer print(json, sink);
  print(header_item(log));
  dump_areas(log.header(), print);
  for (size_t i = 0; i < log.rules().size(); ++i) print(rule_item(i + 1, log.rules()[i]));
  for (const auto& [index, entry] : log.processes()) print(process_item(index, entry));
  for (const auto& [index, entry] : log.lanes()) print(lane_item(index, entry));
  for (const auto& [index, entry] : log.segments()) print(segment_item(index, entry));
  for (const auto& numbered : log.usage()) print(usage_item(numbered.entry));
  for (const JournalItem& item : log.journal()) {
    if (!print(journal_item(item))) return;
  }
  ChunkCopy copy;
  for (const ChunkInfo& chunk : log.chunks()) {
    if (!print.go_on()) return;
    dump_chunk(log, chunk, copy, print);
  }
  for (const Damage& damage : log.damage()) print(damage_item(damage));
}

}  // namespace shmrec::recording
