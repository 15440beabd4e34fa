#include "recording/run/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "recording/bundle/bundle_files.h"
#include "recording/log/shmlog_format.h"
#include "recording/run/flat_json.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

constexpr size_t kMaxScanned = 65536;                 // entries of the spool looked at
constexpr size_t kMaxWalked = 16384;                  // entries of a run directory looked at
constexpr int kMaxDepth = 16;                         // of directories in it
constexpr int kMaxPasses = 4;                         // over a directory that refills
constexpr size_t kMaxRunJsonBytes = size_t{4} << 20;  // ARG_MAX and a policy
constexpr size_t kMaxEndJsonBytes = 64 << 10;
constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// A stream of its own, so that two threads may read one directory.
Directory read_directory(int fd) {
  UniqueFd own(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!own) return nullptr;
  Directory stream(fdopendir(own.get()));
  if (stream) own.release();
  return stream;
}

bool is_dots(const char* name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

bool is_directory(int parent, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat status;
  return fstatat(parent, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(status.st_mode);
}

// Whether a file could not be opened because there is none, or something that is no file of a
// launcher's. All else, want of descriptors or memory above all, says nothing about the run.
bool is_no_file(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EINVAL || error == ENXIO;
}

// The whole of a small file; nothing, with errno set, if it cannot be read or is longer.
std::optional<std::string> read_small(int directory, const char* name, size_t limit) {
  const UniqueFd file = open_untrusted(directory, name);
  struct stat status;
  if (!file || fstat(file.get(), &status) != 0) return std::nullopt;
  if (static_cast<uint64_t>(status.st_size) > limit) return errno = EFBIG, std::nullopt;
  std::string text(static_cast<size_t>(status.st_size), '\0');
  const ssize_t got = pread_all(file.get(), text.data(), text.size(), 0);
  if (got < 0) return std::nullopt;
  text.resize(static_cast<size_t>(got));
  return text;
}

// ---- State --------------------------------------------------------------------------------------

// What end.json in the directory says; false if it is not there, or not whole. Nothing, with errno
// set, if it cannot be told.
std::optional<bool> end_in(int directory, RunStatus& status) {
  const auto end = read_small(directory, "end.json", kMaxEndJsonBytes);
  if (!end && is_shortage(errno)) return std::nullopt;
  return end && parse_end(*end, status);
}

// Whether nobody holds the log any more. The magic is written last at creation: before that the
// question is not asked, for the lock that asks could be in the way of the launcher's own. A
// launcher that died in between leaves such a log behind, which then is long known. Nothing, with
// errno set, if it cannot be told: want of descriptors must not make a run look over.
std::optional<bool> run_is_over(int run, bool long_known, RunStatus& status) {
  const UniqueFd log = open_untrusted(run, "run.shmlog");
  if (!log && !is_no_file(errno)) return std::nullopt;
  if (!log) return long_known;
  char magic[sizeof(shmlog::kMagic)] = {};
  status.has_log = pread_all(log.get(), magic, sizeof magic, 0) == sizeof magic &&
                   memcmp(magic, shmlog::kMagic, sizeof magic) == 0;
  if (!status.has_log && !long_known) return false;
  return flock(log.get(), LOCK_EX | LOCK_NB) == 0;
}

// Blocks of all files below, up to the limits. What vanishes meanwhile does not count.
uint64_t bytes_below(int directory, int depth, size_t& entries_left) {
  const Directory stream = read_directory(directory);
  uint64_t bytes = 0;
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    if (is_dots(entry->d_name)) continue;
    if (entries_left == 0) break;
    --entries_left;
    struct stat status;
    if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    if (!S_ISDIR(status.st_mode) || depth == kMaxDepth) continue;
    const UniqueFd below(openat(directory, entry->d_name, kOpenDirectory));
    if (below) bytes += bytes_below(below.get(), depth + 1, entries_left);
  }
  return bytes;
}

// ---- Removing -----------------------------------------------------------------------------------

bool empty_directory(int directory, int depth);

bool remove_entry(int directory, const char* name, int depth) {
  if (unlinkat(directory, name, 0) == 0 || errno == ENOENT) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  const UniqueFd below(openat(directory, name, kOpenDirectory));
  if (!below || !empty_directory(below.get(), depth + 1)) return false;
  return unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

// A directory that changes while it is read may show entries twice or not at all: look again. Who
// adds files all the time gets a last word, and an error.
bool empty_directory(int directory, int depth) {
  if (depth > kMaxDepth) return errno = ELOOP, false;
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const Directory stream = read_directory(directory);
    if (!stream) return false;
    bool any = false;
    while (const dirent* entry = readdir(stream.get())) {
      if (is_dots(entry->d_name)) continue;
      any = true;
      if (!remove_entry(directory, entry->d_name, depth)) return false;
    }
    if (!any) return true;
  }
  return true;
}

// ---- What may not be read

bool is_refused(int error) { return error == EACCES || error == EPERM; }

// The first that may not be read, as a path below; "" if there is none. Unfinished copies are not
// looked at, nor what is no file of a run.
std::string first_unreadable(int directory, int depth, size_t& entries_left) {
  const Directory stream = read_directory(directory);
  while (const dirent* entry = stream ? readdir(stream.get()) : nullptr) {
    if (entry->d_name[0] == '.' || entries_left == 0) continue;
    --entries_left;
    struct stat status;
    if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const bool folder = S_ISDIR(status.st_mode);
    if (!folder && !S_ISREG(status.st_mode)) continue;
    const UniqueFd opened(
        openat(directory, entry->d_name,
               folder ? kOpenDirectory : O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!opened && is_refused(errno)) return printable(entry->d_name);
    if (!opened || !folder || depth == kMaxDepth) continue;
    const std::string below = first_unreadable(opened.get(), depth + 1, entries_left);
    if (!below.empty()) return printable(entry->d_name) + "/" + below;
  }
  return "";
}

// ---- Texts --------------------------------------------------------------------------------------

std::string one_line(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + shell_quoted(word);
  return line;
}

std::string printable_text(const FlatJson& json, const char* name) {
  return printable(json.text(name));
}

Error unknown_run(const std::string& directory, const std::string& name, int err) {
  return Error{directory + "/" + printable(name) + ": no run directory (" + strerror(err) + ")"};
}

}  // namespace

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

UniqueFd open_untrusted(int directory, const char* name) {
  UniqueFd fd(openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  struct stat status;
  if (!fd || fstat(fd.get(), &status) != 0) return UniqueFd();
  if (S_ISREG(status.st_mode)) return fd;
  fd.reset();
  errno = EINVAL;
  return fd;
}

RunIdentity read_identity(int directory) {
  RunIdentity identity;
  const auto text = read_small(directory, "run.json", kMaxRunJsonBytes);
  if (text) {
    identity = parse_identity(*text);
  } else {
    identity.problem = "run.json: " + std::string(strerror(errno));
  }
  return identity;
}

namespace {
constexpr size_t kMaxMistakes = 16, kMaxMistakeBytes = 512;
}  // namespace

RunIdentity parse_identity(const std::string& text) {
  RunIdentity identity;
  const std::optional<FlatJson> json = flatten_json(text);
  if (!json) {
    identity.problem = "run.json is cut off or damaged";
    return identity;
  }
  const auto command = json->texts_untrusted.find("command");
  if (command != json->texts_untrusted.end()) {
    for (const std::string& word : command->second) identity.command.push_back(printable(word));
  }
  identity.command_line = one_line(identity.command);
  constexpr struct {
    const char* member;
    std::string RunIdentity::*into;
  } kTexts[] = {
      {"runId", &RunIdentity::run_id},
      {"executable", &RunIdentity::executable},
      {"cwd", &RunIdentity::cwd},
      {"hostname", &RunIdentity::hostname},
      {"bootId", &RunIdentity::boot_id},
      {"startTime", &RunIdentity::start_time},
      {"container.containerName", &RunIdentity::container},
      {"container.pod", &RunIdentity::pod},
      {"container.podNamespace", &RunIdentity::pod_namespace},
      {"container.node", &RunIdentity::node},
  };
  for (const auto& row : kTexts) identity.*row.into = printable_text(*json, row.member);
  const auto mistakes = json->texts_untrusted.find("policyMistakes");
  if (mistakes != json->texts_untrusted.end())
    for (const std::string& mistake : mistakes->second)
      if (identity.policy_mistakes.size() < kMaxMistakes)
        identity.policy_mistakes.push_back(printable(mistake.substr(0, kMaxMistakeBytes)));
  identity.launcher_pid = json->number("launcherPid").value_or(0);
  identity.pid_namespace =
      static_cast<uint64_t>(std::max<int64_t>(0, json->number("pidNamespace").value_or(0)));
  return identity;
}

bool parse_end(const std::string& text, RunStatus& status) {
  const std::optional<FlatJson> json = flatten_json(text);
  const std::optional<int64_t> wait_status = json ? json->number("status") : std::nullopt;
  if (!wait_status) return false;
  status.end_time = printable_text(*json, "endTime");
  status.wait_status = static_cast<int>(*wait_status & 0xFFFF);  // all that wait(2) uses
  if (WIFSIGNALED(*status.wait_status)) status.signal = WTERMSIG(*status.wait_status);
  const auto pid = json->number("pid"), tsc = json->number("tsc");
  if (pid && *pid > 0 && *pid <= INT32_MAX) status.command_pid = static_cast<int32_t>(*pid);
  if (tsc && *tsc > 0) status.end_tsc = static_cast<uint64_t>(*tsc);
  if (const auto code = json->number("exitCode")) status.exit_code = static_cast<int>(*code & 0xFF);
  return true;
}

Result<Spool> Spool::open(const std::string& directory) {
  Spool spool;
  spool.directory_ = directory;
  spool.fd_.reset(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!spool.fd_) return system_error(directory + ": cannot read the spool");
  return spool;
}

bool Spool::valid_name(const std::string& name) {
  constexpr const char* kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
  return !name.empty() && name.size() < 256 && name[0] != '.' && name[0] != '-' &&
         name.find_first_not_of(kLetters) == std::string::npos;
}

Result<SpoolListing> Spool::list() const {
  const Directory stream = read_directory(fd_.get());
  if (!stream) return system_error(directory_ + ": cannot read the spool");
  SpoolListing listing;
  size_t scanned = 0;
  while (const dirent* entry = readdir(stream.get())) {
    listing.truncated = listing.names.size() == kMaxRuns || ++scanned > kMaxScanned;
    if (listing.truncated) break;
    if (is_dots(entry->d_name) || !is_directory(fd_.get(), *entry)) continue;
    if (valid_name(entry->d_name)) {
      listing.names.emplace_back(entry->d_name);
    } else {
      ++listing.ignored;
    }
  }
  std::sort(listing.names.begin(), listing.names.end());
  return listing;
}

Result<UniqueFd> Spool::open_run(const std::string& name) const {
  if (!valid_name(name)) return unknown_run(directory_, name, EINVAL);
  UniqueFd run(openat(fd_.get(), name.c_str(), kOpenDirectory));
  if (!run) return unknown_run(directory_, name, errno);
  return run;
}

Result<RunIdentity> Spool::identify(const std::string& name) const {
  const Result<UniqueFd> run = open_run(name);
  if (!run) return run.error();
  RunIdentity identity = read_identity(run->get());
  identity.name = name;
  return identity;
}

Result<RunStatus> Spool::status(const std::string& name, bool long_known) const {
  const Result<UniqueFd> run = open_run(name);
  if (!run) return run.error();
  RunStatus status;
  // The lock first: the launcher writes end.json before it lets go.
  const std::optional<bool> over = run_is_over(run->get(), long_known, status);
  if (!over) return system_error(directory_ + "/" + name + "/run.shmlog");
  const std::optional<bool> told = end_in(run->get(), status);
  if (!told) return system_error(directory_ + "/" + name + "/end.json");
  if (*over) status.state = *told ? RunState::kEnded : RunState::kLost;
  status.launcher_gone = *over || *told;
  size_t entries = kMaxWalked;
  status.bytes = bytes_below(run->get(), 0, entries);
  return status;
}

Result<std::vector<RunMember>> Spool::members(const std::string& name) const {
  const Result<UniqueFd> run = open_run(name);
  if (!run) return run.error();
  std::vector<RunMember> all;
  const std::string path = directory_ + "/" + name + "/members";
  const UniqueFd directory(openat(run->get(), "members", kOpenDirectory));
  if (!directory && is_no_file(errno)) return all;
  const Directory stream = directory ? read_directory(directory.get()) : nullptr;
  if (!stream) return system_error(path);
  while (const dirent* entry = readdir(stream.get())) {
    if (!valid_name(entry->d_name)) continue;
    const UniqueFd member(openat(directory.get(), entry->d_name, kOpenDirectory));
    if (!member && is_shortage(errno)) return system_error(path);
    if (!member) continue;
    if (all.size() == kMaxMembers) break;
    RunStatus status;
    const std::optional<bool> told = end_in(member.get(), status);
    if (!told) return system_error(path);
    all.push_back({read_identity(member.get()), std::nullopt});
    all.back().identity.name = entry->d_name;
    if (*told) all.back().end = status;
  }
  std::sort(all.begin(), all.end(), [](const RunMember& a, const RunMember& b) {
    return a.identity.name < b.identity.name;
  });
  return all;
}

std::string Spool::try_probe(const std::string& name) const {
  constexpr std::string_view kProbe = ".probe-";
  constexpr const char* kFile = "probe";
  if (!name.starts_with(kProbe) || !valid_name(name.substr(kProbe.size())))
    return "'" + printable(name.substr(0, 80)) + "' is not a name of a probe";
  const auto trouble = [](const char* what) {
    return std::string("cannot ") + what + " what it makes there: " + std::strerror(errno);
  };
  const UniqueFd directory(openat(fd_.get(), name.c_str(), kOpenDirectory));
  if (!directory && errno == ENOENT) return "has another spool: what it makes there is not here";
  if (!directory || !open_untrusted(directory.get(), kFile)) return trouble("read");
  if (unlinkat(directory.get(), kFile, 0) != 0 ||
      unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) != 0)
    return trouble("remove");
  return "";
}

std::string Spool::unreadable(const std::string& name) const {
  const Result<UniqueFd> run = open_run(name);
  if (!run) return errno == EACCES || errno == EPERM ? "." : "";
  size_t entries = kMaxWalked;
  return first_unreadable(run->get(), 0, entries);
}

Result<> Spool::remove(const std::string& name) const {
  if (!valid_name(name)) return unknown_run(directory_, name, EINVAL);
  const UniqueFd run(openat(fd_.get(), name.c_str(), kOpenDirectory));
  if (!run && errno == ENOENT) return Unit{};
  if (!run) return unknown_run(directory_, name, errno);
  const UniqueFd log = open_untrusted(run.get(), "run.shmlog");
  if (!log && !is_no_file(errno)) return system_error(directory_ + "/" + name + "/run.shmlog");
  if (log && flock(log.get(), LOCK_EX | LOCK_NB) != 0)
    return Error{directory_ + "/" + name + ": somebody records into it", false};
  const bool removed = empty_directory(run.get(), 0) &&
                       (unlinkat(fd_.get(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT);
  if (removed) return Unit{};
  return system_error(directory_ + "/" + name + ": cannot remove the run directory");
}

}  // namespace shmrec::recording
