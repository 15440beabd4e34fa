// Shared memory at addresses that the program chooses: a ring buffer that is mapped twice, one end
// to the other, a mapping at a hint, a segment attached at an address, mappings that are moved
// there and back. The same instructions access it in turn with private memory and with what the
// kernel has placed, while it comes and goes, in threads, in signal handlers and in children. With
// an argument they access nothing else.
#include <pthread.h>
#include <setjmp.h>
#include <sys/shm.h>
#include <sys/time.h>

#include "victim.h"

enum { kBytes = 4 * kPage, kRounds = 40, kThreads = 3, kTimes = 60 };
#define HINT ((char*)0x300000000000)
#define ATTACHED ((char*)0x321000000000)
#define MOVED ((char*)0x345678900000)
#define LARGE ((char*)0x350000000000)

// ---- Accesses, each by one instruction ----------------------------------------------------------

#define ACCESS __attribute__((noinline, noclone)) static

ACCESS uint64_t load(const void* at) {
  uint64_t value;
  __asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(at) : "memory");
  return value;
}
ACCESS void store(void* at, uint64_t value) {
  __asm__ volatile("mov %1, (%0)" ::"r"(at), "r"(value) : "memory");
}
ACCESS void add(void* at, uint64_t value) {
  __asm__ volatile("add %1, (%0)" ::"r"(at), "r"(value) : "memory", "cc");
}
ACCESS uint64_t exchange_add(void* at, uint64_t value) {
  __asm__ volatile("lock xadd %0, (%1)" : "+r"(value) : "r"(at) : "memory", "cc");
  return value;
}
// The address and the value in rcx and rax, flags that pass over.
ACCESS uint64_t by_fixed_registers(const void* at, uint64_t value) {
  uint64_t into = value, carry;
  __asm__ volatile("stc\n\tmov 8(%%rcx), %%rax\n\tmov %%rax, (%%rcx)\n\tadc $0, %%rax\n\tsbb %1, %1"
                   : "+a"(into), "=r"(carry)
                   : "c"(at)
                   : "memory", "cc");
  return into + carry;
}
ACCESS void copy_vector(void* to, const void* from) {
  __asm__ volatile("movdqu (%1), %%xmm0\n\tmovdqu %%xmm0, (%0)" ::"r"(to), "r"(from)
                   : "memory", "xmm0");
}

// All of them on 64 bytes, whose content is known behind them.
static uint64_t use(char* at, uint64_t seed) {
  uint64_t sum = seed;
  for (int i = 0; i < 8; ++i) store(at + 8 * i, mix(seed, (uint64_t)i));
  copy_vector(at + 24, at + 4);
  add(at + 8, seed);
  sum = mix(sum, exchange_add(at + 16, 3));
  sum = mix(sum, by_fixed_registers(at + 32, seed));
  for (int i = 0; i < 8; ++i) sum = mix(sum, load(at + 8 * i));
  return sum;
}

// libc's routines, on 3 * 256 bytes.
static void* (*volatile libc_memcpy)(void*, const void*, size_t) = memcpy;
static void* (*volatile libc_memset)(void*, int, size_t) = memset;
static int (*volatile libc_memcmp)(const void*, const void*, size_t) = memcmp;
static void use_routines(char* at, char* other, int value) {
  libc_memset(at, value, 256);
  libc_memcpy(other + 256, at, 256);
  libc_memcpy(at + 512, other + 256, 256);
  CHECK_EQ(libc_memcmp(at, at + 512, 256), 0);
  for (int i = 0; i < 32; ++i) CHECK_EQ(load(at + 512 + 8 * i), load(at));
}

// ---- Places -------------------------------------------------------------------------------------

static char *window, *private_memory, *hinted, *attached;
static int memfd, segment;

