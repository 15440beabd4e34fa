#include "sidecar/store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "base/output_file.h"
#include "recording/bundle/bundle.h"
#include "recording/bundle/bundle_files.h"
#include "recording/bundle/sha256.h"
#include "recording/run/flat_json.h"
#include "recording/run/text.h"

namespace shmrec::sidecar {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPartial = ".partial";
constexpr const char* kIncoming = "incoming";
constexpr size_t kMaxRecordBytes = 1 << 20;
constexpr uint64_t kMaxManifestBytes = 16 << 20;
constexpr int kMaxSameName = 10000;
constexpr size_t kHashBlock = 256 << 10;

std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = fd < 0 ? nullptr : fdopendir(fd);
  if (stream == nullptr) return names;
  while (const dirent* entry = readdir(stream)) names.emplace_back(entry->d_name);
  closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

// A regular file, for reading; `status` is filled in.
UniqueFd open_file(int directory, const std::string& name, struct stat& status) {
  UniqueFd fd(openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (fd && fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode)) return fd;
  if (fd) errno = EINVAL;
  return UniqueFd();
}

bool exists(int directory, const std::string& name) {
  struct stat status;
  return fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

std::optional<std::string> read_record(int directory, const std::string& name) {
  struct stat status;
  const UniqueFd fd = open_file(directory, name, status);
  if (!fd || static_cast<uint64_t>(status.st_size) > kMaxRecordBytes) return std::nullopt;
  std::string text(static_cast<size_t>(status.st_size), '\0');
  if (recording::pread_all(fd.get(), text.data(), text.size(), 0) !=
      static_cast<ssize_t>(text.size()))
    return std::nullopt;
  return text;
}

Result<std::string> sha256_of(int fd, const std::string& name) {
  recording::Sha256 sum;
  std::vector<char> block(kHashBlock);
  for (uint64_t at = 0;;) {
    const ssize_t got = recording::pread_all(fd, block.data(), block.size(), at);
    if (got < 0) return system_error(name);
    if (got == 0) return recording::to_hex(sum.finish());
    sum.update(block.data(), static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
}

// Partial files whose writer is dead: a living one holds its lock.
void remove_partial_files(int directory) {
  for (const std::string& name : names_in(directory)) {
    if (!name.ends_with(kPartial)) continue;
    struct stat status;
    const UniqueFd fd = open_file(directory, name, status);
    if (fd && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) unlinkat(directory, name.c_str(), 0);
  }
}

// What a manifest says of its bundle. Bundles made here are sound, but a manifest holds the words
// of the workload.
void take_manifest(const recording::FlatJson& manifest, StoredBundle& bundle) {
  const auto text = [&](const char* name) { return recording::printable(manifest.text(name)); };
  bundle.info.run = text("name");
  bundle.info.trigger = text("trigger");
  bundle.container = text("container.containerName");
  const auto command = manifest.texts_untrusted.find("command");
  if (command != manifest.texts_untrusted.end()) {
    for (const std::string& word : command->second)
      bundle.command +=
          (bundle.command.empty() ? "" : " ") + recording::shell_quoted(recording::printable(word));
  }
  const auto as_int = [&](const char* name) -> std::optional<int> {
    const auto number = manifest.number(name);
    return number ? std::optional<int>(static_cast<int>(*number)) : std::nullopt;
  };
  bundle.failure = failure_kind(as_int("exit.signal"), as_int("exit.code"));
}

Error unknown_bundle(const std::string& name) {
  return Error{recording::printable(name.substr(0, 300)) + ": no such bundle"};
}

Error not_incoming(const fs::path& finished, const fs::path& incoming) {
  return Error{finished.string() + ": cannot adopt; expected a bundle NAME.shmrec.tar.zst in " +
                   incoming.string(),
               false};
}

}  // namespace

// ---- Opening ------------------------------------------------------------------------------------

Result<std::unique_ptr<Store>> Store::open(const fs::path& directory) {
  std::unique_ptr<Store> store(new Store);
  store->directory_ = directory;
  std::error_code error;
  fs::create_directories(directory.parent_path(), error);  // mkdir tells what is wrong with it
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return system_error(directory.string() + ": cannot make the store");
  constexpr int kDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  store->fd_.reset(::open(directory.c_str(), kDirectory));
  if (!store->fd_) return system_error(directory.string() + ": cannot open the store");
  Result<OwnerLock> owner = OwnerLock::take(store->fd_.get(), directory.string(), "store");
  if (!owner) return owner.error();
  store->owner_ = std::move(*owner);
  if (mkdirat(store->fd_.get(), kIncoming, 0700) != 0 && errno != EEXIST)
    return system_error(store->incoming().string());
  store->incoming_fd_.reset(openat(store->fd_.get(), kIncoming, kDirectory | O_NOFOLLOW));
  if (!store->incoming_fd_) return system_error(store->incoming().string());
  remove_partial_files(store->fd_.get());
  remove_partial_files(store->incoming_fd_.get());
  store->load();
  return store;
}

void Store::load() {
  std::vector<std::string> without_record;
  const std::vector<std::string> names = names_in(fd_.get());
  for (const std::string& name : names) {
    struct stat status;
    if (!valid_bundle_name(name) || !open_file(fd_.get(), name, status)) continue;
    const auto text = read_record(fd_.get(), record_name(name));
    auto bundle = text ? parse_record(*text, name) : std::nullopt;
    if (!bundle || bundle->info.bytes != static_cast<uint64_t>(status.st_size)) {
      without_record.push_back(name);
      continue;
    }
    next_sequence_ = std::max(next_sequence_, bundle->sequence + 1);
    bundles_.emplace(name, std::move(*bundle));
  }
  for (const std::string& name : without_record) {
    StoredBundle bundle = rebuild(name);
    place(bundle);
    bundle.on_record = write_record(bundle);
    bundles_.emplace(name, std::move(bundle));
  }
  std::vector<StoredBundle> orphans = records_without_bundle(names);
  for (const std::string& name : names_in(incoming_fd_.get())) {
    if (valid_bundle_name(name)) recover(name, orphans);
  }
  const auto known = bundles_;
  for (const auto& [name, bundle] : known) remove_superseded(bundle);
  // Of bundles that are gone: their removal was interrupted.
  for (const StoredBundle& orphan : orphans) {
    if (!bundles_.contains(orphan.info.name))
      unlinkat(fd_.get(), record_name(orphan.info.name).c_str(), 0);
  }
}

std::vector<StoredBundle> Store::records_without_bundle(
    const std::vector<std::string>& names) const {
  std::vector<StoredBundle> orphans;
  for (const std::string& name : names) {
    if (!name.ends_with(".json")) continue;
    const std::string bundle = name.substr(0, name.size() - 5) + std::string(kBundleSuffix);
    if (!valid_bundle_name(bundle) || exists(fd_.get(), bundle)) continue;
    const auto text = read_record(fd_.get(), name);
    auto record = text ? parse_record(*text, bundle) : std::nullopt;
    orphans.push_back(record ? std::move(*record) : StoredBundle{.info = {.name = bundle}});
  }
  return orphans;
}

// A bundle that was finished but not taken in. If death came between its record and its renaming,
// the record is one of the orphans.
void Store::recover(const std::string& name, const std::vector<StoredBundle>& orphans) {
  struct stat status;
  const UniqueFd file = open_file(incoming_fd_.get(), name, status);
  const Result<std::string> sum = file ? sha256_of(file.get(), name) : Error{name};
  if (!sum) return;
  for (const StoredBundle& orphan : orphans) {
    if (orphan.info.sha256 != *sum || bundles_.contains(orphan.info.name)) continue;
    next_sequence_ = std::max(next_sequence_, orphan.sequence + 1);
    (void)take_in(name, orphan);  // if not, the next opening tries again
    return;
  }
  const Result<std::string> free = free_name(name);
  if (!free || !rename_over_file(incoming_fd_.get(), name.c_str(), fd_.get(), free->c_str()))
    return;
  StoredBundle bundle = rebuild(*free);
  place(bundle);
  bundle.on_record = write_record(bundle);
  bundles_.emplace(*free, std::move(bundle));
}

// What the bundle itself tells. When it was made, its modification time tells.
StoredBundle Store::rebuild(const std::string& name) {
  StoredBundle bundle;
  bundle.info.name = name;
  struct stat status {};
  const UniqueFd file = open_file(fd_.get(), name, status);
  bundle.info.bytes = static_cast<uint64_t>(status.st_size);
  bundle.made.wall_ns = status.st_mtim.tv_sec * int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
  bundle.info.created = rfc3339(bundle.made.wall_ns);
  if (const auto sum = sha256_of(file.get(), name)) bundle.info.sha256 = *sum;
  const auto manifest =
      recording::read_bundle_file(directory_ / name, "manifest.json", kMaxManifestBytes);
  const auto flat = manifest ? recording::flatten_json(*manifest) : std::nullopt;
  if (flat) {
    take_manifest(*flat, bundle);
  } else {
    bundle.info.trigger = "damaged bundle";
  }
  return bundle;
}

// Gives a bundle without a record its place behind those that were made before it, and keeps it if
// it may be the first of its failures: what was lost with the record must not lose the bundle.
void Store::place(StoredBundle& bundle) {
  bundle.sequence = 0;
  for (const auto& [name, other] : bundles_) {
    if (other.made.wall_ns <= bundle.made.wall_ns)
      bundle.sequence = std::max(bundle.sequence, other.sequence);
  }
  next_sequence_ = std::max(next_sequence_, bundle.sequence + 1);
  bundle.info.keep = !bundle.failure.empty() && !has_first_failure(bundle);
}

bool Store::has_first_failure(const StoredBundle& bundle) const {
  return std::any_of(bundles_.begin(), bundles_.end(), [&](const auto& known) {
    const StoredBundle& other = known.second;
    return other.info.keep && other.command == bundle.command &&
           other.container == bundle.container && other.failure == bundle.failure;
  });
}

// ---- Taking in ----------------------------------------------------------------------------------

Result<std::string> Store::free_name(const std::string& wanted) const {
  const std::string stem = wanted.substr(0, wanted.size() - kBundleSuffix.size());
  for (int i = 1; i <= kMaxSameName; ++i) {
    const std::string name =
        stem + (i == 1 ? "" : "-" + std::to_string(i)) + std::string(kBundleSuffix);
    if (!valid_bundle_name(name)) break;
    if (!bundles_.contains(name) && !exists(fd_.get(), name)) return name;
  }
  return Error{(directory_ / wanted).string() + ": too many bundles of that name; remove some",
               false};
}

// False if there is no room or no right; the old record is then as it was.
bool Store::write_record(const StoredBundle& bundle) const {
  const std::string name = record_name(bundle.info.name), partial = name + kPartial;
  const std::string text = to_record(bundle);
  const UniqueFd file(openat(fd_.get(), partial.c_str(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                             0600));
  if (!file || !is_regular_file(file.get())) return false;
  const bool written = recording::write_all(file.get(), text.data(), text.size()) &&
                       fsync(file.get()) == 0 &&
                       rename_over_file(fd_.get(), partial.c_str(), fd_.get(), name.c_str());
  if (!written) unlink_file(fd_.get(), partial.c_str());
  return written;
}

// Waits for the disk, which can take long, so without the lock: the collector lists bundles with
// its own lock held, and health waits for that. REQUIRES: taking_in_ is held, or nobody else has
// the object yet; bundle.info.name is free.
Result<StoredBundle> Store::take_in(const std::string& incoming_name, StoredBundle bundle) {
  const std::string& name = bundle.info.name;
  bundle.on_record = write_record(bundle);
  if (!rename_over_file(incoming_fd_.get(), incoming_name.c_str(), fd_.get(), name.c_str())) {
    const Error error = system_error((directory_ / name).string() + ": cannot take in the bundle");
    unlinkat(fd_.get(), record_name(name).c_str(), 0);
    return error;
  }
  fsync(fd_.get());
  fsync(incoming_fd_.get());
  const std::lock_guard lock(mutex_);
  bundles_[name] = bundle;
  remove_superseded(bundle);
  return bundle;
}

std::vector<std::string> Store::sums_of(const std::vector<std::string>& names) const {
  std::vector<std::string> sums;
  for (const std::string& name : names) {
    const auto known = bundles_.find(name);
    if (known != bundles_.end()) sums.push_back(known->second.info.sha256);
  }
  return sums;
}

// By content: names are used again. REQUIRES: mutex_ is held, or nobody else has the object yet.
void Store::remove_superseded(const StoredBundle& bundle) {
  std::vector<std::string> names;
  for (const auto& [name, other] : bundles_) {
    const bool named = std::find(bundle.supersedes.begin(), bundle.supersedes.end(),
                                 other.info.sha256) != bundle.supersedes.end();
    if (named && name != bundle.info.name) names.push_back(name);
  }
  for (const std::string& name : names) (void)remove_locked(name).ok();  // else the next opening
}

Result<StoredBundle> Store::adopt(const fs::path& finished, const BundleFacts& facts) {
  const std::string incoming_name = finished.filename().string();
  if (finished.parent_path() != incoming() || !valid_bundle_name(incoming_name))
    return not_incoming(finished, incoming());
  struct stat status;
  const UniqueFd file = open_file(incoming_fd_.get(), incoming_name, status);
  if (!file) return system_error(finished.string());
  const Result<std::string> sum = sha256_of(file.get(), finished.string());
  if (!sum) return sum.error();

  StoredBundle bundle;
  bundle.made = Moment::now();
  bundle.info = {.bytes = static_cast<uint64_t>(status.st_size),
                 .created = rfc3339(bundle.made.wall_ns),
                 .run = facts.run,
                 .trigger = facts.trigger,
                 .rule = facts.rule,
                 .keep = facts.keep,
                 .sha256 = *sum};
  bundle.command = facts.command;
  bundle.container = facts.container;
  bundle.failure = facts.failure;
  bundle.process_failure_ns = facts.process_failure_ns;
  bundle.kinds = facts.kinds;

  const std::lock_guard taking_in(taking_in_);
  {
    const std::lock_guard lock(mutex_);
    const Result<std::string> name = free_name(incoming_name);
    if (!name) return name.error();
    bundle.info.name = *name;
    bundle.supersedes = sums_of(facts.supersedes);
    bundle.sequence = next_sequence_++;
  }
  return take_in(incoming_name, std::move(bundle));
}

// ---- Using --------------------------------------------------------------------------------------

std::vector<StoredBundle> Store::list() const {
  std::vector<StoredBundle> bundles;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, bundle] : bundles_) bundles.push_back(bundle);
  }
  std::stable_sort(
      bundles.begin(), bundles.end(),
      [](const StoredBundle& a, const StoredBundle& b) { return a.sequence < b.sequence; });
  return bundles;
}

uint64_t Store::bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [name, bundle] : bundles_) bytes += bundle.info.bytes;
  return bytes;
}

