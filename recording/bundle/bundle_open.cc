// Opening, listing, verifying and extracting bundles: what to do with the files that bundle_reader
// hands out.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/temporary_directory.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/bundle_parts.h"
#include "recording/bundle/bundle_plan.h"
#include "recording/bundle/bundle_reader.h"
#include "recording/bundle/cores.h"
#include "recording/bundle/kept_binaries.h"
#include "recording/bundle/run_schema.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;

class NoSink : public FileSink {
 public:
  Result<> begin(const std::string&, uint64_t) override { return Unit{}; }
  Result<> data(const char*, size_t) override { return Unit{}; }
  Result<> end() override { return Unit{}; }
};

class TextSink : public FileSink {
 public:
  TextSink(std::string name, uint64_t limit) : name_(std::move(name)), limit_(limit) {}

  Result<> begin(const std::string& name, uint64_t bytes) override {
    active_ = name == name_;
    if (active_ && bytes > limit_) {
      return Error{name + ": " + human_bytes(bytes) + " long; use shmrec bundle extract"};
    }
    found_ = found_ || active_;
    return Unit{};
  }
  Result<> data(const char* data, size_t bytes) override {
    if (active_) text_.append(data, bytes);
    return Unit{};
  }
  Result<> end() override { return Unit{}; }

  bool found() const { return found_; }
  std::string& text() { return text_; }

 private:
  std::string name_;
  uint64_t limit_;
  bool active_ = false, found_ = false;
  std::string text_;
};

// Writes files below a directory that nobody else can write to. Blocks of zeros become holes.
class DirectorySink : public FileSink {
 public:
  using Filter = std::function<bool(const std::string& name)>;
  DirectorySink(fs::path dir, Filter wanted) : dir_(std::move(dir)), wanted_(std::move(wanted)) {}

  Result<> begin(const std::string& name, uint64_t bytes) override {
    fd_ = UniqueFd();
    if (wanted_ && !wanted_(name)) return Unit{};
    path_ = dir_ / name;
    bytes_ = bytes;
    at_ = 0;
    std::error_code error;
    fs::create_directories(path_.parent_path(), error);
    fd_ = UniqueFd(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    return fd_ ? Result<>(Unit{}) : Result<>(failure());
  }

  Result<> data(const char* data, size_t bytes) override {
    if (!fd_) return Unit{};
    for (size_t done = 0; done < bytes;) {
      const size_t part = std::min<size_t>(kHoleBytes, bytes - done);
      if (!is_zero(data + done, part) && !write_at(data + done, part)) return failure();
      at_ += part;
      done += part;
    }
    return Unit{};
  }

  Result<> end() override {
    if (fd_ && ftruncate(fd_.get(), static_cast<off_t>(bytes_)) != 0) return failure();
    fd_ = UniqueFd();
    return Unit{};
  }

 private:
  static constexpr size_t kHoleBytes = 64 * 1024;

  static bool is_zero(const char* data, size_t bytes) {
    return data[0] == 0 && std::memcmp(data, data + 1, bytes - 1) == 0;
  }
  bool write_at(const char* data, size_t bytes) {
    return lseek(fd_.get(), static_cast<off_t>(at_), SEEK_SET) >= 0 &&
           write_all(fd_.get(), data, bytes);
  }
  Error failure() const {
    Error error = system_error(path_.string() + ": cannot unpack");
    if (errno == ENOSPC) error.message += "; free space there or set TMPDIR";
    return error;
  }

  fs::path dir_;
  Filter wanted_;
  fs::path path_;
  UniqueFd fd_;
  uint64_t bytes_ = 0;
  uint64_t at_ = 0;
};

Result<ReadBundle> read_bundle_file_into(const fs::path& path, FileSink& sink,
                                         const Progress& progress) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return Error{path.string() + ": a directory; expected a bundle (NAME.shmrec.tar.zst)"};
  }
  uint64_t bytes = 0;
  Result<UniqueFd> fd = open_regular(path, bytes);
  if (!fd) return Error{fd.error().message};
  const UnpackLimits limits;
  FileSource file(std::move(*fd), path);
  ZstdSource tar(file, path, limits);
  return read_bundle(tar, path, limits, sink, progress);
}

