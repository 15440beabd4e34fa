// An oracle for what syscalls write: it makes a call whose memory arguments all lie in one arena,
// compares the arena before and after, and says which changed bytes the table did not announce
// (syscalls/written.h).
//
// Ownership: room() and its like give out memory of the arena until the next call is made; what the
// call left there can be read until room() is called again.
#pragma once

#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "syscalls/written.h"

namespace shmrec::syscalls {

// As the kernel returns it: an error is a small negative number.
inline int64_t raw_syscall(uint64_t number, const uint64_t* args) {
  int64_t result;
  register uint64_t r10 asm("r10") = args[3];
  register uint64_t r8 asm("r8") = args[4];
  register uint64_t r9 asm("r9") = args[5];
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(args[0]), "S"(args[1]), "d"(args[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

class WrittenOracle {
 public:
  static constexpr size_t kArenaBytes = 64 * 4096;
  static constexpr size_t kGap = 256;        // at least, between two pieces
  static constexpr int64_t kDone = 1 << 30;  // expected: success, whatever the result
  static constexpr int64_t kAny = kDone + 1;

  explicit WrittenOracle(uint8_t canary) : canary_(canary), before_(kArenaBytes) {
    void* at = mmap(nullptr, kArenaBytes + 4096, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    arena_ = static_cast<uint8_t*>(at);
    mprotect(arena_ + kArenaBytes, 4096, PROT_NONE);
    clear();
  }
  ~WrittenOracle() { munmap(arena_, kArenaBytes + 4096); }
  WrittenOracle(const WrittenOracle&) = delete;

  // `bytes` of the arena, which hold the canary.
  uint8_t* room(size_t bytes) {
    if (used_up_) clear();
    uint8_t* at = arena_ + next_;
    next_ += (bytes + kGap + 63) / 64 * 64;
    if (next_ > kArenaBytes / 2) abort();
    return at;
  }
  template <typename T>
  T* put(const T& value) {
    return static_cast<T*>(memcpy(room(sizeof(T)), &value, sizeof(T)));
  }
  char* text(const std::string& value) {
    return static_cast<char*>(memcpy(room(value.size() + 1), value.c_str(), value.size() + 1));
  }
  iovec* vectors(const std::vector<iovec>& value) {
    return static_cast<iovec*>(
        memcpy(room(value.size() * sizeof(iovec)), value.data(), value.size() * sizeof(iovec)));
  }
  // The last `bytes` before memory that cannot be accessed.
  uint8_t* at_end(size_t bytes) {
    if (used_up_) clear();
    return arena_ + kArenaBytes - bytes;
  }

  // Makes the call, which should end with `expected`, and compares.
  template <typename... Args>
  int64_t call(int64_t expected, uint32_t number, Args... args) {
    WrittenCall call = {.number = number, .args = {to_register(args)...}};
    announced_.clear();
    written_prepare(&call, memory());
    memcpy(before_.data(), arena_, kArenaBytes);
    const int64_t result = raw_syscall(number, call.args);
    if (!ignores_) written_ranges(call, result, memory(), {this, add_range});
    used_up_ = true;
    judge(call, result, expected);
    return result;
  }
  template <typename... Args>
  int64_t done(uint32_t number, Args... args) {
    return call(kDone, number, args...);
  }
  template <typename... Args>
  int64_t fails(int error, uint32_t number, Args... args) {
    return call(-error, number, args...);
  }
  template <typename... Args>
  int64_t any(uint32_t number, Args... args) {
    return call(kAny, number, args...);
  }
  // While a timer interrupts it.
  template <typename... Args>
  int64_t interrupted(uint32_t number, Args... args) {
    set_timer(2000);
    const int64_t result = call(-EINTR, number, args...);
    set_timer(0);
    return result;
  }

  // From now on as if the table announced nothing.
  void ignore_announcements() { ignores_ = true; }
  // How many changed bytes of the last call were not announced.
  size_t missed() const { return missed_; }
  const std::vector<std::string>& complaints() const { return complaints_; }
  // Syscalls and commands that ended as expected.
  size_t distinct() const { return kinds_.size(); }
  size_t outcomes() const { return outcomes_.size(); }

  void report(std::ostream& out) const {
    out << calls_ << " calls of " << kinds_.size() << " syscalls and commands, " << outcomes_.size()
        << " with their outcomes: " << changed_ << " bytes changed, " << announced_bytes_
        << " announced, " << missed_in_all_ << " of the changed not announced\n";
  }

 private:
  template <typename T>
  static uint64_t to_register(T value) {
    if constexpr (std::is_pointer_v<T>)
      return reinterpret_cast<uint64_t>(value);
    else
      return static_cast<uint64_t>(value);
  }

  static void set_timer(int microseconds) {
    const itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, nullptr);
  }

  void clear() {
    memset(arena_, canary_, kArenaBytes);
    next_ = kGap;
    used_up_ = false;
  }

  static uint64_t read(void*, void* to, uint64_t address, uint64_t bytes) {
    const iovec local = {to, bytes}, remote = {reinterpret_cast<void*>(address), bytes};
    const ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return got > 0 ? static_cast<uint64_t>(got) : 0;
  }
  static uint64_t semaphores(void*, int64_t set) {
    semid_ds status;
    return semctl(static_cast<int>(set), 0, IPC_STAT, &status) ? 0 : status.sem_nsems;
  }
  static bool is_own(void*, int64_t tid) { return tid == getpid(); }
  static ProgramMemory memory() { return {nullptr, read, semaphores, is_own}; }

  static void add_range(void* self, uint64_t address, uint64_t bytes) {
    static_cast<WrittenOracle*>(self)->announced_.push_back({address, bytes});
  }

  bool announced(size_t offset) const {
    const uint64_t at = reinterpret_cast<uint64_t>(arena_) + offset;
    for (const auto& [address, bytes] : announced_)
      if (at >= address && at - address < bytes) return true;
    return false;
  }
  uint64_t announced_bytes() const {
    const uint64_t begin = reinterpret_cast<uint64_t>(arena_), end = begin + kArenaBytes;
    uint64_t sum = 0;
    for (const auto& [address, bytes] : announced_)
      if (address >= begin && address < end) sum += std::min(bytes, end - address);
    return sum;
  }

  // What has changed, and whether it was announced.
  struct Changes {
    size_t bytes = 0, missed = 0, first_missed = 0;
  };
  Changes compare() const {
    constexpr size_t kBlock = 64;
    Changes changes;
    for (size_t block = 0; block < kArenaBytes; block += kBlock) {
      if (!memcmp(arena_ + block, before_.data() + block, kBlock)) continue;
      for (size_t i = block; i < block + kBlock; ++i) {
        if (arena_[i] == before_[i]) continue;
        ++changes.bytes;
        if (!announced(i) && !changes.missed++) changes.first_missed = i;
      }
    }
    return changes;
  }

  std::string name_of(const WrittenCall& call) const {
    const SyscallRule* row = syscall_rule(call.number);
    const CommandRule* command = row ? selected_rule(*row, call.args) : nullptr;
    std::string name = row ? row->name : std::to_string(call.number);
    if (command) return name + " " + command->name;
    if (row && row->knowledge == Knowledge::kCommand)
      name += " " + std::to_string(call.args[row->command_argument]);
    return name;
  }

  void judge(const WrittenCall& call, int64_t result, int64_t expected) {
    const std::string name = name_of(call);
    const Changes changes = compare();
    missed_ = changes.missed;
    announced_bytes_ += announced_bytes();
    ++calls_;
    changed_ += changes.bytes;
    missed_in_all_ += missed_;
    const bool as_expected = expected == kAny || (expected == kDone ? result >= 0 || result < -4095
                                                                    : result == expected);
    if (!as_expected)
      complaints_.push_back(name + " ended with " + std::to_string(result) + ", not " +
                            (expected == kDone ? "success" : std::to_string(expected)));
    if (missed_)
      complaints_.push_back(name + " = " + std::to_string(result) + ": " + std::to_string(missed_) +
                            " changed bytes not announced, first " +
                            where(call, changes.first_missed));
    if (expected != kAny || result >= 0) kinds_.insert(name);
    outcomes_.insert(name + " " + (result < 0 ? std::to_string(result) : "done"));
  }

  // "argument 2 + 8"
  std::string where(const WrittenCall& call, size_t offset) const {
    const uint64_t at = reinterpret_cast<uint64_t>(arena_) + offset;
    int nearest = -1;
    for (int i = 0; i < 6; ++i)
      if (call.args[i] <= at && at - call.args[i] < kArenaBytes &&
          (nearest < 0 || call.args[i] > call.args[nearest]))
        nearest = i;
    if (nearest < 0) return "at " + std::to_string(offset) + " of the arena";
    return "at argument " + std::to_string(nearest) + " + " +
           std::to_string(at - call.args[nearest]);
  }

  uint8_t canary_;
  uint8_t* arena_;
  size_t next_ = 0;
  bool used_up_ = false, ignores_ = false;
  std::vector<uint8_t> before_;
  std::vector<std::pair<uint64_t, uint64_t>> announced_;
  std::vector<std::string> complaints_;
  std::set<std::string> kinds_, outcomes_;
  size_t calls_ = 0, changed_ = 0, announced_bytes_ = 0, missed_ = 0, missed_in_all_ = 0;
};

}  // namespace shmrec::syscalls
