#include "replay/access_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
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

struct Place {
  uint64_t event;
  size_t at, bytes;  // of the access, with its value
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
    const agent::ReplayAccess head = {header.event, header.pc, header.address,
                                      static_cast<uint32_t>(value.size()),
                                      static_cast<uint32_t>(kind)};
    const auto* bytes = reinterpret_cast<const unsigned char*>(&head);
    const size_t at = bytes_.size();
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof head);
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    bytes_.resize((bytes_.size() + 7) / 8 * 8);
    in_order_ = in_order_ && (places_.empty() || places_.back().event <= header.event);
    places_.push_back({header.event, at, bytes_.size() - at});
    return true;
  }

  // Of one thread they are in order; those of several are put in order.
  std::vector<unsigned char> all() {
    if (in_order_) return std::move(bytes_);
    std::stable_sort(places_.begin(), places_.end(),
                     [](const Place& a, const Place& b) { return a.event < b.event; });
    std::vector<unsigned char> sorted;
    sorted.reserve(bytes_.size());
    for (const Place& place : places_) {
      const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(place.at);
      sorted.insert(sorted.end(), begin, begin + static_cast<std::ptrdiff_t>(place.bytes));
    }
    return sorted;
  }

 private:
  const std::vector<uint64_t>& again_;
  std::vector<unsigned char> bytes_;  // all accesses, as they came
  std::vector<Place> places_;
  bool in_order_ = true;
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
