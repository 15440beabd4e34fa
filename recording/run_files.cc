#include "recording/run_files.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "recording/bundle.h"

namespace shmrec::recording {
namespace {

// A log alone begins with its magic; a bundle with that of its compression.
bool is_log(const std::filesystem::path& path) {
  char magic[sizeof(shmlog::kMagic)] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::equal(std::begin(magic), std::end(magic), std::begin(shmlog::kMagic));
}

}  // namespace

RunFiles::RunFiles() = default;
RunFiles::~RunFiles() = default;

Result<std::unique_ptr<RunFiles>> RunFiles::open(const std::string& path) {
  std::unique_ptr<RunFiles> files(new RunFiles);
  files->given_path_ = path;
  std::filesystem::path log = path;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored) || !is_log(path)) {
    Result<OpenedBundle> bundle = open_bundle(path);
    if (!bundle) return bundle.error();
    files->bundle_ = std::make_unique<OpenedBundle>(std::move(*bundle));
    files->directory_ = files->bundle_->dir;
    log = files->directory_ / "run.shmlog";
  }
  Result<std::unique_ptr<ShmlogReader>> reader = ShmlogReader::open(log.string());
  if (!reader) return reader.error();
  files->log_ = std::move(*reader);
  return files;
}

Timeline RunFiles::timeline() const {
  Timeline timeline(*log_);
  std::ifstream events(directory_ / "events.jsonl");
  for (std::string line; !directory_.empty() && std::getline(events, line);) {
    const nlohmann::json event =
        nlohmann::json::parse(line, nullptr, false);  // the last line may be torn
    if (!event.is_object() || event.value("type", nlohmann::json()) != "exit") continue;
    const auto pid = event.find("pid");
    const auto status = event.find("status");
    if (pid == event.end() || status == event.end()) continue;
    if (!pid->is_number_integer() || !status->is_number_integer()) continue;
    timeline.note_exit(pid->get<int32_t>(), status->get<int>());
  }
  return timeline;
}

std::string RunFiles::binary(const std::string& path) const {
  if (!bundle_) return path;
  const std::optional<std::filesystem::path> kept = bundle_->binary(path);
  return kept ? kept->string() : path;
}

}  // namespace shmrec::recording
