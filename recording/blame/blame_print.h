// Prints blame's answers: the table, JSON, and the commands that go on from a row.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "recording/blame/blame.h"

namespace shmrec::recording {

// The columns of an answer, and of a row.
using BlameCells = std::array<std::string, 11>;
BlameCells blame_titles();
BlameCells blame_cells(const BlameAnswer& answer, const BlameRow& row);

// "table.c:41", or where in which file it is.
std::string place_text(const CodeSite& site);

// The table with its two heading lines; empty if there are no rows. Columns up to Len have the
// widths of the format this tool follows; `colour` highlights the current recording. `verbose` adds
// below a row the chain of inlined functions.
std::string blame_table(const BlameAnswer& answer, bool colour, bool verbose = false);

nlohmann::json blame_json(const BlameAnswer& answer);

// For each row the command that asks from there: "shmrec blame BUNDLE --recording ID --at TIME
// ...".
std::string blame_command_lines(const BlameAnswer& answer, const std::string& bundle);

// Bytes as a person wants them: 1, 2, 4 and 8 bytes as a number, others in hexadecimal.
std::string format_value(const std::vector<uint8_t>& bytes);

// All bytes as they lie in memory, two digits each: 1f00.
std::string hex_bytes(std::span<const uint8_t> bytes);

const char* access_type(const Access& access);  // read, write, read/write
const char* outcome_name(Outcome outcome);      // done, partial, inferred, in flight, not done

}  // namespace shmrec::recording
