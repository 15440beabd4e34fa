// A bundle opened in gdb: the core of one recording, with the program and the libraries that the
// bundle has, and the commands of share/commands.py.
//
// What gdb needs is unpacked below a directory of its own in $TMPDIR, and removed when gdb has
// ended. Nothing is fetched, and nothing of the bundle is run: gdb's auto-load is off.
// Trust: the bundle is opened as any (bundle.h); that names of files in it become links in the
// directory cannot lead out of it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::debugger {

struct GdbOptions {
  std::string bundle;
  std::string recording;  // ID, pid or name; "": of those that left a core, the one that died first
  std::vector<std::string> arguments;  // for gdb
};

// Runs gdb to its end. Returns its exit code.
Result<int> run_gdb(const GdbOptions& options);

// Where in `root` a file stands that a program knows by the absolute `path`; "" if that is none, or
// leads elsewhere.
std::filesystem::path place_in(const std::filesystem::path& root, const std::string& path);

}  // namespace shmrec::debugger
