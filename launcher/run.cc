#include "launcher/run.h"

#include <fcntl.h>
#include <limits.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <sstream>

#include "base/signal_name.h"
#include "launcher/binary_keeper.h"
#include "launcher/core/core_server.h"
#include "launcher/core/core_taker.h"
#include "launcher/filter.h"
#include "launcher/log_size.h"
#include "launcher/oom.h"
#include "launcher/privileges.h"
#include "launcher/recording_keeper.h"
#include "launcher/report.h"
#include "launcher/run_directory.h"
#include "launcher/seccomp_status.h"
#include "launcher/sidecar_client.h"
#include "launcher/spawn.h"
#include "launcher/spool_probe.h"
#include "launcher/supervisor.h"
#include "launcher/termination_note.h"
#include "policy/loaded_policy.h"
#include "policy/policy.h"
#include "policy/words.h"
#include "recording/bundle/bundle.h"
#include "recording/crash/core_backtrace.h"
#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_join.h"

namespace shmrec::launcher {
namespace {

namespace fs = std::filesystem;

// Binaries as they went into bundles, of all runs of the spool.
constexpr const char* kPackedFolder = ".packed";
constexpr uint64_t kMaxPackedBytes = uint64_t{64} << 20, kPackedShare = 64;

constexpr uint64_t kCoreShare = 4;  // one core may take so much of what is free

template <typename... Parts>
void say(const Parts&... parts) {
  std::string line = "shmrec: ";
  (line.append(parts), ...);
  line += '\n';
  fputs(line.c_str(), stderr);
}

// Descriptors 0 to 2 may have been closed by the caller. What is opened next would take their
// numbers, and a message for a person could end up in it. Closed again at exec.
void occupy_standard_descriptors() {
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

// What is written during a run.
struct Recording {
  RunDirectory directory;
  UniqueFd log;
  shmlog::Header layout{};
  uint32_t launcher = 0;  // its number in the log
  FilterProgram filter;
  std::optional<Injector::Settings> injection;
};

recording::CreateOptions log_options(const Policy& policy, bool slow) {
  recording::CreateOptions options;
  options.log_bytes = policy.limits.log_bytes;
  options.rules = compile_rules(policy);
  options.default_mode = policy.default_mode;
  options.default_order = policy.default_order;
  options.default_accesses = policy.default_accesses;
  options.max_slowdown = policy.limits.max_slowdown;
  options.failure_closed = policy.failure_policy == FailurePolicy::kClosed;
  options.slow = slow;
  options.launcher_pid = static_cast<uint32_t>(getpid());
  options.build = SHMREC_VERSION;
  if (getrandom(&options.run_id, sizeof options.run_id, 0) != sizeof options.run_id)
    options.run_id = static_cast<uint64_t>(time(nullptr));
  return options;
}

Result<> make_log(Recording& recording, recording::CreateOptions options) {
  options.file_mode = recording.directory.file_mode();
  options.clock_ns = 300'000;  // refined later
  if (auto planned = recording::plan_layout(options, recording.layout); !planned)
    return planned.error();
  Result<int> file = recording::create_shmlog(recording.directory.log_path(), options);
  if (!file) return file.error();
  recording.log.reset(*file);
  return Unit{};
}

// A name that the sidecar gave, as one of a directory in the spool.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= NAME_MAX && name[0] != '.' &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string::npos;
}

Result<> prepare_injection(Recording& recording, std::span<const unsigned char> bytes) {
  Result<FilterProgram> filter = build_filter();
  if (!filter) return filter.error();
  recording.filter = std::move(*filter);
  Result<AgentImage> image = AgentImage::open(bytes);
  if (!image) return image.error();
  recording.injection = Injector::Settings{*image, recording.layout.file_bytes};
  recording.launcher = recording::lock_launcher(recording.log.get());
  recording.injection->launcher = recording.launcher;
  return Unit{};
}

// For run.json.
struct Notes {
  std::string log_size;  // how large the log is and why
  std::vector<std::string> policy_mistakes;
};

// What is the same for a run of its own and for a joined one.
Result<Recording> complete(Recording recording, uint64_t run_id, const RunOptions& options,
                           const Notes& notes) {
  Result<> filled = recording.directory.write_start(run_id, options.command, notes.log_size,
                                                    notes.policy_mistakes);
  if (filled) filled = prepare_injection(recording, options.agent_image);
  if (filled) return recording;
  recording.directory.remove();
  return filled.error();
}

Result<Recording> prepare(const Policy& policy, const RunOptions& options, const std::string& spool,
                          const Notes& notes, std::optional<gid_t> group) {
  Result<RunDirectory> directory = RunDirectory::create(policy, spool, "", options.command, group);
  if (!directory) return directory.error();
  Recording recording{std::move(*directory)};
  const recording::CreateOptions log = log_options(policy, options.slow);
  if (const Result<> made = make_log(recording, log); !made) {
    recording.directory.remove();
    return made.error();
  }
  return complete(std::move(recording), log.run_id, options, notes);
}

// Records into the log of the run `join` of another container, so that both have one order.
Result<Recording> prepare_joined(const Policy& policy, const RunOptions& options,
                                 const std::string& spool, const std::string& join,
                                 const Notes& notes) {
  if (!is_plain_name(join)) return Error{"it is no name of a run", false};
  const std::string path = spool + "/" + join + "/run.shmlog";
  Result<recording::JoinedLog> log =
      recording::join_shmlog(path, log_options(policy, options.slow));
  if (!log) return log.error();
  Result<RunDirectory> directory = RunDirectory::create(policy, spool, join, options.command);
  if (!directory) return directory.error();
  Recording recording{std::move(*directory)};
  recording.log = std::move(log->fd);
  recording.layout = log->layout;
  return complete(std::move(recording), log->layout.run_id, options, notes);
}

void add_note(std::string& notes, const std::string& text) {
  notes += (notes.empty() ? "" : "; ") + text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// An edit of the policy must not stop the program, unless that was asked for. True: go on.
bool tolerate_mistakes(const LoadedPolicy& loaded) {
  if (loaded.mistakes.empty()) return true;
  for (const std::string& mistake : lines_of(loaded.mistakes)) say(mistake);
  const bool closed = loaded.policy.failure_policy == FailurePolicy::kClosed;
  say(closed ? "not started, because the policy has mistakes and failurePolicy is closed"
             : "THE POLICY HAS MISTAKES: what has one is not used, and the command is recorded by "
               "the defaults in its place; --strict or failurePolicy: closed would refuse");
  std::string note;
  for (const std::string& mistake : lines_of(loaded.mistakes))
    add_note(note, "not started, as its policy has mistakes: " + mistake);
  if (closed) write_termination_note(note);
  return !closed;
}

// One run, from a policy to an exit code.
class Run {
 public:
  Run(const RunOptions& options, const LoadedPolicy& loaded)
      : options_(options),
        policy_(loaded.policy),
        mistakes_(lines_of(loaded.mistakes)),
        spool_(options.spool.empty() ? loaded.policy.spool_directory : options.spool) {
    if (options.level) policy_.level = *options.level;
    if (policy_.level == RecordLevel::kReplay) record_all_reads();
    for (const std::string& mistake : mistakes_)
      add_note(note_, "recorded by the defaults, as its policy has mistakes: " + mistake);
  }

  int execute() {
    const int exit_code = record();
    write_termination_note(note_);
    return exit_code;
  }

 private:
  int record() {
    if (!start_recording()) return kExitLauncherFailed;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const InheritedSignals signals;
    if (!start_command(signals)) return kExitLauncherFailed;
    supervise();
    finish();
    return exit_code_;
  }

  // What was read has to be known to be read again.
  void record_all_reads() {
    policy_.default_accesses = Accesses::kAll;
    for (SegmentRule& rule : policy_.segments) rule.accesses.reset();
    policy_.limits.max_slowdown = 0;
  }

  bool closed() const { return policy_.failure_policy == FailurePolicy::kClosed; }

  // What cannot be recorded runs unrecorded, or not at all: as the policy says. True: go on.
  bool tolerate(const std::string& trouble) {
    const std::string text = (closed() ? "not started, because it cannot be recorded: "
                                       : "the command runs unrecorded: ") +
                             trouble;
    say(text);
    add_note(note_, text);
    return !closed();
  }

  bool start_recording() {
    if (const Result<> prepared = prepare_spool(spool_); !prepared)
      return tolerate(prepared.error().message);
    if (!meet_sidecar()) return false;
    Result<Recording> recording = join_or_prepare();
    if (!recording) {
      sidecar_.reset();
      return tolerate(recording.error().message);
    }
    recording_.emplace(std::move(*recording));
    start_log();
    log("{}", log_size_);
    tell_mistakes();
    tell_sidecar();
    return true;
  }

  Result<Recording> join_or_prepare() {
    const std::string join = sidecar_ ? sidecar_->join() : "";
    if (join.empty()) return prepare_own();
    Result<Recording> joined = prepare_joined(policy_, options_, spool_, join, {"", mistakes_});
    if (joined) {
      log_size_ = "the log is the joined run's";
      return joined;
    }
    join_trouble_ = joined.error().message;
    return prepare_own();
  }

  // With a log that leaves the program its memory.
  Result<Recording> prepare_own() {
    const uint64_t wished = policy_.limits.log_bytes;
    const LogSize size = choose_log_size(wished, spool_);
    const std::string described = describe(size, wished);
    if (size.bytes == 0) return Error{spool_ + ": " + described, false};
    policy_.limits.log_bytes = size.bytes;
    log_size_ = described;
    Result<Recording> made = prepare(policy_, options_, spool_, {log_size_, mistakes_}, group_);
    if (made && !size.why.empty() && !options_.quiet) say(log_size_);
    return made;
  }

  // Without an answer the run is recorded and bundled here, or refused: as the policy says. True:
  // go on.
  bool meet_sidecar() {
    const SidecarPlace place = find_sidecar(spool_, policy_.sidecar);
    if (!place.expected) return true;
    if (access(place.socket.c_str(), W_OK) != 0 && errno == EACCES)
      return go_on_without_sidecar(place.socket + ": user " + std::to_string(getuid()) +
                                       " may not speak to the sidecar; give both a group "
                                       "(securityContext.fsGroup), or one runAsUser",
                                   true);
    sidecar_.emplace(place.socket);
    std::optional<SpoolProbe> probe;
    sidecar_->probe = [&](const ucred& sidecar) {
      probe.emplace(spool_, sidecar);
      return probe->name();
    };
    const Result<> met = sidecar_->wait(policy_.sidecar.wait_ms);
    sidecar_->probe = [](const ucred&) { return std::string(); };
    if (met) {
      if (probe) group_ = probe->group();
      return true;
    }
    if (sidecar_->refused())
      return go_on_without_sidecar(place.socket + ": " + met.error().message, true);
    return go_on_without_sidecar("no sidecar answered at " + place.socket + " within " +
                                     format_duration(policy_.sidecar.wait_ms) + ": " +
                                     met.error().message,
                                 false);
  }

  // `refused`: it is there, and will not have the run whenever it is asked.
  bool go_on_without_sidecar(const std::string& trouble, bool refused) {
    sidecar_.reset();
    sidecar_trouble_ = trouble;
    refused_ = refused;
    if (policy_.sidecar.required)
      say("not started, because the policy requires the sidecar: ", trouble);
    else
      say("recording without the sidecar: ", trouble);
    if (refused && !policy_.sidecar.required)
      say("the bundle of a failure will be in ",
          options_.output.empty() ? spool_ : options_.output);
    return !policy_.sidecar.required;
  }

  void tell_mistakes() {
    for (const std::string& mistake : mistakes_) {
      log("policy mistake: {}", mistake);
      recording_->directory.write_gap("as the policy was meant, but by the defaults", mistake);
    }
  }

  void tell_sidecar() {
    if (!sidecar_trouble_.empty()) {
      log("recording without the sidecar: {}", sidecar_trouble_);
      recording_->directory.write_gap("collection by the sidecar", sidecar_trouble_);
    }
    if (!sidecar_) return;
    sidecar_->note = [this](const std::string& text) { log("{}", text); };
    log("the sidecar at {} collects this run, instance {}", sidecar_->socket_path(),
        sidecar_->instance());
    if (!join_trouble_.empty()) {
      log("not joined to run {}: {}", sidecar_->join(), join_trouble_);
      recording_->directory.write_gap("the order with the other containers of the pod",
                                      "their log could not be joined: " + join_trouble_);
    }
    const RunDirectory& directory = recording_->directory;
    if (!directory.member().empty())
      log("joined to run {} as {}", directory.run(), directory.member());
    sidecar_->announce(directory.run(), directory.member());
  }

  void start_log() {
    try {
      spdlog::file_event_handlers handlers;
      const mode_t mode = recording_->directory.file_mode();
      handlers.after_open = [mode](const spdlog::filename_t&, FILE* file) {
        fcntl(fileno(file), F_SETFD, FD_CLOEXEC);
        fchmod(fileno(file), mode);
      };
      log_ = spdlog::basic_logger_st("launcher", recording_->directory.path() / "launcher.log",
                                     false, handlers);
      log_->flush_on(spdlog::level::info);
      log_->set_pattern("%Y-%m-%dT%H:%M:%S.%fZ %l %v", spdlog::pattern_time_type::utc);
    } catch (const spdlog::spdlog_ex& error) {
      say("no launcher.log: ", error.what());
    }
  }

  template <typename... Args>
  void log(const char* format, const Args&... args) {
    if (log_) log_->info(fmt::runtime(format), args...);
  }

  bool start_command(const InheritedSignals& signals) {
    SpawnOptions spawn{options_.command, recording_ ? &recording_->filter : nullptr,
                       policy_.on_launcher_death == LauncherDeath::kKill};
    Result<Child> child = Child::spawn(spawn, signals);
    if (!child) {
      say(child.error().message);
      discard_recording();
      return false;
    }
    child_.emplace(std::move(*child));
    if (recording_ && child_->listener.fd < 0 && !tolerate_no_listener()) return false;
    log("command is pid {}", child_->pid());
    if (recording_ && recording_->injection) recording_->injection->command = child_->pid();
    const Result<std::string> kept = drop_capabilities();
    log("{}", kept ? *kept : kept.error().message);
    start_keeper();
    start_core_taker();
    return true;
  }

  // The sidecar has another root: it cannot open programs by their paths. After
  // drop_capabilities(), so that the keeper's thread has none, and after the fork.
  void start_keeper() {
    if (!sidecar_ || !recording_ || !(policy_.collect.binaries || policy_.collect.libraries))
      return;
    BinaryKeeperOptions options;
    options.run_directory = spool_ + "/" + recording_->directory.run();
    options.log = recording_->log.get();
    options.file_mode = recording_->directory.file_mode();
    options.executables = policy_.collect.binaries;
    options.libraries = policy_.collect.libraries;
    // In memory they take it from the program, as the log does.
    const LogSize size = choose_log_size(0, spool_);
    options.max_bytes = std::min(policy_.limits.recording_bytes, size.kept_bytes);
    Result<std::unique_ptr<BinaryKeeper>> keeper = BinaryKeeper::start(options);
    if (keeper)
      keeper_ = std::move(*keeper);
    else
      recording_->directory.write_gap("binaries", keeper.error().message);
  }

  void start_core_taker() {
    const CoreChoice& choice = policy_.collect.core;
    const bool on_end = choice.on_signal || choice.on_exit;
    if (!recording_ || !recording_->injection || !(on_end || choice.on_request)) return;
    CoreTakerOptions options;
    options.run_directory = spool_ + "/" + recording_->directory.run();
    options.file_mode = recording_->directory.file_mode();
    options.choice = choice;
    // In memory they take it from the program, as the log does.
    const uint64_t room =
        std::min(choose_log_size(0, spool_).kept_bytes, disk_room(spool_).free_bytes / kCoreShare);
    options.choice.limit_bytes = std::min(options.choice.limit_bytes, room);
    Result<std::unique_ptr<CoreTaker>> cores = CoreTaker::start(std::move(options));
    if (!cores) return recording_->directory.write_gap("cores", cores.error().message);
    cores_ = std::move(*cores);
    if (choice.on_request) start_core_server();
  }

  void start_core_server() {
    CoreServerOptions options;
    options.directory = recording_->directory.path();
    options.file_mode = recording_->directory.file_mode();
    options.log_fd = recording_->log.get();
    options.layout = recording_->layout;
    Result<std::unique_ptr<CoreServer>> server = CoreServer::start(options, *cores_);
    if (!server) return recording_->directory.write_gap("cores on request", server.error().message);
    core_server_ = std::move(*server);
  }

  // Whoever outlives the launcher dies without.
  void finish_cores() {
    core_server_.reset();
    if (!cores_) return;
    cores_->finish();
    tell_cores();
  }

  void tell_cores() {
    if (!cores_) return;
    for (const CoreTaker::Told& told : cores_->tell_new()) {
      log("{}: {}", told.what, told.how);
      if (!told.taken)
        recording_->directory.write_gap(told.what, told.how);
      else if (told.ends)
        cores_taken_.push_back(told);
    }
  }

  // For the report: of the first ones, as reading a core takes some tenths of a second.
  void describe_deaths() {
    constexpr size_t kShown = 3;
    const recording::FileFinder here = {[](const std::string& path) { return path; },
                                        [](const std::string&) { return std::string(); }};
    for (size_t i = 0; i < std::min(cores_taken_.size(), kShown) && !options_.quiet; ++i) {
      const CoreTaker::Told& core = cores_taken_[i];
      const auto stacks = recording::read_core_stacks(core.file, here);
      if (stacks) summary_.deaths.push_back(recording::core_text(core.name, core.pid, *stacks));
    }
  }

  void finish_keeper() {
    if (!keeper_) return;
    const BinaryKeeper::Summary kept = keeper_->finish();
    log("kept {} binaries of {} bytes; lost {} {}", kept.files, kept.bytes, kept.lost, kept.why);
    if (kept.lost > 0 && !options_.quiet)
      say("not kept for the sidecar: ", std::to_string(kept.lost), " binaries, the first ",
          kept.why);
    keeper_.reset();
  }

  bool tolerate_no_listener() {
    const int error = child_->listener.error;
    const std::string trouble =
        std::string("seccomp: ") + strerror(error) + ": " + explain_install_error(error);
    if (tolerate(trouble)) {
      recording_->directory.write_gap("the whole run", trouble);
      return true;
    }
    child_->abandon();
    discard_recording();
    return false;
  }

  void supervise() {
    SupervisorOptions options;
    options.command = child_->pid();
    options.listener.reset(child_->listener.fd);
    options.killable = child_->listener.killable;
    options.refuse_unrecorded = closed();
    options.wait_for_all = options_.wait_all;
    options.cores = cores_.get();
    if (sidecar_) {
      options.sidecar = &*sidecar_;
      options.every_second = [this] { sweep(); };
    }
    if (recording_) {
      const SeccompStatus own = seccomp_status(getpid());
      options.filters = own.filters + 1;
      options.log_fd = recording_->log.get();
      options.injection = recording_->injection;
      options.injection->kill_unrecorded = closed();
      options.injection->seccomp_alone = own.mode != 0;
      options.injection->cores = policy_.collect.core;
      keep_recordings(options);
    }
    supervisor_.emplace(std::move(options), events());
    child_->release();
    status_ = supervisor_->run();
    exit_code_ = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    log("command ended with wait status {:#x}", status_);
  }

  void keep_recordings(SupervisorOptions& options) {
    if (policy_.level != RecordLevel::kReplay) return;
    auto keeper =
        RecordingKeeper::create({recording_->directory.path(), recording_->directory.file_mode(),
                                 policy_.limits.spool_bytes});
    if (!keeper) return recording_->directory.write_gap("level replay", keeper.error().message);
    recordings_ = std::move(*keeper);
    options.recordings = recordings_.get();
    options.injection->level = agent::Level::kReplay;
    options.injection->checksums = options_.checksums;
  }

  SupervisorEvents events() {
    if (!recording_)
      return {[](const ExecReport&) {}, [](pid_t, int) {},
              [](const std::string&, const std::string&) {}};
    return {[this](const ExecReport& report) { on_exec(report); },
            [this](pid_t pid, int status) { on_exit(pid, status); },
            [this](const std::string& what, const std::string& why) {
              log("not recorded: {}: {}", what, why);
              recording_->directory.write_gap(what, why);
            }};
  }

  void on_exit(pid_t pid, int status) {
    recording_->directory.write_exit(pid, status);
    if (pid == child_->pid()) command_end_tsc_ = __rdtsc();
    tell_cores();
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return;
    const uint64_t killed = oom_.rise();
    if (killed == 0) return;
    log("out of memory: {} killed, by {}", killed, oom_.path());
    recording_->directory.write_oom(killed);
  }

  // A launcher that joined may be in another time namespace.
  void refine_clock() {
    if (recording_->directory.member().empty()) recording::refine_clock(recording_->log.get());
  }

  void on_exec(const ExecReport& report) {
    refine_clock();
    const bool recorded = report.outcome == ExecReport::Outcome::kInjected;
    log("exec by pid {}: {} {}", report.pid, report.exec.executable,
        recorded ? "gets the agent" : report.why);
    recording_->directory.write_exec(report.pid, report.exec, recorded);
  }

  void finish() {
    regain_capabilities();
    const int error = child_->start_error();
    if (error != 0) {
      say(options_.command[0], ": ", strerror(error));
      discard_recording();
    }
    if (recording_) finish_recording();
    if (supervisor_->others_left()) supervisor_->leave_keeper();
  }

  // Others may have joined, and may be gone.
  void sweep() {
    if (const uint32_t lanes =
            recording::sweep_lanes(recording_->log.get(), recording_->layout, recording_->launcher))
      log("{} threads of a launcher that is gone with all its processes", lanes);
  }

  void finish_recording() {
    RunDirectory& directory = recording_->directory;
    const bool others = supervisor_->others_left();
    if (others)
      directory.write_gap("processes that outlived the command",
                          "they still ran when the bundle was made; what they did later is missing "
                          "(shmrec run --wait-all waits for them)");
    refine_clock();
    finish_cores();
    finish_keeper();
    directory.tell_lost_lines();
    if (const Result<> end =
            directory.write_end({child_->pid(), status_, exit_code_, command_end_tsc_});
        !end)
      say(end.error().message);
    if (!others) recording::close_shmlog(recording_->log.get());
    summary_ = summarize(recording_->log.get(), recording_->layout);
    describe_deaths();
    if (sidecar_) return leave_to_sidecar();
    // In the sidecar's place, whose rules keep failures.
    const bool wanted = (!options_.on_failure && !refused_) || exit_code_ != 0;
    const bool bundled = wanted && make_bundle();
    if (!options_.quiet) print_report(summary_, directory.gaps(), bundle_);
    if ((bundled || !wanted) && !options_.keep_spool)
      directory.remove();
    else if (options_.keep_spool && !options_.quiet)
      say("run directory: ", directory.path().string());
  }

  void leave_to_sidecar() {
    if (!options_.output.empty())
      say("-o ", options_.output, " is not used: the sidecar makes the bundle");
    if (options_.quiet) return;
    print_report(summary_, recording_->directory.gaps(), "");
    fputs(sidecar_text(spool_ + "/" + recording_->directory.run(), sidecar_->connected()).c_str(),
          stderr);
  }

  bool make_bundle() {
    recording::CreateBundleOptions options;
    options.output = options_.output;
    // The working directory goes with the container; the spool is a volume.
    if (refused_ && options_.output.empty()) options.output = spool_;
    options.trigger = WIFSIGNALED(status_) ? signal_with_number(WTERMSIG(status_))
                                           : "exit " + std::to_string(exit_code_);
    options.collect_binaries = policy_.collect.binaries;
    options.collect_libraries = policy_.collect.libraries;
    options.collect_launcher_log = policy_.collect.launcher_log;
    options.max_bytes = policy_.limits.recording_bytes;
    if (!disk_room(spool_).in_memory) {  // memory is the program's
      options.packed_directory = fs::path(spool_) / kPackedFolder;
      options.max_packed_bytes =
          std::min(kMaxPackedBytes, policy_.limits.spool_bytes / kPackedShare);
    }
    const std::string directory = recording_->directory.path().string();
    auto made = recording::create_bundle(directory, options);
    if (made) {
      bundle_ = made->string();
      return true;
    }
    say("no bundle: ", made.error().message);
    say("the run is kept in ", directory, "; make the bundle by: shmrec bundle create ", directory);
    return false;
  }

  void discard_recording() {
    keeper_.reset();
    sidecar_.reset();
    log_.reset();
    if (recording_) recording_->directory.remove();
    recording_.reset();
  }

  const RunOptions& options_;
  Policy policy_;                            // its log as large as there is room for
  std::string log_size_;                     // that, and why
  const std::vector<std::string> mistakes_;  // in what should have been the policy
  const std::string spool_;
  std::optional<SidecarClient> sidecar_;  // has answered, and collects the run
  std::string join_trouble_;              // why the run that it named was not joined
  std::string sidecar_trouble_;           // why it does not, where it was expected to
  std::string note_;                      // for the termination message
  bool refused_ = false;                  // it said itself that it does not
  std::optional<gid_t> group_;            // that it reads the run by
  OomCounter oom_;
  std::optional<Recording> recording_;
  std::unique_ptr<BinaryKeeper> keeper_;
  std::unique_ptr<CoreTaker> cores_;
  std::unique_ptr<RecordingKeeper> recordings_;
  std::unique_ptr<CoreServer> core_server_;
  std::vector<CoreTaker::Told> cores_taken_;
  std::optional<Child> child_;
  std::optional<Supervisor> supervisor_;
  std::shared_ptr<spdlog::logger> log_;
  Summary summary_;
  std::string bundle_;
  int status_ = 0;
  int exit_code_ = 0;
  uint64_t command_end_tsc_ = 0;
};

}  // namespace

int run(const RunOptions& options) {
  occupy_standard_descriptors();
  LoadedPolicy loaded = load_policy_anyway(options.policy_file, environ);
  if (options.strict) loaded.policy.failure_policy = FailurePolicy::kClosed;
  if (!tolerate_mistakes(loaded)) return 2;
  return Run(options, loaded).execute();
}

}  // namespace shmrec::launcher
