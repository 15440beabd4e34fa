// Following a run whose files the workload writes: whatever the bytes, and though they change
// between two looks, facts or an Error, in bounded memory and time, and no text that is not
// printable.
//
// The first byte of the input says what the rest is:
//   0  a log: followed, then changed by bytes of itself and shortened, and followed again
//   1  a run.json     2  an end.json     3  an events.jsonl, that grows by halves
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "recording/run/run_follower.h"
#include "recording/run/spool.h"

namespace {

using namespace shmrec::recording;

void require(bool condition) {
  if (!condition) abort();
}

void require_printable(const std::string& text) {
  for (const char c : text) require(c >= 0x20 && c < 0x7F);
}

class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    require(fd_ >= 0);
    append(bytes);
  }
  ~MemoryFile() { close(fd_); }
  int fd() const { return fd_; }
  void append(const std::string& bytes) {
    require(write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  void put(uint64_t at, uint8_t byte) {
    require(pwrite(fd_, &byte, 1, static_cast<off_t>(at)) == 1);
  }
  void shorten(uint64_t bytes) { require(ftruncate(fd_, static_cast<off_t>(bytes)) == 0); }

 private:
  int fd_;
};

void look(LogFollower& follower, int log, bool last) {
  for (int i = 0; i < 4; ++i) {
    const auto facts = follower.poll(log, last);
    if (!facts) return;
    // An end is told once, so there cannot be more of them than processes; each unit of the journal
    // and each process make at most two facts.
    require(facts->size() <= 2 * (LogFollower::kMaxUnitsPerPoll + LogFollower::kMaxProcesses));
    for (const RunFact& fact : *facts) require_printable(fact.text);
    if (!follower.behind()) break;
  }
  require(follower.processes().size() <= LogFollower::kMaxProcesses);
  for (const FollowedProcess& process : follower.processes()) {
    require_printable(process.name + process.executable + process.id);
    require(!process_state(process, last).empty());
  }
}

void follow_log(const std::string& bytes) {
  MemoryFile log(bytes);
  LogFollower follower;
  look(follower, log.fd(), false);
  for (size_t i = 0; i + 4 <= bytes.size() && i < 256; i += 4) {
    const auto at = static_cast<uint8_t>(bytes[i]) | static_cast<uint8_t>(bytes[i + 1]) << 8 |
                    static_cast<uint8_t>(bytes[i + 2]) << 16;
    log.put(static_cast<uint64_t>(at) % bytes.size(), static_cast<uint8_t>(bytes[i + 3]));
  }
  look(follower, log.fd(), false);
  log.shorten(bytes.size() / 2 + 1);
  look(follower, log.fd(), true);
}

void read_identity(const std::string& text) {
  const RunIdentity identity = parse_identity(text);
  require_printable(identity.command_line + identity.executable + identity.container +
                    identity.pod + identity.start_time + identity.hostname);
}

void read_end(const std::string& text) {
  RunStatus status;
  if (!parse_end(text, status)) return;
  require(status.wait_status.has_value());
  require_printable(status.end_time);
}

size_t exits_in(EventsFollower& follower, int events) {
  size_t exits = 0;
  do {
    exits += follower.poll(events).size();
  } while (follower.behind());
  return exits;
}

void follow_events(const std::string& text) {
  MemoryFile file(text.substr(0, text.size() / 2));
  EventsFollower follower;
  size_t exits = exits_in(follower, file.fd());
  file.append(text.substr(text.size() / 2));
  exits += exits_in(follower, file.fd());
  // The same in one piece: where a reader stopped must not matter.
  const MemoryFile whole(text);
  EventsFollower once;
  require(exits_in(once, whole.fd()) == exits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > (1 << 20)) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      follow_log(rest);
      break;
    case 1:
      read_identity(rest);
      break;
    case 2:
      read_end(rest);
      break;
    case 3:
      follow_events(rest);
      break;
  }
  return 0;
}
