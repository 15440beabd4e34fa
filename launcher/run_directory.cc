#include "launcher/run_directory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/output_file.h"
#include "launcher/spool_probe.h"
#include "policy/redact.h"

namespace shmrec::launcher {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr size_t kMaxGaps = 1000;
constexpr size_t kMaxNameBytes = 100;

std::string to_text(const ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string utc(const char* format) {
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  char text[64];
  strftime(text, sizeof text, format, &parts);
  return text;
}

// The command's base name, of characters that no shell or archive minds.
std::string run_name(const std::string& command) {
  std::string name = fs::path(command).filename().string().substr(0, kMaxNameBytes);
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c)) && !strchr("._+-", c)) c = '_';
  if (name.empty() || name[0] == '.' || name[0] == '-') name.insert(0, "_");
  return name;
}

std::string first_line(const char* path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

std::string read_all(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// 0 if it cannot be seen.
uint64_t namespace_inode(const char* path) {
  struct stat status;
  return stat(path, &status) == 0 ? status.st_ino : 0;
}

// What can be seen from inside of the container that this may be. Null outside.
ordered_json container_facts() {
  constexpr struct {
    const char* key;
    const char* variable;
  } kVariables[] = {
      {"pod", "POD_NAME"},
      {"podNamespace", "POD_NAMESPACE"},
      {"podUid", "POD_UID"},
      {"node", "NODE_NAME"},
      {"containerName", "CONTAINER_NAME"},
      {"runtime", "container"},
      {"kubernetesServiceHost", "KUBERNETES_SERVICE_HOST"},
  };
  ordered_json facts;
  for (const auto& variable : kVariables)
    if (const char* value = getenv(variable.variable)) facts[variable.key] = value;
  if (access("/.dockerenv", F_OK) == 0) facts["marker"] = "/.dockerenv";
  if (access("/run/.containerenv", F_OK) == 0) facts["marker"] = "/run/.containerenv";
  if (facts.is_null()) return facts;
  facts["cgroup"] = read_all("/proc/self/cgroup");
  return facts;
}

// What the runs that are kept or still going on take. Files that vanish meanwhile do not count.
uint64_t bytes_in(const fs::path& spool) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator file(spool, error), end; !error && file != end;
       file.increment(error)) {
    struct stat status;
    if (lstat(file->path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

Result<> check_room(const Policy& policy, const std::string& spool, bool joined) {
  if (joined) return Unit{};  // its log is there already
  const uint64_t used = bytes_in(spool), limit = policy.limits.spool_bytes;
  if (used <= limit && policy.limits.log_bytes <= limit - used) return Unit{};
  return Error{spool + ": earlier runs take " + std::to_string(used >> 20) +
                   " MiB, and this one's log " + std::to_string(policy.limits.log_bytes >> 20) +
                   " MiB; expected at most spoolSize (" + std::to_string(limit >> 20) +
                   " MiB) in all; make their bundles (shmrec bundle create " + spool +
                   "/NAME) and remove them, or raise spoolSize",
               false};
}

// A default spool lies in a directory that everybody may write: take it only if it is ours.
Result<> check_owner(const std::string& spool) {
  struct stat status;
  if (lstat(spool.c_str(), &status) != 0) return system_error(spool);
  if (fs::path(spool).filename() != "shmrec-" + std::to_string(getuid())) return Unit{};
  if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022) != 0)
    return Error{
        spool + ": not a directory of this user alone; remove it or choose another by --spool",
        false};
  return Unit{};
}

// What others may do with what is made during its life. The command starts with the caller's umask.
class Umask {
 public:
  explicit Umask(mode_t mask) : old_(umask(mask)) {}
  ~Umask() { umask(old_); }
  Umask(const Umask&) = delete;

 private:
  mode_t old_;
};
constexpr mode_t kOwnerAlone = 077, kOwnerAndGroup = 007;

// A directory in one with this bit gets its group and the bit too: inode_init_owner(), and so it
// goes on without the rights that chmod would need to set it.
bool shares_with_group(const fs::path& directory) {
  struct stat status;
  return stat(directory.c_str(), &status) == 0 && (status.st_mode & S_ISGID);
}

fs::path nearest_existing(fs::path path) {
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_relative_path()) path = path.parent_path();
  return path;
}

Result<UniqueFd> open_for_writing(const fs::path& path, int flags, mode_t mode) {
  UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, mode));
  if (!file) return system_error(path.string());
  // The command can have put a pipe or a device there.
  if (!is_regular_file(file.get())) return Error{path.string() + ": not a regular file", false};
  // Whatever the umask; fails for a file of another owner, which has its own.
  fchmod(file.get(), mode);
  return file;
}

