#include "recording/bundle/module_follower.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {
namespace {

using shmlog::Area;
using shmlog::JournalEntry;
using shmlog::JournalType;

constexpr size_t kMaxText = 4096;  // PATH_MAX
constexpr int kPatience = 4;       // polls for an entry that its writer has not finished

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
  has_layout_ = true;
  return Unit{};
}

Result<std::vector<MappedModule>> ModuleFollower::poll(int log, bool last) {
  if (!has_layout_) {
    if (const Result<> taken = take_layout(log); !taken) return taken.error();
  }
  uint64_t units = 0;
  if (pread_all(log, &units, sizeof units, offsetof(shmlog::Header, journal_units)) < 0)
    return system_error("run.shmlog");
  const uint64_t handed_out = std::min<uint64_t>(units, journal_.count);
  const uint64_t stop = std::min(handed_out, next_unit_ + kMaxUnitsPerPoll);
  std::vector<MappedModule> modules;
  while (next_unit_ < stop) {
    const uint32_t taken = take_entry(log, next_unit_, modules);
    // Its writer fills an entry and marks it last. One that died in between leaves it for ever, and
    // all its units are passed at once.
    if (taken == 0 && !last && patience_ < kPatience) {
      ++patience_;
      break;
    }
    if (taken != 0) patience_ = 0;
    next_unit_ += std::max(taken, 1u);
  }
  behind_ = stop < handed_out && next_unit_ == stop;
  return modules;
}

// Takes the entry at `unit`; returns its units, 0 if there is none (yet).
uint32_t ModuleFollower::take_entry(int log, uint64_t unit,
                                    std::vector<MappedModule>& modules) const {
  struct {
    JournalEntry entry;
    char text[kMaxText];
  } read;
  const uint64_t at = journal_.offset + unit * shmlog::kJournalUnitBytes;
  const ssize_t got = pread_all(log, &read, sizeof read, at);
  if (got < static_cast<ssize_t>(sizeof read.entry)) return 0;
  const JournalEntry& entry = read.entry;
  const uint64_t room = uint64_t{entry.units} * shmlog::kJournalUnitBytes - sizeof entry;
  if (entry.magic != shmlog::kJournalMagic || entry.units == 0 ||
      entry.units > journal_.count - unit || entry.text_bytes > room)
    return 0;
  const auto type = static_cast<JournalType>(entry.type);
  const bool start = type == JournalType::kProcessStart;
  const size_t there = static_cast<size_t>(got) - sizeof read.entry;
  const size_t text = std::min<size_t>({entry.text_bytes, sizeof read.text, there});
  if ((start || type == JournalType::kModule) && text > 0 && read.text[0] == '/' &&
      std::memchr(read.text, '\0', text) == nullptr) {
    MappedModule module{
        .path = std::string(read.text, text), .inode = start ? 0 : entry.d, .executable = start};
    find_process(log, entry.process, module);
    modules.push_back(std::move(module));
  }
  return entry.units;
}

void ModuleFollower::find_process(int log, uint32_t process, MappedModule& module) const {
  if (process == 0 || process >= processes_.count) return;
  shmlog::ProcessEntry entry;
  const uint64_t at = processes_.offset + uint64_t{process} * processes_.entry_bytes;
  if (pread_all(log, &entry, sizeof entry, at) != sizeof entry) return;
  module.pid = entry.pid;
  module.pid_namespace = entry.pid_namespace;
}

}  // namespace shmrec::recording
