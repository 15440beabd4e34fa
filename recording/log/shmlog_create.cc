#include "recording/log/shmlog_create.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace shmrec::recording {
namespace {

using shmlog::Area;
using shmlog::Header;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kLargeLogBytes = uint64_t{64} << 20;
constexpr uint64_t kMinJournalBytes = uint64_t{2} << 20;
constexpr uint64_t kJournalShare = 16;  // the journal gets this fraction of the file
constexpr uint64_t kMinChunks = 16;
constexpr size_t kMaxRules = 65536;

constexpr uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

// Entries of the tables that do not grow with the log. A small log belongs to a small program.
struct TableSizes {
  uint32_t processes, lanes, segments, usage;
};
constexpr TableSizes kLargeTables = {65536, 16384, 8192, 65536};
constexpr TableSizes kSmallTables = {1024, 4096, 2048, 8192};

// More stripes: fewer lines share one. 8 bytes each, so at most a few percent of the file.
uint32_t stripe_count_for(uint64_t log_bytes) {
  if (log_bytes < (uint64_t{256} << 20)) return 1u << 18;
  if (log_bytes < (uint64_t{1} << 30)) return 1u << 19;
  return 1u << 20;
}

// Hands out areas one after the other, each on a page boundary.
class LayoutCursor {
 public:
  Area take(uint64_t count, uint32_t entry_bytes) {
    const Area area{next_, static_cast<uint32_t>(count), entry_bytes};
    next_ = round_up(next_ + count * entry_bytes, kPage);
    return area;
  }
  uint64_t next() const { return next_; }

 private:
  uint64_t next_ = kPage;
};

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Both clocks at one moment: of several tries the one in which least time passed between them.
struct Moment {
  uint64_t tsc = 0, monotonic_ns = 0;
};
Moment now() {
  constexpr int kTries = 8;
  Moment best;
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < kTries; ++i) {
    const uint64_t before = __rdtsc();
    const uint64_t ns = clock_ns(CLOCK_MONOTONIC);
    const uint64_t took = __rdtsc() - before;
    if (took >= least) continue;
    least = took;
    best = {before + took / 2, ns};
  }
  return best;
}

void begin_clock(Header& header) {
  const Moment start = now();
  header.start_realtime_ns = clock_ns(CLOCK_REALTIME);
  header.start_monotonic_ns = start.monotonic_ns;
  header.start_tsc = start.tsc;
}

// Calibrated rather than read from CPUID 0x15: hypervisors leave that leaf empty or unscaled.
void measure_clock(Header& header) {
  const Moment end = now();
  const uint64_t elapsed_ns = std::max<uint64_t>(1, end.monotonic_ns - header.start_monotonic_ns);
  header.tsc_hz = static_cast<uint64_t>(static_cast<double>(end.tsc - header.start_tsc) * 1e9 /
                                        static_cast<double>(elapsed_ns));
}

// Waits for what is left of the time that it is measured for, after what was done meanwhile.
void finish_clock(Header& header, uint64_t least_ns) {
  const uint64_t passed_ns = clock_ns(CLOCK_MONOTONIC) - header.start_monotonic_ns;
  if (passed_ns < least_ns) {
    const timespec pause{0, static_cast<long>(least_ns - passed_ns)};
    nanosleep(&pause, nullptr);
  }
  measure_clock(header);
}

// Writes all of it or returns an errno.
int write_all(int fd, const void* data, size_t bytes, uint64_t offset) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = pwrite(fd, from, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : ENOSPC;
    from += written;
    offset += static_cast<uint64_t>(written);
    bytes -= static_cast<size_t>(written);
  }
  return 0;
}

int write_zeros(int fd, uint64_t bytes) {
  const std::vector<char> zeros(1 << 20);
  for (uint64_t at = 0; at < bytes; at += zeros.size()) {
    const size_t part = static_cast<size_t>(std::min<uint64_t>(zeros.size(), bytes - at));
    if (const int error = write_all(fd, zeros.data(), part, at)) return error;
  }
  return 0;
}

int allocate(int fd, uint64_t bytes) {
  int status;
  do {
    status = fallocate(fd, 0, 0, static_cast<off_t>(bytes));
  } while (status != 0 && errno == EINTR);
  if (status == 0) return 0;
  return errno == EOPNOTSUPP || errno == ENOSYS ? write_zeros(fd, bytes) : errno;
}

int write_rules(int fd, const Area& area, const std::vector<shmlog::PolicyRule>& rules) {
  return rules.empty() ? 0
                       : write_all(fd, rules.data(), rules.size() * sizeof(rules[0]), area.offset);
}

int write_header(int fd, const Header& complete) {
  Header header = complete;
  std::memset(header.magic, 0, sizeof(header.magic));
  if (const int error = write_all(fd, &header, sizeof(header), 0)) return error;
  return write_all(fd, shmlog::kMagic, sizeof(shmlog::kMagic), 0);
}

