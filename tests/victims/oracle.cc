// The oracle: processes and threads that access shared memory at random and know exactly what they
// did. Each thread writes what it did, access by access, to a file of its own by write(2);
// oracle.py compares these traces with the log.
//
// usage: oracle DIRECTORY SEED PROCESSES THREADS OPERATIONS
//   OPERATIONS per thread; 0: until killed, with rests after a while, so that no log is full by
//   then
// Every access to the three segments is one instruction in a function that is not inlined, so the
// compiler neither adds nor removes any. A gather or scatter is one access for each element, whose
// entries have the instruction's number in common. A trace entry is written after its access has
// completed. A thread keeps its entries back and writes them in one piece at the end, unless
// OPERATIONS is 0.
//
// Trace file DIRECTORY/trace.PID.TID: a Head, then Entries. DIRECTORY/content.N: segment N at the
// end.
#include <sys/stat.h>

#include <thread>
#include <vector>

#include "victim.h"

namespace {

enum Kind : uint32_t {
  kRead = 1,
  kWrite,
  kAtomic,
  kReadThenWrite,
  kCopyIn,
  kCopyOut,
  kCopyWithin,
  kKernelReads,
  kKernelWrites,
  kGather,
  kScatter
};

constexpr uint32_t kMaxBytes = 64;
constexpr uint32_t kSegments = 3;
constexpr uint64_t kSegmentBytes = 3 * kPage;

struct Head {
  char magic[8];
  uint32_t pid, tid;
  struct {
    uint64_t address, offset, inode;
  } segments[kSegments];
};

struct Entry {
  uint32_t kind, segment;
  uint64_t offset, address;
  uint32_t length, other_segment;
  // kCopyWithin: the destination; kGather, kScatter: number of the instruction.
  uint64_t other_offset;
  uint8_t before[kMaxBytes], after[kMaxBytes];  // value read, value written
};
static_assert(sizeof(Entry) == 168);

struct Segment {
  uint8_t* base;    // of the mapping
  uint64_t offset;  // in the segment at `base`
  uint64_t inode;   // 0: anonymous
  bool twice;       // it is mapped a second time, behind the first
};

// Places of 64 bytes: some aligned, some across a line, some across a page, some beside each other.
constexpr uint64_t kPlaces[] = {0,    64,   128,  200,  480,  740,  1024, 1088, 1500, 2000, 2040,
                                3000, 4064, 4100, 4160, 5000, 6016, 7000, 8160, 8300, 8400, 9000};

// ---- One access each ----------------------------------------------------------------------------
#define ACCESS __attribute__((noinline, noclone)) void

#define INTEGER_ACCESSES(bits, suffix, reg)                                                        \
  ACCESS load_##bits(uint8_t* at, Entry& e) {                                                      \
    uint##bits##_t value;                                                                          \
    __asm__ volatile("mov" suffix " %1, %0"                                                        \
                     : "=" reg(value)                                                              \
                     : "m"(*(uint##bits##_t*)at)                                                   \
                     : "memory");                                                                  \
    memcpy(e.before, &value, sizeof(value));                                                       \
  }                                                                                                \
  ACCESS store_##bits(uint8_t* at, Entry& e) {                                                     \
    uint##bits##_t value;                                                                          \
    memcpy(&value, e.after, sizeof(value));                                                        \
    __asm__ volatile("mov" suffix " %1, %0" : "=m"(*(uint##bits##_t*)at) : reg(value) : "memory"); \
  }                                                                                                \
  ACCESS exchange_##bits(uint8_t* at, Entry& e) {                                                  \
    uint##bits##_t value;                                                                          \
    memcpy(&value, e.after, sizeof(value));                                                        \
    __asm__ volatile("xchg" suffix " %0, %1"                                                       \
                     : "+" reg(value), "+m"(*(uint##bits##_t*)at)                                  \
                     :                                                                             \
                     : "memory");                                                                  \
    memcpy(e.before, &value, sizeof(value));                                                       \
  }                                                                                                \
  ACCESS add_##bits(uint8_t* at, Entry& e) {                                                       \
    uint##bits##_t old, change;                                                                    \
    memcpy(&change, e.after, sizeof(change));                                                      \
    old = change;                                                                                  \
    __asm__ volatile("lock xadd" suffix " %0, %1"                                                  \
                     : "+" reg(old), "+m"(*(uint##bits##_t*)at)                                    \
                     :                                                                             \
                     : "memory", "cc");                                                            \
    change += old;                                                                                 \
    memcpy(e.before, &old, sizeof(old));                                                           \
    memcpy(e.after, &change, sizeof(change));                                                      \
  }                                                                                                \
  ACCESS plain_add_##bits(uint8_t* at, Entry& e) {                                                 \
    uint##bits##_t old, change;                                                                    \
    memcpy(&change, e.after, sizeof(change));                                                      \
    old = change;                                                                                  \
    __asm__ volatile("xadd" suffix " %0, %1"                                                       \
                     : "+" reg(old), "+m"(*(uint##bits##_t*)at)                                    \
                     :                                                                             \
                     : "memory", "cc");                                                            \
    change += old;                                                                                 \
    memcpy(e.before, &old, sizeof(old));                                                           \
    memcpy(e.after, &change, sizeof(change));                                                      \
  }                                                                                                \
  ACCESS compare_exchange_##bits(uint8_t* at, Entry& e) {                                          \
    uint##bits##_t expected, desired;                                                              \
    memcpy(&desired, e.after, sizeof(desired));                                                    \
    memcpy(&expected, e.before, sizeof(expected));                                                 \
    bool done;                                                                                     \
    __asm__ volatile("lock cmpxchg" suffix " %3, %1\n\tsete %0"                                    \
                     : "=q"(done), "+m"(*(uint##bits##_t*)at), "+a"(expected)                      \
                     : reg(desired)                                                                \
                     : "memory", "cc");                                                            \
    memcpy(e.before, &expected, sizeof(expected));                                                 \
    memcpy(e.after, done ? &desired : &expected, sizeof(desired));                                 \
  }

INTEGER_ACCESSES(8, "b", "q")
INTEGER_ACCESSES(16, "w", "r")
INTEGER_ACCESSES(32, "l", "r")
INTEGER_ACCESSES(64, "q", "r")

ACCESS load_128(uint8_t* at, Entry& e) {
  __asm__ volatile("movups (%0), %%xmm0\n\tmovups %%xmm0, (%1)"
                   :
                   : "r"(at), "r"(e.before)
                   : "xmm0", "memory");
}
ACCESS store_128(uint8_t* at, Entry& e) {
  __asm__ volatile("movups (%1), %%xmm0\n\tmovups %%xmm0, (%0)"
                   :
                   : "r"(at), "r"(e.after)
                   : "xmm0", "memory");
}
ACCESS load_256(uint8_t* at, Entry& e) {
  __asm__ volatile("vmovups (%0), %%ymm0\n\tvmovups %%ymm0, (%1)\n\tvzeroupper"
                   :
                   : "r"(at), "r"(e.before)
                   : "xmm0", "memory");
}
ACCESS store_256(uint8_t* at, Entry& e) {
  __asm__ volatile("vmovups (%1), %%ymm0\n\tvmovups %%ymm0, (%0)\n\tvzeroupper"
                   :
                   : "r"(at), "r"(e.after)
                   : "xmm0", "memory");
}
ACCESS load_512(uint8_t* at, Entry& e) {
  __asm__ volatile("vmovups (%0), %%zmm0\n\tvmovups %%zmm0, (%1)\n\tvzeroupper"
                   :
                   : "r"(at), "r"(e.before)
                   : "xmm0", "memory");
}
ACCESS store_512(uint8_t* at, Entry& e) {
  __asm__ volatile("vmovups (%1), %%zmm0\n\tvmovups %%zmm0, (%0)\n\tvzeroupper"
                   :
                   : "r"(at), "r"(e.after)
                   : "xmm0", "memory");
}

// The elements of a gather or scatter, each anywhere.
struct Elements {
  uint64_t addresses[8];
  uint64_t masks_64[8];  // all bits or none
  uint32_t masks_32[8];
  uint8_t values[64];
  uint32_t mask;
};

ACCESS gather_32(Elements& e) {
  __asm__ volatile(
      "vmovdqu (%0), %%ymm6\n\tvmovdqu (%1), %%xmm4\n\tvpgatherqd %%xmm4, (,%%ymm6,1), %%xmm5\n\t"
      "vmovdqu %%xmm5, (%2)\n\tvzeroupper"
      :
      : "r"(e.addresses), "r"(e.masks_32), "r"(e.values)
      : "xmm4", "xmm5", "xmm6", "memory");
}
ACCESS gather_64(Elements& e) {
  __asm__ volatile(
      "vmovdqu (%0), %%ymm6\n\tvmovdqu (%1), %%ymm4\n\tvpgatherqq %%ymm4, (,%%ymm6,1), %%ymm5\n\t"
      "vmovdqu %%ymm5, (%2)\n\tvzeroupper"
      :
      : "r"(e.addresses), "r"(e.masks_64), "r"(e.values)
      : "xmm4", "xmm5", "xmm6", "memory");
}
ACCESS scatter_32(Elements& e) {
  __asm__ volatile(
      "vmovdqu64 (%0), %%zmm6\n\tvmovdqu (%2), %%ymm5\n\tkmovw %1, %%k1\n\t"
      "vpscatterqd %%ymm5, (,%%zmm6,1)%{%%k1%}\n\tvzeroupper"
      :
      : "r"(e.addresses), "r"(e.mask), "r"(e.values)
      : "xmm5", "xmm6", "memory");
}
ACCESS scatter_64(Elements& e) {
  __asm__ volatile(
      "vmovdqu64 (%0), %%zmm6\n\tvmovdqu64 (%2), %%zmm5\n\tkmovw %1, %%k1\n\t"
      "vpscatterqq %%zmm5, (,%%zmm6,1)%{%%k1%}\n\tvzeroupper"
      :
      : "r"(e.addresses), "r"(e.mask), "r"(e.values)
      : "xmm5", "xmm6", "memory");
}

__attribute__((noinline, noclone)) void copy_bytes(void* to, const void* from, uint64_t length) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

enum Level { kAny, kAvx, kAvx2, kAvx512 };

struct Form {
  Kind kind;
  uint32_t length;
  void (*run)(uint8_t*, Entry&);
  bool locked;  // must not cross a line: split locks are refused or slow on some machines
  Level needs = kAny;
  void (*run_many)(Elements&) = nullptr;
  uint32_t elements = 0;
};

// In rising order of what they need.
constexpr Form kForms[] = {
    {kRead, 1, load_8, false},
    {kRead, 2, load_16, false},
    {kRead, 4, load_32, false},
    {kRead, 8, load_64, false},
    {kRead, 8, load_64, false},
    {kRead, 16, load_128, false},
    {kWrite, 1, store_8, false},
    {kWrite, 2, store_16, false},
    {kWrite, 4, store_32, false},
    {kWrite, 8, store_64, false},
    {kWrite, 8, store_64, false},
    {kWrite, 16, store_128, false},
    {kAtomic, 1, exchange_8, true},
    {kAtomic, 2, exchange_16, true},
    {kAtomic, 4, exchange_32, true},
    {kAtomic, 8, exchange_64, true},
    {kAtomic, 1, add_8, true},
    {kAtomic, 2, add_16, true},
    {kAtomic, 4, add_32, true},
    {kAtomic, 8, add_64, true},
    {kAtomic, 1, compare_exchange_8, true},
    {kAtomic, 2, compare_exchange_16, true},
    {kAtomic, 4, compare_exchange_32, true},
    {kAtomic, 8, compare_exchange_64, true},
    {kReadThenWrite, 1, plain_add_8, false},
    {kReadThenWrite, 2, plain_add_16, false},
    {kReadThenWrite, 4, plain_add_32, false},
    {kReadThenWrite, 8, plain_add_64, false},
    {kCopyIn, 0, nullptr, false},
    {kCopyOut, 0, nullptr, false},
    {kCopyWithin, 0, nullptr, false},
    {kKernelReads, 0, nullptr, false},
    {kKernelWrites, 0, nullptr, false},
    {kRead, 32, load_256, false, kAvx},
    {kWrite, 32, store_256, false, kAvx},
    {kGather, 4, nullptr, false, kAvx2, gather_32, 4},
    {kGather, 8, nullptr, false, kAvx2, gather_64, 4},
    {kRead, 64, load_512, false, kAvx512},
    {kWrite, 64, store_512, false, kAvx512},
    {kScatter, 4, nullptr, false, kAvx512, scatter_32, 8},
    {kScatter, 8, nullptr, false, kAvx512, scatter_64, 8},
};
constexpr int kFormCount = sizeof(kForms) / sizeof(kForms[0]);

int usable_forms() {
  __builtin_cpu_init();
  const Level have = __builtin_cpu_supports("avx512f") ? kAvx512
                     : __builtin_cpu_supports("avx2")  ? kAvx2
                     : __builtin_cpu_supports("avx")   ? kAvx
                                                       : kAny;
  int usable = 0;
  while (usable < kFormCount && kForms[usable].needs <= have) ++usable;
  return usable;
}

// ---- A thread's work ----------------------------------------------------------------------------

class Trace {
 public:
  Trace(const char* directory, const Segment* segments, bool at_once) : at_once_(at_once) {
    Head head = {{'O', 'R', 'A', 'C', 'L', 'E', '0', '1'},
                 (uint32_t)getpid(),
                 (uint32_t)syscall(SYS_gettid),
                 {}};
    for (uint32_t i = 0; i < kSegments; ++i)
      head.segments[i] = {(uint64_t)segments[i].base, segments[i].offset, segments[i].inode};
    char path[4096];
    snprintf(path, sizeof(path), "%s/trace.%u.%u", directory, head.pid, head.tid);
    fd_ = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600);
    CHECK(fd_ >= 0);
    CHECK_EQ(write(fd_, &head, sizeof(head)), sizeof(head));
  }
  ~Trace() {
    size_t bytes = entries_.size() * sizeof(Entry);
    CHECK_EQ(write(fd_, entries_.data(), bytes), bytes);
    close(fd_);
  }
  void add(const Entry& entry) {
    if (at_once_)
      CHECK_EQ(write(fd_, &entry, sizeof(entry)), sizeof(entry));
    else
      entries_.push_back(entry);
  }

 private:
  int fd_;
  bool at_once_;
  std::vector<Entry> entries_;
};

class Worker {
 public:
  Worker(const Segment* segments, uint64_t seed)
      : segments_(segments), random_(seed), forms_(usable_forms()) {
    CHECK(pipe(pipe_) == 0);
    for (int i = 0; i < 20; ++i) next_random(&random_);
  }
  ~Worker() {
    close(pipe_[0]);
    close(pipe_[1]);
  }

  void step(Trace& trace) {
    const Form& form = kForms[below(forms_)];
    if (form.run_many)
      many(form, trace);
    else
      trace.add(one(form));
  }

 private:
  Entry start(const Form& form, uint32_t length) {
    Entry entry = {};
    entry.kind = form.kind;
    entry.length = length;
    entry.address = (uint64_t)pick(length, form.locked, &entry.segment, &entry.offset);
    for (uint32_t i = 0; i < length; i += 8) {
      uint64_t value = next_random(&random_);
      memcpy(entry.after + i, &value, 8);
    }
    return entry;
  }

  // The elements that the mask selects, lowest first: the order in which they are accessed.
  void many(const Form& form, Trace& trace) {
    Elements elements = {};
    Entry entries[8];
    ++instructions_;
    for (uint32_t i = 0; i < form.elements; ++i) {
      entries[i] = start(form, form.length);
      entries[i].other_offset = instructions_;
      elements.addresses[i] = entries[i].address;
      memcpy(elements.values + i * form.length, entries[i].after, form.length);
      if (i && below(4) == 0) continue;
      elements.mask |= 1u << i;
      elements.masks_64[i] = ~0ull;
      elements.masks_32[i] = ~0u;
    }
    form.run_many(elements);
    for (uint32_t i = 0; i < form.elements; ++i) {
      memcpy(entries[i].before, elements.values + i * form.length, form.length);
      if (elements.mask >> i & 1) trace.add(entries[i]);
    }
  }

  Entry one(const Form& form) {
    Entry entry = start(form, form.run ? form.length : 1 + below(kMaxBytes));
    uint8_t* at = (uint8_t*)entry.address;
    if (form.run) {
      form.run(at, entry);
      return entry;
    }
    switch (form.kind) {
      case kCopyIn:
        copy_bytes(at, entry.after, entry.length);
        break;
      case kCopyOut:
        copy_bytes(entry.before, at, entry.length);
        break;
      case kCopyWithin: {
        uint8_t* to = pick(entry.length, false, &entry.other_segment, &entry.other_offset);
        copy_bytes(to, at, entry.length);
        break;
      }
      case kKernelReads:
        CHECK_EQ(write(pipe_[1], at, entry.length), entry.length);
        CHECK_EQ(read(pipe_[0], entry.before, entry.length), entry.length);
        break;
      default:
        CHECK_EQ(write(pipe_[1], entry.after, entry.length), entry.length);
        CHECK_EQ(read(pipe_[0], at, entry.length), entry.length);
    }
    return entry;
  }

  uint32_t below(uint32_t limit) { return next_random(&random_) % limit; }

  uint8_t* pick(uint32_t length, bool locked, uint32_t* segment, uint64_t* offset) {
    *segment = below(kSegments);
    *offset = kPlaces[below(sizeof(kPlaces) / sizeof(kPlaces[0]))];
    if (below(2)) *offset += below(kMaxBytes - length + 1);
    if (locked && *offset / 64 != (*offset + length - 1) / 64)
      *offset -= *offset % 64 + length - 64;
    const Segment& picked = segments_[*segment];
    uint8_t* const base = picked.base + (picked.twice && below(2) ? kSegmentBytes : 0);
    return base + (*offset - picked.offset);
  }

  const Segment* segments_;
  uint64_t random_;
  uint64_t instructions_ = 0;  // gathers and scatters
  uint32_t forms_;
  int pipe_[2];
};

// ---- Processes ----------------------------------------------------------------------------------

struct Arguments {
  const char* directory;
  uint64_t seed;
  int processes, threads;
  uint64_t operations;
};

Segment map_segment(int fd, uint64_t hint) {
  void* base = mmap((void*)hint, kSegmentBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(base != MAP_FAILED);
  struct stat state;
  CHECK(fstat(fd, &state) == 0);
  return {(uint8_t*)base, 0, state.st_ino, false};
}

Segment map_twice(int fd, uint64_t hint) {
  Segment segment = map_segment(fd, hint);
  uint8_t* const behind = segment.base + kSegmentBytes;
  CHECK(map_segment(fd, (uint64_t)behind).base == behind);
  segment.twice = true;
  return segment;
}

// Of a thread that goes on until it is killed.
constexpr uint64_t kStepsAtOnce = 20000, kStepsBetweenRests = 8;

void work(const Arguments& arguments, const Segment* segments, uint64_t seed) {
  Trace trace(arguments.directory, segments, arguments.operations == 0);
  Worker worker(segments, seed);
  for (uint64_t i = 0; arguments.operations == 0 || i < arguments.operations; ++i) {
    worker.step(trace);
    if (arguments.operations == 0 && i > kStepsAtOnce && i % kStepsBetweenRests == 0) usleep(1000);
  }
}

void process(const Arguments& arguments, const Segment& anonymous, int memfd, const char* name,
             int index) {
  int named = shm_open(name, O_RDWR, 0);
  CHECK(named >= 0);
  const Segment segments[kSegments] = {anonymous,
                                       map_segment(memfd, 0x360000000000 + index * 0x1000000),
                                       map_twice(named, 0x370000000000 + index * 0x3000000)};
  std::vector<std::thread> threads;
  for (int i = 0; i < arguments.threads; ++i)
    threads.emplace_back(work, std::cref(arguments), segments,
                         arguments.seed * 1000 + index * 10 + i + 1);
  for (std::thread& thread : threads) thread.join();
}

void save_content(const char* directory, int index, int fd) {
  char path[4096], content[kSegmentBytes];
  snprintf(path, sizeof(path), "%s/content.%d", directory, index);
  CHECK_EQ(pread(fd, content, sizeof(content), 0), sizeof(content));
  int out = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  CHECK_EQ(write(out, content, sizeof(content)), sizeof(content));
}

}  // namespace

int main(int argc, char** argv) {
  CHECK_EQ(argc, 6);
  Arguments arguments = {argv[1], strtoull(argv[2], nullptr, 0), atoi(argv[3]), atoi(argv[4]),
                         strtoull(argv[5], nullptr, 0)};
  char name[64];
  snprintf(name, sizeof(name), "/shmrec-oracle-%d", getpid());
  Segment anonymous = {(uint8_t*)map_shared(kSegmentBytes), 0, 0, false};
  int memfd = memfd_create("oracle", 0);
  shm_unlink(name);  // of a killed run with the same pid
  int named = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  CHECK(ftruncate(memfd, kSegmentBytes) == 0 && ftruncate(named, kSegmentBytes) == 0);
  std::vector<pid_t> pids;
  for (int i = 0; i < arguments.processes; ++i) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      process(arguments, anonymous, memfd, name, i);
      _exit(0);
    }
    pids.push_back(pid);
  }
  int bad = 0;
  for (pid_t pid : pids) bad += wait_status(pid) != 0;
  CHECK(shm_unlink(name) == 0);
  save_content(arguments.directory, 1, memfd);
  save_content(arguments.directory, 2, named);
  say("oracle: %d processes, %d threads each, %llu operations each\n", arguments.processes,
      arguments.threads, (unsigned long long)arguments.operations);
  return bad != 0;
}
