#include "debugger/core_session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "debugger/scripts.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/elf_id.h"
#include "recording/crash/core_backtrace.h"

namespace shmrec::debugger {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recording::Recording;
using recording::RunFiles;

constexpr int kNotStarted = 127;
// In the session's folder.
constexpr const char* kRoot = "root";
constexpr const char* kAway = "away.py";

bool is_called(const Recording& recording, const std::string& wanted) {
  return recording.id == wanted || std::to_string(recording.pid) == wanted ||
         recording.name == wanted;
}

// Of those that left a core, the one that died first; or the first of those that ran on.
const Recording* first_dead(const RunFiles& files, const std::vector<Recording>& recordings) {
  std::map<std::pair<bool, uint64_t>, const Recording*> by_end;
  for (const Recording& recording : recordings)
    if (const std::string core = files.core(recording.id); !core.empty())
      by_end.try_emplace({recording::core_event(core) != 0, recording.end_tsc}, &recording);
  return by_end.empty() ? nullptr : by_end.begin()->second;
}

// Libraries are looked for by the name that programs need them by, which is often that of a link to
// the file (libzstd.so.1): such links are not in a bundle.
void link_by_soname(const fs::path& file, const fs::path& folder) {
  std::error_code ignored;
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  const std::string name = fd ? recording::soname(fd.get()) : "";
  if (!name.empty()) fs::create_symlink(file, folder / name, ignored);
}

// What distributions have as links of the root.
void link_merged(const fs::path& root) {
  std::error_code ignored;
  for (const char* name : {"lib", "lib64", "lib32", "bin", "sbin"})
    if (!fs::exists(fs::symlink_status(root / name, ignored)))
      fs::create_directory_symlink(fs::path("usr") / name, root / name, ignored);
}

std::string joined(const std::set<std::string>& folders) {
  std::string all;
  for (const std::string& folder : folders) all += (all.empty() ? "" : ":") + folder;
  return all;
}

// ---- Running it ---------------------------------------------------------------------------------

// While a child has the terminal.
class IgnoredSignals {
 public:
  IgnoredSignals() : interrupt_(signal(SIGINT, SIG_IGN)), quit_(signal(SIGQUIT, SIG_IGN)) {}
  IgnoredSignals(const IgnoredSignals&) = delete;
  IgnoredSignals& operator=(const IgnoredSignals&) = delete;
  ~IgnoredSignals() {
    signal(SIGINT, interrupt_);
    signal(SIGQUIT, quit_);
  }

 private:
  sighandler_t interrupt_, quit_;
};

bool redirect(const std::string& output) {
  const int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  return in >= 0 && out >= 0 && dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
         dup2(out, STDERR_FILENO) >= 0;
}

[[noreturn]] void become(std::vector<std::string> words, const std::string& output,
                         const sigset_t& mask) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  signal(SIGINT, SIG_DFL);
  signal(SIGQUIT, SIG_DFL);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  if (output.empty() || redirect(output)) execvp(arguments[0], arguments.data());
  _exit(kNotStarted);
}

}  // namespace

Result<const Recording*> choose_recording(const std::string& bundle, const std::string& wanted,
                                          const RunFiles& files,
                                          const std::vector<Recording>& recordings) {
  if (wanted.empty()) {
    if (const Recording* first = first_dead(files, recordings)) return first;
    return Error{bundle +
                 ": no process left a core; to do without one, name a recording (shmrec ls lists "
                 "them)"};
  }
  std::vector<const Recording*> found;
  for (const Recording& recording : recordings)
    if (is_called(recording, wanted)) found.push_back(&recording);
  if (found.size() > 1)  // of an exec's two, or of a name's many, those with a core
    std::erase_if(found, [&](const Recording* one) { return files.core(one->id).empty(); });
  if (found.size() == 1) return found[0];
  return Error{bundle + ": " +
               (found.empty() ? "no recording is called '" : "several recordings are called '") +
               wanted + "'; expected an ID, pid or name as shmrec ls lists them"};
}

