// What an expression means in a frame of a core, so that a question about shared memory can begin
// with a local variable: `consumer_run:&ring[index]`, `frame 4: head->next`.
//
// gdb in batch mode evaluates it: any expression of the program's language, with all forms of
// locations that compilers write. The expression is data of a script (share/evaluate.py), never
// part of a command; gdb's own functions and variables ($_...) are refused, some of which run
// commands. A core has no process, so nothing of the program can be called.
// Trust and what gdb is given: core_session.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"
#include "recording/blame/value_type.h"
#include "recording/run/run_files.h"

namespace shmrec::debugger {

struct FrameQuestion {
  std::variant<unsigned, std::string> frame;  // its number, or the name of its function
  std::string expression;
};

// None if `where` has another form. A name is that of a function, with or without the namespaces
// and classes before it.
std::optional<FrameQuestion> frame_question(const std::string& where);

struct FramePlace {
  const recording::Recording* recording = nullptr;  // whose core was asked
  uint64_t address = 0;
  uint64_t length = 0;        // 0: unknown
  recording::ValueType type;  // of what lies there
  std::string frame;          // "frame 6: consumer_run (producer_consumer.c:80)"
};

// `bundle`: for messages. `wanted`: a recording's ID, pid or name; "": the one that died first of
// those that left a core. The frame is of the thread that died; only a name that no frame of it has
// is looked for in the other threads.
Result<FramePlace> find_in_frame(const recording::RunFiles& files,
                                 const recording::Timeline& timeline, const std::string& bundle,
                                 const std::string& wanted, const FrameQuestion& question);

}  // namespace shmrec::debugger
