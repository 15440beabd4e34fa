// What gdb needs to show one recording: its core, and program and libraries under the names that
// they had where they ran.
//
// A session is a directory of its own in $TMPDIR, which goes with it. Nothing is fetched, and
// nothing of the bundle is run: gdb's auto-load is off.
// Owner: borrows the run's files. Threads: one at a time.
// Trust: the bundle is opened as any (bundle.h); that names of files in it become links in the
// directory cannot lead out of it.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/temporary_directory.h"
#include "recording/run/run_files.h"

namespace shmrec::debugger {

// The recording that a person names by ID, pid or name; of several so called, the one with a core.
// "": of those that left a core, the one that died first. `bundle`: for messages.
Result<const recording::Recording*> choose_recording(
    const std::string& bundle, const std::string& wanted, const recording::RunFiles& files,
    const std::vector<recording::Recording>& recordings);

// The file of its program; "" if it was not kept.
std::string program_of(const recording::RunFiles& files, const recording::Recording& recording);

class CoreSession {
 public:
  static Result<CoreSession> make(const recording::RunFiles& files,
                                  const recording::Recording& recording);

  const std::filesystem::path& folder() const { return folder_.path(); }
  Result<> add_file(const char* name, std::string_view text) const;

  // gdb's, with `arguments` of its own. `script`: a file of the folder that is read before the
  // core;
  // "": none.
  std::vector<std::string> command_line(const std::string& script,
                                        const std::vector<std::string>& arguments) const;

 private:
  explicit CoreSession(TemporaryDirectory folder) : folder_(std::move(folder)) {}
  void make_root(const recording::RunFiles& files);

  TemporaryDirectory folder_;
  std::set<std::string> library_folders_;  // empty: the bundle has no binaries
  std::string program_, core_;             // "" if there is none
};

// Runs the command to its end, and returns its exit code. The terminal's signals are its own.
// `output`: a file for what it prints, instead of the terminal, and it reads nothing.
Result<int> run_to_end(const std::vector<std::string>& words, const std::string& output = "");

// Where in `root` a file stands that a program knows by the absolute `path`; "" if that is none, or
// leads elsewhere.
std::filesystem::path place_in(const std::filesystem::path& root, const std::string& path);

}  // namespace shmrec::debugger
