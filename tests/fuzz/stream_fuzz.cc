// Reading and printing a stranger's stream: whatever its files say, records that are sound and an
// Error behind them, in bounded memory, and nothing printed that could steer a terminal.
//
// The input is the files of a recording, one behind the other: each begins with the magic.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/temporary_directory.h"
#include "recording/stream/stream_dump.h"
#include "recording/stream/stream_files.h"
#include "recording/stream/stream_reader.h"

namespace {

namespace fs = std::filesystem;
using namespace shmrec;
using namespace shmrec::recording;

void require(bool condition) {
  if (!condition) std::abort();
}

fs::path save(std::string_view input) {
  static const TemporaryDirectory scratch =
      TemporaryDirectory::make(temporary_parent(), "stream_fuzz-").value();
  const fs::path recording = scratch.path() / kRecordingsFolder / "292b1631-c83d";
  fs::create_directories(recording);
  const std::string_view magic(stream::kMagic, sizeof stream::kMagic);
  uint32_t number = 0;
  do {
    const std::string_view file = input.substr(0, input.find(magic, 1));
    std::ofstream(recording / stream_file_name(number++), std::ios::binary) << file;
    input.remove_prefix(file.size());
  } while (!input.empty());
  while (fs::remove(recording / stream_file_name(number))) ++number;  // of the input before
  return recording;
}

void require_printable(const std::string& line) {
  for (const char c : line) require(c >= 0x20 && c < 0x7F);
}

void print(const fs::path& recording, bool json) {
  Result<StreamReader> reader = StreamReader::open(recording);
  if (!reader) return;
  const auto dumped = dump_stream(*reader, json, [json](const std::string& line) {
    require_printable(line);
    require(!json || nlohmann::json::accept(line));
    return true;
  });
  require(dumped || !dumped.error().message.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fs::path recording = save({reinterpret_cast<const char*>(data), size});
  print(recording, false);
  print(recording, true);
  return 0;
}
