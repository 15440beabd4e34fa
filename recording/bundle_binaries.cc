#include "recording/bundle_binaries.h"

#include <elfutils/libdwelf.h>
#include <libelf.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "recording/sha256.h"

namespace shmrec::recording {
namespace {

constexpr size_t kMaxFiles = 500;  // each is held open; well below the usual limit of 1024
constexpr size_t kMaxBaseName = 96;
constexpr size_t kMinIdDigits = 8, kMaxIdDigits = 128;
constexpr std::string_view kFolder = "binaries/";
constexpr std::string_view kDeleted = " (deleted)";

bool plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::strchr("._+-", c) != nullptr;
}
bool hex_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

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

// Every module of the journal once. An executable that was never seen mapped is one too.
std::vector<Module> modules_of(const ShmlogReader& log) {
  std::set<std::string> executables, mapped;
  std::set<ModuleKey> keys;
  for (const JournalItem& item : log.journal()) {
    const auto type = static_cast<shmlog::JournalType>(item.entry.type);
    if (type == shmlog::JournalType::kProcessStart) executables.insert(item.text);
    if (type != shmlog::JournalType::kModule || !names_a_file(item.text)) continue;
    keys.insert({item.text, item.entry.d});
    mapped.insert(item.text);
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

bool is_elf(int fd) {
  char magic[SELFMAG];
  return pread_all(fd, magic, sizeof(magic), 0) == SELFMAG &&
         std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

std::string build_id(int fd) {
  elf_version(EV_CURRENT);
  Elf* elf = elf_begin(fd, ELF_C_READ, nullptr);
  const void* bytes = nullptr;
  const ssize_t length = elf == nullptr ? -1 : dwelf_elf_gnu_build_id(elf, &bytes);
  std::string id;
  for (ssize_t i = 0; i < length; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    const uint8_t byte = static_cast<const uint8_t*>(bytes)[i];
    id += kDigits[byte >> 4];
    id += kDigits[byte & 15];
  }
  elf_end(elf);
  return id.size() >= kMinIdDigits && id.size() <= kMaxIdDigits ? id : "";
}

std::string content_id(int fd) {
  Sha256 sum;
  std::vector<char> buffer(1 << 18);
  ssize_t got;
  for (uint64_t at = 0; (got = pread_all(fd, buffer.data(), buffer.size(), at)) > 0;) {
    sum.update(buffer.data(), static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
  return to_hex(sum.finish());
}

// The file if it is the module's, else an Error whose message says why not.
Result<BinaryFile> open_module(const Module& module) {
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
  explicit Collector(const CollectChoice& choice) : choice_(choice) {}

  void take(Module& module) {
    const bool wanted = module.executable ? choice_.binaries : choice_.libraries;
    if (!wanted) {
      module.unwanted = true;
      module.why = module.executable ? "collect.binaries is off" : "collect.libraries is off";
      return;
    }
    Result<BinaryFile> file = open_module(module);
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
  // Another file with the same build-id and name (stripped differently, or a copy) goes by content.
  void name_file(const Module& module, BinaryFile& file) {
    const std::string base = "/" + base_name(module.path);
    const std::string id = module.build_id.empty() ? content_id(file.fd.get()) : module.build_id;
    file.name = std::string(kFolder) + id + base;
    const auto taken = files_.find(file.name);
    if (taken == files_.end()) return;
    const std::string content = content_id(file.fd.get());
    if (content != content_id(taken->second.fd.get()))
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

  CollectChoice choice_;
  uint64_t bytes_ = 0;
  std::map<std::string, BinaryFile> files_;
};

}  // namespace

BinaryCollection collect_binaries(const ShmlogReader& log, const CollectChoice& choice) {
  BinaryCollection collection{{}, modules_of(log)};
  Collector collector(choice);
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
  return id.size() >= kMinIdDigits && id.size() <= kMaxIdDigits &&
         std::all_of(id.begin(), id.end(), hex_digit) && base == base_name(base);
}

}  // namespace shmrec::recording
