// Copies bundles into a directory, for instance where a persistent volume is mounted.
//
// Invariants
// 1. A file with a bundle's name is whole: its bytes had the bundle's SHA-256 as they were copied,
//    and they are on disk. Until then the file is NAME.partial.
// 2. No file of another content is overwritten: if NAME is taken, the bundle becomes
//    NAME-XXXXXXXX.shmrec.tar.zst with the first digits of its sum. Pods that share a volume may
//    well make bundles of one name in the same second.
// 3. Nothing is written through a symbolic or hard link in the directory.
// What another attempt left in NAME.partial is compared while it is copied over, and only bytes
// that differ are written: a resumed copy is checked as a new one is.
#pragma once

#include <sys/types.h>

#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {

struct DirectoryOptions {
  std::filesystem::path directory;  // exists; the path may lead through symbolic links
  // The volume's readers are often other pods, in the same fsGroup.
  mode_t mode = 0640;
};

class DirectoryDestination : public Destination {
 public:
  DirectoryDestination(std::string destination_name, DirectoryOptions options)
      : Destination(std::move(destination_name)), options_(std::move(options)) {}
  const char* kind() const override { return "directory"; }
  Result<> send(const Bundle& file, const std::atomic<bool>& stop) override;

 private:
  const DirectoryOptions options_;
};

}  // namespace shmrec::sidecar::egress