Result<> write_file(const fs::path& path, const std::string& text, mode_t mode) {
  const Result<UniqueFd> opened = open_for_writing(path, O_TRUNC, mode);
  if (!opened) return opened.error();
  const UniqueFd& file = *opened;
  for (size_t done = 0; done < text.size();) {
    const ssize_t bytes = write(file.get(), text.data() + done, text.size() - done);
    if (bytes < 0) return system_error(path.string());
    done += static_cast<size_t>(bytes);
  }
  return Unit{};
}

}  // namespace

std::string wall_clock() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[64];
  const size_t bytes = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(text + bytes, sizeof text - bytes, ".%09ldZ", now.tv_nsec);
  return text;
}

Result<> prepare_spool(const std::string& spool) {
  const fs::path path = fs::absolute(spool);
  const Umask mask(shares_with_group(nearest_existing(path)) ? kOwnerAndGroup : kOwnerAlone);
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return Error{spool + ": " + error.message(), false};
  return check_owner(spool);
}

namespace {

// Where run directories go: the spool, or the members of a run in it.
Result<fs::path> place_of(const std::string& spool, const std::string& join) {
  if (join.empty()) return fs::absolute(spool);
  const fs::path members = fs::absolute(spool) / join / "members";
  struct stat status;
  if (mkdir(members.c_str(), 0777) != 0 && errno != EEXIST) return system_error(members.string());
  if (lstat(members.c_str(), &status) != 0) return system_error(members.string());
  if (!S_ISDIR(status.st_mode)) return Error{members.string() + ": not a directory", false};
  return members;
}

// Containers that share a spool may start the same command, with the same process number, in one
// second: the later one takes the next.
Result<fs::path> make_directory(const fs::path& place, const std::string& name) {
  constexpr int kTries = 3;
  for (int i = 1;; ++i) {
    const fs::path path = place / (name + utc("-%Y%m%dT%H%M%SZ-") + std::to_string(getpid()));
    if (mkdir(path.c_str(), 0777) == 0) return path;
    if (errno != EEXIST || i == kTries) return system_error(path.string());
    const timespec second{1, 0};
    nanosleep(&second, nullptr);
  }
}

}  // namespace

Result<RunDirectory> RunDirectory::create(const Policy& policy, const std::string& spool,
                                          const std::string& join,
                                          const std::vector<std::string>& command,
                                          std::optional<gid_t> group) {
  RunDirectory run;
  run.policy_ = &policy;
  run.joined_ = join;
  const bool shared = shares_with_group(fs::path(spool) / join);
  run.file_mode_ = shared ? 0660 : 0600;
  if (const Result<> room = check_room(policy, spool, !join.empty()); !room) return room.error();
  const Umask mask(shared ? kOwnerAndGroup : kOwnerAlone);
  const Result<fs::path> place = place_of(spool, join);
  if (!place) return place.error();
  Result<fs::path> path = make_directory(*place, run_name(command[0]));
  if (!path) return path.error();
  run.path_ = std::move(*path);
  if (!shared && group && give_to_group(run.path_.string(), *group)) run.file_mode_ = 0660;
  Result<UniqueFd> events = open_for_writing(run.path_ / "events.jsonl", O_APPEND, run.file_mode_);
  if (!events) return events.error();
  run.events_ = std::move(*events);
  return run;
}

std::string RunDirectory::run() const {
  return joined_.empty() ? path_.filename().string() : joined_;
}

std::string RunDirectory::member() const {
  return joined_.empty() ? "" : path_.filename().string();
}

