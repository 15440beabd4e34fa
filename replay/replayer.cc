#include "replay/replayer.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <fcntl.h>
#include <immintrin.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <optional>
#include <thread>

#include "base/signal_name.h"
#include "recording/bundle/bundle_files.h"
#include "recording/log/shmlog_create.h"
#include "recording/run/text.h"
#include "recording/run/timeline.h"
#include "recording/stream/stream_files.h"
#include "recording/stream/stream_reader.h"
#include "replay/access_file.h"
#include "replay/stub.h"

namespace shmrec::replay {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// One recording of the chain that leads to the one that is replayed: each but the first was forked
// from the one before.
struct Stage {
  std::string id;
  stream::StartRecord start{};
  shmlog::StartKind kind{};
  std::vector<UniqueFd> streams, files;
  std::map<uint32_t, Error> missing;  // of the files, by number
  std::vector<uint64_t> again;        // accesses that were made again
  int accesses = -1;                  // to traced memory (AccessFiles); -1: none
};

// Bits of XCR0.
struct Feature {
  uint64_t bit;
  const char* name;
};
constexpr Feature kFeatures[] = {
    {1 << 2, "AVX"}, {1 << 5, "AVX-512"}, {1 << 9, "memory keys"}, {1 << 18, "AMX"}};

// Which vector registers the kernel lets programs use here.
__attribute__((target("xsave"))) uint64_t features_here() {
  unsigned a, b, c = 0, d;
  constexpr unsigned kOsxsave = 1 << 27;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & kOsxsave) ? _xgetbv(0) : 0;
}

Result<> processor_can(const stream::StartRecord& start) {
  const uint64_t missing = start.features & ~features_here();
  for (const Feature& feature : kFeatures)
    if (missing & feature.bit)
      return Error{std::string("it was recorded on a processor with ") + feature.name +
                   ", which this one lacks; replay it on one that has it"};
  const bool traps = start.traps & stream::kTrapsCpuid;
  if (traps && syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1) != 0)
    return Error{
        "it was recorded where cpuid can be made to trap (cpuid faulting), which this processor "
        "lacks; replay it on one that has it"};
  return Unit{};
}