int fill(int fd, Header& header, const CreateOptions& options) {
  begin_clock(header);
  if (const int error = allocate(fd, header.file_bytes)) return error;
  if (const int error = write_rules(fd, header.rules, options.rules)) return error;
  finish_clock(header, options.clock_ns);
  return write_header(fd, header);
}

Error creation_error(const std::string& path, uint64_t bytes, int err) {
  const bool no_room = err == ENOSPC || err == EDQUOT || err == EFBIG;
  std::string message = path + ": cannot allocate the shared-memory log of " + mebibytes(bytes) +
                        ": " + std::strerror(err);
  if (no_room)
    message += "; lower limits.logSize in the policy (or SHMREC_LOG_SIZE), or free space there";
  return Error{message, false};
}

}  // namespace

Result<> plan_layout(const CreateOptions& options, Header& header) {
  const uint64_t bytes = options.log_bytes / kPage * kPage;
  if (bytes < kMinLogBytes || bytes > kMaxLogBytes) {
    return Error{"log size of " + std::to_string(options.log_bytes) + " bytes; expected between " +
                 mebibytes(kMinLogBytes) + " and " + mebibytes(kMaxLogBytes)};
  }
  if (options.rules.size() > kMaxRules) {
    return Error{"policy has " + std::to_string(options.rules.size()) +
                 " segment rules; expected at most " + std::to_string(kMaxRules)};
  }
  header = Header{};
  header.version = shmlog::kVersion;
  header.header_bytes = sizeof(Header);
  header.file_bytes = bytes;
  header.run_id = options.run_id;
  header.default_mode = static_cast<uint32_t>(options.default_mode);
  header.default_order = static_cast<uint32_t>(options.default_order);
  header.default_accesses = static_cast<uint32_t>(options.default_accesses);
  header.max_slowdown = options.max_slowdown;
  header.failure_closed = options.failure_closed;
  header.slow = options.slow;
  header.launcher_pid = options.launcher_pid;
  options.build.copy(header.build, sizeof(header.build) - 1);

  const TableSizes& sizes = bytes >= kLargeLogBytes ? kLargeTables : kSmallTables;
  LayoutCursor cursor;
  header.rules = cursor.take(options.rules.size(), sizeof(shmlog::PolicyRule));
  header.stripes = cursor.take(stripe_count_for(bytes), sizeof(uint64_t));
  header.processes = cursor.take(sizes.processes, sizeof(shmlog::ProcessEntry));
  header.lanes = cursor.take(sizes.lanes, sizeof(shmlog::LaneEntry));
  header.segments = cursor.take(sizes.segments, sizeof(shmlog::SegmentEntry));
  header.usage = cursor.take(sizes.usage, sizeof(shmlog::UsageEntry));
  const uint64_t journal_bytes = std::max(kMinJournalBytes, bytes / kJournalShare);
  const uint64_t journal_units =
      std::min<uint64_t>(journal_bytes / shmlog::kJournalUnitBytes, UINT32_MAX);
  header.journal = cursor.take(journal_units, shmlog::kJournalUnitBytes);

  const uint64_t left = bytes > cursor.next() ? bytes - cursor.next() : 0;
  const uint64_t chunks = std::min<uint64_t>(left / shmlog::kChunkBytes, UINT32_MAX - 1);
  if (chunks < kMinChunks) {
    return Error{"log size of " + mebibytes(bytes) + " leaves no room for records beside " +
                 std::to_string(options.rules.size()) + " policy rules; expected at least " +
                 mebibytes(cursor.next() + kMinChunks * shmlog::kChunkBytes + (1 << 20))};
  }
  header.chunks = cursor.take(chunks, shmlog::kChunkBytes);
  header.next_process = header.next_lane = header.next_segment = header.next_usage = 1;
  return Unit{};
}

Result<int> create_shmlog(const std::string& path, const CreateOptions& options) {
  Header header;
  const Result<> planned = plan_layout(options, header);
  if (!planned) return Error{path + ": " + planned.error().message, planned.error().bad_input};
  const int fd = open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return system_error(path);
  if (options.file_mode != 0600) fchmod(fd, options.file_mode);
  // Held as long as any process has this opening of the file, or its mapping: the launcher and all
  // that it records, and others that join (shmlog_join.h). Whoever can take it exclusively knows
  // that all of them are gone.
  flock(fd, LOCK_SH | LOCK_NB);
  if (const int error = fill(fd, header, options)) {
    close(fd);
    unlink(path.c_str());
    return creation_error(path, header.file_bytes, error);
  }
  return fd;
}

void refine_clock(int log) {
  Header header;
  if (pread(log, &header, sizeof header, 0) != sizeof header) return;
  measure_clock(header);
  write_all(log, &header.tsc_hz, sizeof header.tsc_hz, offsetof(Header, tsc_hz));
}

}  // namespace shmrec::recording
