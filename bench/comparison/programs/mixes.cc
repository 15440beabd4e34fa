// Mixes of private work and shared accesses, as programs have them: the workloads of bench/compare
// that say what an access costs.
//
//   mixes MIX SECONDS [1 | 2 | same]
//
// One process; two, each on its half of the shared memory; or two on the same lines. An operation
// is one shared access with the private work before it (bulk: a copy out of shared memory and one
// back into it). Ten accesses in turn make the usual blend: six loads, three stores, one atomic
// addition. What is private is a hash over 16 KiB: a load, an exclusive or, a multiplication and a
// rotation a step, a store each eighth step; its steps wait for each other, so that there is room
// for instrumentation beside them. The mixes named ...4 have four such chains, and no room.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <iterator>

#include "measured.h"

namespace {

constexpr size_t kShared = 1 << 20;
constexpr size_t kHalf = kShared / 2;
constexpr size_t kPage = 4096;
constexpr size_t kWindow = kHalf / 2;  // of each process's half: the lines that it walks over
constexpr size_t kLine = 64;
constexpr uint32_t kWords = 2048;
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;

uint64_t private_words[kWords];
alignas(64) unsigned char private_bytes[64 * 1024];
volatile uint64_t sink;  // so that no work is for nothing

#define ALWAYS_INLINE inline __attribute__((always_inline))

uint64_t rotated(uint64_t value) { return value << 29 | value >> 35; }

class PrivateWork {
 public:
  template <int kSteps, int kChains>
  ALWAYS_INLINE uint64_t steps(uint64_t hash) {
    uint64_t chain[kChains];
    for (int c = 0; c < kChains; c++) chain[c] = hash + static_cast<uint64_t>(c);
    for (int i = 0; i < kSteps; i += kChains) {
      for (int c = 0; c < kChains; c++) {
        chain[c] = rotated((chain[c] ^ private_words[(at_ + c) % kWords]) * kOdd);
      }
      at_ += kChains;
      if (at_ % 8 == 0) private_words[at_ % kWords] = chain[0];
    }
    hash = 0;
    for (int c = 0; c < kChains; c++) hash ^= chain[c];
    return hash;
  }

 private:
  uint32_t at_ = 0;
};

// The shared memory as one process uses it.
struct View {
  uint64_t* counter;    // of the atomic additions, in a line of its own
  unsigned char* data;  // kHalf - 2 pages from here, of which the blend walks over kWindow
};

template <typename T>
ALWAYS_INLINE T load(const unsigned char* at) {
  return *reinterpret_cast<const volatile T*>(at);
}
template <typename T>
ALWAYS_INLINE void store(unsigned char* at, uint64_t value) {
  *reinterpret_cast<volatile T*>(at) = static_cast<T>(value);
}

// Ten accesses, each followed by `between`, which may move to another line.
template <typename Between>
ALWAYS_INLINE uint64_t blend(uint64_t hash, unsigned char*& line, uint64_t* counter,
                             const Between& between) {
  hash = between(hash ^ load<uint64_t>(line));
  hash = between(hash + load<uint32_t>(line + 8));
  store<uint64_t>(line + 16, hash);
  hash = between(hash + 3);
  hash = between(hash ^ load<uint64_t>(line + 24));
  store<uint32_t>(line + 12, hash);
  hash = between(hash + 5);
  hash = between(hash ^ load<uint64_t>(line + 32));
  hash = between(hash + load<uint32_t>(line + 40));
  store<uint64_t>(line + 48, hash);
  hash = between(hash + 7);
  hash = between(hash ^ load<uint64_t>(line + 56));
  return between(hash + __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST));
}

template <int kSteps, int kChains>
void spaced(const View& view, uint64_t times) {
  PrivateWork work;
  uint64_t hash = 1;
  size_t offset = 0;
  unsigned char* line = view.data;
  auto between = [&](uint64_t value) __attribute__((always_inline)) {
    offset = (offset + kLine) % kWindow;
    line = view.data + offset;
    return work.steps<kSteps, kChains>(value);
  };
  for (uint64_t i = 0; i < times; i++) hash = blend(hash, line, view.counter, between);
  sink = hash;
}

void dense(const View& view, uint64_t times) {
  uint64_t hash = 1;
  size_t offset = 0;
  auto nothing = [](uint64_t value) __attribute__((always_inline)) { return value; };
  for (uint64_t i = 0; i < times; i++) {
    unsigned char* line = view.data + offset;
    hash = blend(hash, line, view.counter, nothing);
    offset = (offset + kLine) % kWindow;
  }
  sink = hash;
}

template <size_t kBytes>
void bulk(const View& view, uint64_t times) {
  volatile size_t unknown = kBytes;  // to the compiler, which so calls libc
  size_t bytes = unknown;
  size_t offset = 0;
  for (uint64_t i = 0; i < times; i++) {
    memcpy(private_bytes, view.data + offset, bytes);
    store<uint64_t>(private_bytes + 8, load<uint64_t>(private_bytes) + i);
    offset = offset + 2 * bytes <= kHalf - 2 * kPage ? offset + bytes : 0;
    memcpy(view.data + offset, private_bytes, bytes);
  }
}

