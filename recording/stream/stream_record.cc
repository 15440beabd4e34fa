#include "recording/stream/stream_record.h"

#include "base/signal_name.h"
#include "recording/log/shmlog_format.h"
#include "recording/run/text.h"

namespace shmrec::recording {

using namespace stream;

namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint32_t kMaxArguments = 6;
constexpr uint32_t kAllProtection = 7;  // PROT_READ | PROT_WRITE | PROT_EXEC

std::string expected(const std::string& found, const std::string& what) {
  return found + "; expected " + what;
}

std::string number_expected(const char* of, uint64_t found, uint64_t most) {
  return expected(std::string(of) + " " + std::to_string(found), "at most " + std::to_string(most));
}

// ---- What is special to a type ------------------------------------------------------------------

bool wraps(uint64_t address, uint64_t bytes) { return address + bytes < address; }

std::string mapping_trouble(const StreamRecord& record) {
  const MappingRecord mapping = *record.as<MappingRecord>();
  if (mapping.begin >= mapping.end || (mapping.begin | mapping.end) % kPageBytes != 0)
    return expected("a mapping from " + hex(mapping.begin) + " to " + hex(mapping.end),
                    "whole pages, at least one");
  if (mapping.protection > kAllProtection)
    return number_expected("a mapping with protection", mapping.protection, kAllProtection);
  constexpr uint32_t kAllFlags = kMappingShared | kMappingStack | kMappingAttached;
  if (mapping.flags > kAllFlags)
    return number_expected("a mapping with flags", mapping.flags, kAllFlags);
  return "";
}

// Is `bytes` what `left` bytes, filled up to kAlign, hold?
bool fills(uint64_t bytes, uint64_t left) { return bytes <= left && aligned(bytes) == left; }

std::string memory_trouble(const StreamRecord& record) {
  const MemoryRecord memory = *record.as<MemoryRecord>();
  const uint64_t left = record.payload.size() - sizeof memory;
  if (!fills(memory.bytes, left))
    return expected(std::to_string(memory.bytes) + " bytes of memory",
                    "as many as the record's " + std::to_string(left));
  if (wraps(memory.address, memory.bytes))
    return "memory at " + hex(memory.address) + " that goes beyond the address space";
  return "";
}

size_t length_of_path(const StreamRecord& record) {
  const auto text = record.payload.subspan(sizeof(FileRecord));
  return strnlen(reinterpret_cast<const char*>(text.data()), text.size());
}

std::string path_trouble(const StreamRecord& record) {
  const FileRecord file = *record.as<FileRecord>();
  if (!fills(length_of_path(record) + 1, record.payload.size() - sizeof file))
    return "a file's path that does not end where its record does";
  if (file.number == 0 || file.number > kMaxFiles)
    return expected("file number " + std::to_string(file.number),
                    "1 to " + std::to_string(kMaxFiles));
  if (file.kept > 1) return number_expected("a file with kept", file.kept, 1);
  return "";
}

// Takes one output from the front of `rest`. False: it reaches behind it.
bool take_output(std::span<const unsigned char>& rest, MemoryView& view) {
  Output output;
  if (rest.size() < sizeof output) return false;
  std::memcpy(&output, rest.data(), sizeof output);
  rest = rest.subspan(sizeof output);
  if (output.bytes > rest.size() || aligned(output.bytes) > rest.size()) return false;
  view = {output.address, rest.first(output.bytes)};
  rest = rest.subspan(aligned(output.bytes));
  return true;
}

std::string outputs_trouble(std::span<const unsigned char> rest, uint32_t outputs) {
  MemoryView view;
  for (uint32_t i = 1; i <= outputs; ++i) {
    if (!take_output(rest, view))
      return "output " + std::to_string(i) + " of a call's " + std::to_string(outputs) +
             " reaches behind its record";
    if (wraps(view.address, view.content.size()))
      return "output at " + hex(view.address) + " that goes beyond the address space";
  }
  if (!rest.empty())
    return expected(std::to_string(rest.size()) + " bytes behind a call's outputs", "none");
  return "";
}

std::string call_trouble(const StreamRecord& record) {
  const CallRecord call = *record.as<CallRecord>();
  if (call.arguments > kMaxArguments)
    return number_expected("a call with arguments", call.arguments, kMaxArguments);
  if (call.flags > kAllCallFlags)
    return number_expected("a call with flags", call.flags, kAllCallFlags);
  const auto rest = record.payload.subspan(sizeof call);
  const size_t bytes = call.arguments * sizeof(uint64_t);
  if (rest.size() < bytes)
    return expected("a call with " + std::to_string(rest.size()) + " bytes",
                    std::to_string(call.arguments) + " arguments");
  return outputs_trouble(rest.subspan(bytes), call.outputs);
}

std::string signal_trouble(const StreamRecord& record) {
  const SignalView signal = signal_view(record);
  constexpr auto kLastPlace = static_cast<uint64_t>(SignalPlace::kAtStop);
  if (signal.record.place == 0 || signal.record.place > kLastPlace)
    return expected("a signal at place " + std::to_string(signal.record.place),
                    "1 to " + std::to_string(kLastPlace));
  if (signal.signal < 1 || signal.signal > kLastSignal)
    return expected("signal " + std::to_string(signal.signal),
                    "1 to " + std::to_string(kLastSignal));
  return "";
}

std::string left_out_trouble(const StreamRecord& record) {
  const size_t bytes = record.payload.size();
  if (bytes % sizeof(Range) == 0 && bytes / sizeof(Range) <= kMaxRanges) return "";
  return expected(std::to_string(bytes) + " bytes of what a check leaves out",
                  "ranges of " + std::to_string(sizeof(Range)) + " bytes, at most " +
                      std::to_string(kMaxRanges));
}

std::string stop_trouble(const StreamRecord& record) {
  const StopRecord stop = *record.as<StopRecord>();
  if (stop.words > kMaxStopWords)
    return number_expected("a stop with words", stop.words, kMaxStopWords);
  if (stop.ranges > kMaxRanges)
    return number_expected("a stop with ranges", stop.ranges, kMaxRanges);
  const size_t left = record.payload.size() - sizeof stop;
  const size_t bytes = stop.words * sizeof(StopWord) + stop.ranges * sizeof(Range);
  if (left != bytes)
    return expected(std::to_string(left) + " bytes behind a stop",
                    std::to_string(bytes) + " of its words and ranges");
  return "";
}

std::string end_trouble(const StreamRecord& record) {
  const uint64_t bytes = record.as<EndRecord>()->text_bytes;
  const auto text = record.payload.subspan(sizeof(EndRecord));
  if (bytes == 0 || !fills(bytes, text.size()) || text[bytes - 1] != 0)
    return expected("an end with " + std::to_string(bytes) + " bytes of text",
                    "a text that ends with NUL, in " + std::to_string(text.size()));
  return "";
}

// ---- All types ----------------------------------------------------------------------------------

struct TypeRow {
  Type type;
  const char* name;
  size_t bytes;  // of the fixed part
  bool more;     // more may follow it
  uint16_t first_detail, last_detail;
  std::string (*trouble)(const StreamRecord&);  // what else; null: nothing
};

template <typename Enum>
constexpr uint16_t number(Enum value) {
  return static_cast<uint16_t>(value);
}

constexpr TypeRow kTypes[] = {
    {Type::kStart, "start", sizeof(StartRecord), false, number(shmlog::StartKind::kExec),
     number(shmlog::StartKind::kVfork), nullptr},
    {Type::kMapping, "mapping", sizeof(MappingRecord), false, 0, 0, mapping_trouble},
    {Type::kMemory, "memory", sizeof(MemoryRecord), true, 0, 0, memory_trouble},
    {Type::kFile, "file", sizeof(FileRecord), true, 0, 0, path_trouble},
    {Type::kCall, "call", sizeof(CallRecord), true, 0, 0, call_trouble},
    {Type::kSignal, "signal", sizeof(SignalRecord), false, number(SignalKind::kHandler),
     number(SignalKind::kDeath), signal_trouble},
    {Type::kValue, "value", sizeof(ValueRecord), false, number(ValueKind::kCounter),
     number(ValueKind::kCpuid), nullptr},
    {Type::kCheck, "check", sizeof(CheckRecord), false, 0, 0, nullptr},
    {Type::kPage, "page", sizeof(PageRecord), false, 0, 0, nullptr},
    {Type::kChild, "child", sizeof(ChildRecord), false, number(ChildKind::kBegins),
     number(ChildKind::kThread), nullptr},
    {Type::kTurn, "turn", sizeof(TurnRecord), false, number(TurnKind::kInCall),
     number(TurnKind::kAtStop), nullptr},
    {Type::kLeftOut, "left out", 0, true, 0, 0, left_out_trouble},
    {Type::kStop, "stop", sizeof(StopRecord), true, number(StopKind::kPlain),
     number(StopKind::kRepeating), stop_trouble},
    {Type::kAgain, "again", 0, false, 0, 0, nullptr},
    {Type::kEnd, "end", sizeof(EndRecord), true, number(EndKind::kExec),
     number(EndKind::kUnreplayable), end_trouble},
};

const TypeRow* row_of(Type type) {
  for (const TypeRow& row : kTypes)
    if (row.type == type) return &row;
  return nullptr;
}

}  // namespace

