#include "recording/bundle/bundle_run.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "recording/bundle/run_schema.h"

namespace shmrec::recording {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxTextBytes = uint64_t{16} << 20;
constexpr size_t kMaxLineBytes = size_t{4} << 20;
constexpr size_t kMaxGaps = 1024;
constexpr size_t kMaxGapText = 1024;
constexpr size_t kMaxRedacted = 10000;
constexpr size_t kMaxRedactedText = 256;
constexpr size_t kMaxExits = 1 << 19;

constexpr uint64_t kMaxForeignTexts = uint64_t{512} << 20;
// All run.json together: their trees stay in memory until the bundle is written, and a tree takes
// up to sixty times its text, a copy for the manifest included.
constexpr uint64_t kMaxForeignRuns = uint64_t{1} << 20;
constexpr int kMaxNesting = 64;  // the launcher writes four levels

// What of a text is taken from a stranger's directory: parsing takes many times as much memory, and
// the bundle's reader no more than this either.
constexpr struct {
  std::string_view name;
  uint64_t bytes;
} kForeignLimits[] = {
    {"run.json", uint64_t{1} << 20},
    {"end.json", uint64_t{64} << 10},
    {"events.jsonl", uint64_t{256} << 20},
    {"launcher.log", uint64_t{64} << 20},
};

bool is_object(const json& value) { return !value.is_discarded() && value.is_object(); }

// The parser itself bears any depth; copying and printing its tree recurse, a stack frame for each
// level.
bool nested_too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kMaxNesting) return true;
  }
  return false;
}

json parse(std::string_view text) {
  if (nested_too_deep(text)) return json(json::value_t::discarded);
  return json::parse(text.begin(), text.end(), nullptr, false);
}

std::string text_member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<int> int_member(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<int>();
}

