#include "recording/bundle/bundle_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/coverage.h"
#include "recording/stream/stream_files.h"

namespace shmrec::recording {
namespace {

constexpr uint64_t kNanosecond = 1'000'000'000;

// Seconds of "2026-11-22T03:15:00...Z"; 0 if it is none.
int64_t parse_time(const std::string& text) {
  tm parts{};
  if (strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return 0;
  return std::max<int64_t>(0, timegm(&parts));
}

int64_t start_of(const BundlePlan& plan) {
  if (plan.log == nullptr) return parse_time(plan.facts.run_text("startTime"));
  return static_cast<int64_t>(plan.log->reader().header().start_realtime_ns / kNanosecond);
}

class Planner {
 public:
  explicit Planner(BundlePlan& plan) : plan_(plan) {}

  void add_text(const char* name, std::string text) {
    const uint64_t bytes = text.size();
    plan_.files.push_back({name, bytes, -1, std::move(text), nullptr});
  }
  void add_file(const std::string& name, uint64_t bytes, const UniqueFd& fd) {
    plan_.files.push_back({name, bytes, fd.get(), {}, nullptr});
  }
  void add_binary(const BinaryFile& file) {
    add_file(file.name, file.bytes, file.fd);
    plan_.files.back().binary = true;
  }
  void add_log(const LogImage& image) {
    plan_.files.push_back({kLogName, image.stored_bytes, image.fd.get(), {}, &image});
  }

  std::vector<FileSize> sizes() const {
    std::vector<FileSize> sizes;
    for (const PlannedFile& file : plan_.files) sizes.push_back({file.name, file.bytes});
    return sizes;
  }

  void put_manifest_first(std::string text) {
    add_text(kManifestName, std::move(text));
    std::rotate(plan_.files.rbegin(), plan_.files.rbegin() + 1, plan_.files.rend());
  }

 private:
  BundlePlan& plan_;
};

constexpr uint64_t kForeignBinaryBytes = uint64_t{1} << 30;  // as limits.recordingSize by default

uint64_t less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }

// Of log, texts, cores and recordings.
uint64_t taken_bytes(const BundlePlan& plan) {
  uint64_t taken = plan.image.stored_bytes;
  for (const RunFile& file : plan.facts.files) taken += file.bytes;
  for (const RunFile& core : plan.cores) taken += core.bytes;
  for (const RunFile& file : plan.recordings) taken += file.bytes;
  return taken;
}

// What the bundle may hold beside what is planned so far.
uint64_t bytes_left(const BundlePlan& plan, const CreateBundleOptions& options) {
  const uint64_t taken = taken_bytes(plan);
  const uint64_t copy = plan.image.copied ? plan.image.used_bytes : 0;
  uint64_t most = UINT64_MAX;
  if (options.max_bytes != 0)
    most = less(options.max_bytes, taken);
  else if (options.foreign)
    most = kForeignBinaryBytes;
  if (options.room_bytes != UINT64_MAX)
    most = std::min(most, less(options.room_bytes, copy + taken));
  return most;
}

// 0: any.
uint64_t bytes_for_binaries(const BundlePlan& plan, const CreateBundleOptions& options) {
  const uint64_t most = bytes_left(plan, options);
  return most == UINT64_MAX ? 0 : std::max<uint64_t>(most, 1);
}

// Held from here on: what is in it is opened relative to it, whatever becomes of its path.
Result<UniqueFd> open_run_directory(const std::filesystem::path& path, bool foreign) {
  Result<UniqueFd> dir = open_directory(path, !foreign);
  if (dir && faccessat(dir->get(), kLogName, F_OK, AT_SYMLINK_NOFOLLOW) == 0) return dir;
  if (!dir && foreign) return dir;
  return Error{path.string() + ": not a run directory: no " + kLogName +
               " in it; expected a directory that shmrec run made in its spool"};
}

}  // namespace

std::string run_name(const std::filesystem::path& run_dir) {
  std::filesystem::path dir = std::filesystem::absolute(run_dir).lexically_normal();
  if (!dir.has_filename()) dir = dir.parent_path();
  const std::string name = dir.filename();
  const size_t dash = name.rfind('-');
  const bool ends_in_pid = dash != std::string::npos && dash > 0 && dash + 1 < name.size() &&
                           name.find_first_not_of("0123456789", dash + 1) == std::string::npos;
  return ends_in_pid ? name.substr(0, dash) : name;
}

Result<std::unique_ptr<BundlePlan>> plan_bundle(const std::filesystem::path& run_dir,
                                                const CreateBundleOptions& options,
                                                const std::filesystem::path& scratch) {
  const Result<UniqueFd> dir = open_run_directory(run_dir, options.foreign);
  if (!dir) return dir.error();
  auto plan = std::make_unique<BundlePlan>();
  plan->facts = read_run_facts(dir->get(), options.collect_launcher_log, options.foreign);
  const uint64_t text_bytes = taken_bytes(*plan);  // without the log as yet
  Result<LogImage> image = take_log(dir->get(), (run_dir / kLogName).string(), options.foreign,
                                    scratch, less(options.room_bytes, text_bytes));
  if (!image) return image.error();
  plan->image = std::move(*image);

  plan->cores = open_cores(dir->get(), bytes_left(*plan, options), plan->facts.problems);

  plan->recordings =
      open_recording_files(dir->get(), bytes_left(*plan, options), plan->facts.problems);

  std::string log_error;
  auto log = LogView::open(plan->image, kLogName);
  if (log) {
    plan->log = std::move(*log);
  } else {
    log_error = log.error().message;
  }
  const ShmlogReader* reader = plan->log ? &plan->log->reader() : nullptr;
  if (reader != nullptr) {
    const KeptBinaries kept = KeptBinaries::open(dir->get());
    if (!kept.problem().empty())
      plan->facts.problems.push_back({kKeptFolder, kept.problem(), false});
    plan->binaries = collect_binaries(*reader, kept,
                                      {options.collect_binaries, options.collect_libraries,
                                       bytes_for_binaries(*plan, options), options.foreign});
  }
  const std::vector<CoverageItem> coverage =
      list_coverage(reader, log_error, plan->facts, plan->binaries);
  plan->start_s = start_of(*plan);

  Planner planner(*plan);
  for (const RunFile& file : plan->facts.files) planner.add_file(file.name, file.bytes, file.fd);
  planner.add_text(kCoverageName, to_text(coverage_document(coverage)));
  planner.add_text(kBinariesName, make_binaries(plan->binaries));
  planner.add_log(plan->image);
  for (const RunFile& core : plan->cores) planner.add_file(core.name, core.bytes, core.fd);
  for (const RunFile& file : plan->recordings) planner.add_file(file.name, file.bytes, file.fd);
  for (const BinaryFile& file : plan->binaries.files) planner.add_binary(file);
  planner.put_manifest_first(
      make_manifest({run_name(run_dir), options.trigger, plan->facts, plan->image, reader,
                     log_error, coverage, planner.sizes()}));
  for (const PlannedFile& file : plan->files) plan->total_bytes += file.bytes;
  return plan;
}

}  // namespace shmrec::recording
