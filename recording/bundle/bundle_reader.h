// The walk over a bundle's files that opening, listing, verifying and extracting share, and that
// the fuzzer drives from memory. Here is where a bundle is not trusted: the manifest comes first
// and lists known names once; the files follow in its order and with its sizes; SHA256SUMS comes
// last and has their sums; nothing else is there.
#pragma once

#include <string>
#include <vector>

#include "recording/bundle/archive.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_manifest.h"

namespace shmrec::recording {

// Takes the files as they come. What it was given is not yet known to be true: sums are last.
class FileSink {
 public:
  virtual ~FileSink() = default;
  virtual Result<> begin(const std::string& name, uint64_t bytes) = 0;
  virtual Result<> data(const char* data, size_t bytes) = 0;
  virtual Result<> end() = 0;
};

struct ReadBundle {
  Manifest manifest;
  std::vector<BundleFile> files;
};

// `tar` is the bundle without its compression. `bundle` stands for it in messages.
Result<ReadBundle> read_bundle(ByteSource& tar, const std::string& bundle,
                               const UnpackLimits& limits, FileSink& sink,
                               const Progress& progress = {});

}  // namespace shmrec::recording