std::string record_trouble(const StreamRecord& record) {
  const TypeRow* row = row_of(record.type);
  if (!row)
    return expected("a record of type " + std::to_string(number(record.type)),
                    "1 to " + std::to_string(std::size(kTypes)));
  const size_t bytes = record.payload.size();
  const std::string name = std::string("a ") + row->name + " record";
  if (bytes < row->bytes || (bytes > row->bytes && !row->more))
    return expected(name + " with " + std::to_string(bytes) + " bytes behind its header",
                    (row->more ? "at least " : "") + std::to_string(row->bytes));
  if (record.detail < row->first_detail || record.detail > row->last_detail)
    return expected(name + " with detail " + std::to_string(record.detail),
                    std::to_string(row->first_detail) + " to " + std::to_string(row->last_detail));
  return row->trouble ? row->trouble(record) : "";
}

// ---- Order --------------------------------------------------------------------------------------

namespace {

bool is_event(Type type) {
  return type == Type::kCall || type == Type::kSignal || type == Type::kValue;
}

bool is_of_start(const StreamRecord& record) {
  return record.type == Type::kMapping && !(record.as<MappingRecord>()->flags & kMappingAttached);
}

// The file that a record refers to by its number; 0: none.
uint32_t file_used(const StreamRecord& record) {
  if (record.type == Type::kMapping) return record.as<MappingRecord>()->file;
  return record.type == Type::kCall ? record.as<CallRecord>()->file : 0;
}

}  // namespace

