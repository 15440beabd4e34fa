#include "recording/bundle/kept_binaries.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "recording/bundle/elf_id.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxIndexBytes = uint64_t{8} << 20;
constexpr size_t kMaxLines = 8192;
constexpr size_t kMaxLineBytes = 16 << 10;
constexpr size_t kMaxReason = 300;

std::string text_of(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : "";
}

uint64_t number_of(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

}  // namespace

std::string to_line(const KeptBinary& binary) {
  nlohmann::ordered_json line = {{"path", binary.path}, {"inode", binary.inode}};
  if (binary.file.empty()) {
    line["missing"] = binary.missing;
  } else {
    line["buildId"] = binary.build_id;
    line["sha256"] = binary.sha256;
    line["file"] = binary.file;
    line["bytes"] = binary.bytes;
  }
  return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

KeptBinaries KeptBinaries::open(int run_dir) {
  KeptBinaries kept;
  kept.folder_ = UniqueFd(
      openat(run_dir, kKeptFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (kept.folder_) {
    kept.read_index();
  } else if (errno != ENOENT) {
    kept.problem_ = std::strerror(errno);
  }
  return kept;
}

void KeptBinaries::read_index() {
  uint64_t bytes = 0;
  const Result<UniqueFd> index =
      open_regular_at(folder_.get(), kKeptIndexName, kKeptIndexName, bytes);
  if (!index) {
    // An unpacked bundle has a folder of this name too, and no index.
    if (errno != ENOENT) problem_ = index.error().message;
    folder_ = UniqueFd();
    return;
  }
  if (bytes > kMaxIndexBytes) problem_ = "index.jsonl is too long; only its beginning was used";
  std::string text(std::min(bytes, kMaxIndexBytes), '\0');
  const ssize_t got = pread_all(index->get(), text.data(), text.size(), 0);
  std::string_view left(text.data(), static_cast<size_t>(std::max<ssize_t>(got, 0)));
  size_t lines = 0;
  // A last line without its newline is one that its writer did not finish.
  for (size_t newline; (newline = left.find('\n')) != std::string_view::npos && lines < kMaxLines;
       left.remove_prefix(newline + 1), ++lines) {
    if (newline <= kMaxLineBytes) take_line(left.substr(0, newline));
  }
}

void KeptBinaries::take_line(std::string_view text) {
  const json line = json::parse(text.begin(), text.end(), nullptr, false);
  if (line.is_discarded() || !line.is_object()) return;
  KeptBinary binary{.path = text_of(line, "path"),
                    .inode = number_of(line, "inode"),
                    .build_id = text_of(line, "buildId"),
                    .sha256 = text_of(line, "sha256"),
                    .file = text_of(line, "file"),
                    .bytes = number_of(line, "bytes"),
                    .missing = text_of(line, "missing").substr(0, kMaxReason)};
  if (!binary.path.empty()) by_path_[binary.path].push_back(std::move(binary));
}

const KeptBinary* KeptBinaries::find(const std::string& path, uint64_t inode) const {
  const auto known = by_path_.find(path);
  if (known == by_path_.end()) return nullptr;
  const KeptBinary* best = nullptr;
  for (const KeptBinary& binary : known->second) {
    const bool same = inode == 0 || binary.inode == 0 || binary.inode == inode;
    // One that was kept, even if it could not be at another time.
    if (same && (best == nullptr || best->file.empty() || !binary.file.empty())) best = &binary;
  }
  return best;
}

Result<UniqueFd> KeptBinaries::open_checked(const KeptBinary& binary, uint64_t max_bytes) const {
  const std::string& name = binary.file;
  if (!is_id(name)) return Error{"the run directory's index names no plain file"};
  if (name != binary.build_id && name != binary.sha256)
    return Error{"the run directory's index names a file of another ID"};
  uint64_t bytes = 0;
  Result<UniqueFd> fd = open_regular_at(folder_.get(), name.c_str(), "its copy", bytes);
  if (!fd) return fd;
  if (bytes != binary.bytes)
    return Error{"its copy has " + std::to_string(bytes) + " bytes, the index says " +
                 std::to_string(binary.bytes)};
  if (bytes > max_bytes)
    return Error{human_bytes(bytes) + " would make the bundle larger than its limit"};
  if (!is_elf(fd->get())) return Error{"its copy is not an ELF file"};
  if (build_id(fd->get()) != binary.build_id) return Error{"its copy has another build-id"};
  if (content_id(fd->get(), bytes) != binary.sha256) return Error{"its copy has another sum"};
  return fd;
}

}  // namespace shmrec::recording
