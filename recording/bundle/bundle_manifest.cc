#include "recording/bundle/bundle_manifest.h"

#include <sys/wait.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <set>

#include "base/signal_name.h"
#include "recording/bundle/cores.h"
#include "recording/log/shmlog_create.h"
#include "recording/stream/stream_files.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t kNanosecond = 1'000'000'000;

std::string rfc3339(uint64_t realtime_ns) {
  const time_t seconds = static_cast<time_t>(realtime_ns / kNanosecond);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char date[32], text[48];
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text, sizeof(text), "%s.%09" PRIu64 "Z", date, realtime_ns % kNanosecond);
  return text;
}

// Null for a reading that was never taken or cannot be.
ordered_json time_of(const ShmlogReader& log, uint64_t tsc) {
  const double seconds = log.seconds_since_start(tsc);
  if (tsc == 0 || !std::isfinite(seconds) || std::fabs(seconds) > 1e9) return nullptr;
  return rfc3339(log.header().start_realtime_ns +
                 static_cast<uint64_t>(std::llround(seconds * 1e9)));
}

std::string hex16(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%016" PRIx64, value);
  return text;
}

// The run as the launcher described it, or null.
ordered_json copied(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? ordered_json(nullptr) : ordered_json(*found);
}

ordered_json wait_status(int status) {
  if (WIFEXITED(status)) return {{"code", WEXITSTATUS(status)}};
  if (!WIFSIGNALED(status)) return {{"status", status}};
  return {{"signal", WTERMSIG(status)}, {"name", signal_name(WTERMSIG(status))}};
}

// Indexed by ProcessEnd::Source.
constexpr const char* kEndSources[] = {"nobody", "process", "launcher", "parent"};

ordered_json process_exit(const ProcessEnd& end) {
  if (end.source == ProcessEnd::Source::kUnknown) {
    return {{"known", false}, {"why", "no exit record: killed, or still running"}};
  }
  ordered_json exit = {{"known", true}, {"by", kEndSources[static_cast<size_t>(end.source)]}};
  if (end.replaced) {
    exit["exec"] = true;
  } else {
    exit.update(wait_status(end.wait_status));
  }
  return exit;
}

// Indexed by StartKind.
constexpr const char* kStartKinds[] = {"unknown", "exec", "fork", "api", "vfork"};

// The value of "processes" as it stands in the text. Its rows are no part of the document: as a
// tree those of a run of 65535 processes take 80 MiB.
std::string processes_text(const ShmlogReader& log, const RunFacts& facts) {
  const std::map<uint32_t, ProcessEnd> ends = process_ends(log, facts);
  std::string text = "[";
  for (const auto& [index, entry] : log.processes()) {
    const auto end = ends.find(index);
    const uint32_t kind = entry.start_kind < std::size(kStartKinds) ? entry.start_kind : 0;
    const std::string parent = recording_id(log, entry.parent);
    ordered_json row = {{"id", recording_id(log, index)},
                        {"pid", entry.pid},
                        {"name", fixed_text(entry.name)},
                        {"parent", parent.empty() ? ordered_json(nullptr) : ordered_json(parent)},
                        {"parentPid", entry.parent_pid},
                        {"startedBy", kStartKinds[kind]},
                        {"start", time_of(log, entry.start_tsc)},
                        {"end", time_of(log, entry.end_tsc)},
                        {"exit", process_exit(end == ends.end() ? ProcessEnd{} : end->second)},
                        {"events", entry.events},
                        {"accesses", entry.accesses}};
    if (entry.degraded != 0) row["unrecordedBecause"] = degraded_words(entry.degraded);
    text += text.size() == 1 ? "\n    " : ",\n    ";
    for (const char c : row.dump(2, ' ', false, ordered_json::error_handler_t::replace)) {
      text += c;
      if (c == '\n') text += "    ";
    }
  }
  return text + (text.size() == 1 ? "]" : "\n  ]");
}

// Of a document whose "processes" is null.
std::string with_processes(const ordered_json& document, const std::string& processes) {
  constexpr std::string_view kMember = "\n  \"processes\": ", kNull = "null";
  std::string text = to_text(document);
  // At the start of a line, as deep as this, there is nothing but the document's own members.
  text.replace(text.find(kMember) + kMember.size(), kNull.size(), processes);
  return text;
}