std::string RecordOrder::file_trouble(const StreamRecord& record) {
  if (record.type == Type::kFile) {
    const uint32_t number = record.as<FileRecord>()->number;
    if (number != files_ + 1)
      return expected("file number " + std::to_string(number), std::to_string(files_ + 1));
    files_ = number;
  }
  if (const uint32_t used = file_used(record); used > files_)
    return expected("file " + std::to_string(used) + " is mapped",
                    files_ == 0 ? "a file's record before it"
                                : "one of the " + std::to_string(files_) + " before it");
  return "";
}

std::string RecordOrder::trouble(const StreamRecord& record) {
  const bool is_start = record.type == Type::kStart;
  if (is_start == started_) return started_ ? "a second start" : "a record before the start";
  if (ended_) return "a record behind the end of what can be replayed";
  if (runs_ && is_of_start(record)) return "a mapping of the start behind an event";
  started_ = true;
  runs_ = runs_ || is_event(record.type);
  ended_ = record.type == Type::kEnd && end_view(record).kind == EndKind::kUnreplayable;
  return file_trouble(record);
}

// ---- Views --------------------------------------------------------------------------------------

MemoryView memory_view(const StreamRecord& record) {
  const MemoryRecord memory = *record.as<MemoryRecord>();
  return {memory.address, record.payload.subspan(sizeof memory, memory.bytes)};
}

FileView file_view(const StreamRecord& record) {
  const char* path = reinterpret_cast<const char*>(record.payload.data()) + sizeof(FileRecord);
  return {*record.as<FileRecord>(), {path, length_of_path(record)}};
}

CallView call_view(const StreamRecord& record) {
  CallView view{*record.as<CallRecord>(), {}, {}};
  auto rest = record.payload.subspan(sizeof view.call);
  view.arguments.resize(view.call.arguments);
  std::memcpy(view.arguments.data(), rest.data(), view.arguments.size() * sizeof(uint64_t));
  rest = rest.subspan(view.arguments.size() * sizeof(uint64_t));
  for (MemoryView output; view.outputs.size() < view.call.outputs && take_output(rest, output);)
    view.outputs.push_back(output);
  return view;
}

SignalView signal_view(const StreamRecord& record) {
  SignalView view{static_cast<SignalKind>(record.detail), {}, 0, 0, *record.as<SignalRecord>()};
  view.place = static_cast<SignalPlace>(view.record.place);
  // siginfo_t: si_signo, si_errno, si_code
  std::memcpy(&view.signal, view.record.info, sizeof view.signal);
  std::memcpy(&view.code, view.record.info + 8, sizeof view.code);
  return view;
}

std::vector<Range> left_out_view(const StreamRecord& record) {
  std::vector<Range> ranges(record.payload.size() / sizeof(Range));
  if (!ranges.empty()) std::memcpy(ranges.data(), record.payload.data(), record.payload.size());
  return ranges;
}

StopView stop_view(const StreamRecord& record) {
  StopView view{static_cast<StopKind>(record.detail), *record.as<StopRecord>(), {}, {}};
  view.words.resize(view.stop.words);
  view.ranges.resize(view.stop.ranges);
  const auto rest = record.payload.subspan(sizeof view.stop);
  const size_t bytes = view.words.size() * sizeof(StopWord);
  std::memcpy(view.words.data(), rest.data(), bytes);
  std::memcpy(view.ranges.data(), rest.data() + bytes, rest.size() - bytes);
  return view;
}

EndView end_view(const StreamRecord& record) {
  const char* text = reinterpret_cast<const char*>(record.payload.data()) + sizeof(EndRecord);
  return {static_cast<EndKind>(record.detail), {text, record.as<EndRecord>()->text_bytes - 1}};
}

}  // namespace shmrec::recording
