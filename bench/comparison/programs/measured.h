// How the programs of bench/compare measure themselves. Each does a batch of operations again with
// ten times as many, until a batch takes as long as was asked for, and prints that last one:
//
//   operations=N cpu_ns=C wall_ns=W all_operations=A peak_kib=M
//
// N operations were done by each process, in C ns of processor time (the mean over the processes,
// with that of their tracer, if they have one: its work is the price of tracing), and A operations
// in all batches together by all processes; the process that prints had at most M KiB resident. So
// a way to run that costs a thousand times more makes a thousand times fewer operations, and
// earlier batches are the warm-up.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace bench {

// By a system call: gdb's recorder does not know all instructions of the vDSO.
inline double clock_ns(clockid_t clock) {
  timespec now{};
  syscall(SYS_clock_gettime, clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

inline clockid_t clock_of_process(pid_t pid) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  clock_getcpuclockid(pid, &clock);
  return clock;
}

// A number in /proc/self/status.
inline long status(const char* name) {
  FILE* file = fopen("/proc/self/status", "r");
  long value = 0;
  char line[256];
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, name, strlen(name)) == 0) value = atol(line + strlen(name));
  }
  if (file) fclose(file);
  return value;
}

// 0: nobody traces this process.
inline pid_t tracer() { return static_cast<pid_t>(status("TracerPid:")); }

struct Times {
  double cpu_ns = 0;
  double wall_ns = 0;
};

class Stopwatch {
 public:
  explicit Stopwatch(pid_t tracer) : tracer_(tracer), begin_(now()) {}
  Times elapsed() const {
    Times end = now();
    return {end.cpu_ns - begin_.cpu_ns, end.wall_ns - begin_.wall_ns};
  }

 private:
  Times now() const {
    double cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (tracer_ != 0) cpu += clock_ns(clock_of_process(tracer_));
    return {cpu, clock_ns(CLOCK_MONOTONIC)};
  }
  pid_t tracer_;
  Times begin_;
};

// Of the operations of the next batch: never more than ten times as many.
inline uint64_t next_batch(uint64_t operations, double wall_ns, double wanted_ns) {
  double factor = std::clamp(1.2 * wanted_ns / std::max(wall_ns, 1.0), 2.0, 10.0);
  return static_cast<uint64_t>(static_cast<double>(operations) * factor);
}

inline void print(uint64_t operations, Times times, uint64_t all_operations) {
  printf("operations=%llu cpu_ns=%.0f wall_ns=%.0f all_operations=%llu peak_kib=%ld\n",
         static_cast<unsigned long long>(operations), times.cpu_ns, times.wall_ns,
         static_cast<unsigned long long>(all_operations), status("VmHWM:"));
  fflush(stdout);
}

// batch(n) does n times what counts as `unit` operations.
template <typename Batch>
void measure(double seconds, uint64_t unit, const Batch& batch) {
  pid_t by = tracer();
  uint64_t all = 0;
  for (uint64_t n = 1;;) {
    Stopwatch stopwatch(by);
    batch(n);
    Times times = stopwatch.elapsed();
    all += n;
    if (times.wall_ns >= seconds * 1e9) return print(n * unit, times, all * unit);
    n = next_batch(n, times.wall_ns, seconds * 1e9);
  }
}

}  // namespace bench