uint64_t unsigned_member(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// Adds the name that a redacted value belongs to: what is before "="; `before`, the array element
// or the key in front of it, if all of the text was redacted; else the text itself (a URL).
void note_redacted(const std::string& text, const std::string& before,
                   std::set<std::string>& names) {
  const size_t mark = text.find(kRedactedMark);
  if (mark == std::string::npos || names.size() >= kMaxRedacted) return;
  const size_t equals = text.find('=');
  const std::string& name = text == kRedactedMark ? before : text;
  names.insert(equals < mark ? text.substr(0, std::min(equals, kMaxRedactedText))
                             : name.substr(0, kMaxRedactedText));
}

// Values are nested no deeper than what the launcher writes.
void collect_redacted(const json& value, std::set<std::string>& names, int depth = 0) {
  if (!value.is_structured() || depth > 4) return;
  std::string before;
  for (const auto& [key, member] : value.items()) {
    if (value.is_object()) before = key;
    if (member.is_string()) note_redacted(member.get<std::string>(), before, names);
    collect_redacted(member, names, depth + 1);
    if (value.is_array() && member.is_string()) before = member.get<std::string>();
  }
}

// Hands out the complete lines of the first `bytes` bytes of a file. A last line without a newline
// is one that its writer did not finish.
class Lines {
 public:
  Lines(int fd, uint64_t bytes) : fd_(fd), left_(bytes) {}

  bool next(std::string& line) {
    for (;;) {
      const size_t newline = buffer_.find('\n', scanned_);
      if (newline != std::string::npos) {
        line = buffer_.substr(0, newline);
        buffer_.erase(0, newline + 1);
        scanned_ = 0;
        return true;
      }
      scanned_ = buffer_.size();
      if (left_ == 0 || buffer_.size() > kMaxLineBytes || !fill()) return false;
    }
  }
  bool unfinished() const { return !buffer_.empty(); }

 private:
  bool fill() {
    const size_t part = static_cast<size_t>(std::min<uint64_t>(left_, 1 << 16));
    const size_t old = buffer_.size();
    buffer_.resize(old + part);
    const ssize_t got = pread_all(fd_, &buffer_[old], part, at_);
    buffer_.resize(old + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    at_ += part, left_ -= part;
    return got > 0;
  }

  int fd_;
  uint64_t left_;
  uint64_t at_ = 0;
  std::string buffer_;
  size_t scanned_ = 0;
};

class FactsReader {
 public:
  // `prefix`: of the names in the bundle and in `problems`.
  FactsReader(int dir, std::string prefix, bool foreign, RunFacts& facts)
      : dir_(dir), prefix_(std::move(prefix)), foreign_(foreign), facts_(facts) {}

  // nullptr if the file is not there; `missing` says what that means.
  const RunFile* open(const char* name, const char* missing, bool expected) {
    RunFile file{prefix_ + name};
    Result<UniqueFd> fd = open_regular_at(dir_, name, name, file.bytes);
    if (!fd) {
      const bool there = errno != ENOENT;
      problem(name, there ? fd.error().message : missing, expected && !there);
      return nullptr;
    }
    file.fd = std::move(*fd);
    if (foreign_) limit(name, file);
    facts_.files.push_back(std::move(file));
    return &facts_.files.back();
  }

  json read_object(const char* name, const char* missing, bool expected) {
    const RunFile* file = open(name, missing, expected);
    if (file == nullptr) return json::object();
    std::string text(std::min(file->bytes, kMaxTextBytes), '\0');
    const ssize_t got = pread_all(file->fd.get(), text.data(), text.size(), 0);
    json value = got < 0 ? json(json::value_t::discarded) : parse(text.substr(0, got));
    if (is_object(value)) {
      // So that a bundle of it says what it is (run_schema.h).
      const bool is_run = std::string_view(name) == "run.json";
      const std::string trouble = is_run ? run_json_trouble(value) : "";
      if (!trouble.empty()) problem(name, trouble, false);
      return value;
    }
    problem(name, "cut off or damaged: not a JSON object", false);
    return json::object();
  }

  // `run`: run.json, which says what the numbers in it count in.
  void read_events(const json& run) {
    pid_namespace_ = pid_namespace_of(run);
    const RunFile* file = open("events.jsonl", "missing: no exec, exit or coverage lines", false);
    if (file == nullptr) return;
    Lines lines(file->fd.get(), file->bytes);
    uint64_t damaged = 0;
    for (std::string line; lines.next(line);) {
      const json event = parse(line);
      is_object(event) ? take(event) : static_cast<void>(++damaged);
    }
    if (damaged > 0) problem("events.jsonl", std::to_string(damaged) + " lines damaged", false);
    if (lines.unfinished())
      problem("events.jsonl", "last line cut off: its writer was killed", true);
  }

 private:
  void limit(std::string_view name, RunFile& file) {
    // Of all launchers together: there may be many.
    uint64_t room = kMaxForeignTexts, runs = kMaxForeignRuns;
    for (const RunFile& other : facts_.files) {
      room -= std::min(room, other.bytes);
      if (other.name.ends_with("run.json")) runs -= std::min(runs, other.bytes);
    }
    if (name == "run.json") room = std::min(room, runs);
    for (const auto& row : kForeignLimits) {
      const uint64_t most = std::min(row.bytes, room);
      if (row.name != name || file.bytes <= most) continue;
      problem(
          std::string(name),
          human_bytes(file.bytes) + " long; only the first " + human_bytes(most) + " were taken",
          false);
      file.bytes = most;
    }
  }

  void take(const json& event) {
    const std::string type = text_member(event, "type");
    if (type == "exec") collect_redacted(event, facts_.redacted);
    if (type == "exit") take_exit(event);
    if (type == "coverage") take_gap(text_member(event, "what"), text_member(event, "why"));
  }

  void take_exit(const json& event) {
    const auto pid = int_member(event, "pid"), status = int_member(event, "status");
    if (!pid || !status || facts_.exits.size() >= kMaxExits) return;
    facts_.exits.push_back({{*pid, pid_namespace_, unsigned_member(event, "tsc")}, *status});
  }

  void take_gap(std::string what, std::string why) {
    what.resize(std::min(what.size(), kMaxGapText));
    why.resize(std::min(why.size(), kMaxGapText));
    const auto [found, added] = gap_index_.try_emplace({what, why}, facts_.gaps.size());
    if (!added) {
      ++facts_.gaps[found->second].count;
    } else if (facts_.gaps.size() < kMaxGaps) {
      facts_.gaps.push_back({std::move(what), std::move(why), 1});
    } else {
      gap_index_.erase(found);
    }
  }

  void problem(std::string file, std::string why, bool expected) {
    facts_.problems.push_back({prefix_ + file, std::move(why), expected});
  }

  const int dir_;
  const std::string prefix_;
  const bool foreign_;
  RunFacts& facts_;
  uint64_t pid_namespace_ = 0;
  std::map<std::pair<std::string, std::string>, size_t> gap_index_;
};

}  // namespace

std::string RunFacts::run_text(const char* key) const { return text_member(run, key); }

uint64_t pid_namespace_of(const json& run) { return unsigned_member(run, "pidNamespace"); }

namespace {

constexpr const char* kFileNames[] = {"run.json", "end.json", "events.jsonl", "launcher.log"};
constexpr const char* kMembers = "members";
constexpr size_t kMaxMembers = 256;

bool is_member_name(const std::string& name) {
  return !name.empty() && name.size() <= 200 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return isalnum(static_cast<unsigned char>(c)) || strchr("._+-", c) != nullptr;
         });
}

