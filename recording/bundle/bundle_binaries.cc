#include "recording/bundle/bundle_binaries.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "recording/bundle/elf_id.h"

namespace shmrec::recording {
namespace {

constexpr size_t kMaxFiles = 500;  // each is held open; well below the usual limit of 1024
constexpr size_t kMaxModules = 16384;
constexpr size_t kMaxModuleText = size_t{2} << 20;  // of all paths together
constexpr size_t kMaxBaseName = 96;
constexpr uint64_t kMostChecked = 4;  // times the limit of what is taken
constexpr std::string_view kFolder = "binaries/";
constexpr std::string_view kDeleted = " (deleted)";

bool plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::strchr("._+-", c) != nullptr;
}

std::string base_name(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1).substr(0, kMaxBaseName);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '\0' || !plain(c); }, '_');
  return name.empty() || name == "." || name == ".." ? "_" : name;
}

// [vdso], [stack], no file at all.
bool names_a_file(const std::string& path) { return !path.empty() && path[0] != '['; }

struct ModuleKey {
  std::string path;
  uint64_t inode;
  auto operator<=>(const ModuleKey&) const = default;
};

// Every module of the journal once. An executable that was never seen mapped is one too. Those of a
// program that maps ever new ones are left out beyond a limit: `left_out` counts them, not each
// once.
std::vector<Module> modules_of(const ShmlogReader& log, uint64_t& left_out) {
  std::set<std::string> executables, mapped;
  std::set<ModuleKey> keys;
  size_t text = 0;
  for (const JournalItem& item : log.journal()) {
    const auto type = static_cast<shmlog::JournalType>(item.entry.type);
    const bool starts = type == shmlog::JournalType::kProcessStart;
    if (!starts && (type != shmlog::JournalType::kModule || !names_a_file(item.text))) continue;
    const bool known =
        starts ? executables.contains(item.text) : keys.contains({item.text, item.entry.d});
    if (known) continue;
    if (executables.size() + keys.size() >= kMaxModules ||
        text + item.text.size() > kMaxModuleText) {
      ++left_out;
      continue;
    }
    text += item.text.size();
    if (starts) {
      executables.insert(item.text);
    } else {
      keys.insert({item.text, item.entry.d});
      mapped.insert(item.text);
    }
  }
  for (const std::string& path : executables) {
    if (names_a_file(path) && !mapped.contains(path)) keys.insert({path, 0});
  }
  std::vector<Module> modules;
  for (const ModuleKey& key : keys) {
    modules.push_back({key.path, key.inode, executables.contains(key.path)});
  }
  return modules;
}

// The file if it is the module's, else an Error whose message says why not.
Result<BinaryFile> open_by_path(const Module& module) {
  if (module.path[0] != '/') return Error{"its path is not absolute"};
  if (module.path.ends_with(kDeleted)) return Error{"deleted while it was mapped"};
  BinaryFile file;
  Result<UniqueFd> fd = open_regular(module.path, file.bytes);
  if (!fd) return Error{fd.error().message.substr(module.path.size() + 2)};
  struct stat status;
  if (fstat(fd->get(), &status) != 0) return Error{std::strerror(errno)};
  if (module.inode != 0 && status.st_ino != module.inode) {
    return Error{"another file has its name now (inode " + std::to_string(status.st_ino) +
                 ", mapped was " + std::to_string(module.inode) + ")"};
  }
  if (!is_elf(fd->get())) return Error{"not an ELF file"};
  file.fd = std::move(*fd);
  return file;
}

class Collector {
 public:
  Collector(const CollectChoice& choice, const KeptBinaries& kept) : choice_(choice), kept_(kept) {}

