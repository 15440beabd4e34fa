// Builds the files of a stream as the agent would have left them, and any it would not.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "recording/log/shmlog_format.h"
#include "recording/stream/stream_files.h"
#include "recording/stream/stream_format.h"

namespace shmrec::testing {

using namespace shmrec::stream;

// One file. Records are given by what lies behind their headers.
class StreamBuilder {
 public:
  explicit StreamBuilder(uint32_t number = 0) : bytes_(sizeof(FileHeader), '\0') {
    FileHeader header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.number = number;
    header.id_high = 0x292B1631;
    header.id_low = 0xC83D;
    put(0, header);
    end();
  }

  StreamBuilder& record(Type type, uint16_t detail, uint64_t event, std::string payload) {
    payload.resize(aligned(payload.size()));
    last_ = bytes_.size();
    const RecordHeader header{static_cast<uint32_t>(sizeof header + payload.size()),
                              static_cast<uint16_t>(type), detail, event};
    bytes_ += of(header) + payload;
    return end();
  }

  StreamBuilder& start(StartRecord start = {}, shmlog::StartKind kind = shmlog::StartKind::kExec) {
    return record(Type::kStart, static_cast<uint16_t>(kind), 0, of(start));
  }
  StreamBuilder& memory(uint64_t address, const std::string& content) {
    return record(Type::kMemory, 0, 0, of(MemoryRecord{address, content.size()}) + content);
  }
  StreamBuilder& file(uint32_t number, const std::string& path, uint64_t event = 0) {
    const FileRecord file{number, 1, 0x800002, 1234, 35664, 0x68CF8A10, 0};
    return record(Type::kFile, 0, event, of(file) + path + '\0');
  }
  StreamBuilder& mapping(const MappingRecord& mapping) {
    return record(Type::kMapping, 0, 0, of(mapping));
  }
  struct OutputOf {
    uint64_t address;
    std::string content;
  };
  StreamBuilder& call(uint64_t event, uint16_t number, const std::vector<uint64_t>& arguments,
                      uint64_t result, const std::vector<OutputOf>& outputs = {},
                      uint16_t file = 0) {
    const CallRecord call{number, static_cast<uint8_t>(arguments.size()),
                          0,      static_cast<uint16_t>(outputs.size()),
                          file,   result,
                          0x5EED};
    std::string payload = of(call);
    for (const uint64_t argument : arguments) payload += of(argument);
    for (const OutputOf& output : outputs) {
      payload += of(Output{output.address, output.content.size()}) + output.content;
      payload.resize(aligned(payload.size()));
    }
    return record(Type::kCall, 0, event, payload);
  }
  StreamBuilder& signal(uint64_t event, int32_t number, SignalKind kind, SignalPlace place) {
    SignalRecord record{};
    record.regs[kInstructionPointer] = 0x401234;
    record.place = static_cast<uint64_t>(place);
    std::memcpy(record.info, &number, sizeof number);
    return this->record(Type::kSignal, static_cast<uint16_t>(kind), event, of(record));
  }
  StreamBuilder& value(uint64_t event, ValueKind kind) {
    const ValueRecord value{0x401000, 0x5EED, {0xD71908E1, 0, 0, 0x2677}};
    return record(Type::kValue, static_cast<uint16_t>(kind), event, of(value));
  }
  StreamBuilder& thread(uint64_t event) {
    ChildRecord child{};
    child.regs[kInstructionPointer] = 0x401500;
    child.regs[kStackPointer] = 0x7F21F9D00000;
    return record(Type::kChild, static_cast<uint16_t>(ChildKind::kThread), event, of(child));
  }
  StreamBuilder& turn(uint64_t event, int32_t tid, TurnKind kind) {
    return record(Type::kTurn, static_cast<uint16_t>(kind), event, of(TurnRecord{tid, 0}));
  }
  StreamBuilder& page(uint64_t event, PageRecord page) {
    return record(Type::kPage, 0, event, of(page));
  }
  StreamBuilder& left_out(uint64_t event, const std::vector<Range>& ranges) {
    return record(Type::kLeftOut, 0, event, all(ranges));
  }
  // Counts of words and ranges are those that follow.
  StreamBuilder& stop_at(uint64_t event, StopKind kind, StopRecord stop,
                         const std::vector<StopWord>& words, const std::vector<Range>& ranges) {
    stop.words = static_cast<uint16_t>(words.size());
    stop.ranges = static_cast<uint16_t>(ranges.size());
    return record(Type::kStop, static_cast<uint16_t>(kind), event,
                  of(stop) + all(words) + all(ranges));
  }
  StreamBuilder& again(uint64_t event) { return record(Type::kAgain, 0, event, ""); }
  StreamBuilder& check(uint64_t event, CheckRecord check) {
    return record(Type::kCheck, 0, event, of(check));
  }
  StreamBuilder& stop(uint64_t event, EndKind kind, const std::string& text) {
    return record(Type::kEnd, static_cast<uint16_t>(kind), event,
                  of(EndRecord{text.size() + 1}) + text + '\0');
  }

