#include "recording/export/access_csv.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <unordered_map>

#include "base/printable.h"
#include "recording/blame/blame_print.h"
#include "recording/blame/code_finder.h"
#include "recording/blame/locate.h"
#include "recording/log/names.h"
#include "recording/log/syscall_names.h"
#include "recording/run/text.h"

namespace shmrec::recording {
namespace {

constexpr const char* kTitles =
    "time_us,recording,pid,name,tid,lane,event,pc,kind,outcome,segment,label,offset,length,address,"
    "read,written,syscall,function,source,versions,write_versions,first_versions\r\n";
constexpr const char* kLineEnd = "\r\n";
constexpr size_t kMostCached = 1 << 16;

// ---- Cells --------------------------------------------------------------------------------------

void add_number(std::string& line, uint64_t value, int base = 10) {
  char digits[20];
  line.append(digits, std::to_chars(std::begin(digits), std::end(digits), value, base).ptr);
}

void add_hex(std::string& line, uint64_t value) {
  line += "0x";
  add_number(line, value, 16);
}

// Of each line of memory that the access touched, in one cell.
template <typename Version>
void add_versions(std::string& line, const RecordView& record, const Version& version) {
  for (uint32_t i = 0; i < record.lines(); ++i) {
    if (i > 0) line += ' ';
    add_number(line, version(i));
  }
}

// Microseconds since the run's start, with three decimals.
void add_time(std::string& line, const shmlog::Header& header, uint64_t tsc) {
  const uint64_t ticks = tsc > header.start_tsc ? tsc - header.start_tsc : 0;
  const auto hz = static_cast<long double>(std::max<uint64_t>(header.tsc_hz, 1));
  const long double ns = static_cast<long double>(ticks) * 1e9L / hz;
  const auto whole = ns < 1e19L ? static_cast<uint64_t>(ns) : UINT64_MAX;
  add_number(line, whole / 1000);
  const uint64_t rest = whole % 1000;
  const char decimals[] = {'.', static_cast<char>('0' + rest / 100),
                           static_cast<char>('0' + rest / 10 % 10),
                           static_cast<char>('0' + rest % 10)};
  line.append(decimals, sizeof(decimals));
}

// ---- The code of accesses -----------------------------------------------------------------------

// Millions of accesses are made by few places in the code: what is known of a place, by its
// instruction, its callers and its system call, is found once for each time between two changes of
// what its process has mapped there.
class CodeCells {
 public:
  CodeCells(const Timeline& timeline, Symbols& symbols)
      : timeline_(timeline), finder_(timeline, symbols) {}

  // "function,source"
  const std::string& of(const Recording& recording, const RecordView& record) {
    make_key(recording, record);
    auto found = places_.find(key_);
    if (found == places_.end()) {
      if (places_.size() >= kMostCached) places_.clear();
      found = places_.emplace(key_, Place{changes(recording, record), {}}).first;
    }
    const std::vector<uint64_t>& changes = found->second.changes;
    const auto next = std::upper_bound(changes.begin(), changes.end(), record.header.event);
    const uint64_t since = next == changes.begin() ? 0 : *std::prev(next);
    const auto [cells, fresh] = found->second.cells.try_emplace(since);
    if (fresh) cells->second = find(recording, record, since);
    return cells->second;
  }

 private:
  struct Place {
    std::vector<uint64_t> changes;
    std::map<uint64_t, std::string> cells;  // by the change that they are known since
  };

  void make_key(const Recording& recording, const RecordView& record) {
    const shmlog::RecordHeader& header = record.header;
    const uint64_t head[] = {header.pc, uint64_t{recording.process} << 16 | header.syscall};
    key_.assign(reinterpret_cast<const char*>(head), sizeof(head));
    if (record.callers_at != nullptr)
      key_.append(reinterpret_cast<const char*>(record.callers_at),
                  shmlog::callers_of_flags(header.flags) * sizeof(uint64_t));
  }

  std::vector<uint64_t> changes(const Recording& recording, const RecordView& record) const {
    std::vector<uint64_t> addresses = {record.header.pc};
    for (const uint64_t word : record.callers())
      addresses.push_back(shmlog::caller_address(word) - 1);
    return timeline_.changes_at(recording, addresses);
  }

