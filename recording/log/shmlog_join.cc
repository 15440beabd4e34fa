#include "recording/log/shmlog_join.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>

namespace shmrec::recording {
namespace {

using shmlog::Area;
using shmlog::Header;
using shmlog::LaneEntry;

// What is wrong with the header as that of a log to write on, or "".
std::string header_problem(const Header& header, const struct stat& file,
                           const CreateOptions& mine) {
  if (memcmp(header.magic, shmlog::kMagic, sizeof header.magic) != 0 ||
      header.version != shmlog::kVersion || header.header_bytes != sizeof(Header) ||
      header.file_bytes != static_cast<uint64_t>(file.st_size))
    return "it is not a whole log of this version";
  CreateOptions its = mine;
  its.log_bytes = header.file_bytes;
  Header planned;
  if (!plan_layout(its, planned) ||
      memcmp(&header.rules, &planned.rules,
             offsetof(Header, default_mode) - offsetof(Header, rules)) != 0)
    return "it is laid out for other rules or by another release";
  if (header.default_mode != planned.default_mode ||
      header.default_order != planned.default_order ||
      header.default_accesses != planned.default_accesses ||
      header.failure_closed != planned.failure_closed)
    return "its defaults or failurePolicy are not those of this policy";
  if (header.max_slowdown != planned.max_slowdown)
    return "its limits.maxSlowdown is not that of this policy";
  if (header.slow != planned.slow)
    return "one of the two is recorded with --slow, the other is not";
  if (header.closed != 0) return "it has ended";
  return "";
}

bool same_rules(int fd, const Area& area, const std::vector<shmlog::PolicyRule>& mine) {
  std::vector<shmlog::PolicyRule> rules(mine.size());
  const size_t bytes = rules.size() * sizeof(rules[0]);
  if (pread(fd, rules.data(), bytes, static_cast<off_t>(area.offset)) !=
      static_cast<ssize_t>(bytes))
    return false;
  for (size_t i = 0; i < rules.size(); ++i) {
    shmlog::PolicyRule ours = mine[i];
    rules[i].line = ours.line = 0;  // the same rule may stand elsewhere in another file
    if (memcmp(&rules[i], &ours, sizeof ours) != 0) return false;
  }
  return true;
}

// Whether somebody has it locked shared or exclusively through another opening. REQUIRES: not
// locked by `fd`. Leaves no lock.
bool is_held(int fd) {
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  flock(fd, LOCK_UN);
  return false;
}

struct flock byte_lock(short type, uint32_t number) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(shmlog::kLauncherLocks + number);
  lock.l_len = 1;
  return lock;
}

// Whether any process of that launcher is left. What cannot be asked is left.
bool launcher_left(int fd, uint32_t number) {
  struct flock lock = byte_lock(F_WRLCK, number);
  return fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

uint64_t pair_of(const LaneEntry& lane) {
  uint64_t pair;
  static_assert(offsetof(LaneEntry, launcher) == offsetof(LaneEntry, pid_namespace) + 4);
  pair = __atomic_load_n(reinterpret_cast<const uint64_t*>(&lane.pid_namespace), __ATOMIC_RELAXED);
  return pair;
}

// A lane whose number and namespace have changed meanwhile belongs to somebody else: left alone.
bool mark_gone(LaneEntry& lane, uint64_t pair) {
  const uint64_t gone = (pair & UINT32_MAX) | uint64_t{shmlog::kLauncherGone} << 32;
  return __atomic_compare_exchange_n(reinterpret_cast<uint64_t*>(&lane.pid_namespace), &pair, gone,
                                     false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

uint32_t sweep(int fd, LaneEntry* lanes, uint32_t count, uint32_t own) {
  std::map<uint32_t, bool> left;
  uint32_t marked = 0;
  for (uint32_t i = 1; i < count; ++i) {
    const uint64_t pair = pair_of(lanes[i]);
    const auto number = static_cast<uint32_t>(pair >> 32);
    if (number == 0 || number == own || number == shmlog::kLauncherGone) continue;
    if (__atomic_load_n(&lanes[i].state, __ATOMIC_RELAXED) !=
        static_cast<uint32_t>(shmlog::EntryState::kLive))
      continue;
    const auto [known, added] = left.try_emplace(number, false);
    if (added) known->second = launcher_left(fd, number);
    if (!known->second) marked += mark_gone(lanes[i], pair);
  }
  return marked;
}

}  // namespace

Result<JoinedLog> join_shmlog(const std::string& path, const CreateOptions& mine) {
  JoinedLog log;
  log.fd.reset(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat file;
  if (!log.fd || fstat(log.fd.get(), &file) != 0) return system_error(path);
  if (!S_ISREG(file.st_mode)) return Error{path + ": it is no file", false};
  if (!is_held(log.fd.get())) return Error{path + ": nobody records into it any more", false};
  if (flock(log.fd.get(), LOCK_SH | LOCK_NB) != 0)
    return Error{path + ": it is being collected", false};
  // Only now does it stay as it is: nobody who finds it locked removes or finishes it.
  if (fstat(log.fd.get(), &file) != 0 || file.st_nlink == 0)
    return Error{path + ": it was removed", false};
  if (pread(log.fd.get(), &log.layout, sizeof log.layout, 0) != sizeof log.layout)
    return Error{path + ": it is too short", false};
  const std::string problem = header_problem(log.layout, file, mine);
  if (!problem.empty()) return Error{path + ": " + problem, false};
  if (!same_rules(log.fd.get(), log.layout.rules, mine.rules))
    return Error{path + ": its segment rules are not those of this policy", false};
  return log;
}

uint32_t lock_launcher(int fd) {
  constexpr int kTries = 8;
  for (int i = 0; i < kTries; ++i) {
    uint32_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) return 0;
    if (number == 0 || number == shmlog::kLauncherGone) continue;
    struct flock lock = byte_lock(F_WRLCK, number);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return number;
    if (errno != EAGAIN && errno != EACCES) return 0;  // not: somebody has that number
  }
  return 0;
}

uint32_t sweep_lanes(int fd, const Header& layout, uint32_t own) {
  uint32_t next = 0;
  if (pread(fd, &next, sizeof next, offsetof(Header, next_lane)) != sizeof next) return 0;
  const uint32_t count = std::min(next, layout.lanes.count);
  const size_t bytes = size_t{count} * sizeof(LaneEntry);
  if (count <= 1) return 0;
  void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   static_cast<off_t>(layout.lanes.offset));
  if (map == MAP_FAILED) return 0;
  const uint32_t marked = sweep(fd, static_cast<LaneEntry*>(map), count, own);
  munmap(map, bytes);
  return marked;
}

bool close_shmlog(int fd) {
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return false;
  const uint32_t closed = 1;
  return pwrite(fd, &closed, sizeof closed, offsetof(Header, closed)) == sizeof closed;
}

}  // namespace shmrec::recording