ordered_json log_document(const ManifestInput& input) {
  ordered_json log = {{"file", kLogName},
                      {"bytes", input.image.present_bytes},
                      {"storedBytes", input.image.stored_bytes},
                      {"opens", input.log != nullptr}};
  if (input.log == nullptr) {
    log["why"] = input.log_error;
    return log;
  }
  uint64_t accesses = 0;
  for (const auto& process : input.log->processes()) accesses += process.entry.accesses;
  log["formatVersion"] = input.log->header().version;
  log["createdBy"] = fixed_text(input.log->header().build);
  log["endedInOrder"] = input.log->header().closed == 1;
  log["accesses"] = accesses;
  log["segments"] = input.log->segments().size();
  return log;
}

struct Part {
  const char* name;
  std::vector<std::string> sources;  // of coverage items
};

// By part of the bundle: nothing is missing, or the first thing that is.
ordered_json completeness(const std::vector<CoverageItem>& coverage) {
  const Part parts[] = {{"log", {"log", "journal"}},
                        {"processes", {"process"}},
                        {"run", {"run", "launcher"}},
                        {"binaries", {"binaries"}}};
  ordered_json document = ordered_json::object();
  for (const Part& part : parts) {
    uint64_t gaps = 0;
    std::string first;
    for (const CoverageItem& item : coverage) {
      const bool ours =
          std::find(part.sources.begin(), part.sources.end(), item.source) != part.sources.end();
      if (ours && item.gap && gaps++ == 0) first = item.what + ": " + item.why;
    }
    document[part.name] = {{"complete", gaps == 0}};
    if (gaps > 0) document[part.name]["why"] = first;
    if (gaps > 1) document[part.name]["more"] = std::to_string(gaps - 1) + " more in coverage.json";
  }
  return document;
}

ordered_json file_list(const std::vector<FileSize>& files) {
  ordered_json rows = ordered_json::array();
  for (const FileSize& file : files) rows.push_back({{"name", file.name}, {"bytes", file.bytes}});
  return rows;
}

std::string run_id_of(const ManifestInput& input) {
  return input.log != nullptr ? hex16(input.log->header().run_id) : input.facts.run_text("runId");
}

ordered_json start_time_of(const ManifestInput& input) {
  if (input.facts.run.contains("startTime")) return copied(input.facts.run, "startTime");
  if (input.log == nullptr) return nullptr;
  return rfc3339(input.log->header().start_realtime_ns);
}

ordered_json exit_of_run(const json& end) {
  const auto status = end.find("status");
  if (status == end.end() || !status->is_number_integer()) {
    return {{"known", false}, {"why", "no end.json: killed, or still running"}};
  }
  ordered_json exit = {{"known", true}};
  exit.update(wait_status(status->get<int>()));
  return exit;
}

ordered_json members_of(const RunFacts& facts) {
  ordered_json rows = ordered_json::array();
  for (const MemberFacts& member : facts.members) {
    rows.push_back({{"name", member.name},
                    {"command", copied(member.run, "command")},
                    {"executable", copied(member.run, "executable")},
                    {"startTime", copied(member.run, "startTime")},
                    {"endTime", copied(member.end, "endTime")},
                    {"exit", exit_of_run(member.end)},
                    {"container", copied(member.run, "container")}});
  }
  return rows;
}

}  // namespace

// ---- Writing ------------------------------------------------------------------------------------

