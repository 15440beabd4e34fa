#include "recording/run/run_files.h"

#include <sys/wait.h>

#include <algorithm>
#include <fstream>

#include "base/signal_name.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/bundle_parts.h"
#include "recording/bundle/bundle_run.h"
#include "recording/bundle/run_schema.h"
#include "recording/log/names.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

constexpr uint64_t kMaxCoverageBytes = 64 << 20;

// A log alone begins with its magic; a bundle with that of its compression.
bool is_log(const std::filesystem::path& path) {
  char magic[sizeof(shmlog::kMagic)] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof(magic));
  return std::equal(std::begin(magic), std::end(magic), std::begin(shmlog::kMagic));
}

}  // namespace

RunFiles::RunFiles() = default;
RunFiles::~RunFiles() = default;

Result<std::unique_ptr<RunFiles>> RunFiles::open(const std::string& path, Read read) {
  std::unique_ptr<RunFiles> files(new RunFiles);
  std::filesystem::path log = path;
  std::error_code ignored;
  const bool regular = std::filesystem::is_regular_file(path, ignored);
  if (!regular || !is_log(path)) {
    if (regular && read == Read::kParts) files->open_in_parts(path);
    if (files->bundle_ && files->log_) return files;
    Result<OpenedBundle> bundle = open_bundle(path);
    if (!bundle) return bundle.error();
    files->bundle_ = std::make_unique<OpenedBundle>(std::move(*bundle));
    files->directory_ = files->bundle_->dir;
    log = files->directory_ / kLogName;
  }
  Result<std::unique_ptr<ShmlogReader>> reader = ShmlogReader::open(log.string());
  if (!reader) return reader.error();
  files->log_ = std::move(*reader);
  return files;
}

void RunFiles::open_in_parts(const std::string& path) {
  Result<OpenedBundle> bundle = open_bundle_in_parts(path);
  if (bundle && bundle->dir.empty()) return;
  if (!bundle) {
    index_trouble_ = bundle.error().message;
    return;
  }
  const std::shared_ptr<const BundleParts>& parts = bundle->parts();
  Result<std::unique_ptr<ShmlogReader>> reader = ShmlogReader::open_in_parts(
      (bundle->dir / kLogName).string(), parts->index()->chunk_heads(), parts);
  if (!reader) {
    index_trouble_ = reader.error().message;
    return;
  }
  bundle_ = std::make_unique<OpenedBundle>(std::move(*bundle));
  directory_ = bundle_->dir;
  log_ = std::move(*reader);
}

std::unique_ptr<AccessIndex> RunFiles::access_index() const {
  return is_whole() ? AccessIndex::build(*log_)
                    : AccessIndex::from_stored(*log_, bundle_->parts()->index());
}

std::string RunFiles::index_trouble() const {
  return is_whole() ? index_trouble_ : bundle_->parts()->index()->trouble();
}

bool RunFiles::is_whole() const { return !bundle_ || !bundle_->parts(); }

Timeline RunFiles::timeline() const {
  Timeline timeline(*log_);
  if (directory_.empty()) return timeline;
  for (const ReportedExit& exit : read_run_facts(directory_).exits)
    timeline.note_exit(exit.seen, exit.wait_status);
  return timeline;
}

namespace {

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

LauncherListing launcher_of(const std::string& name, const nlohmann::json& run,
                            const nlohmann::json& end) {
  LauncherListing launcher;
  launcher.name = name;
  launcher.command = base_name(text_of(run, "executable"));
  launcher.pid_namespace = pid_namespace_of(run);
  const auto container = run.find("container");
  if (container != run.end() && container->is_object())
    launcher.container = text_of(*container, "containerName");
  const auto status = end.find("status");
  launcher.end = "running or killed";
  if (status == end.end() || !status->is_number_integer()) return launcher;
  const int value = status->get<int>();
  launcher.end = WIFSIGNALED(value) ? signal_name(WTERMSIG(value))
                                    : "exit " + std::to_string(WEXITSTATUS(value));
  return launcher;
}

}  // namespace

std::vector<LauncherListing> RunFiles::launchers() const {
  std::vector<LauncherListing> launchers;
  if (directory_.empty()) return launchers;
  const RunFacts facts = read_run_facts(directory_);
  if (facts.members.empty()) return launchers;
  launchers.push_back(launcher_of("", facts.run, facts.end));
  for (const MemberFacts& member : facts.members)
    launchers.push_back(launcher_of(member.name, member.run, member.end));
  return launchers;
}

std::string RunFiles::binary_of_build_id(const std::string& build_id) const {
  std::ifstream text(directory_ / kBinariesName);
  const nlohmann::json document = nlohmann::json::parse(text, nullptr, false);
  if (directory_.empty() || document.is_discarded() || !document.is_object()) return "";
  const auto modules = document.find("modules");
  if (modules == document.end() || !modules->is_array()) return "";
  for (const nlohmann::json& module : *modules)
    if (module.is_object() && text_of(module, "buildId") == build_id && module.contains("file"))
      return binary(text_of(module, "path"));
  return "";
}

std::string RunFiles::core(const std::string& recording_id) const {
  const auto path = bundle_ ? bundle_->core(recording_id) : std::nullopt;
  return path ? std::filesystem::absolute(*path).string() : "";
}

std::vector<CoverageItem> RunFiles::coverage() const {
  std::string trouble;
  if (const Result<std::string> text = read_text(directory_ / kCoverageName, kMaxCoverageBytes);
      !directory_.empty() && text) {
    const nlohmann::json document = nlohmann::json::parse(*text, nullptr, false);
    trouble = coverage_trouble(document);
    if (trouble.empty()) return coverage_items(document);
  }
  const RunFacts facts = directory_.empty() ? RunFacts() : read_run_facts(directory_);
  std::vector<CoverageItem> items = list_coverage(log_.get(), "", facts, {});
  if (!trouble.empty()) items.push_back({"run", kCoverageName, "damaged: " + trouble});
  return items;
}

std::string RunFiles::binary(const std::string& path) const {
  if (!bundle_) return path;
  const std::optional<std::filesystem::path> kept = bundle_->binary(path);
  return kept ? kept->string() : path;
}

}  // namespace shmrec::recording
