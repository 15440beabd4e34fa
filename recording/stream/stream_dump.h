// Prints the stream of a recording, record by record: one line each, for people much as strace
// prints them, or as JSON Lines.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "recording/stream/stream_reader.h"

namespace shmrec::recording {

// All that `reader` has left to give. `sink` receives one line at a time, without the newline, and
// returns false to stop. An Error: what is wrong behind the lines that were printed.
Result<> dump_stream(StreamReader& reader, bool json,
                     const std::function<bool(const std::string& line)>& sink);

}  // namespace shmrec::recording
