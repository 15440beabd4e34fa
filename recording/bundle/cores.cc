#include "recording/bundle/cores.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace shmrec::recording {
namespace {

constexpr const char* kFolder = "cores";
constexpr std::string_view kPrefix = "cores/", kSuffix = ".core";
constexpr size_t kMostCores = 1024;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// Names of files in the folder, as the bundle has them.
std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc/self/fd/" + std::to_string(folder), error), last;
  for (; !error && entry != last; entry.increment(error)) {
    std::string name = std::string(kPrefix) + entry->path().filename().string();
    if (is_core_name(name)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

bool is_recording_id(std::string_view text) {
  constexpr size_t kHigh = 8, kLow = 4;
  return text.size() == kHigh + 1 + kLow && text[kHigh] == '-' &&
         std::all_of(text.begin(), text.begin() + kHigh, is_hex) &&
         std::all_of(text.begin() + kHigh + 1, text.end(), is_hex);
}

bool is_core_name(const std::string& name) {
  const std::string_view text = name;
  return text.size() > kPrefix.size() + kSuffix.size() && text.starts_with(kPrefix) &&
         text.ends_with(kSuffix) &&
         is_recording_id(
             text.substr(kPrefix.size(), text.size() - kPrefix.size() - kSuffix.size()));
}

std::string core_name(const std::string& recording_id) {
  return std::string(kPrefix) + recording_id + std::string(kSuffix);
}

std::vector<RunFile> open_cores(int run_dir, uint64_t most_bytes,
                                std::vector<RunFacts::Problem>& problems) {
  std::vector<RunFile> cores;
  const UniqueFd folder(openat(run_dir, kFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) {
    if (errno != ENOENT) problems.push_back({kFolder, std::strerror(errno)});
    return cores;
  }
  for (const std::string& name : names_in(folder.get())) {
    uint64_t bytes = 0;
    Result<UniqueFd> file =
        open_regular_at(folder.get(), name.c_str() + kPrefix.size(), name, bytes);
    if (!file) {
      problems.push_back({name, file.error().message});
    } else if (bytes > most_bytes || cores.size() >= kMostCores) {
      problems.push_back(
          {name, human_bytes(bytes) + " would make the bundle larger than its limit"});
    } else {
      most_bytes -= bytes;
      cores.push_back({name, std::move(*file), bytes});
    }
  }
  return cores;
}

}  // namespace shmrec::recording