// Gives the log back the zeros at its end that a bundle does not store.
Result<> restore_log(const fs::path& log, const Manifest& manifest) {
  if (truncate(log.c_str(), static_cast<off_t>(manifest.log_present_bytes)) == 0) return Unit{};
  return system_error(log.string() + ": cannot restore its size of " +
                      human_bytes(manifest.log_present_bytes));
}

// Unpacks what `wanted` wants into `dir`.
Result<ReadBundle> unpack(const fs::path& path, const fs::path& dir, DirectorySink::Filter wanted,
                          const Progress& progress) {
  const bool with_log = !wanted || wanted(kLogName);
  DirectorySink sink(dir, std::move(wanted));
  Result<ReadBundle> read = read_bundle_file_into(path, sink, progress);
  if (!read || !with_log) return read;
  const Result<> restored = restore_log(dir / kLogName, read->manifest);
  return restored ? std::move(read) : Result<ReadBundle>(restored.error());
}

nlohmann::json parse_file(const fs::path& path) {
  const Result<std::string> text = read_text(path, kMaxJsonBytes);
  return text ? nlohmann::json::parse(*text, nullptr, false)
              : nlohmann::json(nlohmann::json::value_t::discarded);
}

// A run directory's own copy.
std::optional<fs::path> kept_binary(const fs::path& dir, const std::string& module_path) {
  const Result<UniqueFd> run = open_directory(dir, true);
  if (!run) return std::nullopt;
  const KeptBinaries kept = KeptBinaries::open(run->get());
  const KeptBinary* line = kept.find(module_path, 0);
  if (line == nullptr || line->file.empty() || !kept.open_checked(*line, UINT64_MAX))
    return std::nullopt;
  return dir / kKeptFolder / line->file;
}

}  // namespace

// ---- OpenedBundle -------------------------------------------------------------------------------

OpenedBundle::OpenedBundle(OpenedBundle&& other) noexcept
    : dir(std::exchange(other.dir, {})),
      temporary_(std::exchange(other.temporary_, false)),
      parts_(std::move(other.parts_)) {}

OpenedBundle& OpenedBundle::operator=(OpenedBundle&& other) noexcept {
  std::swap(dir, other.dir);
  std::swap(temporary_, other.temporary_);
  std::swap(parts_, other.parts_);
  return *this;
}

OpenedBundle::~OpenedBundle() {
  std::error_code ignored;
  if (temporary_) fs::remove_all(dir, ignored);
}

std::optional<fs::path> OpenedBundle::binary(const std::string& module_path) const {
  std::error_code ignored;
  const nlohmann::json document = parse_file(dir / kBinariesName);
  if (document.is_discarded()) {
    if (auto kept = kept_binary(dir, module_path)) return kept;
    const bool there = fs::is_regular_file(module_path, ignored);
    return there ? std::optional<fs::path>(module_path) : std::nullopt;
  }
  if (!document.is_object() || !document.contains("modules")) return std::nullopt;
  for (const auto& module : document["modules"]) {
    if (!module.is_object() || module.value("path", "") != module_path) continue;
    const auto file = module.find("file");
    if (file == module.end() || !file->is_string() || !is_binary_name(file->get<std::string>()))
      continue;
    const fs::path path = dir / file->get<std::string>();
    if (parts_ && !fs::exists(path, ignored) && !parts_->unpack(file->get<std::string>(), path))
      continue;
    if (fs::is_regular_file(path, ignored)) return path;
  }
  return std::nullopt;
}

std::optional<fs::path> OpenedBundle::core(const std::string& recording_id) const {
  std::error_code ignored;
  const std::string name = core_name(recording_id);
  if (!is_core_name(name)) return std::nullopt;
  const fs::path path = dir / name;
  if (parts_ && !fs::exists(path, ignored)) {
    const std::vector<FileSize>& files = parts_->manifest().files;
    const bool listed = std::any_of(files.begin(), files.end(),
                                    [&](const FileSize& file) { return file.name == name; });
    if (!listed || !parts_->unpack(name, path)) return std::nullopt;
  }
  const bool there = fs::is_regular_file(fs::symlink_status(path, ignored));
  return there ? std::optional<fs::path>(path) : std::nullopt;
}

