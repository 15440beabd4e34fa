#include "recording/bundle/module_follower.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {
namespace {

using shmlog::Area;
using shmlog::JournalType;

constexpr int kPatience = 4;  // polls for an entry that its writer has not finished

// The part of an area that lies in a file of `bytes` bytes.
Area clamped(const Area& area, uint64_t bytes, uint32_t entry_bytes) {
  if (area.entry_bytes < entry_bytes || area.offset > bytes) return {};
  const uint64_t there = (bytes - area.offset) / area.entry_bytes;
  return {area.offset, static_cast<uint32_t>(std::min<uint64_t>(area.count, there)),
          area.entry_bytes};
}

}  // namespace

Result<> ModuleFollower::take_layout(int log) {
  shmlog::Header header;
  struct stat status;
  const ssize_t got = pread_all(log, &header, sizeof header, 0);
  if (got < 0 || fstat(log, &status) != 0) return system_error("run.shmlog");
  if (got != sizeof header || std::memcmp(header.magic, shmlog::kMagic, sizeof header.magic) != 0 ||
      header.version != shmlog::kVersion) {
    return Error{"run.shmlog: not a shared-memory log of version " +
                 std::to_string(shmlog::kVersion)};
  }
  const auto bytes = static_cast<uint64_t>(status.st_size);
  journal_ = clamped(header.journal, bytes, shmlog::kJournalUnitBytes);
  if (journal_.entry_bytes != shmlog::kJournalUnitBytes) journal_.count = 0;
  processes_ = clamped(header.processes, bytes, sizeof(shmlog::ProcessEntry));
  table_count_ = std::max(header.processes.count, 2u);
  has_layout_ = true;
  return Unit{};
}

Result<std::vector<MappedModule>> ModuleFollower::poll(int log, bool last) {
  if (!has_layout_) {
    if (const Result<> taken = take_layout(log); !taken) return taken.error();
  }
  uint64_t head = 0;
  if (pread_all(log, &head, sizeof head, offsetof(shmlog::Header, journal_units)) < 0)
    return system_error("run.shmlog");
  std::vector<MappedModule> modules;
  if (journal_.count == 0) return modules;
  next_place_ = journal_resume(journal_, next_place_, head, missed_);
  const uint64_t stop = std::min(head, next_place_ + kMaxUnitsPerPoll);
  while (next_place_ < stop) {
    const std::optional<TailEntry> found = read_journal_entry(log, journal_, next_place_);
    // Its writer fills an entry and marks it last. One that died in between
    // leaves it for ever, and all its units are passed at once.
    if (!found && !last && patience_ < kPatience) {
      ++patience_;
      break;
    }
    if (found) patience_ = 0;
    if (found) take(log, *found, modules);
    next_place_ += found ? found->units : 1;
  }
  behind_ = stop < head && next_place_ >= stop;
  return modules;
}

void ModuleFollower::take(int log, const TailEntry& found,
                          std::vector<MappedModule>& modules) const {
  const auto type = static_cast<JournalType>(found.entry.type);
  const bool start = type == JournalType::kProcessStart;
  if ((!start && type != JournalType::kModule) || !found.text.starts_with('/') ||
      found.text.find('\0') != std::string::npos)
    return;
  MappedModule module{.path = found.text, .inode = start ? 0 : found.entry.d, .executable = start};
  find_process(log, found.entry.process, module);
  modules.push_back(std::move(module));
}

void ModuleFollower::find_process(int log, uint32_t process, MappedModule& module) const {
  if (process == 0 || processes_.count < 2) return;
  shmlog::ProcessEntry entry;
  const uint64_t slot = shmlog::table_slot(process, table_count_);
  if (slot >= processes_.count) return;
  const uint64_t at = processes_.offset + slot * processes_.entry_bytes;
  if (pread_all(log, &entry, sizeof entry, at) != sizeof entry || entry.number != process) return;
  module.pid = entry.pid;
  module.pid_namespace = entry.pid_namespace;
}

}  // namespace shmrec::recording