std::string to_text(const ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

namespace {

// The oldest that knows all files.
const char* format_of(const ManifestInput& input) {
  const auto any = [&](bool (*is)(const std::string&)) {
    return std::any_of(input.files.begin(), input.files.end(),
                       [&](const FileSize& file) { return is(file.name); });
  };
  if (any(is_recording_file)) return kBundleFormatWithRecordings;
  if (any(is_core_name)) return kBundleFormatWithCores;
  return input.facts.members.empty() ? kBundleFormat : kBundleFormatWithMembers;
}

}  // namespace

std::string make_manifest(const ManifestInput& input) {
  const json& run = input.facts.run;
  ordered_json document = {{"format", format_of(input)},
                           {"version", SHMREC_VERSION},
                           {"runId", run_id_of(input)},
                           {"name", input.name},
                           {"trigger", input.trigger},
                           {"command", copied(run, "command")},
                           {"executable", copied(run, "executable")},
                           {"cwd", copied(run, "cwd")},
                           {"startTime", start_time_of(input)},
                           {"endTime", copied(input.facts.end, "endTime")},
                           {"exit", exit_of_run(input.facts.end)},
                           {"host",
                            {{"hostname", copied(run, "hostname")},
                             {"kernel", copied(run, "kernel")},
                             {"uid", copied(run, "uid")},
                             {"gid", copied(run, "gid")}}},
                           {"container", copied(run, "container")},
                           {"complete", completeness(input.coverage)},
                           {"redacted", input.facts.redacted},
                           {"log", log_document(input)}};
  if (!input.facts.members.empty()) document["members"] = members_of(input.facts);
  document["processes"] = nullptr;
  document["policy"] = copied(run, "policy");
  document["files"] = file_list(input.files);
  return with_processes(document,
                        input.log == nullptr ? "[]" : processes_text(*input.log, input.facts));
}

std::string make_binaries(const BinaryCollection& binaries) {
  ordered_json rows = ordered_json::array();
  for (const Module& module : binaries.modules) {
    ordered_json row = {{"path", module.path},
                        {"role", module.executable ? "executable" : "library"}};
    if (!module.build_id.empty()) row["buildId"] = module.build_id;
    if (module.file.empty()) {
      row["missing"] = module.why;
    } else {
      row["file"] = module.file;
    }
    rows.push_back(std::move(row));
  }
  return to_text({{"format", "shmrec-binaries/1"}, {"modules", std::move(rows)}});
}

// ---- Reading ------------------------------------------------------------------------------------

namespace {

constexpr const char* kFixedNames[] = {"run.json",    "end.json",    "events.jsonl", "launcher.log",
                                       kCoverageName, kBinariesName, kLogName};

bool known_name(const std::string& name, bool with_members, bool with_cores, bool with_recordings) {
  if (with_recordings && is_recording_file(name)) return true;
  if (with_members && is_member_file(name)) return true;
  if (with_cores && is_core_name(name)) return true;
  for (const char* fixed : kFixedNames) {
    if (name == fixed) return true;
  }
  return is_binary_name(name);
}

bool read_unsigned(const json& object, const char* key, uint64_t& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  value = found->get<uint64_t>();
  return true;
}

bool read_string(const json& object, const char* key, std::string& value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  value = found->get<std::string>();
  return true;
}

// Quoted and escaped, so that it can be shown.
std::string shown(const std::string& text) {
  return json(text.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace);
}

class ManifestParser {
 public:
  ManifestParser(const json& document, std::string bundle)
      : document_(document), bundle_(std::move(bundle)) {}

  Result<Manifest> parse() {
    for (const auto step : {&ManifestParser::format, &ManifestParser::files, &ManifestParser::log,
                            &ManifestParser::processes}) {
      const Result<> done = (this->*step)();
      if (!done) return done.error();
    }
    return std::move(manifest_);
  }

 private:
  Result<> format() {
    std::string format, version = "?";
    if (!document_.is_object() || !read_string(document_, "format", format)) {
      return bad("not a JSON object with a format");
    }
    read_string(document_, "version", version);
    with_recordings_ = format == kBundleFormatWithRecordings;
    with_cores_ = format == kBundleFormatWithCores || with_recordings_;
    with_members_ = format == kBundleFormatWithMembers || with_cores_;
    if (format != kBundleFormat && !with_members_) {
      return bad("format " + shown(format) + ", made by shmrec " + shown(version) + "; expected " +
                 kBundleFormat + " to " + kBundleFormatWithRecordings +
                 "; open it with that version of shmrec");
    }
    return read_string(document_, "runId", manifest_.run_id) ? Result<>(Unit{}) : bad("no runId");
  }

  Result<> files() {
    const auto files = document_.find("files");
    if (files == document_.end() || !files->is_array()) return bad("no list of files");
    std::set<std::string> seen;
    for (const json& row : *files) {
      FileSize file;
      if (!row.is_object() || !read_string(row, "name", file.name) ||
          !read_unsigned(row, "bytes", file.bytes)) {
        return bad("a file without name or size");
      }
      if (!known_name(file.name, with_members_, with_cores_, with_recordings_))
        return bad("file " + shown(file.name) + " has no place in a bundle");
      if (!seen.insert(file.name).second)
        return bad("file " + shown(file.name) + " is listed twice");
      manifest_.files.push_back(std::move(file));
    }
    for (const char* name : {kCoverageName, kBinariesName, kLogName}) {
      if (!seen.contains(name)) return bad(std::string("lists no ") + name);
    }
    return Unit{};
  }

  Result<> log() {
    const auto log = document_.find("log");
    if (log == document_.end() || !log->is_object() ||
        !read_unsigned(*log, "bytes", manifest_.log_present_bytes) ||
        !read_unsigned(*log, "storedBytes", manifest_.log_stored_bytes)) {
      return bad("no sizes of the log");
    }
    const auto opens = log->find("opens");
    manifest_.log_opens = opens != log->end() && opens->is_boolean() && opens->get<bool>();
    const bool agrees =
        std::find(manifest_.files.begin(), manifest_.files.end(),
                  FileSize{kLogName, manifest_.log_stored_bytes}) != manifest_.files.end();
    if (!agrees || manifest_.log_present_bytes < manifest_.log_stored_bytes ||
        manifest_.log_present_bytes > kMaxLogBytes) {
      return bad("sizes of the log contradict each other");
    }
    return Unit{};
  }

  Result<> processes() {
    const auto rows = document_.find("processes");
    if (rows == document_.end() || !rows->is_array()) return bad("no list of processes");
    for (const json& row : *rows) {
      std::string id;
      if (!row.is_object() || !read_string(row, "id", id)) return bad("a process without id");
      manifest_.processes.push_back(std::move(id));
    }
    return Unit{};
  }

  Error bad(const std::string& what) const {
    return Error{bundle_ + ": " + kManifestName + ": " + what};
  }

  const json& document_;
  std::string bundle_;
  bool with_recordings_ = false;
  bool with_cores_ = false;
  bool with_members_ = false;
  Manifest manifest_;
};

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, const std::string& bundle) {
  const json document = json::parse(text.begin(), text.end(), nullptr, false);
  if (document.is_discarded())
    return Error{bundle + ": manifest.json: not JSON; damaged: get another copy"};
  return ManifestParser(document, bundle).parse();
}

Result<> check_manifest(const Manifest& manifest, const ShmlogReader* log,
                        const std::string& bundle) {
  const auto wrong = [&](const std::string& what) {
    return Error{bundle + ": manifest.json is not true of the content: " + what +
                 "; do not trust this bundle"};
  };
  if ((log != nullptr) != manifest.log_opens) {
    return wrong(manifest.log_opens ? "run.shmlog does not open" : "run.shmlog opens, it says not");
  }
  if (log == nullptr) return Unit{};
  if (manifest.run_id != hex16(log->header().run_id)) {
    return wrong("run " + shown(manifest.run_id) + ", but the log is of run " +
                 hex16(log->header().run_id));
  }
  std::vector<std::string> processes;
  for (const auto& process : log->processes())
    processes.push_back(recording_id(*log, process.index));
  if (processes != manifest.processes) {
    return wrong("it lists " + std::to_string(manifest.processes.size()) +
                 " processes, the log has " + std::to_string(processes.size()) + " or others");
  }
  return Unit{};
}

Result<> check_binaries(const Manifest& manifest, const json& binaries, const std::string& bundle) {
  const Error wrong{bundle +
                    ": binaries.json is not true of the content; do not trust this bundle"};
  if (!binaries.is_object()) return wrong;
  const auto modules = binaries.find("modules");
  if (modules == binaries.end() || !modules->is_array()) return wrong;
  std::set<std::string> spoken_of, listed;
  for (const json& module : *modules) {
    std::string file;
    if (module.is_object() && read_string(module, "file", file)) spoken_of.insert(file);
  }
  for (const FileSize& file : manifest.files) {
    if (is_binary_name(file.name)) listed.insert(file.name);
  }
  return spoken_of == listed ? Result<>(Unit{}) : Result<>(wrong);
}

}  // namespace shmrec::recording
