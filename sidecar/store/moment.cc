#include "sidecar/store/moment.h"

#include <time.h>

#include <algorithm>
#include <fstream>

namespace shmrec::sidecar {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

int64_t read_clock(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

std::string read_boot_id() {
  std::string id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

// The difference of two times that may be anything: one of them may come from a damaged file.
int64_t difference(int64_t from, int64_t to) {
  int64_t result = 0;
  return __builtin_sub_overflow(to, from, &result) ? 0 : std::max<int64_t>(result, 0);
}

}  // namespace

Moment Moment::now() {
  static const std::string boot_id = read_boot_id();
  return {read_clock(CLOCK_REALTIME), read_clock(CLOCK_BOOTTIME), boot_id};
}

int64_t age_ns(const Moment& then, const Moment& now) {
  const bool one_boot = !now.boot_id.empty() && then.boot_id == now.boot_id;
  return one_boot ? difference(then.boot_ns, now.boot_ns) : difference(then.wall_ns, now.wall_ns);
}

std::string rfc3339(int64_t wall_ns) {
  const time_t seconds = wall_ns / kSecond;
  tm parts{};
  char text[64] = "";
  if (gmtime_r(&seconds, &parts) != nullptr)
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace shmrec::sidecar
