// Making a bundle of a stranger's run directory: whatever its files say, a bundle that verifies or
// an Error, in bounded memory and time.
//
// The input is a list of files: which (1 byte), length (2 bytes, little), content. A log begins as
// the smallest sound one would, so that its header need not be guessed; its content is laid over
// that from an offset (2 bytes, in units of 8 bytes). Lines of the index may name a file that is
// there: its name, sum and length stand for $FILE in them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "recording/bundle/bundle.h"
#include "recording/bundle/kept_binaries.h"
#include "recording/bundle/sha256.h"
#include "recording/log/shmlog_create.h"

namespace {

namespace fs = std::filesystem;
using namespace shmrec::recording;

constexpr const char* kNames[] = {"run.json",     "end.json",   "events.jsonl",
                                  "launcher.log", "run.shmlog", "binaries/index.jsonl"};
constexpr size_t kLog = 4, kIndex = 5;

// A file of the machine that has a build-id; taken once.
const std::string& program() {
  static const std::string bytes = [] {
    std::ifstream file("/bin/true", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();
  return bytes;
}

struct Scratch {
  Scratch() {
    std::string name = (fs::temp_directory_path() / "run_fuzz-XXXXXX").string();
    root = mkdtemp(name.data());
    run = root / "run";
  }
  ~Scratch() { fs::remove_all(root); }
  fs::path root, run;
};

void make_log(const fs::path& path) {
  CreateOptions options;
  options.log_bytes = kMinLogBytes;
  const auto fd = create_shmlog(path.string(), options);
  if (fd) close(*fd);
}

void lay_over(const fs::path& path, std::string_view content) {
  if (content.size() < 2) return;
  const auto at = (static_cast<uint8_t>(content[0]) | static_cast<uint8_t>(content[1]) << 8) * 8;
  content.remove_prefix(2);
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd >= 0 && pwrite(fd, content.data(), content.size(), at) < 0) abort();
  if (fd >= 0) close(fd);
}

std::string with_file(std::string text) {
  static const std::string sum = sha256_hex(program());
  static const std::string file = R"("sha256":")" + sum + R"(","file":")" + sum + R"(","bytes":)" +
                                  std::to_string(program().size());
  for (size_t at; (at = text.find("$FILE")) != std::string::npos;) text.replace(at, 5, file);
  return text;
}

void fill(const fs::path& run, std::string_view list) {
  fs::create_directories(run / "binaries");
  std::ofstream(run / "binaries" / sha256_hex(program()), std::ios::binary) << program();
  make_log(run / kNames[kLog]);
  while (list.size() >= 3) {
    const size_t which = static_cast<uint8_t>(list[0]) % std::size(kNames);
    const size_t bytes = static_cast<uint8_t>(list[1]) | static_cast<uint8_t>(list[2]) << 8;
    list.remove_prefix(3);
    const std::string content(list.substr(0, bytes));
    list.remove_prefix(std::min(list.size(), bytes));
    if (which == kLog) {
      lay_over(run / kNames[which], content);
    } else {
      std::ofstream(run / kNames[which], std::ios::binary)
          << (which == kIndex ? with_file(content) : content);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Scratch scratch;
  fill(scratch.run, {reinterpret_cast<const char*>(data), size});
  CreateBundleOptions options;
  options.output = scratch.root / "bundle";
  options.foreign = true;
  const auto made = create_bundle(scratch.run, options);
  // What it makes, it reads.
  if (made && !list_bundle(*made)) abort();
  return 0;
}
