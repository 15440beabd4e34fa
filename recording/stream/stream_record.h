// The records of a stream (stream_format.h) with their parts, and what makes one sound.
//
// Trust: a record is its workload's to write. StreamReader gives none that record_trouble() finds
// fault with; the views below require that.
// Owner: views point into the record's payload, which is good until the next record is read.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recording/stream/stream_format.h"

namespace shmrec::recording {

struct StreamRecord {
  stream::Type type{};
  uint16_t detail = 0;
  uint64_t event = 0;
  uint32_t file = 0;                       // number of the file that it is in...
  uint64_t at = 0;                         // ...and its first byte there
  std::span<const unsigned char> payload;  // good until the next record is read

  // The fixed part of its payload.
  template <typename T>
  std::optional<T> as() const {
    if (payload.size() < sizeof(T)) return {};
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }
};

// What a record that stands alone is expected to be and is not; "" if it is sound.
std::string record_trouble(const StreamRecord& record);

// What records have to be to each other, which one by one they do not show.
class RecordOrder {
 public:
  // What is wrong with `record` as the next one; "" if nothing is. REQUIRES: it is sound itself.
  std::string trouble(const StreamRecord& record);

 private:
  std::string file_trouble(const StreamRecord& record);

  bool started_ = false;  // there was a kStart
  bool runs_ = false;     // ...and an event
  bool ended_ = false;    // what follows cannot be replayed
  uint32_t files_ = 0;
};

struct MemoryView {
  uint64_t address = 0;
  std::span<const unsigned char> content;
};
MemoryView memory_view(const StreamRecord& record);

struct FileView {
  stream::FileRecord file{};
  std::string_view path;
};
FileView file_view(const StreamRecord& record);

struct CallView {
  stream::CallRecord call{};
  std::vector<uint64_t> arguments;
  std::vector<MemoryView> outputs;
};
CallView call_view(const StreamRecord& record);

struct SignalView {
  stream::SignalKind kind{};
  stream::SignalPlace place{};
  int32_t signal = 0, code = 0;  // si_signo, si_code
  stream::SignalRecord record{};
};
SignalView signal_view(const StreamRecord& record);

std::vector<stream::Range> left_out_view(const StreamRecord& record);

struct StopView {
  stream::StopKind kind{};
  stream::StopRecord stop{};
  std::vector<stream::StopWord> words;
  std::vector<stream::Range> ranges;
};
StopView stop_view(const StreamRecord& record);

struct EndView {
  stream::EndKind kind{};
  std::string_view text;
};
EndView end_view(const StreamRecord& record);

}  // namespace shmrec::recording
