// What recording costs, one benchmark per kind of event. The same program is run on its own and
// under `shmrec run` (bench/run does, and prints the ratios); it does not know which.
//
// An access is one instruction, written in assembly so that the compiler cannot merge, hoist or
// widen it; the loop around it runs on registers. Segments are anonymous, so the default policy
// traces them.
#include <benchmark/benchmark.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr size_t kBytes = 1 << 20;
constexpr size_t kCopyBytes = 4096;

// Fresh shared memory with every page present.
uint8_t* shared_memory() {
  void* const memory =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  std::memset(memory, 1, kBytes);
  return static_cast<uint8_t*>(memory);
}

// The same at an address that the program chooses.
uint8_t* placed_memory() {
  void* const at = reinterpret_cast<void*>(0x300000000000);
  void* const memory = mmap(at, kBytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (memory != at) abort();
  std::memset(memory, 1, kBytes);
  return static_cast<uint8_t*>(memory);
}

// Consecutive 64-bit words of 16 KiB, as a program walks over a table.
class Walk {
 public:
  explicit Walk(uint8_t* memory) : memory_(memory) {}
  uint8_t* next() { return memory_ + (at_ = (at_ + 8) & 0x3FFF); }

 private:
  uint8_t* memory_;
  size_t at_ = 0;
};

// libc's own, which the compiler would otherwise replace.
void* (*volatile const libc_memcpy)(void*, const void*, size_t) = std::memcpy;

// Runs `access(address)` over shared memory.
template <typename Access>
void over_shared_memory(benchmark::State& state, Access access,
                        uint8_t* (*make_memory)() = shared_memory) {
  uint8_t* const memory = make_memory();
  Walk walk(memory);
  for (auto _ : state) access(walk.next());
  munmap(memory, kBytes);
}

// The same instruction, in a function of its own, on shared memory first, so that it is no fault
// any more, and then on private memory.
template <typename Access>
__attribute__((noinline)) void make(Access access, uint8_t* at) {
  access(at);
}

template <typename Access>
void over_private_memory(benchmark::State& state, Access access,
                         uint8_t* (*make_memory)() = shared_memory) {
  alignas(64) static uint8_t private_memory[16 * 1024 + 64];
  uint8_t* const memory = make_memory();
  Walk shared(memory), walk(private_memory);
  for (int i = 0; i < 100; ++i) make(access, shared.next());
  for (auto _ : state) make(access, walk.next());
  munmap(memory, kBytes);
}

constexpr auto kLoad = [](uint8_t* at) {
  uint64_t value;
  asm volatile("mov (%1), %0" : "=r"(value) : "r"(at) : "memory");
};
constexpr auto kStore = [](uint8_t* at) {
  asm volatile("mov %1, (%0)" ::"r"(at), "r"(uint64_t{42}) : "memory");
};
constexpr auto kAdd = [](uint8_t* at) { asm volatile("addq $1, (%0)" ::"r"(at) : "memory", "cc"); };

void load(benchmark::State& state) { over_shared_memory(state, kLoad); }
void store(benchmark::State& state) { over_shared_memory(state, kStore); }
void add_to_memory(benchmark::State& state) { over_shared_memory(state, kAdd); }
void load_turned_private(benchmark::State& state) { over_private_memory(state, kLoad); }
void store_turned_private(benchmark::State& state) { over_private_memory(state, kStore); }
void add_turned_private(benchmark::State& state) { over_private_memory(state, kAdd); }

constexpr auto kLockXadd = [](uint8_t* at) {
  uint64_t value = 1;
  asm volatile("lock xadd %0, (%1)" : "+r"(value) : "r"(at) : "memory", "cc");
};
void lock_xadd(benchmark::State& state) { over_shared_memory(state, kLockXadd); }

// Lambdas of their own: what is patched for one kind of memory must not be met by the other.
void load_placed(benchmark::State& state) {
  over_shared_memory(
      state, [](uint8_t* at) { kLoad(at); }, placed_memory);
}
void store_placed(benchmark::State& state) {
  over_shared_memory(
      state, [](uint8_t* at) { kStore(at); }, placed_memory);
}
void add_placed(benchmark::State& state) {
  over_shared_memory(
      state, [](uint8_t* at) { kAdd(at); }, placed_memory);
}
void lock_xadd_placed(benchmark::State& state) {
  over_shared_memory(
      state, [](uint8_t* at) { kLockXadd(at); }, placed_memory);
}
void load_placed_turned_private(benchmark::State& state) {
  over_private_memory(
      state, [](uint8_t* at) { kLoad(at); }, placed_memory);
}
void store_placed_turned_private(benchmark::State& state) {
  over_private_memory(
      state, [](uint8_t* at) { kStore(at); }, placed_memory);
}

void vector_load(benchmark::State& state) {
  over_shared_memory(state, [](uint8_t* at) {
    asm volatile("movdqu (%0), %%xmm0" ::"r"(at) : "xmm0", "memory");
  });
}

void vector_store(benchmark::State& state) {
  over_shared_memory(state, [](uint8_t* at) {
    asm volatile("movdqu %%xmm0, (%0)" ::"r"(at) : "memory");
  });
}

void copy_from_shared_4k(benchmark::State& state) {
  static uint8_t copy[kCopyBytes];
  uint8_t* const memory = shared_memory();
  for (auto _ : state) libc_memcpy(copy, memory, kCopyBytes);
  munmap(memory, kBytes);
}

void copy_to_shared_4k(benchmark::State& state) {
  static uint8_t copy[kCopyBytes];
  uint8_t* const memory = shared_memory();
  for (auto _ : state) libc_memcpy(memory, copy, kCopyBytes);
  munmap(memory, kBytes);
}

// Loads, multiplications and stores of memory that is not shared.
void private_code(benchmark::State& state) {
  static uint64_t words[2048];
  uint64_t hash = 1;
  for (auto _ : state) {
    for (uint64_t& word : words) {
      hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
      word = hash;
    }
    benchmark::DoNotOptimize(hash);
  }
}

// What the kernel takes for a fault that a handler of the program's own answers: alone, the least
// that an access could cost that is seen by its fault.
void fault_handled(benchmark::State& state) {
  constexpr int kLoadBytes = 2;  // mov (%rax), %eax
  struct sigaction action {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += kLoadBytes;
  };
  if (sigaction(SIGSEGV, &action, nullptr) != 0) abort();
  void* const hidden = mmap(nullptr, kCopyBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (hidden == MAP_FAILED) abort();
  for (auto _ : state) {
    void* at = hidden;
    asm volatile(".byte 0x8b, 0x00" : "+a"(at)::"memory");
  }
  munmap(hidden, kCopyBytes);
}

void syscall_getppid(benchmark::State& state) {
  for (auto _ : state) syscall(SYS_getppid);
}

void fork_and_wait(benchmark::State& state) {
  for (auto _ : state) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, nullptr, 0);
  }
}