std::string program_of(const RunFiles& files, const Recording& recording) {
  if (recording.executable.empty()) return "";
  std::error_code ignored;
  const std::string path = files.binary(recording.executable);
  return fs::is_regular_file(path, ignored) ? fs::absolute(path).string() : "";
}

Result<CoreSession> CoreSession::make(const RunFiles& files, const Recording& recording) {
  Result<TemporaryDirectory> folder = TemporaryDirectory::make(temporary_parent(), "shmrec-gdb-");
  if (!folder) return folder.error();
  CoreSession session(std::move(*folder));
  session.make_root(files);
  session.program_ = program_of(files, recording);
  session.core_ = files.core(recording.id);
  if (const Result<> written = session.add_file(kAway, away_script()); !written)
    return written.error();
  return session;
}

Result<> CoreSession::add_file(const char* name, std::string_view text) const {
  const fs::path path = folder() / name;
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) return system_error(path.string());
  return Unit{};
}

// The bundle's files under the names that the program knew them by.
void CoreSession::make_root(const RunFiles& files) {
  const fs::path root = folder() / kRoot;
  std::ifstream text(files.directory() / recording::kBinariesName);
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object() || !document.contains("modules") ||
      !document["modules"].is_array())
    return;
  std::error_code ignored;
  const fs::path by_soname = root / "by-soname";
  fs::create_directories(by_soname, ignored);
  library_folders_.insert(by_soname.string());
  for (const json& module : document["modules"]) {
    if (!module.is_object() || !module.contains("path") || !module["path"].is_string()) continue;
    const std::string path = module["path"];
    const fs::path place = place_in(root, path);
    const fs::path file = fs::absolute(files.binary(path));
    if (place.empty() || file == path || !fs::is_regular_file(file, ignored)) continue;
    fs::create_directories(place.parent_path(), ignored);
    fs::create_symlink(file, place, ignored);
    link_by_soname(file, by_soname);
    library_folders_.insert(file.parent_path().string());
  }
  link_merged(root);
}

std::vector<std::string> CoreSession::command_line(
    const std::string& script, const std::vector<std::string>& arguments) const {
  std::vector<std::string> words = {"gdb", "-q"};
  const auto first = [&](const std::string& command) {
    words.insert(words.end(), {"-iex", command});
  };
  // Nothing of the bundle is run, and nothing is fetched.
  first("set auto-load no");
  first("set auto-load safe-path " + (folder() / "none").string());
  first("set debuginfod enabled off");
  if (!library_folders_.empty()) {
    first("set sysroot " + (folder() / kRoot).string());
    first("set solib-search-path " + joined(library_folders_));
  }
  first("source " + (folder() / kAway).string());
  if (!script.empty()) first("source " + (folder() / script).string());
  // Of the first commands the last, and of those behind the core's opening the first.
  words.insert(words.end(), {"-ex", "python come_back()"});
  words.insert(words.end(), arguments.begin(), arguments.end());
  first("python leave()");
  if (!program_.empty()) words.push_back(program_);
  if (!core_.empty()) words.push_back("--core=" + core_);
  return words;
}

Result<int> run_to_end(const std::vector<std::string>& words, const std::string& output) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  const IgnoredSignals ignored;
  const pid_t child = fork();
  if (child < 0) return system_error("fork");
  if (child == 0) become(words, output, mask);
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return system_error("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotStarted)
    return Error{words[0] + ": it is not installed, or not on PATH"};
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

fs::path place_in(const fs::path& root, const std::string& path) {
  if (path.empty() || path[0] != '/' || path.back() == '/') return {};
  for (const fs::path& part : fs::path(path).relative_path())
    if (part == ".." || part == "." || part.empty()) return {};
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    return {};
  return root / fs::path(path).relative_path();
}

}  // namespace shmrec::debugger
