// The sidecar's configuration: a YAML document (apiVersion shmrec/v1, kind Sidecar;
// docs/sidecar.md), over it the SHMREC_* environment, over that the command line.
//
// Ownership: plain values. Units: bytes, and what the names say.
// Trust: the text is checked completely before anything is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sidecar/egress/exec_hook.h"
#include "sidecar/egress/put_request.h"
#include "sidecar/rules/rules.h"
#include "sidecar/store/retention.h"

namespace shmrec::sidecar {

// Exactly one of the four ways is given.
struct DestinationConfig {
  std::string name;
  std::string directory;
  std::optional<egress::PutOptions> put;
  std::optional<egress::ExecOptions> exec;
  std::string termination_message;
};

struct Config {
  std::string spool = "/var/run/shmrec/spool";
  std::string store = "/var/lib/shmrec";
  std::string artefact_listen = "127.0.0.1:7070";  // "" : no artefact server
  std::string token_file = "/etc/shmrec/token";
  bool no_auth = false;
  std::string health_listen = "0.0.0.0:7071";  // "" : no health server
  RetentionLimits retention{
      .count = 50, .bytes = uint64_t{2} << 30, .age_s = 0, .free_bytes = uint64_t{64} << 20};
  uint64_t bundle_bytes = uint64_t{1}
                          << 30;  // of the files in a bundle, before compression; 0: any
  std::vector<DestinationConfig> destinations;
  std::vector<Rule> rules = default_rules();
  bool join = true;  // containers that start while others record join their run
  // Whether what cannot be done as configured ends the sidecar, where it otherwise does without.
  bool failure_closed = false;
  bool egress_sound = true;  // rules and destinations had no mistakes

  // A bundle of every run that fails and of every process that a signal ends, at most ten an hour,
  // and of what is asked for, at most sixty.
  static std::vector<Rule> default_rules();
};

// A configuration with mistakes: the pod's programs must not wait for whoever mends it, and a
// failure meanwhile must not be lost. A key of the file's top level with a mistake in it is as if
// it were not there, and so is a variable; those that are right hold. Rules and destinations hold
// only together, so that no bundle is sent where nobody meant it to go. In a file that is missing,
// no YAML or of another kind nothing holds.
struct LoadedConfig {
  Config config;
  std::vector<std::string> mistakes;  // none: all is as it was written
};
LoadedConfig load_config_anyway(const std::optional<std::string>& path,
                                const char* const* environment);

// All mistakes at once, one `FILE:LINE:COL: what; expected ...; do ...` a line.
Result<Config> parse_config(std::string_view text, std::string_view file);

// `path`, else $SHMREC_SIDECAR_CONFIG, else the defaults; then SHMREC_SPOOL, SHMREC_STORE,
// SHMREC_TOKEN_FILE, SHMREC_LISTEN, SHMREC_NO_AUTH, SHMREC_FAILURE_POLICY and
// SHMREC_TERMINATION_MESSAGE of `environment` (NAME=VALUE, null-terminated).
Result<Config> load_config(const std::optional<std::string>& path, const char* const* environment);

}  // namespace shmrec::sidecar
