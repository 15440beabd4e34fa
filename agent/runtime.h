// What the agent has in place of libc: system calls, copying, spinning, and nothing else.
//
// The laws of the agent. It runs inside other people's processes, at any moment, in any state:
//  1. No libc, no heap of the program, no thread-local storage of the program, no vector registers.
//  2. It runs on its own stacks. The program's stack is written only where the kernel would write.
//  3. Every function may run inside a signal handler with all asynchronous signals blocked.
//  4. Memory that the program owns is touched through safe_copy() only: it may vanish at any
//     moment.
//  5. A failure inside turns recording off with a reason; it never ends the program.
#pragma once

#include <asm/errno.h>
#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
void* memcpy(void* to, const void* from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int value, size_t bytes);
int memcmp(const void* a, const void* b, size_t bytes);
size_t strlen(const char* text);
}

// The first byte of the image, as the linker names it.
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start[];

namespace shmrec::agent {

// Where the agent's zone of this address space begins (agent_abi.h).
inline uint64_t agent_base() { return reinterpret_cast<uint64_t>(__ehdr_start); }

// A system call as it is. Returns -errno on failure.
inline int64_t syscall6(int64_t number, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0,
                        uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) {
  register uint64_t r10 asm("r10") = d;
  register uint64_t r8 asm("r8") = e;
  register uint64_t r9 asm("r9") = f;
  int64_t result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
// The program has installed seccomp filters (kernel/seccomp.h), and this is what they say.
extern bool filtered;
bool lets_pass(int64_t number, const uint64_t* args);

// A system call made by the agent for itself. Returns -errno on failure; -EPERM, without making it,
// if the program's seccomp filter would refuse it.
template <typename... Args>
inline int64_t sys(int64_t number, Args... args) {
  const uint64_t all[6] = {(uint64_t)(args)...};
  if (filtered && !lets_pass(number, all)) return -EPERM;
  return syscall6(number, all[0], all[1], all[2], all[3], all[4], all[5]);
}
inline bool failed(int64_t result) { return result < 0 && result > -4096; }

// The time stamp counter, also where the program has forbidden it (PR_SET_TSC, which a thread hands
// on to those it makes, and through exec). The kernel's raw clock runs with the counter, so it says
// how far that has come since it could be read last.
inline uint64_t read_counter() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return static_cast<uint64_t>(high) << 32 | low;
}
struct ForbiddenCounter {
  uint32_t is_forbidden = 0;  // 1: to some thread, so to none of them is it of use
  uint64_t counter = 0, seconds = 0, nanoseconds = 0;  // at one moment
  uint64_t hz = 0;
};
inline ForbiddenCounter forbidden_counter;
inline void read_raw_clock(uint64_t time[2]) {
  sys(__NR_clock_gettime, 4 /* CLOCK_MONOTONIC_RAW */, time);
}
inline uint64_t rdtsc() {
  const ForbiddenCounter& since = forbidden_counter;
  if (!__builtin_expect(__atomic_load_n(&since.is_forbidden, __ATOMIC_ACQUIRE), 0))
    return read_counter();
  uint64_t time[2] = {since.seconds, since.nanoseconds};
  read_raw_clock(time);
  const uint64_t ahead = time[1] + 1000000000 - since.nanoseconds;
  return since.counter + (time[0] - since.seconds - 1) * since.hz +
         ahead / 1000 * (since.hz / 1000) / 1000;
}
// To be called while the counter can be read.
inline void forbid_counter(uint64_t hz) {
  if (forbidden_counter.is_forbidden) return;
  uint64_t time[2];
  read_raw_clock(time);
  forbidden_counter = {0, read_counter(), time[0], time[1], hz};
  __atomic_store_n(&forbidden_counter.is_forbidden, 1u, __ATOMIC_RELEASE);
}
inline void cpu_pause() { asm volatile("pause" ::: "memory"); }
inline void compiler_fence() { asm volatile("" ::: "memory"); }
inline uint64_t read_fs_base() {
  uint64_t base;
  asm volatile("rdfsbase %0" : "=r"(base));
  return base;
}
inline void write_fs_base(uint64_t base) { asm volatile("wrfsbase %0" ::"r"(base)); }
inline uint64_t read_gs_base() {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
inline void write_gs_base(uint64_t base) { asm volatile("wrgsbase %0" ::"r"(base)); }

template <typename T>
inline T load(const T* at) {
  return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
template <typename T>
inline void store(T* at, T value) {
  __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
template <typename T>
inline T fetch_add(T* at, T value) {
  return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
template <typename T>
inline bool compare_exchange(T* at, T expected, T desired) {
  return __atomic_compare_exchange_n(at, &expected, desired, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST);
}

constexpr uint64_t kPage = 4096;
constexpr uint64_t page_down(uint64_t value) { return value & ~(kPage - 1); }
constexpr uint64_t page_up(uint64_t value) { return (value + kPage - 1) & ~(kPage - 1); }
template <typename T>
constexpr T min(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
constexpr T max(T a, T b) {
  return a > b ? a : b;
}

// What a thread does while it waits for another that does bounded work.
inline void spin(uint32_t tries) {
  if (tries < 200)
    cpu_pause();
  else
    sys(__NR_sched_yield);
}

// A lock among the threads of one process (or of processes that share this memory, as after vfork).
// Held for bounded work only, with asynchronous signals blocked, so it cannot deadlock with itself.
class SpinLock {
 public:
  void lock() {
    for (uint32_t tries = 0; __atomic_exchange_n(&held_, 1u, __ATOMIC_ACQUIRE); ++tries)
      spin(tries);
  }
  bool try_lock() { return !__atomic_exchange_n(&held_, 1u, __ATOMIC_ACQUIRE); }
  void unlock() { __atomic_store_n(&held_, 0u, __ATOMIC_RELEASE); }
  void reset() { held_ = 0; }  // in a forked child, for locks another thread may have held

 private:
  uint32_t held_ = 0;
};
class Locked {
 public:
  explicit Locked(SpinLock& lock) : lock_(lock) { lock_.lock(); }
  ~Locked() { lock_.unlock(); }
  Locked(const Locked&) = delete;

 private:
  SpinLock& lock_;
};

// A fault met by safe_copy: which signal the kernel sent for which address.
struct Fault {
  int signal = 0;  // 0: none
  int code = 0;    // si_code
  uint64_t address = 0;
  uint64_t error = 0;  // page-fault error code as the processor gives it
};

// Copies memory that may fault (the program's, or an alias whose file may shrink). 1, 2, 4 and 8
// bytes are copied by one instruction, longer ranges by 8-byte words first: as atomic as the
// program's own moves would be. Returns false and fills `fault` if either side faulted.
bool safe_copy(void* to, const void* from, size_t bytes, Fault* fault = nullptr);

// Could the program write the byte at `address`? Writes it as it is.
bool safe_writable(uint64_t address, Fault* fault);

// Reads a NUL-terminated string of the program into `to` (cut at bytes - 1). False if it faults.
bool safe_string(char* to, uint64_t from, size_t bytes);

// FNV-1a.
constexpr uint64_t kHashPrime = 0x100000001B3ull;
inline uint64_t hash_bytes(const void* from, size_t bytes) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (size_t i = 0; i < bytes; ++i)
    hash = (hash ^ static_cast<const uint8_t*>(from)[i]) * kHashPrime;
  return hash;
}

// Small text building for journal entries and paths: appends, never overflows, always terminates.
struct Text {
  char* data;
  size_t capacity;
  size_t size = 0;
  Text& add(const char* text);
  Text& add_decimal(uint64_t value);
  Text& add_hex(uint64_t value);  // 0x1f
  Text& add_hex_digits(uint64_t value);
};
template <size_t N>
struct TextBuffer : Text {
  char storage[N];
  TextBuffer() : Text{storage, N} { storage[0] = 0; }
};

}  // namespace shmrec::agent
