#include "recording/stream/stream_files.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "recording/bundle/cores.h"
#include "recording/stream/stream_format.h"

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".stream";
constexpr size_t kMostFiles = 3000;  // of the entries that a bundle may have

bool all_of(std::string_view text, const char* allowed) {
  return !text.empty() && text.find_first_not_of(allowed) == std::string_view::npos;
}

bool is_stream_name(std::string_view name) {
  constexpr size_t kDigits = 7;
  if (!name.ends_with(kSuffix)) return false;
  name.remove_suffix(kSuffix.size());
  return name.size() <= kDigits && all_of(name, "0123456789");
}

bool is_mapped_name(std::string_view name) {
  constexpr size_t kLongest = 96;
  return name.size() < kLongest && name[0] != '.' && all_of(name, "0123456789abcdef-.");
}

std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry("/proc/self/fd/" + std::to_string(directory), error), last;
  for (; !error && entry != last; entry.increment(error))
    names.push_back(entry->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// How much of a stream's file is worth keeping.
uint64_t whole_bytes(int fd, uint64_t bytes) {
  stream::FileHeader header;
  const bool read = pread_all(fd, &header, sizeof header, 0) == ssize_t{sizeof header};
  return read ? std::min(bytes, header.committed) : bytes;
}

class Opener {
 public:
  Opener(int run_dir, uint64_t most_bytes, std::vector<RunFacts::Problem>& problems)
      : run_dir_(run_dir), most_bytes_(most_bytes), problems_(problems) {}

  std::vector<RunFile> take() {
    const UniqueFd recordings = folder(run_dir_, kRecordingsFolder);
    for (const std::string& id :
         recordings ? names_in(recordings.get()) : std::vector<std::string>())
      if (is_recording_id(id))
        take_from(recordings.get(), id, std::string(kRecordingsFolder) + "/" + id);
    take_from(run_dir_, kMappedFolder, kMappedFolder);
    return std::move(files_);
  }

 private:
  UniqueFd folder(int directory, const std::string& name) {
    UniqueFd fd(openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno != ENOENT) problems_.push_back({name, std::strerror(errno)});
    return fd;
  }

  void take_from(int directory, const std::string& name, const std::string& shown) {
    const UniqueFd fd = folder(directory, name);
    for (const std::string& file : fd ? names_in(fd.get()) : std::vector<std::string>())
      if (is_recording_file(shown + "/" + file)) take_file(fd.get(), file, shown + "/" + file);
  }

  void take_file(int directory, const std::string& name, const std::string& shown) {
    uint64_t bytes = 0;
    Result<UniqueFd> file = open_regular_at(directory, name.c_str(), shown, bytes);
    if (!file) {
      problems_.push_back({shown, file.error().message});
      return;
    }
    if (is_stream_name(name)) bytes = whole_bytes(file->get(), bytes);
    if (bytes > most_bytes_ || files_.size() >= kMostFiles) {
      problems_.push_back(
          {shown, human_bytes(bytes) + " would make the bundle larger than its limit"});
      return;
    }
    most_bytes_ -= bytes;
    files_.push_back({shown, std::move(*file), bytes});
  }

  int run_dir_;
  uint64_t most_bytes_;
  std::vector<RunFacts::Problem>& problems_;
  std::vector<RunFile> files_;
};

}  // namespace

std::string stream_file_name(uint32_t number) {
  return std::to_string(number) + std::string(kSuffix);
}

std::string mapped_name(const MappedFile& file) {
  std::array<char, 96> text;
  std::snprintf(
      text.data(), text.size(), "%llx-%llx-%llx-%llx.%llx",
      static_cast<unsigned long long>(file.device), static_cast<unsigned long long>(file.inode),
      static_cast<unsigned long long>(file.size), static_cast<unsigned long long>(file.seconds),
      static_cast<unsigned long long>(file.nanoseconds));
  return text.data();
}

bool is_recording_file(const std::string& name) {
  const std::string_view text = name;
  const size_t last = text.rfind('/');
  if (last == std::string_view::npos) return false;
  const std::string_view folder = text.substr(0, last), file = text.substr(last + 1);
  if (folder == kMappedFolder) return is_mapped_name(file);
  const std::string_view prefix = kRecordingsFolder;
  return folder.size() > prefix.size() && folder.starts_with(prefix) &&
         folder[prefix.size()] == '/' && is_recording_id(folder.substr(prefix.size() + 1)) &&
         is_stream_name(file);
}

std::vector<RunFile> open_recording_files(int run_dir, uint64_t most_bytes,
                                          std::vector<RunFacts::Problem>& problems) {
  return Opener(run_dir, most_bytes, problems).take();
}

}  // namespace shmrec::recording