Result<> RunDirectory::write_start(uint64_t run_id, const std::vector<std::string>& command,
                                   const std::string& log_size,
                                   const std::vector<std::string>& policy_mistakes) {
  utsname names{};
  uname(&names);
  char id[20];
  snprintf(id, sizeof id, "%016lx", static_cast<unsigned long>(run_id));
  std::error_code ignored;
  return write_file(
      path_ / "run.json",
      to_text({{"format", "shmrec-run/1"},
               {"runId", id},
               {"version", SHMREC_VERSION},
               {"command", redact_arguments(*policy_, command)},
               {"cwd", fs::current_path(ignored).string()},
               {"executable", command[0]},
               {"hostname", names.nodename},
               {"kernel", names.release},
               {"bootId", first_line("/proc/sys/kernel/random/boot_id")},
               {"uid", getuid()},
               {"gid", getgid()},
               {"container", container_facts()},
               {"startTime", wall_clock()},
               {"policy", to_yaml(*policy_)},
               {"policyMistakes", policy_mistakes},
               {"logSize", log_size.empty() ? ordered_json() : ordered_json(log_size)},
               {"launcherPid", getpid()},
               {"pidNamespace", namespace_inode("/proc/self/ns/pid")}},
              2),
      file_mode_);
}

void RunDirectory::write_exec(pid_t pid, const ExecInfo& exec, bool recorded) {
  ordered_json line = {{"time", wall_clock()},
                       {"type", "exec"},
                       {"pid", pid},
                       {"exe", exec.executable},
                       {"argv", redact_arguments(*policy_, exec.arguments)},
                       {"recorded", recorded}};
  if (policy_->collect.environment) line["env"] = redacted_environment(exec.environment);
  if (!exec.complete) line["cut"] = true;
  append(to_text(line, -1));
}

// Most execs pass on the environment they got, and redaction is the slowest part of an exec.
const std::vector<std::string>& RunDirectory::redacted_environment(
    const std::vector<std::string>& environment) {
  if (environment != last_environment_) {
    last_environment_ = environment;
    last_redacted_ = redact_environment(*policy_, environment);
  }
  return last_redacted_;
}

void RunDirectory::write_exit(pid_t pid, int status) {
  append(to_text({{"time", wall_clock()},
                  {"type", "exit"},
                  {"pid", pid},
                  {"status", status},
                  {"tsc", __rdtsc()}},
                 -1));
}

void RunDirectory::write_gap(const std::string& what, const std::string& why) {
  Gap gap{what, why};
  if (gaps_.size() >= kMaxGaps || !known_gaps_.insert(gap).second) return;
  gaps_.push_back(gap);
  append(to_text({{"time", wall_clock()}, {"type", "coverage"}, {"what", what}, {"why", why}}, -1));
}

void RunDirectory::write_oom(uint64_t count) {
  append(to_text({{"time", wall_clock()}, {"type", "oom"}, {"count", count}}, -1));
}

Result<> RunDirectory::write_end(const CommandEnd& end) {
  return write_file(path_ / "end.json",
                    to_text({{"endTime", wall_clock()},
                             {"pid", end.pid},
                             {"status", end.status},
                             {"exitCode", end.exit_code},
                             {"tsc", end.tsc}},
                            2),
                    file_mode_);
}

void RunDirectory::remove() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

// A full disk loses the line, never the run. The next one must not continue what was left of it.
void RunDirectory::append(const std::string& line) {
  const std::string text = (torn_ ? "\n" : "") + line;
  ssize_t bytes;
  do bytes = write(events_.get(), text.data(), text.size());
  while (bytes < 0 && errno == EINTR);
  if (bytes == static_cast<ssize_t>(text.size())) {
    torn_ = false;
    return;
  }
  if (bytes > 0) torn_ = true;
  ++lost_lines_;
  lost_why_ = bytes < 0 ? strerror(errno) : strerror(ENOSPC);
}

void RunDirectory::tell_lost_lines() {
  if (lost_lines_ > 0)
    write_gap("what " + std::to_string(lost_lines_) + " lines of events.jsonl would tell",
              lost_why_);
}

}  // namespace shmrec::launcher