// The bytes of `fd` twice, one end to the other.
static char* map_ring(int fd) {
  char* at = mmap(NULL, 2 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  for (int i = 0; i < 2; ++i)
    CHECK(mmap(at + i * kBytes, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
          at + i * kBytes);
  return at;
}

static char* map_at(char* at, size_t bytes, int flags) {
  char* got = mmap(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  CHECK(got == at);
  return got;
}

static void make_places(void) {
  window = map_shared(kBytes);
  private_memory = map_private(kBytes);
  hinted = map_at(HINT, kBytes, MAP_SHARED);
  segment = shmget(IPC_PRIVATE, kBytes, 0600);
  CHECK(segment >= 0 && shmat(segment, ATTACHED, 0) == ATTACHED);
  attached = ATTACHED;
}

// What one mapping of the ring has, the other has, and what lies across its end.
static void ring(void) {
  char* at = map_ring(memfd);
  for (uint64_t i = 0; i < kTimes; ++i) {
    char* here = at + 8 * (i * 37 % (kBytes / 8));
    store(here, i + 1);
    CHECK_EQ(load(here + kBytes), i + 1);
    add(here + kBytes, i);
    CHECK_EQ(exchange_add(here, 5), 2 * i + 1);
    CHECK_EQ(load(here + kBytes), 2 * i + 6);
    store(at + kBytes - 3, 0x0102030405060708);
    CHECK_EQ(load(at + kBytes - 3), 0x0102030405060708);
    CHECK_EQ(load(at) & 0xFF, 0x05);
    CHECK_EQ(load(at + 2 * kBytes - 8) >> 40, 0x060708);
    use_routines(at + kBytes - 300, at, (int)i);
  }
  CHECK(munmap(at, 2 * kBytes) == 0);
}

static void in_turn(void) {
  char* const places[] = {private_memory, window, hinted, attached, private_memory + kPage};
  for (uint64_t round = 0; round < kTimes; ++round) {
    const uint64_t expected = use(private_memory + 2 * kPage, round);
    for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
      CHECK_EQ(use(places[i] + 64 * (round % 20), round), expected);
      use_routines(places[i] + 2048, places[(i + 1) % 5] + 2048, (int)round);
    }
  }
}

// At the same address: shared, private, nothing, moved there.
static void comes_and_goes(void) {
  const uint64_t expected = use(private_memory, 7);
  for (int i = 0; i < kRounds; ++i) {
    map_at(MOVED, kBytes, MAP_SHARED);
    CHECK_EQ(use(MOVED, 7), expected);
    CHECK(munmap(MOVED, kBytes) == 0);
    map_at(MOVED, kBytes, MAP_PRIVATE);
    CHECK_EQ(use(MOVED, 7), expected);
    CHECK_EQ(use(window, 7), expected);
    store(window + kPage, (uint64_t)i);
    CHECK(mremap(window, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, MOVED) == MOVED);
    CHECK_EQ(load(MOVED + kPage), i);
    CHECK_EQ(use(MOVED, 7), expected);
    CHECK(mprotect(MOVED, kBytes, PROT_READ) == 0);
    CHECK_EQ(load(MOVED + kPage), i);
    CHECK(mprotect(MOVED, kBytes, PROT_READ | PROT_WRITE) == 0);
    CHECK(mremap(MOVED, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, window) == window);
    CHECK_EQ(load(window + kPage), i);
    CHECK_EQ(use(window, 7), expected);
  }
}

// So much that private memory behind it is taken for it.
static void large(void) {
  const uint64_t expected = use(private_memory, 9);
  for (int i = 0; i < 2; ++i) {
    const size_t bytes = ((size_t)3 << (30 + 3 * i)) - kBytes;
    char* const behind = map_at(LARGE + bytes, kBytes, MAP_PRIVATE);
    map_at(LARGE, bytes, MAP_SHARED | MAP_NORESERVE);
    for (int part = 0; part < 8; ++part) {
      CHECK_EQ(use(LARGE + bytes / 8 / kPage * kPage * part, 9), expected);
      CHECK_EQ(use(behind, 9), expected);
    }
    CHECK_EQ(use(behind - 64, 9), expected);
    use_routines(behind + kPage, behind - kPage, i);
    CHECK_EQ(use(hinted, 9), expected);
    CHECK_EQ(use(private_memory, 9), expected);
    CHECK(munmap(LARGE, bytes) == 0);
    CHECK_EQ(use(behind, 9), expected);
    CHECK(munmap(behind, kBytes) == 0);
  }
  CHECK_EQ(use(hinted, 9), expected);
}

// A read of what has gone.
static sigjmp_buf* gone;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  CHECK((char*)info->si_addr == MOVED && gone);
  siglongjmp(*gone, 1);
}

static void faults(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
  CHECK(sigaction(SIGSEGV, &action, &old) == 0);
  for (int i = 0; i < kRounds; ++i) {
    sigjmp_buf back;
    map_at(MOVED, kBytes, MAP_SHARED);
    use(MOVED, 1);
    CHECK(munmap(MOVED, kBytes) == 0);
    gone = &back;
    if (!sigsetjmp(back, 1)) {
      load(MOVED);
      fail(__FILE__, __LINE__, "no fault");
    }
    gone = NULL;
  }
  CHECK(sigaction(SIGSEGV, &old, NULL) == 0);
}

// ---- Signals ------------------------------------------------------------------------------------

static volatile int handled;
static char* in_handler[2];
static void on_alarm(int signal) {
  (void)signal;
  const uint64_t expected = use(in_handler[0], 5);
  if (use(in_handler[1], 5) != expected) fail(__FILE__, __LINE__, "in the handler");
  ++handled;
}

static void interrupted(void) {
  const struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  in_handler[0] = private_memory + 3 * kPage, in_handler[1] = hinted + 3 * kPage;
  CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  const uint64_t expected = use(private_memory, 3);
  while (handled < 100) {
    CHECK_EQ(use(hinted, 3), expected);
    CHECK_EQ(use(private_memory, 3), expected);
    CHECK_EQ(use(attached, 3), expected);
    CHECK_EQ(use(window, 3), expected);
  }
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

// ---- Threads ------------------------------------------------------------------------------------

static volatile int stop;
static char* counted;

static void* work(void* raw) {
  const uint64_t number = (uint64_t)(intptr_t)raw;
  char* const own = counted + kPage + 64 * number;
  char* const places[] = {own, private_memory + 1024 + 64 * number, window + 1024 + 64 * number,
                          hinted + 1024 + 64 * number};
  const uint64_t expected = use(private_memory + 1024 + 64 * number, number);
  uint64_t count = 0;
  for (; !stop || count < kTimes; ++count) {
    exchange_add(counted, 1);
    CHECK_EQ(use(places[count % 4], number), expected);
  }
  return (void*)(intptr_t)count;
}

// While they access one mapping of it, others come and go, and it is mapped once more over itself.
static void threads(void) {
  pthread_t thread[kThreads];
  counted = map_ring(memfd);
  store(counted, 0);
  for (intptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&thread[i], NULL, work, (void*)i) == 0);
  for (int i = 0; i < kRounds; ++i) {
    map_at(MOVED, (size_t)kPage << (i % 16), MAP_SHARED);
    store(MOVED, 1);
    CHECK(mmap(counted, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd, 0) ==
          counted);
    CHECK(munmap(MOVED, (size_t)kPage << (i % 16)) == 0);
  }
  stop = 1;
  uint64_t sum = 0;
  for (int i = 0; i < kThreads; ++i) {
    void* count;
    CHECK(pthread_join(thread[i], &count) == 0);
    sum += (uint64_t)(intptr_t)count;
  }
  CHECK_EQ(load(counted + kBytes), sum);
  CHECK(munmap(counted, 2 * kBytes) == 0);
}

// ---- Children -----------------------------------------------------------------------------------

static void in_child(void* unused) {
  (void)unused;
  char* at = map_ring(memfd);
  for (int i = 0; i < kTimes; ++i) {
    exchange_add(hinted, 1), exchange_add(attached + 64, 1), exchange_add(at + kBytes + 128, 1);
    add(private_memory, 1);
  }
  CHECK(munmap(at, 2 * kBytes) == 0);
  CHECK(munmap(hinted, kBytes) == 0 && shmdt(attached) == 0);
  CHECK_EQ(load(private_memory), kTimes);
  map_at(HINT, kBytes, MAP_PRIVATE);
  CHECK_EQ(use(HINT, 2), use(private_memory, 2));
}

static void forks(void) {
  char* at = map_ring(memfd);
  store(hinted, 0), store(attached + 64, 0), store(at + 128, 0), store(private_memory, 0);
  pid_t pids[3];
  for (int i = 0; i < 3; ++i) pids[i] = child(in_child, NULL);
  for (int i = 0; i < kTimes; ++i)
    exchange_add(hinted, 1), exchange_add(attached + 64, 1), exchange_add(at + 128, 1);
  for (int i = 0; i < 3; ++i) wait_ok(pids[i]);
  CHECK_EQ(load(hinted), 4 * kTimes);
  CHECK_EQ(load(attached + 64), 4 * kTimes);
  CHECK_EQ(load(at + kBytes + 128), 4 * kTimes);
  CHECK_EQ(load(private_memory), 0);
  CHECK(munmap(at, 2 * kBytes) == 0);
}

int main(int argc, char** argv) {
  (void)argv;
  memfd = memfd_create("ring", 0);
  CHECK(memfd >= 0 && ftruncate(memfd, kBytes) == 0);
  make_places();
  ring();
  if (argc > 1) {
    for (uint64_t i = 0; i < 1000; ++i) CHECK_EQ(use(hinted, i), use(attached, i));
    CHECK(shmdt(attached) == 0 && shmctl(segment, IPC_RMID, NULL) == 0);
    return 0;
  }
  in_turn();
  comes_and_goes();
  large();
  faults();
  interrupted();
  threads();
  forks();
  CHECK(shmdt(attached) == 0 && shmctl(segment, IPC_RMID, NULL) == 0);
  CHECK(munmap(hinted, kBytes) == 0);
  CHECK_EQ(use(window, 4), use(private_memory, 4));
  say("placed_memory\n");
  return 0;
}
