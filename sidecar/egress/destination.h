// Egress: bringing finished bundles out of the pod. A Destination is one place or way; the Queue
// (queue.h) decides when each is tried.
//
// Threads: a Destination belongs to the thread that sends, the queue's worker; but for note().
// Trust: run, trigger and rule come from workloads and are made printable wherever they are shown.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::sidecar::egress {

// A finished bundle: a file of the store that no longer changes, though retention may remove it.
struct Bundle {
  std::filesystem::path path;
  std::string name;  // NAME.shmrec.tar.zst, its identity
  uint64_t bytes = 0;
  std::string sha256;  // of the file, 64 hex digits
  std::string run;
  std::string trigger;  // for a person
  std::string rule;     // "" if none
  std::string created;  // RFC 3339, UTC
};

enum class LogLevel { kInfo, kWarning, kError };
// Called from the sending thread. The text holds no credentials and no control characters.
using Log = std::function<void(LogLevel, const std::string&)>;

// What a failed attempt says about the next.
struct Retry {
  bool useful = true;                     // false: it would fail in the same way for ever
  std::chrono::milliseconds at_least{0};  // the other side asked for this pause (Retry-After)
};

class Destination {
 public:
  explicit Destination(std::string destination_name) : name(std::move(destination_name)) {}
  virtual ~Destination() = default;
  Destination(const Destination&) = delete;
  Destination& operator=(const Destination&) = delete;

  const std::string name;  // of the configuration: letters, digits, '_' and '-'

  // One of few words, for metrics: "directory", "put", "exec", "termination".
  virtual const char* kind() const = 0;
  // One attempt. Sending again what is there already is right, and cheap where that can be known.
  // Returns within about two seconds of `stop` becoming true.
  virtual Result<> send(const Bundle& file, const std::atomic<bool>& stop) = 0;
  // `file` has reached another destination, at `place`.
  virtual void placed(const Bundle& file, const std::string& place) {
    (void)file;
    (void)place;
  }

  // What whoever looks here should know besides: a mistake in the configuration. From any thread.
  virtual void note(const std::string& text) { (void)text; }

  // Of the last send that failed.
  const Retry& retry() const { return retry_; }
  // Of the last send that succeeded: where the bundle is now, for a person and without credentials;
  // "" if there is no such place.
  const std::string& place() const { return place_; }

 protected:
  void begin_attempt() {
    retry_ = {};
    place_.clear();
  }
  // An Error after which there is no use in trying again.
  Error final_error(Error error) {
    retry_.useful = false;
    return error;
  }

  Retry retry_;
  std::string place_;
};

// A name that can be a file's in a directory of ours: no '/', no leading '.', no control
// characters, and short enough for what is added to it.
bool is_bundle_name(const std::string& name);

struct SourceFile {
  UniqueFd fd;
  Error error;        // if there is no fd
  bool gone = false;  // it never will be there again
};
// Opens the bundle's file for reading: a regular file of the size that is expected.
SourceFile open_source(const Bundle& bundle);

}  // namespace shmrec::sidecar::egress