Result<OpenedFile> Store::open_bundle(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto known = bundles_.find(name);
  if (known == bundles_.end()) return unknown_bundle(name);
  struct stat status;
  OpenedFile opened;
  opened.fd = open_file(fd_.get(), name, status);
  if (!opened.fd) return system_error((directory_ / name).string());
  opened.bytes = static_cast<uint64_t>(status.st_size);
  opened.sha256 = known->second.info.sha256;
  return opened;
}

Result<> Store::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return remove_locked(name);
}

Result<> Store::remove_locked(const std::string& name) {
  if (!bundles_.contains(name)) return unknown_bundle(name);
  if (unlinkat(fd_.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    return system_error((directory_ / name).string() + ": cannot remove");
  unlinkat(fd_.get(), record_name(name).c_str(), 0);
  bundles_.erase(name);
  return Unit{};
}

Result<uint64_t> Store::free_bytes() const {
  struct statvfs volume;
  if (fstatvfs(fd_.get(), &volume) != 0) return system_error(directory_.string());
  return uint64_t{volume.f_bavail} * volume.f_frsize;
}

bool Store::has_room(const RetentionLimits& limits, size_t waiting) const {
  const std::vector<StoredBundle> all = list();
  // As large as the last.
  const uint64_t next = all.empty() ? 0 : all.back().info.bytes * (waiting + 1);
  const Result<uint64_t> free = free_bytes();
  return (limits.count == 0 || all.size() + waiting < limits.count) &&
         (limits.bytes == 0 || bytes() + next <= limits.bytes) &&
         (limits.free_bytes == 0 || (free && *free >= limits.free_bytes + next));
}

Result<RetentionPlan> Store::enforce(const RetentionLimits& limits, const Moment& now) {
  const Result<uint64_t> free = free_bytes();
  if (!free) return free.error();
  RetentionPlan plan = plan_retention(list(), limits, now, *free);
  for (const auto& [name, rule] : plan.drops) {
    const Result<> removed = remove(name);
    // Gone meanwhile by a client's hand: as wanted.
    if (!removed && !removed.error().bad_input) return removed.error();
  }
  return plan;
}

}  // namespace shmrec::sidecar