// One function for both kinds of memory.
__attribute__((noinline)) uint64_t exchange(unsigned char* word, uint64_t hash) {
  uint64_t old = load<uint64_t>(word);
  store<uint64_t>(word, hash);
  return rotated(old ^ hash) * kOdd;
}

void both(const View& view, uint64_t times) {
  uint64_t hash = 1;
  size_t offset = 0;
  for (uint64_t i = 0; i < times * 10; i++) {
    for (int k = 0; k < 9; k++) hash = exchange(private_bytes + (offset + k * kLine) % 8192, hash);
    hash = exchange(view.data + offset, hash);
    offset = (offset + kLine) % kWindow;
  }
  sink = hash;
}

void private_only(const View&, uint64_t times) {
  PrivateWork work;
  uint64_t hash = 1;
  for (uint64_t i = 0; i < times; i++) hash = work.steps<1000, 1>(hash);
  sink = hash;
}

void getppid_only(const View&, uint64_t times) {
  for (uint64_t i = 0; i < times; i++) sink = static_cast<uint64_t>(syscall(SYS_getppid));
}

struct Mix {
  const char* name;
  void (*run)(const View&, uint64_t times);
  uint64_t operations;  // in one of the times
};
constexpr Mix kMixes[] = {
    {"sparse", spaced<1000, 1>, 10},
    {"sparse4", spaced<1000, 4>, 10},
    {"normal", spaced<50, 1>, 10},
    {"normal4", spaced<52, 4>, 10},
    {"dense", dense, 10},
    {"bulk4k", bulk<4096>, 1},
    {"bulk64k", bulk<65536>, 1},
    {"both", both, 10},
    {"private", private_only, 1},
    {"getppid", getppid_only, 1},
};

// Two processes do batches of the same size at the same time. Each tells the other how long its
// own took, through pipes: private to them, as far as a recorder is concerned.
class Pair {
 public:
  bool make() { return pipe(to_child_) == 0 && pipe(to_parent_) == 0; }
  void become_child() { std::swap(to_child_, to_parent_); }
  // REQUIRES: both call it. Returns the other's.
  bench::Times exchange(bench::Times own) const {
    bench::Times other{};
    if (write(to_child_[1], &own, sizeof own) != sizeof own) exit(1);
    if (read(to_parent_[0], &other, sizeof other) != sizeof other) exit(1);
    return other;
  }

 private:
  int to_child_[2];  // as the parent sees it
  int to_parent_[2];
};

void measure_two(const Mix& mix, const View& view, double seconds, const Pair& pair, bool prints) {
  pid_t by = bench::tracer();
  uint64_t all = 0;
  for (uint64_t n = 1;;) {
    pair.exchange({});
    bench::Stopwatch stopwatch(by);
    mix.run(view, n);
    bench::Times own = stopwatch.elapsed(), other = pair.exchange(own);
    double wall_ns = std::max(own.wall_ns, other.wall_ns);
    all += 2 * n;
    if (wall_ns >= seconds * 1e9) {
      bench::Times mean{(own.cpu_ns + other.cpu_ns) / 2, wall_ns};
      if (prints) bench::print(n * mix.operations, mean, all * mix.operations);
      return;
    }
    n = bench::next_batch(n, wall_ns, seconds * 1e9);
  }
}

int run_two(const Mix& mix, unsigned char* shared, double seconds, bool same_lines) {
  Pair pair;
  if (!pair.make()) return perror("pipe"), 1;
  pid_t child = fork();
  if (child < 0) return perror("fork"), 1;
  if (child == 0) pair.become_child();
  unsigned char* half = shared + (child == 0 && !same_lines ? kHalf : 0);
  View view{reinterpret_cast<uint64_t*>(half + kLine), half + kPage};
  measure_two(mix, view, seconds, pair, child != 0);
  if (child == 0) _exit(0);
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? 0 : 1;
}

int run_one(const Mix& mix, unsigned char* shared, double seconds) {
  View view{reinterpret_cast<uint64_t*>(shared + kLine), shared + kPage};
  bench::measure(seconds, mix.operations, [&](uint64_t n) { mix.run(view, n); });
  return 0;
}

int usage() {
  fprintf(stderr, "usage: mixes MIX SECONDS [1 | 2 | same]\nMIX:");
  for (const Mix& mix : kMixes) fprintf(stderr, " %s", mix.name);
  fprintf(stderr, "\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return usage();
  const Mix* mix = std::find_if(std::begin(kMixes), std::end(kMixes),
                                [&](const Mix& m) { return strcmp(m.name, argv[1]) == 0; });
  if (mix == std::end(kMixes)) return usage();
  void* shared = mmap(nullptr, kShared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return perror("mmap"), 1;
  auto* bytes = static_cast<unsigned char*>(shared);
  for (size_t i = 0; i < kShared; i += kPage) bytes[i] = 1;
  for (uint32_t i = 0; i < kWords; i++) private_words[i] = i * kOdd;
  double seconds = atof(argv[2]);
  const char* processes = argc > 3 ? argv[3] : "1";
  if (strcmp(processes, "1") == 0) return run_one(*mix, bytes, seconds);
  return run_two(*mix, bytes, seconds, strcmp(processes, "same") == 0);
}