Result<OpenedBundle> open_bundle(const fs::path& path, const Progress& progress) {
  std::error_code ignored;
  OpenedBundle opened;
  if (fs::is_directory(path, ignored)) {
    if (!fs::exists(path / kLogName, ignored)) {
      return Error{path.string() + ": neither a bundle nor a run directory: no " + kLogName +
                   " in it"};
    }
    opened.dir = path;
    return opened;
  }
  Result<TemporaryDirectory> dir = TemporaryDirectory::make(temporary_parent(), "shmrec-");
  if (!dir) return dir.error();
  const Result<ReadBundle> read = unpack(path, dir->path(), nullptr, progress);
  if (!read) return read.error();
  opened.dir = dir->keep();
  opened.temporary_ = true;
  return opened;
}

Result<OpenedBundle> open_bundle_in_parts(const fs::path& path) {
  OpenedBundle opened;
  auto parts = BundleParts::open(path);
  if (!parts) return parts.error();
  if (*parts == nullptr) return opened;
  Result<TemporaryDirectory> dir = TemporaryDirectory::make(temporary_parent(), "shmrec-");
  if (!dir) return dir.error();
  std::vector<std::string> names = {kManifestName};
  for (const FileSize& file : (*parts)->manifest().files) {
    if (file.name != kLogName && !is_binary_name(file.name) && !is_core_name(file.name))
      names.push_back(file.name);
  }
  for (const std::string& name : names) {
    const Result<> unpacked = (*parts)->unpack(name, dir->path() / name);
    if (!unpacked) return unpacked.error();
  }
  const Result<> head = (*parts)->unpack_log_head(dir->path() / kLogName);
  if (!head) return head.error();
  opened.dir = dir->keep();
  opened.temporary_ = true;
  opened.parts_ = std::move(*parts);
  return opened;
}

// That of the bundle, or of the plan for one if this is a run directory.
Result<std::string> manifest_json(const OpenedBundle& bundle) {
  std::error_code ignored;
  if (!bundle.is_run_directory() || fs::exists(bundle.dir / kManifestName, ignored)) {
    return read_text(bundle.dir / kManifestName, kMaxJsonBytes);
  }
  auto plan = plan_bundle(bundle.dir, {}, temporary_parent());
  if (!plan) return plan.error();
  for (PlannedFile& file : (*plan)->files) {
    if (file.name == kManifestName) return std::move(file.text);
  }
  return Error{bundle.dir.string() + ": has no " + kManifestName, false};
}

// ---- Whole bundles ------------------------------------------------------------------------------

Result<std::vector<BundleFile>> list_bundle(const fs::path& path, const Progress& progress) {
  NoSink sink;
  Result<ReadBundle> read = read_bundle_file_into(path, sink, progress);
  if (!read) return read.error();
  return std::move(read->files);
}

namespace {

// The texts that are read of a bundle, against their schemas. A run.json that was damaged when the
// bundle was made is in its coverage list.
Result<> check_texts(const std::vector<BundleFile>& files, const fs::path& dir,
                     const fs::path& bundle) {
  const auto wrong = [&](const std::string& file, const std::string& trouble) {
    return Error{bundle.string() + ": " + printable(file) + ": " + trouble +
                 "; do not trust this bundle"};
  };
  const nlohmann::json coverage = parse_file(dir / kCoverageName);
  if (const std::string trouble = coverage_trouble(coverage); !trouble.empty())
    return wrong(kCoverageName, trouble);
  for (const BundleFile& file : files) {
    if (fs::path(file.name).filename() != "run.json" || is_binary_name(file.name)) continue;
    const std::string trouble = run_json_trouble(parse_file(dir / file.name));
    if (!trouble.empty() && !is_told(coverage, file.name)) return wrong(file.name, trouble);
  }
  return Unit{};
}

}  // namespace

