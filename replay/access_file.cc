#include "replay/access_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "agent/agent_abi.h"
#include "recording/bundle/bundle_files.h"
#include "recording/export/access_walk.h"
#include "recording/run/timeline.h"

namespace shmrec::replay {
namespace {

using recording::ShmlogReader;

// The number of the recording's process in the log; 0: there is none.
uint32_t process_of(const ShmlogReader& log, const std::string& recording) {
  for (const auto& each : log.processes())
    if (recording::recording_id(each.entry.id_high, each.entry.id_low) == recording)
      return each.index;
  return 0;
}

struct Access {
  agent::ReplayAccess head;
  size_t value_at;  // in the values
};

class Collector {
 public:
  explicit Collector(const std::vector<uint64_t>& again) : again_(again) {}

  bool add(const recording::WalkedAccess& access) {
    const auto& header = access.record.header;
    if (std::ranges::binary_search(again_, header.event)) return true;
    const bool reads = access.record.reads();
    const auto value = reads ? access.record.input() : access.record.output();
    const auto kind = reads ? agent::ReplayAccessKind::kRead : agent::ReplayAccessKind::kWrite;
    if (header.syscall != 0) return true;  // what the kernel wrote is in the stream
    accesses_.push_back({{header.event, header.pc, header.address,
                          static_cast<uint32_t>(value.size()), static_cast<uint32_t>(kind)},
                         values_.size()});
    values_.insert(values_.end(), value.begin(), value.end());
    values_.resize((values_.size() + 7) / 8 * 8);
    return true;
  }

  // Of one thread they are in order; those of several are put in order.
  std::vector<unsigned char> all() {
    std::stable_sort(accesses_.begin(), accesses_.end(),
                     [](const Access& a, const Access& b) { return a.head.event < b.head.event; });
    std::vector<unsigned char> bytes;
    for (const Access& access : accesses_) {
      const auto* head = reinterpret_cast<const unsigned char*>(&access.head);
      bytes.insert(bytes.end(), head, head + sizeof access.head);
      const auto value = values_.begin() + static_cast<std::ptrdiff_t>(access.value_at);
      bytes.insert(bytes.end(), value, value + (access.head.length + 7) / 8 * 8);
    }
    return bytes;
  }

 private:
  const std::vector<uint64_t>& again_;
  std::vector<Access> accesses_;
  std::vector<unsigned char> values_;
};

Result<UniqueFd> make_access_file(const ShmlogReader& log, const std::string& recording,
                                  const std::vector<uint64_t>& again) {
  const uint32_t process = process_of(log, recording);
  if (process == 0) return UniqueFd();
  Collector collector(again);
  recording::walk_accesses(log, {.process = process},
                           [&](const auto& access) { return collector.add(access); });
  const std::vector<unsigned char> bytes = collector.all();
  if (bytes.empty()) return UniqueFd();
  UniqueFd fd(memfd_create("shmrec-accesses", MFD_CLOEXEC));
  if (!fd ||
      !recording::write_all(fd.get(), reinterpret_cast<const char*>(bytes.data()), bytes.size()))
    return system_error("the accesses of " + recording);
  return fd;
}

}  // namespace

Result<int> AccessFiles::of(const std::string& recording, const std::vector<uint64_t>& again) {
  if (const auto known = made_.find(recording); known != made_.end()) return known->second.get();
  Result<UniqueFd> file = make_access_file(log_, recording, again);
  if (!file) return file.error();
  return made_.emplace(recording, std::move(*file)).first->second.get();
}

}  // namespace shmrec::replay
