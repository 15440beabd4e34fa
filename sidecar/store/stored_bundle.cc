#include "sidecar/store/stored_bundle.h"

#include <nlohmann/json.hpp>

namespace shmrec::sidecar {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "shmrec-stored/1";
constexpr size_t kMaxNameBytes = 240;  // leaves room for ".partial"

struct TextMember {
  const char* key;
  std::string& value;
};

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
  const nlohmann::ordered_json record = {
      {"format", kFormat},
      {"name", bundle.info.name},
      {"bytes", bundle.info.bytes},
      {"sha256", bundle.info.sha256},
      {"created", bundle.info.created},
      {"sequence", bundle.sequence},
      {"wallTimeNs", bundle.made.wall_ns},
      {"bootTimeNs", bundle.made.boot_ns},
      {"bootId", bundle.made.boot_id},
      {"run", bundle.info.run},
      {"trigger", bundle.info.trigger},
      {"rule", bundle.info.rule},
      {"keep", bundle.info.keep},
      {"command", bundle.command},
      {"container", bundle.container},
      {"failure", bundle.failure},
  };
  return record.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::optional<StoredBundle> parse_record(const std::string& text, const std::string& name) {
  const json record = json::parse(text, nullptr, false);
  if (record.is_discarded() || !record.is_object()) return std::nullopt;
  StoredBundle bundle;
  std::string format;
  const TextMember texts[] = {
      {"format", format},
      {"name", bundle.info.name},
      {"sha256", bundle.info.sha256},
      {"created", bundle.info.created},
      {"bootId", bundle.made.boot_id},
      {"run", bundle.info.run},
      {"trigger", bundle.info.trigger},
      {"rule", bundle.info.rule},
      {"command", bundle.command},
      {"container", bundle.container},
      {"failure", bundle.failure},
  };
  for (const TextMember& member : texts) {
    const auto found = record.find(member.key);
    if (found == record.end() || !found->is_string()) return std::nullopt;
    member.value = found->get<std::string>();
  }
  const auto number = [&](const char* key, auto& value) {
    const auto found = record.find(key);
    if (found == record.end() || !found->is_number_integer()) return false;
    value = found->get<std::remove_reference_t<decltype(value)>>();
    return true;
  };
  const auto keep = record.find("keep");
  const bool whole = number("bytes", bundle.info.bytes) && number("sequence", bundle.sequence) &&
                     number("wallTimeNs", bundle.made.wall_ns) &&
                     number("bootTimeNs", bundle.made.boot_ns) && keep != record.end() &&
                     keep->is_boolean();
  if (!whole || format != kFormat || bundle.info.name != name) return std::nullopt;
  if (bundle.sequence > INT64_MAX) return std::nullopt;  // another follows it
  bundle.info.keep = keep->get<bool>();
  return bundle;
}

}  // namespace shmrec::sidecar
