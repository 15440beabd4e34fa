// The store: the directory of finished bundles.
//
//   NAME.shmrec.tar.zst   a bundle          NAME.json   what is known about it (stored_bundle.h)
//   incoming/             where bundles are made; adopt() moves them out
//   owner                 locked by the sidecar that has the store
//
// Invariants
//  1. A bundle is there under its name only whole: it is renamed in, after its record.
//  2. Death at any moment loses no finished bundle: what lies finished in incoming/ is adopted at
//     the next opening, and a record that is missing or damaged is made again from the bundle.
//  3. One sidecar has the store; the second gets an Error that names the first.
//  4. A bundle that another one replaces goes after that one stands, also if death comes between.
// Threads: any, after open().
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "sidecar/service.h"
#include "sidecar/store/owner.h"
#include "sidecar/store/retention.h"
#include "sidecar/store/stored_bundle.h"

namespace shmrec::sidecar {

class Store {
 public:
  // Makes the directory if need be (0700), and takes it. What was left by dead writers is removed.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return directory_; }
  // Where create_bundle is to write, so that adopting is a rename.
  std::filesystem::path incoming() const { return directory_ / "incoming"; }

  // Takes in a finished bundle that lies in incoming(), under its own name or, if that is taken,
  // "-2", "-3", ... A disk that has no room for its record does not keep it out.
  Result<StoredBundle> adopt(const std::filesystem::path& finished, const BundleFacts& facts);

  std::vector<StoredBundle> list() const;  // in order of arrival
  uint64_t bytes() const;
  Result<OpenedFile> open_bundle(const std::string& name) const;
  // Those who have it open read on.
  Result<> remove(const std::string& name);

  Result<uint64_t> free_bytes() const;  // on the volume, for us
  // Whether one more bundle makes none go, when those that wait to be made are there.
  bool has_room(const RetentionLimits& limits, size_t waiting) const;
  // Removes what exceeds the limits. The plan says what went and what could not be met.
  Result<RetentionPlan> enforce(const RetentionLimits& limits, const Moment& now);

 private:
  Store() = default;
  void load();
  std::vector<StoredBundle> records_without_bundle(const std::vector<std::string>& names) const;
  void recover(const std::string& name, const std::vector<StoredBundle>& orphans);
  StoredBundle rebuild(const std::string& name);
  void place(StoredBundle& bundle);
  Result<StoredBundle> take_in(const std::string& incoming_name, StoredBundle bundle);
  Result<std::string> free_name(const std::string& wanted) const;
  bool write_record(const StoredBundle& bundle) const;
  bool has_first_failure(const StoredBundle& bundle) const;
  std::vector<std::string> sums_of(const std::vector<std::string>& names) const;
  void remove_superseded(const StoredBundle& bundle);
  Result<> remove_locked(const std::string& name);

  std::filesystem::path directory_;
  UniqueFd fd_, incoming_fd_;
  OwnerLock owner_;
  std::mutex taking_in_;      // one bundle at a time gets its name and place; before mutex_
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, StoredBundle> bundles_;
  uint64_t next_sequence_ = 1;
};

}  // namespace shmrec::sidecar
