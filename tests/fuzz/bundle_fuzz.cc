// Opening bundles: whatever the bytes, an Error or a sound result, in bounded memory and time.
//
// The first byte of the input says what the rest is:
//   0  a bundle's bytes
//   1  a list of entries, made into an archive with right checksums: deeper than mutated bytes get
//   2  a manifest
//   3  a run.json, and after a NUL a coverage.json
//   4  the directory of an index, packed with a right checksum; behind what it says of blocks lies
//      one of postings
//   5  a block of postings
// An entry of the list: type, name length, content length (2 bytes, little), name, content. In
// place of the content of an entry named SHA256SUMS stand the right sums if its type is 's'.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "recording/bundle/bundle_reader.h"
#include "recording/bundle/coverage.h"
#include "recording/bundle/run_schema.h"
#include "recording/bundle/sha256.h"
#include "recording/index/stored_index.h"

namespace {

using namespace shmrec;
using namespace shmrec::recording;

constexpr uint64_t kMiB = 1 << 20;

class KeepingSink : public FileSink {
 public:
  std::string log, binaries, run, coverage;

  Result<> begin(const std::string& name, uint64_t) override {
    into_ = name == kLogName        ? &log
            : name == kBinariesName ? &binaries
            : name == kCoverageName ? &coverage
            : name == "run.json"    ? &run
                                    : nullptr;
    return Unit{};
  }
  Result<> data(const char* data, size_t bytes) override {
    if (into_) into_->append(data, bytes);
    return Unit{};
  }
  Result<> end() override { return Unit{}; }

 private:
  std::string* into_ = nullptr;
};

void check(const Manifest& manifest, const std::string& log_bytes, const std::string& binaries) {
  const auto log = ShmlogReader::from_memory(
      {reinterpret_cast<const uint8_t*>(log_bytes.data()), log_bytes.size()}, "log");
  (void)check_manifest(manifest, log ? log->get() : nullptr, "fuzz");
  (void)check_binaries(manifest, nlohmann::json::parse(binaries, nullptr, false), "fuzz");
}

void check_texts(const std::string& run, const std::string& coverage) {
  (void)run_json_trouble(nlohmann::json::parse(run, nullptr, false));
  const nlohmann::json list = nlohmann::json::parse(coverage, nullptr, false);
  if (!coverage_trouble(list).empty()) return;
  (void)is_told(list, "run.json");
  // Read and written again it is a sound list, and says the same.
  const nlohmann::json again = coverage_document(coverage_items(list));
  if (!coverage_trouble(again).empty() || again["complete"] != list["complete"]) __builtin_trap();
}

void read_tar(ByteSource& tar, const UnpackLimits& limits) {
  KeepingSink sink;
  const auto read = read_bundle(tar, "fuzz", limits, sink);
  if (!read) return;
  check(read->manifest, sink.log, sink.binaries);
  check_texts(sink.run, sink.coverage);
}

std::string tar_entry(char type, const std::string& name, const std::string& content) {
  std::string header(512, '\0');
  name.copy(&header[0], 100);
  std::snprintf(&header[100], 8, "%07o", 0644);
  std::snprintf(&header[124], 12, "%011zo", content.size());
  std::memset(&header[148], ' ', 8);
  header[156] = type;
  std::memcpy(&header[257],
              "ustar\0"
              "00",
              8);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<uint8_t>(c);
  std::snprintf(&header[148], 8, "%06o", sum);
  return header + content + std::string((512 - content.size() % 512) % 512, '\0');
}

std::string tar_of_list(std::string_view list) {
  std::string tar, sums;
  while (list.size() >= 4) {
    char type = list[0];
    const size_t name_bytes = static_cast<uint8_t>(list[1]);
    const size_t bytes = static_cast<uint8_t>(list[2]) | static_cast<uint8_t>(list[3]) << 8;
    list.remove_prefix(4);
    const std::string name(list.substr(0, name_bytes));
    list.remove_prefix(std::min(list.size(), name_bytes));
    std::string content(list.substr(0, bytes));
    list.remove_prefix(std::min(list.size(), bytes));
    if (type == 's') content = sums, type = '0';
    sums += sha256_hex(content) + "  " + name + "\n";
    tar += tar_entry(type, name, content);
  }
  return tar + std::string(1024, '\0');
}

void require(bool true_of_it) {
  if (!true_of_it) __builtin_trap();
}

// What comes out is sound, and the same when it is written and read again.
void read_postings(std::string_view raw) {
  const auto postings = decode_block(raw);
  if (!postings) return;
  const auto again = decode_block(encode_block(*postings));
  require(again.ok() && again->size() == postings->size());
  for (size_t i = 0; i < postings->size(); ++i) {
    require((*again)[i].line == (*postings)[i].line);
    require((*again)[i].last_version == (*postings)[i].last_version);
    require((*postings)[i].first_version <= (*postings)[i].last_version);
  }
}

void read_index(std::string_view directory) {
  // Where the directory says that blocks lie, a sound one does, as far as sizes allow.
  const std::vector<StoredPosting> postings = {{1, 2, 3, 4, 5}, {1, 3, 3, 4, 5}, {2, 0, 0, 1, 1}};
  std::string file = *packed(encode_block(postings));
  file.resize(4096);
  std::string frame = *packed(directory);
  index::Tail tail{
      static_cast<uint32_t>(frame.size()), static_cast<uint32_t>(directory.size()), {}};
  std::memcpy(tail.magic, index::kTailMagic, sizeof(tail.magic));
  file += frame;
  file.append(reinterpret_cast<const char*>(&tail), sizeof(tail));
  const auto index = StoredIndex::open(file.size(), [&](uint64_t at, char* into, size_t bytes) {
    if (at > file.size() || bytes > file.size() - at) return false;
    return file.copy(into, bytes, at) == bytes;
  });
  if (!index) return;
  require(*index != nullptr);
  std::vector<StoredPosting> found;
  for (uint32_t segment = 0; segment < 4; ++segment) (*index)->find(segment, 3, found);
  for (const StoredPosting& posting : found) require(posting.line == 3);
  (void)(*index)->chunk_heads();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const UnpackLimits limits{
      .free_bytes = kMiB, .ratio = 64, .total_bytes = 8 * kMiB, .entries = 64};
  switch (data[0] % 6) {
    case 0: {
      MemorySource source(input);
      ZstdSource tar(source, "fuzz", limits);
      read_tar(tar, limits);
      break;
    }
    case 1: {
      const std::string tar = tar_of_list(input);
      MemorySource source(tar);
      read_tar(source, limits);
      break;
    }
    case 2: {
      const auto manifest = parse_manifest(input, "fuzz");
      if (manifest) check(*manifest, "", R"({"modules":[]})");
      break;
    }
    case 3: {
      const size_t end = std::min(input.find('\0'), input.size());
      check_texts(std::string(input.substr(0, end)),
                  std::string(input.substr(std::min(end + 1, input.size()))));
      break;
    }
    case 4:
      read_index(input);
      break;
    case 5:
      read_postings(input);
      break;
  }
  return 0;
}