Result<std::vector<BundleFile>> verify_bundle(const fs::path& path, const Progress& progress) {
  Result<TemporaryDirectory> dir = TemporaryDirectory::make(temporary_parent(), "shmrec-");
  if (!dir) return dir.error();
  const auto wanted = [](const std::string& name) {
    return !is_binary_name(name) && !is_core_name(name);
  };
  Result<ReadBundle> read = unpack(path, dir->path(), wanted, progress);
  if (!read) return read.error();
  const auto log = ShmlogReader::open(dir->path() / kLogName);
  const Result<> checked = check_manifest(read->manifest, log ? log->get() : nullptr, path);
  if (!checked) return checked.error();
  const Result<> modules =
      check_binaries(read->manifest, parse_file(dir->path() / kBinariesName), path);
  if (!modules) return modules.error();
  const Result<> texts = check_texts(read->files, dir->path(), path);
  if (!texts) return texts.error();
  if (!log) {
    return Error{path.string() +
                 ": intact, but its log does not open and did not when the bundle was "
                 "made: " +
                 log.error().message};
  }
  const auto parts = BundleParts::open(path);
  if (!parts) return Error{path.string() + ": its index is damaged: " + parts.error().message};
  const Result<> index = *parts ? (*parts)->check(**log, dir->path() / kLogName) : Unit{};
  if (!index) return index.error();
  return std::move(read->files);
}

Result<std::string> read_bundle_file(const fs::path& path, const std::string& name,
                                     uint64_t limit) {
  TextSink sink(name, limit);
  const Result<ReadBundle> read = read_bundle_file_into(path, sink, {});
  if (!read) return read.error();
  if (!sink.found()) {
    return Error{path.string() + ": has no file '" + name +
                 "'; shmrec bundle ls lists what it has"};
  }
  return std::move(sink.text());
}

// ---- Extracting ---------------------------------------------------------------------------------

namespace {

// Moves checked files from the private directory to where the user wants them, replacing nothing.
Result<> move_into_place(const fs::path& from, const fs::path& into, const std::string& name) {
  std::error_code error;
  fs::create_directories((into / name).parent_path(), error);
  if (renameat2(AT_FDCWD, (from / name).c_str(), AT_FDCWD, (into / name).c_str(),
                RENAME_NOREPLACE) == 0) {
    return Unit{};
  }
  if (errno == EEXIST) {
    return Error{(into / name).string() + ": exists; remove it or extract elsewhere with -C"};
  }
  return system_error(into / name);
}

Result<> check_free(const fs::path& into, const std::vector<BundleFile>& files) {
  std::error_code ignored;
  for (const BundleFile& file : files) {
    if (!fs::exists(fs::symlink_status(into / file.name, ignored))) continue;
    return Error{(into / file.name).string() + ": exists; remove it or extract elsewhere with -C"};
  }
  return Unit{};
}

}  // namespace

Result<std::vector<BundleFile>> extract_bundle(const fs::path& path, const fs::path& into,
                                               const std::vector<std::string>& names,
                                               const Progress& progress) {
  std::error_code error;
  fs::create_directories(into, error);
  if (error) return system_error(into.string() + ": cannot make it", error.value());
  Result<TemporaryDirectory> dir = TemporaryDirectory::make(into, ".shmrec-extract-");
  if (!dir) return dir.error();
  std::set<std::string> missing(names.begin(), names.end());
  const std::set<std::string> chosen = missing;
  const auto wanted = [&](const std::string& name) {
    return chosen.empty() || chosen.contains(name);
  };
  Result<ReadBundle> read = unpack(path, dir->path(), wanted, progress);
  if (!read) return read.error();
  std::vector<BundleFile> files;
  for (BundleFile& file : read->files) {
    missing.erase(file.name);
    if (wanted(file.name)) files.push_back(std::move(file));
  }
  if (!missing.empty()) {
    return Error{path.string() + ": has no file '" + *missing.begin() +
                 "'; shmrec bundle ls lists what it has"};
  }
  const Result<> free = check_free(into, files);
  if (!free) return free.error();
  for (const BundleFile& file : files) {
    const Result<> moved = move_into_place(dir->path(), into, file.name);
    if (!moved) return moved.error();
  }
  return files;
}

}  // namespace shmrec::recording
