// One line in the file of Kubernetes' terminationMessagePath that says where the newest bundle is:
// `kubectl describe pod` and the API show it after the container has ended.
//
// Written in place, because the file is a mount of its own and cannot be replaced; never through a
// link; never more than 4096 bytes, which is all that the kubelet reads.
// The newest bundle has the line: an older one that is late does not take it back. Behind it, or
// alone while there is none, stand notes: what is wrong with the configuration.
// Threads: note() from any.
#pragma once

#include <mutex>
#include <vector>

#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {

class TerminationMessage : public Destination {
 public:
  static constexpr size_t kMaxBytes = 4096;

  TerminationMessage(std::string destination_name, std::filesystem::path path)
      : Destination(std::move(destination_name)), path_(std::move(path)) {}
  const char* kind() const override { return "termination"; }
  Result<> send(const Bundle& file, const std::atomic<bool>& stop) override;
  void placed(const Bundle& file, const std::string& place) override;
  void note(const std::string& text) override;

 private:
  // False if the line belongs to a newer bundle.
  bool take_line(const Bundle& file);
  std::string bundle_text() const;
  std::string line() const;
  Result<> write_line() const;

  const std::filesystem::path path_;
  std::mutex mutex_;                 // guards what follows, and the file
  std::vector<std::string> notes_;   // the first ones
  Bundle newest_;                    // no name: none yet
  std::vector<std::string> places_;  // besides the store
};

}  // namespace shmrec::sidecar::egress
