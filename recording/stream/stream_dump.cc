#include "recording/stream/stream_dump.h"

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/signal_name.h"
#include "recording/log/names.h"
#include "recording/log/syscall_names.h"
#include "recording/run/text.h"
#include "recording/run/timeline.h"
#include "recording/stream/stream_files.h"

namespace shmrec::recording {

using namespace stream;

namespace {

using Item = nlohmann::ordered_json;

// ---- Words --------------------------------------------------------------------------------------

constexpr size_t kHeadBytes = 32;  // of memory, that are shown

// As in C, but that a byte is always \xNN.
std::string head_of(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char byte : bytes.first(std::min(bytes.size(), kHeadBytes))) {
    if (byte == '"' || byte == '\\') text += '\\';
    text += printable(std::string(1, static_cast<char>(byte)));
  }
  return text;
}

std::string memory_text(const MemoryView& memory) {
  const size_t bytes = memory.content.size();
  return hex(memory.address) + "+" + std::to_string(bytes) + " \"" + head_of(memory.content) +
         "\"" + (bytes > kHeadBytes ? "..." : "");
}

Item memory_item(const MemoryView& memory) {
  return {{"address", hex(memory.address)},
          {"bytes", memory.content.size()},
          {"head", head_of(memory.content)}};
}

// What looks like a number is shown as one, what looks like an address or flags in hexadecimal.
std::string word_text(uint64_t word) {
  constexpr uint64_t kNumbers = 1 << 16;
  return word < kNumbers ? std::to_string(word) : hex(word);
}

bool is_error(uint64_t result) { return result >= static_cast<uint64_t>(-4095); }

// "ENOENT"; the error's number if it has no name.
std::string error_name(uint64_t result) {
  const int error = static_cast<int>(-result);
  const char* name = strerrorname_np(error);
  return name ? name : std::to_string(error);
}

bool returns(const CallRecord& call) {
  return call.number != SYS_exit && call.number != SYS_exit_group;
}

std::string result_text(const CallRecord& call) {
  if (!returns(call)) return "?";
  return is_error(call.result) ? "-1 " + error_name(call.result) : word_text(call.result);
}

std::string protection_text(uint32_t protection) {
  std::string text = "rwx";
  for (size_t i = 0; i < text.size(); ++i)
    if (!(protection >> i & 1)) text[i] = '-';
  return text;
}

// cpuid's: four characters a word.
std::string processor_text(const StartRecord& start) {
  std::string text(sizeof start.processor, '\0');
  std::memcpy(text.data(), start.processor, text.size());
  text.resize(strnlen(text.data(), text.size()));
  return printable(text);
}

std::string path_text(std::string_view path) { return printable(std::string(path)); }

const char* place_name(SignalPlace place) {
  constexpr const char* kNames[] = {"before call", "after event", "fault", "at stop"};
  return kNames[static_cast<size_t>(place) - 1];
}

const char* signal_kind_name(SignalKind kind) {
  return kind == SignalKind::kHandler ? "handler" : "death";
}

const char* value_name(const StreamRecord& record) {
  constexpr const char* kNames[] = {"rdtsc", "rdtscp", "cpuid"};
  return kNames[record.detail - 1];
}

const char* end_kind_name(EndKind kind) {
  return kind == EndKind::kExec ? "exec" : "not replayable";
}

// ---- A record as text ---------------------------------------------------------------------------

std::string parent_text(const StartRecord& start) {
  if (!start.parent_high && !start.parent_low) return "";
  return "  of " + recording_id(start.parent_high, start.parent_low) + " at event " +
         std::to_string(start.parent_event);
}

std::string start_text(const StreamRecord& record) {
  const StartRecord start = *record.as<StartRecord>();
  return "start " + start_kind_name(record.detail) + parent_text(start) + "  pid " +
         std::to_string(start.pid) + "  tid " + std::to_string(start.tid) + "  pc " +
         hex(start.regs[kInstructionPointer]) + "  stack " + hex(start.regs[kStackPointer]) +
         "  heap " + hex(start.heap_begin) + "-" + hex(start.heap_end) + "  blocked " +
         hex(start.blocked) + "  ignored " + hex(start.ignored) + "  xcr0 " + hex(start.features) +
         "  processor \"" + processor_text(start) + "\"" +
         (start.traps & kTrapsCpuid ? "  cpuid traps" : "");
}

std::string mapping_text(const StreamRecord& record) {
  const MappingRecord mapping = *record.as<MappingRecord>();
  std::string text = "mapping " + hex(mapping.begin) + "-" + hex(mapping.end) + "  " +
                     protection_text(mapping.protection) +
                     (mapping.flags & kMappingShared ? "  shared" : "  private");
  if (mapping.flags & kMappingStack) text += "  stack";
  if (mapping.file) text += "  file " + std::to_string(mapping.file) + " at " + hex(mapping.offset);
  return text;
}

std::string memory_record_text(const StreamRecord& record) {
  return "memory " + memory_text(memory_view(record));
}

std::string file_text(const StreamRecord& record) {
  const FileView view = file_view(record);
  return "file " + std::to_string(view.file.number) + "  " + path_text(view.path) + "  " +
         std::to_string(view.file.size) + " bytes" + (view.file.kept ? "" : "  not kept");
}

std::string call_text(const StreamRecord& record) {
  const CallView view = call_view(record);
  std::string text = syscall_name(view.call.number) + "(";
  for (size_t i = 0; i < view.arguments.size(); ++i)
    text += (i ? ", " : "") + word_text(view.arguments[i]);
  text += ") = " + result_text(view.call);
  if (view.call.file) text += "  file " + std::to_string(view.call.file);
  if (view.call.flags & kCallTraces) text += "  traced";
  if (view.call.flags & kCallRepeats) text += "  made again";
  for (const MemoryView& output : view.outputs) text += "  " + memory_text(output);
  return text;
}

std::string signal_text(const StreamRecord& record) {
  const SignalView view = signal_view(record);
  return signal_name(view.signal) + "  code " + std::to_string(view.code) + "  " +
         signal_kind_name(view.kind) + "  " + place_name(view.place) + "  pc " +
         hex(view.record.regs[kInstructionPointer]);
}

std::string value_text(const StreamRecord& record) {
  const ValueRecord value = *record.as<ValueRecord>();
  std::string text = value_name(record);
  for (const uint32_t word : value.values) text += " " + hex(word);
  return text + "  pc " + hex(value.pc);
}

std::string check_text(const StreamRecord& record) {
  const CheckRecord check = *record.as<CheckRecord>();
  std::string text = "check  registers " + hex(check.registers);
  if (check.memory)
    text += "  memory " + hex(check.memory) + " of " + std::to_string(check.pages) + " pages";
  return text;
}

std::string page_text(const StreamRecord& record) {
  const PageRecord page = *record.as<PageRecord>();
  return "page " + hex(page.address) + "  " + hex(page.hash);
}

bool begins(const StreamRecord& record) {
  return static_cast<ChildKind>(record.detail) != ChildKind::kEnds;
}

bool is_thread(const StreamRecord& record) {
  return static_cast<ChildKind>(record.detail) == ChildKind::kThread;
}

const char* turn_kind_name(const StreamRecord& record) {
  constexpr const char* kNames[] = {"in its call", "behind its event", "ended", "at an access",
                                    "at its stop"};
  return kNames[record.detail - 1];
}

std::string turn_text(const StreamRecord& record) {
  return "turn to tid " + std::to_string(record.as<TurnRecord>()->tid) + ", the one before " +
         turn_kind_name(record);
}

std::string left_out_text(const StreamRecord& record) {
  std::string text = "left out of the check ";
  for (const Range& range : left_out_view(record))
    text += " " + hex(range.address) + "+" + std::to_string(range.bytes);
  return text;
}

const char* stop_kind_name(StopKind kind) {
  return kind == StopKind::kRepeating ? "within an instruction" : "at an instruction";
}

std::string stop_text(const StreamRecord& record) {
  const StopView view = stop_view(record);
  return std::string("stop ") + stop_kind_name(view.kind) + "  pc " +
         hex(view.stop.regs[kInstructionPointer]) + "  stack " +
         hex(view.stop.regs[kStackPointer]) + "  words " + std::to_string(view.words.size()) +
         "  left out " + std::to_string(view.ranges.size());
}

std::string child_text(const StreamRecord& record) {
  const ChildRecord child = *record.as<ChildRecord>();
  if (!begins(record)) return "child in the same memory, gone";
  return (is_thread(record) ? "thread" : "child in the same memory") +
         std::string(", begins  pc ") + hex(child.regs[kInstructionPointer]) + "  stack " +
         hex(child.regs[kStackPointer]);
}

std::string end_text(const StreamRecord& record) {
  const EndView view = end_view(record);
  return std::string("end, ") + end_kind_name(view.kind) + ": " + path_text(view.text);
}

// ---- A record as JSON ---------------------------------------------------------------------------

Item words_item(std::span<const uint64_t> words) {
  Item items = Item::array();
  for (const uint64_t word : words) items.push_back(hex(word));
  return items;
}

void start_item(const StreamRecord& record, Item& item) {
  const StartRecord start = *record.as<StartRecord>();
  item["kind"] = start_kind_name(record.detail);
  if (start.parent_high || start.parent_low) {
    item["parent"] = recording_id(start.parent_high, start.parent_low);
    item["parentEvent"] = start.parent_event;
  }
  item["pid"] = start.pid;
  item["tid"] = start.tid;
  item["registers"] = words_item(start.regs);
  item["fsBase"] = hex(start.fs_base);
  item["gsBase"] = hex(start.gs_base);
  item["agentBase"] = hex(start.agent_base);
  item["heap"] = {hex(start.heap_begin), hex(start.heap_end)};
  item["blocked"] = hex(start.blocked);
  item["ignored"] = hex(start.ignored);
  item["xcr0"] = hex(start.features);
  item["processor"] = processor_text(start);
}

void mapping_item(const StreamRecord& record, Item& item) {
  const MappingRecord mapping = *record.as<MappingRecord>();
  item["begin"] = hex(mapping.begin);
  item["end"] = hex(mapping.end);
  item["protection"] = protection_text(mapping.protection);
  item["shared"] = (mapping.flags & kMappingShared) != 0;
  item["stack"] = (mapping.flags & kMappingStack) != 0;
  if (!mapping.file) return;
  item["file"] = mapping.file;
  item["offset"] = mapping.offset;
}

void memory_record_item(const StreamRecord& record, Item& item) {
  item.update(memory_item(memory_view(record)));
}

void file_item(const StreamRecord& record, Item& item) {
  const FileView view = file_view(record);
  item["number"] = view.file.number;
  item["path"] = path_text(view.path);
  item["kept"] = view.file.kept != 0;
  item["mapped"] = mapped_name({view.file.device, view.file.inode, view.file.size,
                                view.file.seconds, view.file.nanoseconds});
  item["bytes"] = view.file.size;
}

void call_item(const StreamRecord& record, Item& item) {
  const CallView view = call_view(record);
  item["syscall"] = syscall_name(view.call.number);
  item["number"] = view.call.number;
  item["arguments"] = words_item(view.arguments);
  if (returns(view.call)) item["result"] = static_cast<int64_t>(view.call.result);
  if (is_error(view.call.result)) item["error"] = error_name(view.call.result);
  item["state"] = hex(view.call.state);
  if (view.call.file) item["file"] = view.call.file;
  if (view.call.flags & kCallTraces) item["traced"] = true;
  if (view.call.flags & kCallRepeats) item["repeats"] = true;
  item["outputs"] = Item::array();
  for (const MemoryView& output : view.outputs) item["outputs"].push_back(memory_item(output));
}

void signal_item(const StreamRecord& record, Item& item) {
  const SignalView view = signal_view(record);
  item["signal"] = signal_name(view.signal);
  item["number"] = view.signal;
  item["code"] = view.code;
  item["kind"] = signal_kind_name(view.kind);
  item["place"] = place_name(view.place);
  item["registers"] = words_item(view.record.regs);
}

void value_item(const StreamRecord& record, Item& item) {
  const ValueRecord value = *record.as<ValueRecord>();
  item["instruction"] = value_name(record);
  item["pc"] = hex(value.pc);
  item["state"] = hex(value.state);
  for (const uint32_t word : value.values) item["values"].push_back(hex(word));
}

void check_item(const StreamRecord& record, Item& item) {
  const CheckRecord check = *record.as<CheckRecord>();
  item["registers"] = hex(check.registers);
  if (!check.memory) return;
  item["memory"] = hex(check.memory);
  item["pages"] = check.pages;
}

void page_item(const StreamRecord& record, Item& item) {
  const PageRecord page = *record.as<PageRecord>();
  item["address"] = hex(page.address);
  item["hash"] = hex(page.hash);
}

void child_item(const StreamRecord& record, Item& item) {
  const ChildRecord child = *record.as<ChildRecord>();
  item["begins"] = begins(record);
  if (!begins(record)) return;
  if (is_thread(record)) item["thread"] = true;
  item["pc"] = hex(child.regs[kInstructionPointer]);
  item["stack"] = hex(child.regs[kStackPointer]);
}

void turn_item(const StreamRecord& record, Item& item) {
  item["tid"] = record.as<TurnRecord>()->tid;
  item["before"] = turn_kind_name(record);
}

Item ranges_item(const std::vector<Range>& ranges) {
  Item items = Item::array();
  for (const Range& range : ranges)
    items.push_back({{"address", hex(range.address)}, {"bytes", range.bytes}});
  return items;
}

void left_out_item(const StreamRecord& record, Item& item) {
  item["ranges"] = ranges_item(left_out_view(record));
}

void stop_item(const StreamRecord& record, Item& item) {
  const StopView view = stop_view(record);
  item["kind"] = stop_kind_name(view.kind);
  item["registers"] = words_item(view.stop.regs);
  item["vectors"] = hex(view.stop.vectors);
  item["memory"] = hex(view.stop.memory);
  item["words"] = Item::array();
  for (const StopWord& word : view.words)
    item["words"].push_back({{"address", hex(word.address)}, {"value", hex(word.value)}});
  item["ranges"] = ranges_item(view.ranges);
}

void end_item(const StreamRecord& record, Item& item) {
  const EndView view = end_view(record);
  item["kind"] = end_kind_name(view.kind);
  item["text"] = path_text(view.text);
}

// ---- All types ----------------------------------------------------------------------------------

struct Row {
  Type type;
  const char* name;
  std::string (*text)(const StreamRecord&);
  void (*item)(const StreamRecord&, Item&);
};
constexpr Row kRows[] = {
    {Type::kStart, "start", start_text, start_item},
    {Type::kMapping, "mapping", mapping_text, mapping_item},
    {Type::kMemory, "memory", memory_record_text, memory_record_item},
    {Type::kFile, "file", file_text, file_item},
    {Type::kCall, "call", call_text, call_item},
    {Type::kSignal, "signal", signal_text, signal_item},
    {Type::kValue, "value", value_text, value_item},
    {Type::kCheck, "check", check_text, check_item},
    {Type::kEnd, "end", end_text, end_item},
    {Type::kPage, "page", page_text, page_item},
    {Type::kChild, "child", child_text, child_item},
    {Type::kTurn, "turn", turn_text, turn_item},
    {Type::kLeftOut, "leftOut", left_out_text, left_out_item},
    {Type::kStop, "stop", stop_text, stop_item},
    {Type::kAgain, "again", [](const StreamRecord&) { return std::string("made again"); },
     [](const StreamRecord&, Item&) {}},
};

// REQUIRES: the reader's check of types and this table know the same ones.
const Row& row_of(Type type) {
  return *std::find_if(std::begin(kRows), std::end(kRows),
                       [&](const Row& row) { return row.type == type; });
}

std::string text_line(const StreamRecord& record) {
  std::array<char, 24> event;
  std::snprintf(event.data(), event.size(), "%8llu  ",
                static_cast<unsigned long long>(record.event));
  return event.data() + row_of(record.type).text(record);
}

std::string json_line(const StreamRecord& record) {
  const Row& row = row_of(record.type);
  Item item = {
      {"type", row.name}, {"event", record.event}, {"stream", record.file}, {"at", record.at}};
  row.item(record, item);
  return item.dump();
}

std::string header_line(const StreamReader& reader, bool json) {
  if (json)
    return Item{{"type", "stream"},
                {"recording", reader.recording()},
                {"version", kVersion},
                {"files", reader.files()},
                {"bytes", reader.bytes()}}
        .dump();
  return "stream of " + reader.recording() + "  version " + std::to_string(kVersion) + "  files " +
         std::to_string(reader.files()) + "  bytes " + std::to_string(reader.bytes());
}

}  // namespace

Result<> dump_stream(StreamReader& reader, bool json,
                     const std::function<bool(const std::string& line)>& sink) {
  if (!sink(header_line(reader, json))) return Unit{};
  while (true) {
    const auto record = reader.next();
    if (!record) return record.error();
    if (!*record || !sink(json ? json_line(**record) : text_line(**record))) return Unit{};
  }
}

}  // namespace shmrec::recording
