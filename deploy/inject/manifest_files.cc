#include "deploy/inject/manifest_files.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>

#include "deploy/inject/yaml_source.h"

namespace shmrec::inject {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};

Result<std::string> read_all(const std::string& path) {
  const std::unique_ptr<FILE, CloseFile> file(path == "-" ? stdin : std::fopen(path.c_str(), "re"));
  if (!file) return Error{system_error(path).message};
  std::string text;
  char block[64 * 1024];
  errno = 0;
  while (text.size() <= kMaxSourceBytes) {
    const size_t n = std::fread(block, 1, sizeof block, file.get());
    text.append(block, n);
    if (n == 0) break;
  }
  if (std::ferror(file.get())) return system_error(path);
  return text;
}

bool is_manifest(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".yaml" || extension == ".yml" || extension == ".json";
}

Result<std::vector<std::string>> list_directory(const std::string& path, bool recursive) {
  std::vector<std::string> files, below;
  std::error_code error;
  fs::directory_iterator entries(path, error);
  if (error) return Error{system_error(path, error.value()).message};
  for (const fs::directory_entry& entry : entries) {
    // A link to a directory is not followed, so that none leads around in a circle.
    if (entry.is_directory(error) && !entry.is_symlink(error)) below.push_back(entry.path());
    if (entry.is_regular_file(error) && is_manifest(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::sort(below.begin(), below.end());
  for (const std::string& each : below) {
    if (!recursive) break;
    const Result<std::vector<std::string>> more = list_directory(each, true);
    if (!more) return more;
    files.insert(files.end(), more->begin(), more->end());
  }
  return files;
}

}  // namespace

Result<std::vector<std::string>> find_manifests(const std::vector<std::string>& paths,
                                                bool recursive) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const std::string& path : paths) {
    std::error_code error;
    Result<std::vector<std::string>> files = std::vector<std::string>{path};
    const bool directory = path != "-" && fs::is_directory(path, error);
    if (directory) files = list_directory(path, recursive);
    if (!files) return files;
    if (files->empty()) {
      return Error{path + ": no manifests in it; expected *.yaml, *.yml or *.json; name another, " +
                   (recursive ? "or a file" : "or give -R for the directories below")};
    }
    for (const std::string& file : *files) {
      if (seen.insert(file).second) out.push_back(file);
    }
  }
  return out;
}

ManifestFile read_manifest(const std::string& path) {
  return {path == "-" ? "stdin" : path, read_all(path)};
}

void append_stream(std::string& to, const std::string& stream) {
  if (stream.empty()) return;
  if (!to.empty() && !to.ends_with('\n')) to += '\n';
  const bool marker = stream.starts_with("---") || stream.starts_with('%');
  if (!to.empty() && !marker) to += "---\n";
  to += stream;
}

}  // namespace shmrec::inject
