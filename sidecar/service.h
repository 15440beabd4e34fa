// What the collector offers to those who ask from outside: the HTTP servers and the control socket.
//
// Owner: the collector implements it; servers borrow it and must be stopped before it goes.
// Threads: every function may be called from any thread at any time, and none waits for a bundle to
// be made or sent.
// Trust: names come from clients; an unknown or malformed one is an Error with bad_input, never a
// path.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::sidecar {

// One recording of a run, that is, one process image. From the untrusted log: text is made
// printable.
struct ProcessInfo {
  std::string run;  // name of the run directory
  std::string id;   // recording ID, "%08x-%04x"
  std::string name;
  std::string executable;
  std::string container;  // of its launcher, "" if unknown
  int32_t pid = 0;        // in its own PID namespace
  std::string state;      // "running", "exited", "killed", "replaced", "unknown"
  std::optional<int> exit_code;
  std::optional<int> signal;
  uint64_t accesses = 0;
};

struct BundleInfo {
  std::string name;  // NAME.shmrec.tar.zst, its identity; no '/'
  uint64_t bytes = 0;
  std::string created;  // RFC 3339, UTC
  std::string run;
  std::string trigger;  // for a person: "exit 134", "signal 6 (SIGABRT)", "on demand"
  std::string rule;     // name of the rule that asked for it, "" if none
  bool keep = false;    // retention never drops it: first failure of a crash loop
  std::string sha256;   // of the file, 64 hex digits
};

struct BundleRequest {
  std::string run;  // "" : the newest that is recording, else the newest
  std::string trigger = "on demand";
  bool cores = false;       // take one of each recorded process before
  bool from_spool = false;  // by the control socket, which recorded programs reach too
};

struct Operation {
  std::string id;
  enum class State { kRunning, kSucceeded, kFailed } state = State::kRunning;
  std::string started;  // RFC 3339, UTC
  std::string bundle;   // once it succeeded
  std::string error;    // once it failed
};

struct OpenedFile {
  UniqueFd fd;  // regular file, open for reading
  uint64_t bytes = 0;
  std::string sha256;
};

struct Health {
  bool live = false;   // the collector's loop turns
  bool ready = false;  // the spool, the store and the control socket can be used
  std::string reason;  // why not, for a person
  std::string remark;  // what is wrong although it is ready, "" if nothing
};

struct Info {
  std::string version, instance, hostname, started, spool, store;
  uint64_t spool_bytes = 0, store_bytes = 0, store_limit = 0;
};

// A counter or gauge of few label values, none of which is content of a workload.
struct Metric {
  std::string name;  // shmrec_..., as in Prometheus
  std::string help;
  bool counter = false;                                // else a gauge
  std::string label;                                   // "" or the one label's name
  std::vector<std::pair<std::string, double>> values;  // label value ("" if no label), number
};

class Service {
 public:
  virtual ~Service() = default;
  virtual Info info() const = 0;
  virtual Health health() const = 0;
  virtual std::vector<ProcessInfo> processes() const = 0;
  virtual std::vector<BundleInfo> bundles() const = 0;
  virtual Result<OpenedFile> open_bundle(const std::string& name) const = 0;
  virtual Result<> remove_bundle(const std::string& name) = 0;
  // Nothing: too many wait or were asked for; ask again later.
  virtual Result<std::optional<Operation>> start_bundle(const BundleRequest& request) = 0;
  virtual std::optional<Operation> operation(const std::string& id) const = 0;
  virtual std::vector<Metric> metrics() const = 0;
};

}  // namespace shmrec::sidecar
