#include "sidecar/store/stored_bundle.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shmrec::sidecar {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "shmrec-stored/1";
constexpr size_t kMaxNameBytes = 240;  // leaves room for ".partial"

// Calls visit(key, value) for each member of a record, in the order in which they are written.
template <typename Bundle, typename Visit>
void visit_members(Bundle& bundle, Visit visit) {
  visit("name", bundle.info.name);
  visit("bytes", bundle.info.bytes);
  visit("sha256", bundle.info.sha256);
  visit("created", bundle.info.created);
  visit("sequence", bundle.sequence);
  visit("wallTimeNs", bundle.made.wall_ns);
  visit("bootTimeNs", bundle.made.boot_ns);
  visit("bootId", bundle.made.boot_id);
  visit("run", bundle.info.run);
  visit("trigger", bundle.info.trigger);
  visit("rule", bundle.info.rule);
  visit("keep", bundle.info.keep);
  visit("command", bundle.command);
  visit("container", bundle.container);
  visit("failure", bundle.failure);
}

// Of later releases than the format's first; a record may lack them.
template <typename Bundle, typename Visit>
void visit_later_members(Bundle& bundle, Visit visit) {
  visit("processFailureNs", bundle.process_failure_ns);
  visit("supersedes", bundle.supersedes);
  visit("kinds", bundle.kinds);
}

bool is_for(const json& value, const std::vector<std::string>&) {
  return value.is_array() &&
         std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
}
bool is_for(const json& value, const std::string&) { return value.is_string(); }
bool is_for(const json& value, bool) { return value.is_boolean(); }
bool is_for(const json& value, int64_t) { return value.is_number_integer(); }
bool is_for(const json& value, uint64_t) { return value.is_number_integer(); }

}  // namespace

std::string failure_kind(std::optional<int> signal, std::optional<int> exit_status) {
  if (signal) return "signal " + std::to_string(*signal);
  if (!exit_status) return "lost";
  return *exit_status == 0 ? "" : "exit " + std::to_string(*exit_status);
}

bool valid_bundle_name(std::string_view name) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";
  return name.size() > kBundleSuffix.size() && name.size() <= kMaxNameBytes &&
         name.ends_with(kBundleSuffix) && name[0] != '.' && name[0] != '-' &&
         name.find_first_not_of(kLetters) == std::string_view::npos;
}

std::string record_name(std::string_view bundle_name) {
  return std::string(bundle_name.substr(0, bundle_name.size() - kBundleSuffix.size())) + ".json";
}

std::string to_record(const StoredBundle& bundle) {
  nlohmann::ordered_json record = {{"format", kFormat}};
  visit_members(bundle, [&](const char* key, const auto& value) { record[key] = value; });
  visit_later_members(bundle, [&](const char* key, const auto& value) { record[key] = value; });
  return record.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<StoredBundle> parse_record(const std::string& text, const std::string& name) {
  const json record = json::parse(text, nullptr, false);
  if (record.is_discarded() || !record.is_object()) return std::nullopt;
  StoredBundle bundle;
  bool whole = record.value("format", json()) == kFormat;
  visit_members(bundle, [&](const char* key, auto& value) {
    const auto found = record.find(key);
    whole = whole && found != record.end() && is_for(*found, value);
    if (whole) found->get_to(value);
  });
  visit_later_members(bundle, [&](const char* key, auto& value) {
    const auto found = record.find(key);
    whole = whole && (found == record.end() || is_for(*found, value));
    if (whole && found != record.end()) found->get_to(value);
  });
  if (!whole || bundle.info.name != name) return std::nullopt;
  if (bundle.sequence > INT64_MAX) return std::nullopt;  // another follows it
  return bundle;
}

}  // namespace shmrec::sidecar
