#include "debugger/gdb_session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/temporary_directory.h"
#include "base/unique_fd.h"
#include "debugger/commands_text.h"
#include "recording/bundle/bundle_manifest.h"
#include "recording/bundle/elf_id.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"

namespace shmrec::debugger {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recording::Recording;
using recording::RunFiles;

std::string own_path() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  return error ? "shmrec" : path.string();
}

std::string core_of(const RunFiles& files, const Recording& recording) {
  return files.core(recording.id);
}

// "" if it was not kept.
std::string program_of(const RunFiles& files, const Recording& recording) {
  if (recording.executable.empty()) return "";
  std::error_code ignored;
  const std::string path = files.binary(recording.executable);
  return fs::is_regular_file(path, ignored) ? fs::absolute(path).string() : "";
}

bool is_called(const Recording& recording, const std::string& wanted) {
  return recording.id == wanted || std::to_string(recording.pid) == wanted ||
         recording.name == wanted;
}

// Of those that left a core, the one that died first.
const Recording* first_dead(const RunFiles& files, const std::vector<Recording>& recordings) {
  const Recording* first = nullptr;
  for (const Recording& recording : recordings) {
    if (core_of(files, recording).empty()) continue;
    if (!first || recording.end_tsc < first->end_tsc) first = &recording;
  }
  return first;
}

Result<const Recording*> choose(const GdbOptions& options, const RunFiles& files,
                                const std::vector<Recording>& recordings) {
  if (options.recording.empty()) {
    if (const Recording* first = first_dead(files, recordings)) return first;
    return Error{options.bundle +
                 ": no process left a core; name a recording to open its program and segments "
                 "alone (shmrec ls lists them)"};
  }
  std::vector<const Recording*> found;
  for (const Recording& recording : recordings)
    if (is_called(recording, options.recording)) found.push_back(&recording);
  if (found.size() > 1)  // of an exec's two, or of a name's many, those with a core
    std::erase_if(found, [&](const Recording* one) { return core_of(files, *one).empty(); });
  if (found.size() == 1) return found[0];
  return Error{options.bundle + ": " +
               (found.empty() ? "no recording is called '" : "several recordings are called '") +
               options.recording + "'; expected an ID, pid or name as shmrec ls lists them"};
}

// ---- What gdb is given --------------------------------------------------------------------------

json session_document(const GdbOptions& options, const RunFiles& files,
                      const std::vector<Recording>& recordings, const Recording& chosen) {
  json list = json::array();
  for (const Recording& one : recordings)
    list.push_back({{"id", one.id},
                    {"pid", one.pid},
                    {"name", one.name},
                    {"ended", recording::end_of_recording(one)},
                    {"core", core_of(files, one)},
                    {"program", program_of(files, one)}});
  return {{"shmrec", own_path()},
          {"bundle", fs::absolute(options.bundle).string()},
          {"recording", chosen.id},
          {"recordings", std::move(list)}};
}

Result<> write_file(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) return system_error(path.string());
  return Unit{};
}

// The bundle's files under the names that the program knew them by, and their folders.
struct SystemRoot {
  fs::path path;
  std::set<std::string> folders;
};

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

SystemRoot make_root(const RunFiles& files, const fs::path& root) {
  SystemRoot made{root, {}};
  std::ifstream text(files.directory() / recording::kBinariesName);
  const json document = json::parse(text, nullptr, false);
  if (document.is_discarded() || !document.is_object() || !document.contains("modules") ||
      !document["modules"].is_array())
    return made;
  std::error_code ignored;
  const fs::path by_soname = root / "by-soname";
  fs::create_directories(by_soname, ignored);
  made.folders.insert(by_soname.string());
  for (const json& module : document["modules"]) {
    if (!module.is_object() || !module.contains("path") || !module["path"].is_string()) continue;
    const std::string path = module["path"];
    const fs::path place = place_in(root, path);
    const fs::path file = fs::absolute(files.binary(path));
    if (place.empty() || file == path || !fs::is_regular_file(file, ignored)) continue;
    fs::create_directories(place.parent_path(), ignored);
    fs::create_symlink(file, place, ignored);
    link_by_soname(file, by_soname);
    made.folders.insert(file.parent_path().string());
  }
  link_merged(root);
  return made;
}

std::string joined(const std::set<std::string>& folders) {
  std::string all;
  for (const std::string& folder : folders) all += (all.empty() ? "" : ":") + folder;
  return all;
}

std::vector<std::string> command_line(const GdbOptions& options, const fs::path& folder,
                                      const SystemRoot& root, const RunFiles& files,
                                      const Recording& chosen) {
  std::vector<std::string> words = {"gdb", "-q"};
  const auto first = [&](const std::string& command) {
    words.insert(words.end(), {"-iex", command});
  };
  // Nothing of the bundle is run, and nothing is fetched.
  first("set auto-load no");
  first("set auto-load safe-path " + (folder / "none").string());
  first("set debuginfod enabled off");
  if (!root.folders.empty()) {
    first("set sysroot " + root.path.string());
    first("set solib-search-path " + joined(root.folders));
  }
  first("source " + (folder / "commands.py").string());
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  const std::string program = program_of(files, chosen), core = core_of(files, chosen);
  if (!program.empty()) words.push_back(program);
  if (!core.empty()) words.push_back("--core=" + core);
  return words;
}

// ---- Running it ---------------------------------------------------------------------------------

[[noreturn]] void become(std::vector<std::string> words, const sigset_t& mask) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  signal(SIGINT, SIG_DFL);
  signal(SIGQUIT, SIG_DFL);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

// The terminal's signals are gdb's.
Result<int> run_to_end(const std::vector<std::string>& words) {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  signal(SIGINT, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  const pid_t child = fork();
  if (child < 0) return system_error("fork");
  if (child == 0) become(words, mask);
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return system_error("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return Error{"gdb: it is not installed, or not on PATH"};
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

fs::path place_in(const fs::path& root, const std::string& path) {
  if (path.empty() || path[0] != '/' || path.back() == '/') return {};
  for (const fs::path& part : fs::path(path).relative_path())
    if (part == ".." || part == "." || part.empty()) return {};
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }))
    return {};
  return root / fs::path(path).relative_path();
}

Result<int> run_gdb(const GdbOptions& options) {
  const auto files = RunFiles::open(options.bundle, RunFiles::Read::kWhole);
  if (!files) return files.error();
  const recording::Timeline timeline = (*files)->timeline();
  const Result<const Recording*> chosen = choose(options, **files, timeline.recordings());
  if (!chosen) return chosen.error();
  const Result<TemporaryDirectory> folder =
      TemporaryDirectory::make(temporary_parent(), "shmrec-gdb-");
  if (!folder) return folder.error();
  const fs::path& place = folder->path();
  const json session = session_document(options, **files, timeline.recordings(), **chosen);
  const std::string text = session.dump(1, ' ', false, json::error_handler_t::replace);
  for (const auto& [name, content] :
       {std::pair<const char*, std::string_view>{"session.json", text},
        {"commands.py", commands_text()}})
    if (const Result<> written = write_file(place / name, content); !written)
      return written.error();
  const SystemRoot root = make_root(**files, place / "root");
  if (core_of(**files, **chosen).empty())
    fprintf(stderr,
            "shmrec: %s left no core: its program and segments are here, its memory is not\n",
            (*chosen)->id.c_str());
  return run_to_end(command_line(options, place, root, **files, **chosen));
}

}  // namespace shmrec::debugger
