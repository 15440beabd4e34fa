// The stacks in a core: which functions every thread was in, at which lines, without gdb.
//
// elfutils unwinds the core with the unwind information of the files; functions, lines and inlined
// frames are those that blame knows (blame/symbols.h).
// Trust: core and files may be hostile: elfutils parses them, the number of frames is bounded, and
// a file is taken for what was mapped only if its build-id is the one in the core.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "recording/blame/symbols.h"
#include "recording/run/run_files.h"

namespace shmrec::recording {

struct StackFrame {
  uint64_t pc = 0;
  SourceFrame source;    // of the function, or of one that was inlined into it
  bool inlined = false;  // into the frame behind it, which has the same pc
  std::string module;    // the file's path as the program knew it, "" if unknown
};

struct ThreadStack {
  int tid = 0;
  std::vector<StackFrame> frames;  // innermost first
};

struct CoreStacks {
  int signal = 0;                    // that ended the process, 0: none did
  int exit_status = 0;               // that it ended with, 0: it did not
  std::vector<ThreadStack> threads;  // the one that died first; of a process that ran on, the main

  bool ended() const { return signal != 0 || exit_status != 0; }
};

// Files of the recorded system for readers: by their path, or "" if there is none.
struct FileFinder {
  std::function<std::string(const std::string& path)> by_path;
  std::function<std::string(const std::string& build_id)> by_build_id;  // hex digits
};

// Of a run's files, where they were kept; else those of this system.
FileFinder finder_of(const RunFiles& files);

// When the core was taken of a process that ran on, as time in its recording; 0: of one that ended.
uint64_t core_event(const std::string& core);

Result<CoreStacks> read_core_stacks(const std::string& core, const FileFinder& find);

// The frame to name: the innermost of the program's own code, not of a runtime library. nullptr:
// there is none.
const StackFrame* telling_frame(const ThreadStack& stack);

// "consumer_run (shmem_producer_consumer.c:99), called from main"; "" if no function is known.
std::string telling_text(const ThreadStack& stack);

// "consumer (pid 17) died of SIGABRT in consumer_run (a.c:99), called from main"; "exited with
// status 3 in"; of one that ran on, "was in".
std::string core_text(const std::string& name, int pid, const CoreStacks& stacks);

struct CoreLine {
  bool ended = false;  // CoreStacks::ended()
  std::string text;    // core_text()
};
// Of the recordings that left a core, by ID: of the first ones, as reading a core takes some tenths
// of a second.
std::map<std::string, CoreLine> core_lines(const RunFiles& files, const Timeline& timeline);

// As gdb prints it, but for arguments: "#0  0x... in f () at a.c:12".
std::string stack_text(const ThreadStack& stack);
nlohmann::json stacks_json(const CoreStacks& stacks);

}  // namespace shmrec::recording