  void take(Module& module) {
    const bool wanted = module.executable ? choice_.binaries : choice_.libraries;
    if (!wanted) {
      module.unwanted = true;
      module.why = module.executable ? "collect.binaries is off" : "collect.libraries is off";
      return;
    }
    Result<BinaryFile> file = open(module);
    if (!file) {
      module.why = file.error().message;
      return;
    }
    module.build_id = build_id(file->fd.get());
    name_file(module, *file);
    if (files_.contains(file->name)) {
      module.file = file->name;
      return;
    }
    if (!fits(file->bytes, module)) return;
    module.file = file->name;
    bytes_ += file->bytes;
    const std::string name = file->name;
    files_.emplace(name, std::move(*file));
  }

  std::vector<BinaryFile> files() && {
    std::vector<BinaryFile> files;
    for (auto& [name, file] : files_) files.push_back(std::move(file));
    return files;
  }

 private:
  // The launcher's copy, which is what was mapped whatever became of the path since.
  Result<BinaryFile> open(const Module& module) {
    const KeptBinary* kept = kept_.find(module.path, module.inode);
    Result<BinaryFile> copy =
        kept == nullptr ? Error{kept_.present() ? "the launcher did not keep it"
                                                : "the run directory has no binaries/ of it"}
                        : open_kept(*kept);
    return copy || choice_.foreign ? std::move(copy) : open_by_path(module);
  }

  Result<BinaryFile> open_kept(const KeptBinary& kept) {
    if (kept.file.empty()) return Error{kept.missing.empty() ? "not kept" : kept.missing};
    const uint64_t limit = choice_.max_bytes == 0 ? UINT64_MAX : choice_.max_bytes;
    // Many lines may name one large file, and each would be read.
    checked_bytes_ += std::min(kept.bytes, limit);
    if (checked_bytes_ / kMostChecked > limit) return Error{"too many copies to check"};
    Result<UniqueFd> fd = kept_.open_checked(kept, limit);
    if (!fd) return fd.error();
    return BinaryFile{"", kept.bytes, std::move(*fd)};
  }

  // Another file with the same build-id and name (stripped differently, or a copy) goes by content.
  void name_file(const Module& module, BinaryFile& file) {
    const std::string base = "/" + base_name(module.path);
    const std::string id =
        module.build_id.empty() ? content_id(file.fd.get(), file.bytes) : module.build_id;
    file.name = std::string(kFolder) + id + base;
    const auto taken = files_.find(file.name);
    if (taken == files_.end()) return;
    const std::string content = content_id(file.fd.get(), file.bytes);
    if (content != content_id(taken->second.fd.get(), taken->second.bytes))
      file.name = std::string(kFolder) + content + base;
  }

  bool fits(uint64_t bytes, Module& module) {
    if (files_.size() >= kMaxFiles) {
      module.why = "more than " + std::to_string(kMaxFiles) + " files";
    } else if (choice_.max_bytes != 0 && bytes_ + bytes > choice_.max_bytes) {
      module.why = human_bytes(bytes) + " would make the bundle larger than its limit";
    }
    return module.why.empty();
  }

  const CollectChoice choice_;
  const KeptBinaries& kept_;
  uint64_t bytes_ = 0;
  uint64_t checked_bytes_ = 0;
  std::map<std::string, BinaryFile> files_;
};

}  // namespace

BinaryCollection collect_binaries(const ShmlogReader& log, const KeptBinaries& kept,
                                  const CollectChoice& choice) {
  BinaryCollection collection;
  collection.modules = modules_of(log, collection.left_out);
  Collector collector(choice, kept);
  // Executables first: they are what a person looks at when the limit does not let all in.
  for (const bool executables : {true, false}) {
    for (Module& module : collection.modules) {
      if (module.executable == executables) collector.take(module);
    }
  }
  collection.files = std::move(collector).files();
  return collection;
}

bool is_binary_name(const std::string& name) {
  if (!name.starts_with(kFolder)) return false;
  const size_t slash = name.find('/', kFolder.size());
  if (slash == std::string::npos) return false;
  const std::string id = name.substr(kFolder.size(), slash - kFolder.size());
  const std::string base = name.substr(slash + 1);
  return is_id(id) && base == base_name(base);
}

}  // namespace shmrec::recording