class Preparation {
 public:
  Preparation(const recording::RunFiles& files, AccessFiles& accesses, const ReplayOptions& options)
      : files_(files),
        accesses_(accesses),
        options_(options),
        mapped_(open((files.directory() / recording::kMappedFolder).c_str(),
                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) {}

  // Did the process end before anything of it was written down?
  Result<bool> is_empty() {
    Result<Stage> stage = read_stage(options_.recording);
    if (!stage) return stage.error();
    return stage->start.agent_base == 0;
  }

  Result<Stub> start() {
    if (auto chain = read_chain(options_.recording); !chain) return chain.error();
    Result<launcher::AgentImage> image = launcher::AgentImage::open(options_.agent_image);
    if (!image) return image.error();
    if (auto able = processor_can(stages_.front().start); !able) return able.error();
    if (auto made = make_log(); !made) return made.error();
    StubOptions stub{.image = std::move(*image)};
    const Stage& first = stages_.front();
    stub.agent_base = first.start.agent_base;
    stub.stack = first.start.regs[stream::kStackPointer];
    stub.resume_address = first.start.regs[stream::kInstructionPointer];
    stub.cpu = first.start.cpu;
    stub.log = log_.get();
    stub.log_bytes = recording::kMinLogBytes;
    fill(stub);
    return Stub::start(stub);
  }

 private:
  Result<> read_chain(std::string id) {
    while (true) {
      if (stages_.size() == agent::kMaxReplayStages)
        return Error{options_.recording + ": its line of forks is longer than can be followed"};
      Result<Stage> stage = read_stage(id);
      if (!stage) return stage.error();
      if (auto taken = take_accesses(*stage); !taken) return taken.error();
      stages_.insert(stages_.begin(), std::move(*stage));
      const stream::StartRecord& start = stages_.front().start;
      if (stages_.front().kind != shmlog::StartKind::kFork) return Unit{};
      id = recording::recording_id(start.parent_high, start.parent_low);
    }
  }

  Result<Stage> read_stage(const std::string& id) {
    Result<recording::StreamReader> reader =
        recording::StreamReader::open(files_.directory() / recording::kRecordingsFolder / id);
    if (!reader) return reader.error();
    Stage stage{.id = id};
    for (bool first = true;; first = false) {
      const auto record = reader->next();
      if (!record) return record.error();
      if (!*record) break;
      if (first && !take_start(**record, stage)) return Error{id + ": its stream has no start"};
      if (const uint32_t file = file_needed(**record); stage.missing.contains(file))
        return stage.missing.at(file);
      if ((*record)->type == stream::Type::kAgain) stage.again.push_back((*record)->event);
      if ((*record)->type != stream::Type::kFile) continue;
      if (auto opened = open_mapped(**record, stage); !opened) return opened.error();
    }
    for (uint32_t i = 0; i < reader->files(); ++i) {
      Result<UniqueFd> file = reader->file(i);
      if (!file) return file.error();
      stage.streams.push_back(std::move(*file));
    }
    return stage;
  }

  Result<> take_accesses(Stage& stage) {
    const Result<int> file = accesses_.of(stage.id, stage.again);
    if (!file) return file.error();
    stage.accesses = *file;
    return Unit{};
  }

  static bool take_start(const recording::StreamRecord& record, Stage& stage) {
    const auto start = record.as<stream::StartRecord>();
    if (record.type != stream::Type::kStart || !start) return false;
    stage.start = *start;
    stage.kind = static_cast<shmlog::StartKind>(record.detail);
    return true;
  }

  // The file whose content the record maps; 0: none. What is traced is in the log, not in a file.
  static uint32_t file_needed(const recording::StreamRecord& record) {
    if (record.type == stream::Type::kMapping) return record.as<stream::MappingRecord>()->file;
    if (record.type != stream::Type::kCall) return 0;
    const auto call = record.as<stream::CallRecord>();
    return call->flags & stream::kCallTraces ? 0 : call->file;
  }

  Result<> open_mapped(const recording::StreamRecord& record, Stage& stage) {
    const auto file = record.as<stream::FileRecord>();
    if (!file || file->number != stage.files.size() + 1)
      return Error{stage.id + ": its stream is damaged: the number of a file"};
    const std::string name = recording::mapped_name(
        {file->device, file->inode, file->size, file->seconds, file->nanoseconds});
    uint64_t bytes = 0;
    Result<UniqueFd> opened = recording::open_regular_at(
        mapped_.get(), name.c_str(), std::string(recording::kMappedFolder) + "/" + name, bytes);
    // A traced file that others wrote to while it was kept is not the one that was described.
    if (!opened && file->kept) stage.missing.emplace(file->number, opened.error());
    stage.files.push_back(opened ? std::move(*opened)
                                 : UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC)));
    return Unit{};
  }

  Result<> make_log() {
    std::string directory = (fs::temp_directory_path() / "shmrec-replay-XXXXXX").string();
    if (!mkdtemp(directory.data())) return system_error(directory);
    const std::string path = directory + "/log";
    Result<int> made = recording::create_shmlog(
        path, {.log_bytes = recording::kMinLogBytes, .build = "", .clock_ns = 300'000});
    if (made) log_.reset(*made);
    std::error_code ignored;
    fs::remove_all(directory, ignored);
    if (!made) return made.error();
    return Unit{};
  }

  void fill(StubOptions& stub) const {
    stub.boot.stages = static_cast<uint32_t>(stages_.size());
    stub.boot.until_event = options_.until_event;
    for (size_t i = 0; i < stages_.size(); ++i) {
      agent::ReplayStage& stage = stub.boot.stage[i];
      stage.first_stream = add(stub, stages_[i].streams);
      stage.streams = static_cast<uint32_t>(stages_[i].streams.size());
      stage.first_file = add(stub, stages_[i].files);
      stage.files = static_cast<uint32_t>(stages_[i].files.size());
      stage.accesses = -1;
      if (stages_[i].accesses >= 0) {
        stage.accesses = kFirstDescriptor + static_cast<int>(stub.descriptors.size());
        stub.descriptors.push_back(stages_[i].accesses);
      }
      stage.until_event = i + 1 < stages_.size() ? stages_[i + 1].start.parent_event : 0;
    }
  }

  static int add(StubOptions& stub, const std::vector<UniqueFd>& descriptors) {
    const int first = kFirstDescriptor + static_cast<int>(stub.descriptors.size());
    for (const UniqueFd& fd : descriptors) stub.descriptors.push_back(fd.get());
    return first;
  }

  const recording::RunFiles& files_;
  AccessFiles& accesses_;
  const ReplayOptions& options_;
  const UniqueFd mapped_;
  std::vector<Stage> stages_;  // the last one is what is replayed
  UniqueFd log_;               // for the agent to write
};

std::string difference_text(uint64_t differs) {
  if (differs == agent::kVectorsDiffer) return "vector registers";
  if (differs == agent::kReachDiffers) return "memory that its registers and stack lead to";
  return "memory at " + recording::hex(differs);
}

std::string search_text(const agent::ReplaySearch& search) {
  std::string text = "it looks for a stop at " + recording::hex(search.pc) + ", and has compared " +
                     std::to_string(search.visits) + " visits; " + std::to_string(search.near) +
                     " had the registers";
  if (search.near) text += ", the last one of them other " + difference_text(search.differs);
  return text;
}

ReplayOutcome outcome_of(const agent::ReplayReport& shared, int status) {
  agent::ReplayReport report;
  std::memcpy(&report, &shared, sizeof report);
  report.text[sizeof report.text - 1] = 0;
  ReplayOutcome outcome;
  outcome.state = static_cast<agent::ReplayState>(report.state);
  outcome.end = static_cast<agent::ReplayEnd>(report.end_kind);
  outcome.detail = report.detail;
  outcome.event = report.event;
  outcome.records = report.records;
  outcome.checks = report.checks;
  outcome.memory_pages = report.memory_pages;
  outcome.stops = report.stops;
  outcome.visits = report.visits;
  outcome.text = report.text;
  if (outcome.state == agent::ReplayState::kDiverged && report.search.pc)
    outcome.text += "; " + search_text(report.search);
  if (outcome.state != agent::ReplayState::kRunning) return outcome;
  outcome.state = agent::ReplayState::kDiverged;
  outcome.text = WIFSIGNALED(status)
                     ? "the replaying process died of " + signal_with_number(WTERMSIG(status))
                     : "the replaying process ended without a word";
  return outcome;
}

// Its wait status; empty: it meets no event any more.
std::optional<int> wait_for(Stub& stub, const ReplayOptions& options) {
  using namespace std::chrono_literals;
  constexpr auto kLongest = 20ms;
  std::chrono::microseconds pause = 200us;
  uint64_t event = 0;
  Clock::time_point met = Clock::now();
  for (int status = 0;;) {
    if (stub.ended(status)) return status;
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(2 * pause, kLongest);
    const uint64_t now = stub.report().event;
    if (now != event) met = Clock::now();
    event = now;
    if (options.progress) options.progress(event);
    if (Clock::now() - met > options.patience) return {};
  }
}

constexpr char kPatienceHint[] = "if it computes for so long, give it more: --patience";

ReplayOutcome stalled(const agent::ReplayReport& report, const ReplayOptions& options) {
  ReplayOutcome outcome;
  outcome.state = agent::ReplayState::kDiverged;
  outcome.event = report.event;
  outcome.text = "it has met no event for " + std::to_string(options.patience.count()) + " s; " +
                 (report.search.pc ? search_text(report.search) : kPatienceHint);
  return outcome;
}

}  // namespace

Result<ReplayOutcome> replay_recording(const recording::RunFiles& files, AccessFiles& accesses,
                                       const ReplayOptions& options) {
  const Clock::time_point begun = Clock::now();
  Preparation preparation(files, accesses, options);
  const Result<bool> empty = preparation.is_empty();
  if (!empty) return empty.error();
  if (*empty) return ReplayOutcome{.state = agent::ReplayState::kFinished};
  Result<Stub> stub = preparation.start();
  if (!stub) return stub.error();
  const std::optional<int> status = wait_for(*stub, options);
  if (!status) return stalled(stub->report(), options);
  ReplayOutcome outcome = outcome_of(stub->report(), *status);
  outcome.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  return outcome;
}

bool has_stream(const recording::RunFiles& files, const std::string& recording) {
  std::error_code ignored;
  return fs::exists(
      files.directory() / recording::kRecordingsFolder / recording / recording::stream_file_name(0),
      ignored);
}

}  // namespace shmrec::replay
