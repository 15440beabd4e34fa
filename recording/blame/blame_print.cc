#include "recording/blame/blame_print.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

#include "recording/log/syscall_names.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;

constexpr const char* kBold = "\033[1m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kReset = "\033[0m";

struct Column {
  const char* title;
  size_t width;  // least
  bool right;
};
constexpr std::array<Column, std::tuple_size_v<BlameCells>> kColumns = {{
    {"PID", 5, true},
    {"Recording ID", 14, false},
    {"Time in recording", 19, false},
    {"Type", 6, false},
    {"Address", 14, false},
    {"Len", 5, true},
    {"Value", 5, false},
    {"Program", 7, false},
    {"Function", 8, false},
    {"File:line", 9, false},
    {"Segment", 7, false},
}};

std::string value_cell(const BlameAnswer& answer, const BlameRow& row) {
  std::string value = value_text(answer.type, row.value);
  if (!row.old_value.empty()) value = value_text(answer.type, row.old_value) + " -> " + value;
  if (row.unrecorded_writer || row.access.outcome == Outcome::kDone) return value;
  return value + " (" + outcome_name(row.access.outcome) + ")";
}

std::string source_text(const std::string& file, int line) {
  return file.empty() ? "" : base_name(file) + ":" + std::to_string(line);
}

// "    inlined: store atomic_base.h:464 < set gauge.cpp:17 < fail_over gauge.cpp:21\n"
std::string chain_line(const BlameRow& row) {
  std::string line;
  for (const SourceFrame& frame : row.chain) {
    line += (line.empty() ? "    inlined: " : " < ") + frame.function + " " +
            source_text(frame.file, frame.line);
  }
  return line.empty() ? "" : printable(line) + "\n";
}

// "    called: memset libc.so.6 < reset_table table.c:41\n"
std::string callers_line(const BlameRow& row) {
  if (row.frames.size() < 2) return "";
  std::string line;
  for (const CodeFrame& frame : row.frames) {
    line += (line.empty() ? "    called: " : " < ") + frame.function + " " +
            (frame.file.empty() ? frame.in_module : source_text(frame.file, frame.line));
  }
  return printable(line) + "\n";
}

BlameCells unrecorded_cells(const BlameAnswer& answer, const BlameRow& row) {
  return {"?",
          "-",
          "unrecorded writer",
          "write",
          "-",
          std::to_string(row.value.size()),
          value_cell(answer, row),
          "",
          "",
          "",
          answer.segment + "+" + hex(row.value_offset)};
}

std::string join(const BlameCells& cells, const std::array<size_t, kColumns.size()>& widths,
                 const char* mark) {
  std::string line = mark;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string pad(widths[i] - std::min(widths[i], cells[i].size()), ' ');
    const std::string text = printable(cells[i]);
    line += (i == 0 ? "" : "  ") + (kColumns[i].right ? pad + text : text + pad);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

json row_json(const BlameAnswer& answer, const BlameRow& row) {
  if (row.unrecorded_writer) {
    return {
        {"unrecordedWriter", true}, {"offset", row.value_offset}, {"value", hex_bytes(row.value)}};
  }
  const shmlog::RecordHeader& header = row.access.header;
  json out = {
      {"current", row.current},
      {"event", header.event},
      {"pc", hex(header.pc)},
      {"time", format_time(header.event, header.pc)},
      {"type", access_type(row.access)},
      {"address", hex(header.address)},
      {"length", header.length},
      {"offset", header.offset},
      {"value", hex_bytes(row.value)},
      {"valueOffset", row.value_offset},
      {"outcome", outcome_name(row.access.outcome)},
      {"tid", row.access.tid},
      {"readVersions", row.access.read_versions},
      {"writeVersions", row.access.write_versions},
      {"relaxed", (header.flags & shmlog::kFlagRelaxed) != 0},
  };
  if (!row.old_value.empty()) out["oldValue"] = hex_bytes(row.old_value);
  if (const json number = value_json(answer.type, row.value); !number.is_null())
    out["number"] = number;
  if (const json number = value_json(answer.type, row.old_value); !number.is_null())
    out["oldNumber"] = number;
  if (row.later) out["later"] = true;
  if (header.syscall != 0) out["syscall"] = syscall_name(header.syscall - 1u);
  if (!row.function.empty()) out["function"] = row.function;
  if (!row.file.empty()) out["file"] = row.file;
  if (!row.file.empty()) out["line"] = row.line;
  for (const SourceFrame& frame : row.chain) {
    out["inlined"].push_back(
        {{"function", frame.function}, {"file", frame.file}, {"line", frame.line}});
  }
  if (!row.module.empty()) out["module"] = row.module;
  if (!row.in_module.empty()) out["place"] = row.in_module;
  if (!row.called.empty()) out["called"] = row.called;
  for (size_t i = 1; i < row.frames.size(); ++i) {
    const CodeFrame& caller = row.frames[i];
    out["callers"].push_back({{"pc", hex(caller.pc)},
                              {"function", caller.function},
                              {"file", caller.file},
                              {"line", caller.line},
                              {"module", caller.module},
                              {"place", caller.in_module}});
  }
  if (row.recording != nullptr) {
    out["pid"] = row.recording->pid;
    out["recording"] = row.recording->id;
    out["name"] = row.recording->name;
  }
  return out;
}

}  // namespace

BlameCells blame_titles() {
  BlameCells titles;
  for (size_t i = 0; i < titles.size(); ++i) titles[i] = kColumns[i].title;
  return titles;
}

BlameCells blame_cells(const BlameAnswer& answer, const BlameRow& row) {
  if (row.unrecorded_writer) return unrecorded_cells(answer, row);
  const shmlog::RecordHeader& header = row.access.header;
  const bool known = row.recording != nullptr;
  return {known ? std::to_string(row.recording->pid) : "?",
          known ? row.recording->id : "process#" + std::to_string(row.access.process),
          format_time(header.event, header.pc),
          access_type(row.access),
          header.address != 0 ? hex(header.address) : "-",
          std::to_string(header.length),
          value_cell(answer, row),
          known ? row.recording->name : "?",
          function_text(row, header.syscall),
          place_text(row),
          answer.segment + "+" + hex(header.offset)};
}

std::string place_text(const CodeSite& site) {
  return site.file.empty() ? site.in_module : source_text(site.file, site.line);
}

const char* access_type(const Access& access) {
  return !access.writes() ? "read" : access.reads() ? "read/write" : "write";
}

const char* outcome_name(Outcome outcome) {
  constexpr const char* kNames[] = {"done", "partial", "inferred", "in flight", "not done"};
  return kNames[static_cast<size_t>(outcome)];
}

std::string hex_bytes(std::span<const uint8_t> bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string format_value(const std::vector<uint8_t>& bytes) { return value_text({}, bytes); }

std::string blame_table(const BlameAnswer& answer, bool colour, bool verbose) {
  if (answer.rows.empty()) return "";
  const BlameCells titles = blame_titles();
  BlameCells dashes;
  std::array<size_t, kColumns.size()> widths;
  std::vector<BlameCells> lines;
  for (const BlameRow& row : answer.rows) lines.push_back(blame_cells(answer, row));
  for (size_t i = 0; i < kColumns.size(); ++i) {
    widths[i] = kColumns[i].width;
    for (const BlameCells& cells : lines)
      widths[i] = std::max(widths[i], printable(cells[i]).size());
    dashes[i] = std::string(widths[i], '-');
  }
  std::string table = join(titles, widths, "  ") + "\n" + join(dashes, widths, "  ") + "\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    const BlameRow& row = answer.rows[i];
    if (row.later && (i == 0 || !answer.rows[i - 1].later)) table += "  later overwritten by\n";
    const std::string line = join(lines[i], widths, row.current ? "* " : row.later ? "> " : "  ");
    const char* tone = row.unrecorded_writer ? kYellow : row.current ? kBold : nullptr;
    table += (colour && tone ? tone + line + kReset : line) + "\n";
    if (verbose) table += chain_line(row) + callers_line(row);
  }
  return table;
}

json blame_json(const BlameAnswer& answer) {
  json rows = json::array();
  for (const BlameRow& row : answer.rows) rows.push_back(row_json(answer, row));
  json out = {
      {"format", "shmrec-blame/1"},
      {"segment",
       {{"number", answer.location.segment},
        {"label", answer.segment},
        {"accesses", answer.writes_only ? "writes" : "all"}}},
      {"offset", answer.location.offset},
      {"length", answer.location.length},
      {"rows", rows},
      {"notes", answer.notes},
      {"leftOut", answer.left_out},
  };
  out["recording"] = answer.recording ? json(answer.recording->id) : json();
  out["atEvent"] = answer.time.event == UINT64_MAX ? json("end") : json(answer.time.event);
  return out;
}

std::string blame_command_lines(const BlameAnswer& answer, const std::string& bundle) {
  std::string lines;
  for (const BlameRow& row : answer.rows) {
    if (row.unrecorded_writer || row.recording == nullptr) continue;
    const shmlog::RecordHeader& header = row.access.header;
    lines +=
        "shmrec blame " + shell_quoted(bundle) + " --recording " + row.recording->id + " --at " +
        format_time(header.event, header.pc) + " --len " + std::to_string(answer.location.length) +
        " " +
        shell_quoted(std::to_string(answer.location.segment) + "+" + hex(answer.location.offset)) +
        "\n";
  }
  return lines;
}

}  // namespace shmrec::recording