  std::string find(const Recording& recording, const RecordView& record, uint64_t since) {
    const shmlog::RecordHeader& header = record.header;
    const CodeSite site = finder_.find(recording, since, header.pc, record.callers());
    const std::string source =
        site.file.empty() ? site.in_module : site.file + ":" + std::to_string(site.line);
    return csv_cell(function_text(site, header.syscall)) + "," + csv_cell(source);
  }

  const Timeline& timeline_;
  CodeFinder finder_;
  std::string key_;
  std::unordered_map<std::string, Place> places_;
};

// ---- Rows ---------------------------------------------------------------------------------------

class RowWriter {
 public:
  RowWriter(const Timeline& timeline, Symbols& symbols)
      : timeline_(timeline), code_(timeline, symbols) {}

  const std::string& row(const WalkedAccess& access) {
    const RecordView& record = access.record;
    const shmlog::RecordHeader& header = record.header;
    const shmlog::ChunkHeader& chunk = access.chunk.header;
    const Recording* recording = timeline_.by_process(chunk.process);
    line_.clear();
    add_time(line_, timeline_.reader().header(), access.tsc);
    line_ += ',' + process_cells(chunk, recording);
    line_ += ',' + std::to_string(chunk.tid) + ',' + std::to_string(chunk.lane) + ',';
    add_number(line_, header.event);
    line_ += ',';
    add_hex(line_, header.pc);
    line_ += ',' + record_kind_name(static_cast<uint32_t>(record.kind)) + ',';
    line_ += outcome_name(access.outcome);
    line_ += ',' + segment_cells(header.segment) + ',';
    add_number(line_, header.offset);
    line_ += ',';
    add_number(line_, header.length);
    line_ += ',';
    if (header.address != 0) add_hex(line_, header.address);
    line_ += ',' + hex_bytes(record.input()) + ',' + hex_bytes(record.output()) + ',';
    if (header.syscall != 0) line_ += csv_cell(syscall_name(header.syscall - 1u));
    line_ += ',' + (recording ? code_.of(*recording, record) : ",") + ',';
    add_order(record);
    return line_ += kLineEnd;
  }

 private:
  void add_order(const RecordView& record) {
    add_versions(line_, record, [&](uint32_t i) { return record.read_version(i); });
    line_ += ',';
    if (record.kind == shmlog::RecordKind::kReadThenWrite)
      add_versions(line_, record, [&](uint32_t i) { return record.write_version(i); });
    line_ += ',';
    if (record.between())
      add_versions(line_, record, [&](uint32_t i) { return record.first_version(i); });
  }

  // "recording,pid,name"
  const std::string& process_cells(const shmlog::ChunkHeader& chunk, const Recording* recording) {
    if (processes_.size() >= kMostCached) processes_.clear();
    const auto [cells, fresh] = processes_.try_emplace(chunk.process);
    if (fresh && recording)
      cells->second =
          recording->id + "," + std::to_string(recording->pid) + "," + csv_cell(recording->name);
    else if (fresh)
      cells->second =
          "process#" + std::to_string(chunk.process) + "," + std::to_string(chunk.pid) + ",";
    return cells->second;
  }

  // "number,label"
  const std::string& segment_cells(uint32_t segment) {
    if (segments_.size() >= kMostCached) segments_.clear();
    const auto [cells, fresh] = segments_.try_emplace(segment);
    if (fresh)
      cells->second = std::to_string(segment) + "," +
                      csv_cell(segment_label(segment, timeline_.reader().segment(segment)));
    return cells->second;
  }

  const Timeline& timeline_;
  CodeCells code_;
  std::string line_;
  std::unordered_map<uint32_t, std::string> processes_, segments_;
};

}  // namespace

std::string csv_cell(std::string_view text) {
  const std::string safe = shmrec::printable(text);
  if (safe.find_first_of(",\"") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::vector<Damage> write_access_csv(const Timeline& timeline, Symbols& symbols,
                                     const AccessFilter& filter,
                                     const std::function<bool(std::string_view)>& write) {
  if (!write(kTitles)) return {};
  RowWriter rows(timeline, symbols);
  return walk_accesses(timeline.reader(), filter,
                       [&](const WalkedAccess& access) { return write(rows.row(access)); });
}

}  // namespace shmrec::recording
