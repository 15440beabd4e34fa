// What is kept of a bundle beside the bundle itself: enough to list it, to decide whether it stays,
// and to go on with the rules after a restart.
//
// As a file: NAME.json beside NAME.shmrec.tar.zst, one object of format "shmrec-stored/1".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sidecar/service.h"
#include "sidecar/store/moment.h"

namespace shmrec::sidecar {

// What the maker of a bundle knows and its file may not tell.
struct BundleFacts {
  std::string run;
  std::string trigger;
  std::string rule;
  bool keep = false;
  std::string command;    // the run's command line
  std::string container;  // of its launcher
  std::string failure;    // see failure_kind; "" if it was no failure
  // When the process failed that it is about, by the run's clock, if the run went on; else 0.
  int64_t process_failure_ns = 0;
  std::vector<std::string> supersedes;  // bundles that this one replaces
  std::vector<std::string> kinds;       // kind_of its failures
};

struct StoredBundle {
  BundleInfo info;
  std::string command, container, failure;
  int64_t process_failure_ns = 0;
  std::vector<std::string> supersedes;  // SHA-256 of bundles that go, for a name is used again
  std::vector<std::string> kinds;
  uint64_t sequence = 0;  // order of arrival, whatever the clock said
  Moment made;
  bool on_record = true;  // NAME.json could be written; if not, a restart knows less of it
};

// How something failed, in words that are equal for equal failures: "signal 6", "exit 3", "lost" if
// nobody knows; "" for success.
std::string failure_kind(std::optional<int> signal, std::optional<int> exit_status);

inline constexpr std::string_view kBundleSuffix = ".shmrec.tar.zst";

// NAME.shmrec.tar.zst of harmless characters: such a name is never a path.
bool valid_bundle_name(std::string_view name);
// NAME.json. REQUIRES: valid_bundle_name(name).
std::string record_name(std::string_view bundle_name);

std::string to_record(const StoredBundle& bundle);
// Nothing if the text is damaged or not about `name`.
std::optional<StoredBundle> parse_record(const std::string& text, const std::string& name);

}  // namespace shmrec::sidecar