void exec_true(benchmark::State& state) {
  char name[] = "/bin/true";
  char* const arguments[] = {name, nullptr};
  for (auto _ : state) {
    pid_t child = 0;
    if (posix_spawn(&child, name, nullptr, nullptr, arguments, environ) != 0) abort();
    waitpid(child, nullptr, 0);
  }
}

}  // namespace

BENCHMARK(load);
BENCHMARK(store);
BENCHMARK(add_to_memory);
BENCHMARK(lock_xadd);
BENCHMARK(load_placed);
BENCHMARK(store_placed);
BENCHMARK(add_placed);
BENCHMARK(lock_xadd_placed);
BENCHMARK(vector_load);
BENCHMARK(vector_store);
BENCHMARK(copy_from_shared_4k);
BENCHMARK(copy_to_shared_4k);
BENCHMARK(private_code);
BENCHMARK(load_turned_private);
BENCHMARK(store_turned_private);
BENCHMARK(add_turned_private);
BENCHMARK(load_placed_turned_private);
BENCHMARK(store_placed_turned_private);
BENCHMARK(fault_handled);
BENCHMARK(syscall_getppid);
// Wall time, because the work is not in this process.
BENCHMARK(fork_and_wait)->UseRealTime();
BENCHMARK(exec_true)->UseRealTime();

BENCHMARK_MAIN();