struct Reading {
  bool launcher_log = true;
  bool foreign = false;
};

// Reads run.json, end.json and events.jsonl of one launcher.
std::pair<json, json> read_launcher(int dir, const std::string& prefix, const Reading& reading,
                                    RunFacts& facts) {
  FactsReader reader(dir, prefix, reading.foreign, facts);
  json run = reader.read_object("run.json", "missing: command, host and policy are unknown", false);
  json end = reader.read_object(
      "end.json", "missing: the run goes on, or its launcher was killed before it could end it",
      true);
  reader.read_events(run);
  if (reading.launcher_log) reader.open("launcher.log", "missing", false);
  collect_redacted(run, facts.redacted);
  return {std::move(run), std::move(end)};
}

UniqueFd open_directory_at(int directory, const char* name) {
  return UniqueFd(openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// The directory itself, whatever its name is made to mean meanwhile.
std::filesystem::path path_of(const UniqueFd& directory) {
  return "/proc/self/fd/" + std::to_string(directory.get());
}

std::vector<std::string> member_names(const std::filesystem::path& members, RunFacts& facts) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(members, error), last; !error && entry != last;
       entry.increment(error)) {
    std::string name = entry->path().filename();
    if (is_member_name(name))
      names.push_back(std::move(name));
    else
      facts.problems.push_back({kMembers, "holds something of a name that no launcher gives"});
  }
  std::sort(names.begin(), names.end());
  if (names.size() > kMaxMembers) {
    facts.problems.push_back({kMembers, "more than " + std::to_string(kMaxMembers) +
                                            " launchers: those of the last are left out"});
    names.resize(kMaxMembers);
  }
  return names;
}

void read_members(int run_dir, const Reading& reading, RunFacts& facts) {
  const UniqueFd members = open_directory_at(run_dir, kMembers);
  if (!members) return;
  for (const std::string& name : member_names(path_of(members), facts)) {
    const UniqueFd directory = open_directory_at(members.get(), name.c_str());
    const std::string in_bundle = std::string(kMembers) + "/" + name;
    if (!directory) {
      facts.problems.push_back({in_bundle, "cannot be read: no directory, or no permission"});
      continue;
    }
    auto [run, end] = read_launcher(directory.get(), in_bundle + "/", reading, facts);
    facts.members.push_back({name, std::move(run), std::move(end)});
  }
}

}  // namespace

bool is_member_file(const std::string& name) {
  const std::string prefix = std::string(kMembers) + "/";
  const size_t slash = name.find('/', prefix.size());
  if (!name.starts_with(prefix) || slash == std::string::npos) return false;
  const std::string file = name.substr(slash + 1);
  return is_member_name(name.substr(prefix.size(), slash - prefix.size())) &&
         std::any_of(std::begin(kFileNames), std::end(kFileNames),
                     [&](const char* known) { return file == known; });
}

RunFacts read_run_facts(const std::filesystem::path& run_dir) {
  const Result<UniqueFd> dir = open_directory(run_dir, true);
  return dir ? read_run_facts(dir->get(), false, false) : RunFacts();
}

RunFacts read_run_facts(int run_dir, bool with_launcher_log, bool foreign) {
  RunFacts facts;
  const Reading reading{with_launcher_log, foreign};
  auto [run, end] = read_launcher(run_dir, "", reading, facts);
  facts.run = std::move(run);
  facts.end = std::move(end);
  read_members(run_dir, reading, facts);
  return facts;
}

}  // namespace shmrec::recording
