// Prints a shared-memory log, item by item: header, rules, tables, journal, chunks and records, and
// what could not be used. One line each, as "TYPE key=value ..." or as a JSON object (JSON Lines).
#pragma once

#include <functional>
#include <string>

#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

// Receives one line at a time, without the newline; returns false to stop.
using LineSink = std::function<bool(const std::string& line)>;

void dump_shmlog(const ShmlogReader& log, bool json, const LineSink& sink);

}  // namespace shmrec::recording
