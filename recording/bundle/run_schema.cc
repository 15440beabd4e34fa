#include "recording/bundle/run_schema.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

namespace shmrec::recording {
namespace {

using nlohmann::json;

constexpr size_t kRunIdDigits = 16;
constexpr uint64_t kMaxId = UINT32_MAX;

bool is_text(const json& value) { return value.is_string(); }
bool is_flag(const json& value) { return value.is_boolean(); }
bool is_count(const json& value) { return value.is_number_unsigned(); }
bool is_id(const json& value) { return is_count(value) && value.get<uint64_t>() <= kMaxId; }
bool is_pid(const json& value) {
  return is_count(value) && value.get<uint64_t>() >= 1 && value.get<uint64_t>() <= INT32_MAX;
}
bool is_texts(const json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), is_text);
}
bool is_object_or_null(const json& value) { return value.is_object() || value.is_null(); }
bool is_run_format(const json& value) { return value == "shmrec-run/1"; }
bool is_coverage_format(const json& value) { return value == "shmrec-coverage/1"; }
bool is_run_id(const json& value) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() == kRunIdDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string::npos;
}
// 2026-01-31T08:15:00.123456789Z: a letter of the pattern for each of the text, d a digit.
bool is_time(const json& value) {
  constexpr std::string_view kPattern = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() == kPattern.size() &&
         std::equal(text.begin(), text.end(), kPattern.begin(), [](char c, char wanted) {
           return wanted == 'd' ? c >= '0' && c <= '9' : c == wanted;
         });
}
bool is_source(const json& value) {
  static const std::set<std::string> kSources{"log",      "journal", "process",
                                              "launcher", "run",     "binaries"};
  return value.is_string() && kSources.contains(value.get_ref<const std::string&>());
}
bool is_list(const json& value) { return value.is_array(); }

struct Key {
  const char* name;
  bool required;
  bool (*is_right)(const json& value);
  const char* expected;
};

constexpr Key kRunKeys[] = {
    {"format", true, is_run_format, "\"shmrec-run/1\""},
    {"runId", true, is_run_id, "16 hex digits"},
    {"command", true, is_texts, "a list of strings"},
    {"version", false, is_text, "a string"},
    {"executable", false, is_text, "a string"},
    {"cwd", false, is_text, "a string"},
    {"hostname", false, is_text, "a string"},
    {"kernel", false, is_text, "a string"},
    {"bootId", false, is_text, "a string"},
    {"uid", false, is_id, "a user's number"},
    {"gid", false, is_id, "a group's number"},
    {"container", false, is_object_or_null, "an object or null"},
    {"startTime", false, is_time, "a time such as 2026-01-31T08:15:00.123456789Z"},
    {"policy", false, is_text, "a string"},
    {"launcherPid", false, is_pid, "a process number"},
    {"pidNamespace", false, is_count, "a number of at least 0"},
};
constexpr Key kCoverageKeys[] = {
    {"format", true, is_coverage_format, "\"shmrec-coverage/1\""},
    {"complete", true, is_flag, "true or false"},
    {"items", true, is_list, "a list"},
};
constexpr Key kItemKeys[] = {
    {"source", true, is_source, "log, journal, process, launcher, run or binaries"},
    {"what", true, is_text, "a string"},
    {"why", true, is_text, "a string"},
    {"gap", true, is_flag, "true or false"},
    {"count", false, is_count, "a number of at least 0"},
    {"process", false, is_text, "a string"},
};

template <size_t N>
std::string trouble_of(const json& object, const Key (&keys)[N]) {
  if (!object.is_object()) return "expected a JSON object";
  for (const Key& key : keys) {
    const auto found = object.find(key.name);
    if (found == object.end() && key.required)
      return std::string(key.name) + ": missing; expected " + key.expected;
    if (found != object.end() && !key.is_right(*found))
      return std::string(key.name) + ": expected " + key.expected;
  }
  return "";
}

}  // namespace

std::string run_json_trouble(const json& run) { return trouble_of(run, kRunKeys); }

std::string coverage_trouble(const json& coverage) {
  std::string trouble = trouble_of(coverage, kCoverageKeys);
  if (!trouble.empty()) return trouble;
  const json& items = coverage["items"];
  bool complete = true;
  for (size_t i = 0; i < items.size(); ++i) {
    trouble = trouble_of(items[i], kItemKeys);
    if (!trouble.empty()) return "items[" + std::to_string(i) + "]." + trouble;
    complete = complete && !items[i]["gap"].get<bool>();
  }
  if (coverage["complete"].get<bool>() == complete) return "";
  return "complete: expected " + std::string(complete ? "true" : "false") + ", as its items say";
}

bool is_told(const json& coverage, const std::string& file) {
  const json& items = coverage["items"];
  return std::any_of(items.begin(), items.end(), [&](const json& item) {
    return item["source"] == "run" && item["what"] == file;
  });
}

}  // namespace shmrec::recording