  // Overwrites what stands there.
  template <typename T>
  StreamBuilder& put(uint64_t at, const T& value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  // ...counted from the last record's payload.
  template <typename T>
  StreamBuilder& put_last(uint64_t at, const T& value) {
    return put(last_ + sizeof(RecordHeader) + at, value);
  }
  StreamBuilder& commit(uint64_t bytes) { return put(offsetof(FileHeader, committed), bytes); }

  uint64_t last() const { return last_; }  // where the last record begins
  const std::string& bytes() const { return bytes_; }

  void save(const std::filesystem::path& directory, uint32_t number,
            const std::string& behind = "") const {
    std::filesystem::create_directories(directory);
    std::ofstream(directory / recording::stream_file_name(number), std::ios::binary)
        << bytes_ << behind;
  }

  template <typename T>
  static std::string of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }

 private:
  template <typename T>
  static std::string all(const std::vector<T>& values) {
    std::string bytes;
    for (const T& value : values) bytes += of(value);
    return bytes;
  }
  StreamBuilder& end() {
    put(offsetof(FileHeader, file_bytes), uint64_t{bytes_.size()});
    return commit(bytes_.size());
  }

  std::string bytes_;
  uint64_t last_ = 0;
};

// A short life with a record of each type.
inline StreamBuilder every_record() {
  StartRecord start{};
  start.regs[kInstructionPointer] = 0x401000;
  start.regs[kStackPointer] = 0x7FFC49B9E140;
  start.agent_base = 0x600000000000;
  start.heap_begin = start.heap_end = 0x5613A0F19000;
  start.pid = start.tid = 4242;
  start.features = 7;
  start.traps = kTrapsCpuid;
  std::memcpy(start.processor, "AMD EPYC", 8);
  StopRecord stop{};
  stop.regs[kInstructionPointer] = 0x401600;
  stop.regs[kStackPointer] = 0x7F21F9CFFF00;
  StreamBuilder stream;
  stream.start(start)
      .file(1, "/usr/bin/true")
      .mapping({0x400000, 0x402000, 5, 0, 0x1000, 1, 0})
      .mapping({0x7FFC49B7F000, 0x7FFC49BA0000, 3, kMappingStack, 0, 0, 0})
      .memory(0x7FFC49B9E140, std::string("\1\0\0\0\0\0\0\0\"\\\x1b[2J", 14))
      .value(1, ValueKind::kCounter)
      .call(2, 257, {0xFFFFFF9C, 0x402010, 0x80000, 0}, static_cast<uint64_t>(-2))
      .call(3, 0, {3, 0x7FFC49B9D000, 832}, 5, {{0x7FFC49B9D000, "hello"}})
      .file(2, "/etc/ld.so.cache", 4)
      .call(4, 9, {0, 4096, 1, 2, 3, 0}, 0x7F21F9E05000, {}, 2)
      .signal(4, 14, SignalKind::kHandler, SignalPlace::kAfterEvent)
      .stop(5, EndKind::kExec, "another program is executed")
      .signal(6, 11, SignalKind::kHandler, SignalPlace::kFault)
      .thread(7)
      .turn(7, 4243, TurnKind::kInCall)
      .stop_at(7, StopKind::kPlain, stop, {{0x404010, 41}}, {{0x7FFC49B9D000, 832}})
      .turn(7, 4242, TurnKind::kAtStop)
      .again(7)
      .left_out(7, {{0x7F21F9C00000, 12}})
      .page(7, {0x5613A0F19000, 0xCAFE})
      .check(7, {0xACD9, 0xBEEF, 33})
      .call(7, 231, {0}, 0)
      .stop(7, EndKind::kUnreplayable, "a thread");
  return stream;
}

}  // namespace shmrec::testing
