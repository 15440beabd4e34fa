#include "launcher/process_status.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/unique_fd.h"

namespace shmrec::launcher {
namespace {

std::string proc_path(pid_t id, const char* file) {
  return "/proc/" + std::to_string(id) + "/" + file;
}

// The last of "1 2 3": the number in the innermost namespace.
pid_t last_number(const std::string& numbers) {
  const size_t space = numbers.find_last_of(" \t");
  return atoi(numbers.c_str() + (space == std::string::npos ? 0 : space + 1));
}

}  // namespace

std::string read_proc_file(const std::string& path) {
  constexpr size_t kMostBytes = size_t{64} << 20, kPieceBytes = 64 * 1024;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  while (file && text.size() < kMostBytes) {
    const size_t before = text.size();
    text.resize(before + kPieceBytes);
    const ssize_t got = read(file.get(), text.data() + before, kPieceBytes);
    text.resize(before + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got <= 0) break;
  }
  return text;
}

pid_t parent_of(pid_t pid) {
  const std::string text = read_proc_file(proc_path(pid, "stat"));
  const size_t name_end = text.rfind(')');  // the name may hold anything
  int parent = 0;
  if (name_end == std::string::npos || sscanf(text.c_str() + name_end, ") %*c %d", &parent) != 1)
    return 0;
  return parent;
}

std::string status_value(pid_t id, const std::string& key) {
  const std::string status = "\n" + read_proc_file(proc_path(id, "status"));
  const size_t at = status.find("\n" + key + ":");
  if (at == std::string::npos) return "";
  const size_t begin = status.find_first_not_of(" \t", at + key.size() + 2);
  return begin == std::string::npos ? "" : status.substr(begin, status.find('\n', begin) - begin);
}

bool has_ended(pid_t id) {
  const std::string state = status_value(id, "State");
  return state.empty() || state[0] == 'Z' || state[0] == 'X';
}

pid_t process_of(pid_t tid) { return atoi(status_value(tid, "Tgid").c_str()); }

pid_t id_inside(pid_t id) {
  const pid_t inside = last_number(status_value(id, "NSpid"));
  return inside > 0 ? inside : id;
}

uint64_t pid_namespace_of(pid_t pid) {
  struct stat status;
  return stat(proc_path(pid, "ns/pid").c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace shmrec::launcher
