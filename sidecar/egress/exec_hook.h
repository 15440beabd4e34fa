// Runs a program of the configuration for each bundle, for ways out that shmrec does not know.
//
// The program gets the bundle in its environment (SHMREC_BUNDLE its path, SHMREC_BUNDLE_NAME,
// SHMREC_BUNDLE_BYTES, SHMREC_BUNDLE_SHA256, SHMREC_RUN, SHMREC_TRIGGER, SHMREC_RULE,
// SHMREC_CREATED), a fixed PATH, what the configuration adds, and nothing else: the sidecar's own
// environment may hold secrets. It has an empty standard input, no other descriptor, default
// signals and a process group of its own, all of which is killed when it ends or takes too long.
// Status 0 means sent; another is retried, 64 (EX_USAGE) excepted.
#pragma once

#include <memory>
#include <vector>

#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {

struct ExecOptions {
  std::vector<std::string> command;      // absolute path and arguments; no shell
  std::vector<std::string> environment;  // NAME=VALUE, added
  std::chrono::milliseconds limit = std::chrono::minutes(5);
  // From SIGTERM to SIGKILL once the limit is over or the sidecar ends.
  std::chrono::milliseconds grace = std::chrono::seconds(1);
};

class ExecHook : public Destination {
 public:
  static constexpr size_t kMaxOutput = 4096;  // bytes of output that go to the log, per run

  static Result<std::unique_ptr<ExecHook>> create(std::string destination_name, ExecOptions options,
                                                  Log log);
  const char* kind() const override { return "exec"; }
  Result<> send(const Bundle& file, const std::atomic<bool>& stop) override;

 private:
  ExecHook(std::string destination_name, ExecOptions options, Log log)
      : Destination(std::move(destination_name)),
        options_(std::move(options)),
        log_(std::move(log)) {}
  std::vector<std::string> environment_for(const Bundle& file) const;
  void log_output(const std::string& output, uint64_t dropped) const;

  const ExecOptions options_;
  const Log log_;
};

}  // namespace shmrec::sidecar::egress
