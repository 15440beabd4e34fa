#include "launcher/core/live_processes.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>

#include "launcher/identity.h"
#include "launcher/process_status.h"

namespace shmrec::launcher {
namespace {

std::map<pid_t, pid_t> parents_of_all() {
  std::map<pid_t, pid_t> parents;
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc", error), last;
  for (; !error && entry != last; entry.increment(error))
    if (const pid_t pid = atoi(entry->path().filename().c_str()); pid > 0)
      parents[pid] = parent_of(pid);
  return parents;
}

bool descends(pid_t pid, pid_t from, const std::map<pid_t, pid_t>& parents) {
  for (size_t depth = 0; depth < parents.size(); ++depth) {
    const auto found = parents.find(pid);
    if (found == parents.end() || found->second <= 0) return false;
    if (found->second == from) return true;
    pid = found->second;
  }
  return false;
}

struct Entry {
  shmlog::ProcessEntry process;
  int64_t at;  // in the log
};
using Entries = std::vector<Entry>;

// Of those that live; newest last.
Entries live_entries(int log_fd, const shmlog::Area& table) {
  if (table.entry_bytes != sizeof(shmlog::ProcessEntry)) return {};
  std::vector<shmlog::ProcessEntry> all(table.count);
  const size_t bytes = all.size() * sizeof all[0];
  if (pread(log_fd, all.data(), bytes, static_cast<off_t>(table.offset)) !=
      static_cast<ssize_t>(bytes))
    return {};
  Entries entries;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].state == static_cast<uint32_t>(shmlog::EntryState::kLive))
      entries.push_back({all[i], static_cast<int64_t>(table.offset + i * sizeof all[0])});
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.process.number < b.process.number; });
  return entries;
}

// PIDs come again: the newest is meant.
const Entry* entry_of(pid_t pid, const Entries& entries) {
  const pid_t inside = id_inside(pid);
  const ActAs identity(pid);
  const uint64_t pid_namespace = pid_namespace_of(pid);
  const auto found = std::find_if(entries.rbegin(), entries.rend(), [&](const Entry& entry) {
    return entry.process.pid == inside && entry.process.pid_namespace == pid_namespace;
  });
  return found == entries.rend() ? nullptr : &*found;
}

CoreSubject subject_of(pid_t pid, const Entry& entry, int log_fd) {
  CoreSubject subject;
  subject.pid = pid;
  subject.id_high = entry.process.id_high;
  subject.id_low = entry.process.id_low;
  subject.zone = entry.process.agent_base;
  subject.log_fd = log_fd;
  subject.event_at = entry.at + int64_t{offsetof(shmlog::ProcessEntry, events)};
  return subject;
}

}  // namespace

std::vector<CoreSubject> live_processes(int log_fd, const shmlog::Header& layout) {
  const Entries entries = live_entries(log_fd, layout.processes);
  const std::map<pid_t, pid_t> parents = parents_of_all();
  std::vector<CoreSubject> subjects;
  for (const auto& [pid, parent] : parents) {
    if (!descends(pid, getpid(), parents)) continue;
    if (const Entry* entry = entry_of(pid, entries))
      subjects.push_back(subject_of(pid, *entry, log_fd));
  }
  return subjects;
}

}  // namespace shmrec::launcher
