// A bundle read in parts, by its index: what a question needs of it, without unpacking the rest.
//
// Each text and each binary is compared with its sum in SHA256SUMS when it is read; parts of the
// log have the checksums of their frames. That the archive has nothing but what its manifest lists,
// only reading all of it tells (bundle.h: verify_bundle).
//
// Trust: as bundle_reader.h. Owner: holds the file. Threads: any.
#pragma once

#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "recording/bundle/bundle_manifest.h"
#include "recording/index/stored_index.h"

namespace shmrec::recording {

class BundleParts : public ChunkSource {
 public:
  // nullptr: the bundle has no index. An Error says why it cannot be read in parts.
  static Result<std::shared_ptr<const BundleParts>> open(const std::filesystem::path& path);

  const Manifest& manifest() const { return manifest_; }
  const std::shared_ptr<const StoredIndex>& index() const { return index_; }

  // A file of the archive, whole and compared with its sum.
  Result<std::string> file(const std::string& name) const;
  // The same, written to a new file.
  Result<> unpack(const std::string& name, const std::filesystem::path& into) const;
  // The log up to its chunks, in a file as long as it was.
  Result<> unpack_log_head(const std::filesystem::path& into) const;
  // That the index is the one that would be made now: `log`, unpacked as `log_file`, says what is
  // to be in it; and that all files are where it says. Reads all of the bundle.
  Result<> check(const ShmlogReader& log, const std::filesystem::path& log_file) const;
  bool read_chunk(uint32_t index, std::span<uint8_t> into) const override;

 private:
  using Bytes = std::shared_ptr<const std::string>;
  struct Cached {
    size_t frame;
    Bytes bytes;
  };
  struct Place {
    uint64_t tar_at = 0, bytes = 0;
    std::string sum;
  };

  Result<> load(const std::string& name);
  Result<> load_sums();
  Result<Bytes> frame(size_t number) const;
  template <typename Take>
  Result<> read(uint64_t tar_at, uint64_t bytes, const Take& take) const;
  template <typename Take>
  Result<> read_file(const std::string& name, const Take& take) const;

  UniqueFd fd_;
  std::string name_;
  std::shared_ptr<const StoredIndex> index_;
  Manifest manifest_;
  std::map<std::string, Place> places_;
  mutable std::mutex mutex_;
  mutable std::list<Cached> cache_;  // newest first
};

}  // namespace shmrec::recording
