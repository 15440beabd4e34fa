// Translation of the kernel's accesses, run for real on the host: the agent's own code between a
// program (this test, whose view of a memfd is PROT_NONE) and the kernel, with the parts below it
// (copying that survives faults, the log) replaced by simple ones.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/kernel/aio.h"
#include "agent/kernel/descriptors.h"
#include "agent/kernel/futex.h"
#include "agent/kernel/kernel_access.h"
#include "agent/kernel/names.h"
#include "agent/memory/native.h"
#include "agent/log/log.h"
#include "syscalls/syscall_table.h"
#include "agent/kernel/robust.h"
#include "agent/kernel/syscalls.h"
// clang-format on

namespace shmrec::agent {

bool filtered = false;  // no seccomp filter is there
bool lets_pass(int64_t, const uint64_t*) { return true; }

// ---- What stands below --------------------------------------------------------------------------

namespace {

struct Logged {
  char type;  // r, w, a
  uint64_t offset;
  uint64_t bytes;
  uint16_t syscall;
  bool operator==(const Logged&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Logged& entry) {
  return out << entry.type << " " << entry.offset << "+" << entry.bytes << " by "
             << entry.syscall - 1;
}
std::vector<Logged> logged;
std::vector<std::string> covered;
std::set<int> dead_lanes;

struct Log {
  shmlog::Header header;
  shmlog::LaneEntry lanes[8];
  shmlog::ProcessEntry processes[2];
};
Log& shared_log() {
  static Log* log = static_cast<Log*>(
      mmap(nullptr, sizeof(Log), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *log;
}

}  // namespace
void for_each_block(void (*)(Thread*, void*), void*) {}
namespace {

bool access_piece(void* local, uint64_t address, uint64_t bytes, bool write, bool* was_traced,
                  Region* region) {
  *was_traced = region_find(address, region);
  uint64_t at = address;
  if (*was_traced) {
    if (write ? !(region->protection & PROT_WRITE) : !region->protection) return false;
    at = region->alias + (address - region->begin);
  }
  return write ? safe_copy(reinterpret_cast<void*>(at), local, bytes)
               : safe_copy(local, reinterpret_cast<void*>(at), bytes);
}

bool traced_access(const Origin& origin, char* local, uint64_t address, uint64_t bytes, bool write,
                   uint64_t* done) {
  for (uint64_t at = 0; at < bytes;) {
    const uint64_t size = std::min(bytes - at, kPage - (address + at) % kPage);
    Region region;
    bool traced;
    if (done) *done = at;
    if (!access_piece(local + at, address + at, size, write, &traced, &region)) return false;
    const uint64_t offset = traced ? region.segment_offset + (address + at - region.begin) : 0;
    Logged entry = {write ? 'w' : 'r', offset, size, origin.syscall};
    const bool joins = !logged.empty() && at && logged.back().type == entry.type &&
                       logged.back().offset + logged.back().bytes == offset;
    if (traced && joins)
      logged.back().bytes += size;
    else if (traced)
      logged.push_back(entry);
    at += size;
    if (done) *done = at;
  }
  return true;
}

}  // namespace

bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  const iovec local = {to, bytes}, remote = {const_cast<void*>(from), bytes};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}
Text& Text::add(const char* text) {
  for (; *text && size + 1 < capacity; ++text) data[size++] = *text;
  data[size] = 0;
  return *this;
}
Text& Text::add_decimal(uint64_t value) { return add(std::to_string(value).c_str()); }
Text& Text::add_hex(uint64_t value) {
  char text[20];
  snprintf(text, sizeof text, "0x%lx", value);
  return add(text);
}
bool traced_read(Thread*, const Origin& origin, void* to, uint64_t address, uint64_t bytes, Fault*,
                 uint64_t* done) {
  return traced_access(origin, static_cast<char*>(to), address, bytes, false, done);
}
bool traced_write(Thread*, const Origin& origin, uint64_t address, const void* from, uint64_t bytes,
                  Fault*, uint64_t* done) {
  return traced_access(origin, static_cast<char*>(const_cast<void*>(from)), address, bytes, true,
                       done);
}
int64_t traced_atomic(Thread*, const Origin& origin, uint64_t address,
                      int64_t (*perform)(uint32_t*, void*), void* context, Fault*) {
  Region region;
  if (!region_find(address, &region) || !(region.protection & PROT_WRITE)) return -EFAULT;
  logged.push_back({'a', region.segment_offset + (address - region.begin), 4, origin.syscall});
  return perform(reinterpret_cast<uint32_t*>(region.alias + (address - region.begin)), context);
}
uint64_t alias_of(uint64_t address, uint64_t bytes) {
  Region region;
  if (!region_find(address, &region) || bytes > region.end - address) return 0;
  return region.alias + (address - region.begin);
}
// No files and no native mappings here: tests/victims/file_calls.c.
bool native_overlaps(uint64_t, uint64_t) { return false; }
bool native_empty() { return true; }
uint32_t native_joins() { return 0; }
bool native_use(Thread*, uint32_t) { return true; }
bool descriptors_concerned(const Thread*) { return false; }
bool names_concerned(const Thread*) { return false; }
bool names_begin(Thread*) { return false; }
void names_end(Thread*) {}
void names_cancel(Thread*) {}
bool descriptors_begin(Thread*) { return false; }
bool descriptors_make(Thread*) { return false; }
void descriptors_end(Thread*) {}
void descriptors_cancel(Thread*) {}
void aio_fetched(Thread*) {}
void coverage(const Process*, const char* why, shmlog::DegradedReason) { covered.push_back(why); }
void coverage_text(const Process*, const char* why) {
  static std::set<std::string> said;
  if (said.insert(why).second) covered.push_back(why);
}
shmlog::Header& log_header() { return shared_log().header; }
uint64_t process_agent_base(int32_t) { return agent_base(); }
shmlog::ProcessEntry* process_entry(uint32_t number) {
  const bool known = number && number < log_header().processes.count;
  return known ? log_area<shmlog::ProcessEntry>(log_header().processes) + number : nullptr;
}
bool lane_dead(const shmlog::LaneEntry& lane) { return lane.pid && kill(lane.pid, 0) != 0; }
void set_arg(Thread* thread, int n, uint64_t value) {
  Regs& regs = thread->regs;
  uint64_t* const places[6] = {&regs.rdi, &regs.rsi, &regs.rdx, &regs.r10, &regs.r8, &regs.r9};
  *places[n] = value;
}

namespace {

// ---- The program --------------------------------------------------------------------------------

constexpr uint64_t kPc = 0x401000;
constexpr uint64_t kSize = 64 * kPage;

// A traced segment of 64 pages: `view` is the program's, PROT_NONE; `real` is the alias.
class KernelAccess : public testing::Test {
 protected:
  void SetUp() override {
    logged.clear();
    covered.clear();
    memset(&shared_log(), 0, sizeof(Log));
    log_header().lanes = {offsetof(Log, lanes), 8, sizeof(shmlog::LaneEntry)};
    log_header().processes = {offsetof(Log, processes), 2, sizeof(shmlog::ProcessEntry)};
    log_header().next_lane = 8;
    fd_ = memfd_create("segment", 0);
    ASSERT_EQ(ftruncate(fd_, kSize), 0);
    real = static_cast<char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    // The view ends before a hole, so that nothing but a fault lies behind it.
    view = static_cast<char*>(
        mmap(nullptr, kSize + kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    munmap(view + kSize, kPage);
    mmap(view, kSize, PROT_NONE, MAP_SHARED | MAP_FIXED, fd_, 0);
    trace(PROT_READ | PROT_WRITE);
    thread = static_cast<Thread*>(mmap(nullptr, page_up(sizeof(Thread)), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    thread->process = &process_;
    thread->tid = static_cast<int32_t>(syscall(SYS_gettid));
    thread->lane_entry = &shared_log().lanes[1];
    ASSERT_EQ(pipe(pipe_), 0);
  }
  void TearDown() override {
    EXPECT_EQ(thread->call.bounce, nullptr) << "stand-ins were not given back";
    forget();
    munmap(view, kSize);
    munmap(real, kSize);
    munmap(thread, page_up(sizeof(Thread)));
    for (int fd : {fd_, pipe_[0], pipe_[1]}) close(fd);
  }
  void forget() {
    Locked lock(regions_lock);
    region_remove(0, ~0ull, nullptr, nullptr);
  }
  void trace(uint32_t protection) {
    forget();
    add_region(view, kSize, real, protection);
  }
  void add_region(char* begin, uint64_t bytes, char* alias, uint32_t protection) {
    Locked lock(regions_lock);
    Region region = {};
    region.begin = address(begin);
    region.end = region.begin + bytes;
    region.alias = address(alias);
    region.segment = 1;
    region.protection = protection;
    region_insert(region);
  }
  void protect(char* at, uint64_t bytes, uint32_t protection) {
    Locked lock(regions_lock);
    region_update(
        address(at), address(at) + bytes,
        [](Region& piece, void* value) { piece.protection = *static_cast<uint32_t*>(value); },
        &protection);
  }
  static uint64_t address(const void* at) { return reinterpret_cast<uint64_t>(at); }

  template <typename T>
  static uint64_t word(T value) {
    if constexpr (std::is_pointer_v<T>)
      return reinterpret_cast<uint64_t>(value);
    else
      return static_cast<uint64_t>(value);
  }
  Answer enter(Thread* self, int64_t number, const uint64_t (&args)[6]) {
    self->call.number = static_cast<uint64_t>(number);
    self->call.pc = kPc;
    self->call.post = nullptr;
    self->regs.rax = static_cast<uint64_t>(number);
    self->exit_ip = kPc + 2;
    for (int i = 0; i < 6; ++i) {
      self->call.args[i] = args[i];
      set_arg(self, i, args[i]);
    }
    const syscalls::SyscallRule* rule = syscalls::syscall_rule(static_cast<uint32_t>(number));
    const bool futex = rule && rule->handler == syscalls::Handler::kFutex;
    return futex ? do_futex(self, nullptr) : kernel_access(self, nullptr);
  }
  // Makes the syscall as the agent would; the result or -errno.
  int64_t run(Thread* self, int64_t number, const uint64_t (&args)[6]) {
    for (rounds = 1;; ++rounds) {
      const Answer answer = enter(self, number, args);
      Regs& regs = self->regs;
      if (answer != Answer::kDone)
        regs.rax = static_cast<uint64_t>(
            syscall6(number, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9));
      if (answer == Answer::kPost) self->call.post(self);
      last = answer;
      const uint64_t after[6] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
      EXPECT_EQ(memcmp(after, args, sizeof args), 0) << "argument registers changed";
      if (self->exit_ip == kPc + 2) return static_cast<int64_t>(regs.rax);
    }
  }
  template <typename... Args>
  int64_t call(int64_t number, Args... args) {
    const uint64_t words[6] = {word(args)...};
    return run(thread, number, words);
  }
  uint64_t offset(const char* at) { return static_cast<uint64_t>(at - view); }
  Logged read_of(const char* at, uint64_t bytes, int64_t number) {
    return {'r', offset(at), bytes, static_cast<uint16_t>(number + 1)};
  }
  Logged write_of(const char* at, uint64_t bytes, int64_t number) {
    return {'w', offset(at), bytes, static_cast<uint16_t>(number + 1)};
  }
  using Log_ = std::vector<Logged>;

  char* view = nullptr;
  char* real = nullptr;
  Thread* thread = nullptr;
  Answer last = Answer::kDone;
  int rounds = 0;
  Process process_ = {};
  int fd_ = -1;
  int pipe_[2] = {-1, -1};
};

// ---- Plain buffers ------------------------------------------------------------------------------

TEST_F(KernelAccess, PrivateMemoryIsLeftAlone) {
  char buffer[8] = "private";
  EXPECT_EQ(call(SYS_write, pipe_[1], buffer, 8), 8);
  EXPECT_EQ(last, Answer::kNative);
  EXPECT_EQ(call(SYS_getpid), getpid());
  EXPECT_EQ(last, Answer::kNative);
  EXPECT_TRUE(logged.empty());
}

TEST_F(KernelAccess, NothingTracedIsNative) {
  forget();
  EXPECT_EQ(call(SYS_write, pipe_[1], view, 8), -EFAULT);
  EXPECT_EQ(last, Answer::kNative);
}

TEST_F(KernelAccess, WriteIsLoggedAsRead) {
  strcpy(real + 100, "hello");
  EXPECT_EQ(call(SYS_write, pipe_[1], view + 100, 5), 5);
  char buffer[8] = {};
  EXPECT_EQ(read(pipe_[0], buffer, 8), 5);
  EXPECT_STREQ(buffer, "hello");
  EXPECT_EQ(logged, (Log_{read_of(view + 100, 5, SYS_write)}));
}

TEST_F(KernelAccess, ReadLogsOnlyWhatCame) {
  ASSERT_EQ(write(pipe_[1], "abc", 3), 3);
  real[203] = 'x';
  EXPECT_EQ(call(SYS_read, pipe_[0], view + 200, 4096), 3);
  EXPECT_EQ(std::string(real + 200, 4), "abcx");
  EXPECT_EQ(logged, (Log_{write_of(view + 200, 3, SYS_read)}));
}

TEST_F(KernelAccess, FailedReadLogsNothing) {
  EXPECT_EQ(call(SYS_read, -1, view, 10), -EBADF);
  EXPECT_TRUE(logged.empty());
}

TEST_F(KernelAccess, LargeTransfersUseMappedMemory) {
  const int file = memfd_create("file", 0);
  memset(real, 7, kSize);
  EXPECT_EQ(call(SYS_pwrite64, file, view, kSize, 0), int64_t(kSize));
  memset(real, 0, kSize);
  EXPECT_EQ(call(SYS_pread64, file, view, kSize, 0), int64_t(kSize));
  EXPECT_EQ(real[kSize - 1], 7);
  EXPECT_EQ(logged, (Log_{read_of(view, kSize, SYS_pwrite64), write_of(view, kSize, SYS_pread64)}));
  close(file);
}

TEST_F(KernelAccess, HugeTransfersAreNotCopied) {
  constexpr uint64_t kHuge = 65 << 20;
  ASSERT_EQ(ftruncate(fd_, kHuge), 0);
  char* huge = static_cast<char*>(mmap(nullptr, kHuge, PROT_NONE, MAP_SHARED, fd_, 0));
  char* alias =
      static_cast<char*>(mmap(nullptr, kHuge, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
  forget();
  add_region(huge, kHuge, alias, PROT_READ | PROT_WRITE);
  const uint64_t args[6] = {0, address(huge), kHuge, 0, 0, 0};
  ASSERT_EQ(enter(thread, SYS_read, args), Answer::kPost);
  EXPECT_EQ(thread->regs.rsi, address(alias));
  kernel_access_cancel(thread);
  const int file = memfd_create("file", 0);
  alias[kHuge - 1] = 'z';
  EXPECT_EQ(call(SYS_pwrite64, file, huge, kHuge, 0), int64_t(kHuge));
  EXPECT_EQ(call(SYS_pread64, file, huge, kHuge, kHuge - 10), 10);
  EXPECT_EQ(alias[9], 'z');
  uint64_t read = 0;
  for (size_t i = 0; i + 1 < logged.size(); ++i) read += logged[i].bytes;
  EXPECT_EQ(read, kHuge);
  EXPECT_EQ(logged.back(), (Logged{'w', 0, 10, SYS_pread64 + 1}));
  close(file);
  munmap(huge, kHuge);
  munmap(alias, kHuge);
}

TEST_F(KernelAccess, StandInKeepsTheOffsetInThePageForDirectIo) {
  for (uint64_t at : {uint64_t{0}, kPage, uint64_t{512}, 3 * kPage + 1024}) {
    const uint64_t args[6] = {0, address(view + at), 8192, 0, 0, 0};
    ASSERT_EQ(enter(thread, SYS_read, args), Answer::kPost);
    EXPECT_EQ(thread->regs.rsi % kPage, at % kPage);
    kernel_access_cancel(thread);
  }
}

TEST_F(KernelAccess, ZeroCopySendsFromPagesOfItsOwn) {
  const uint64_t args[6] = {0, address(view), 100, MSG_ZEROCOPY, 0, 0};
  ASSERT_EQ(enter(thread, SYS_sendto, args), Answer::kPost);
  EXPECT_TRUE(thread->regs.rsi < address(thread) || thread->regs.rsi >= address(thread + 1));
  kernel_access_cancel(thread);
}

TEST_F(KernelAccess, CancelledCallLeavesNothing) {
  const uint64_t args[6] = {0, address(view), 1 << 20, 0, 0, 0};
  ASSERT_EQ(enter(thread, SYS_read, args), Answer::kPost);
  EXPECT_NE(thread->call.bounce, nullptr);
  kernel_access_cancel(thread);
  kernel_access_cancel(thread);
  EXPECT_EQ(thread->call.bounce, nullptr);
  EXPECT_TRUE(logged.empty());
}

// ---- Rights and faults --------------------------------------------------------------------------

TEST_F(KernelAccess, RangeBeyondTheMappingEndsAtTheFault) {
  const int file = memfd_create("file", 0);
  ASSERT_EQ(ftruncate(file, 8 * kPage), 0);
  EXPECT_EQ(call(SYS_pread64, file, view + kSize - kPage, 3 * kPage, 0), int64_t(kPage));
  EXPECT_EQ(call(SYS_pwrite64, file, view + kSize - 100, 3 * kPage, 0), 100);
  EXPECT_EQ(logged, (Log_{write_of(view + kSize - kPage, kPage, SYS_pread64),
                          read_of(view + kSize - 100, 100, SYS_pwrite64)}));
  close(file);
}

TEST_F(KernelAccess, ReadOnlyMemoryTakesNoData) {
  trace(PROT_READ);
  ASSERT_EQ(write(pipe_[1], "abc", 3), 3);
  EXPECT_EQ(call(SYS_read, pipe_[0], view, 3), -EFAULT);
  EXPECT_EQ(call(SYS_write, pipe_[1], view, 3), 3);
  EXPECT_EQ(logged, (Log_{read_of(view, 3, SYS_write)}));
}

TEST_F(KernelAccess, RightsMayChangeWithinTheRange) {
  protect(view + 2 * kPage, kPage, PROT_NONE);
  const int file = memfd_create("file", 0);
  ASSERT_EQ(ftruncate(file, 8 * kPage), 0);
  EXPECT_EQ(call(SYS_pread64, file, view, 4 * kPage, 0), int64_t(2 * kPage));
  EXPECT_EQ(call(SYS_pwrite64, file, view + 2 * kPage, 10, 0), -EFAULT);
  EXPECT_EQ(call(SYS_pread64, -1, view + 2 * kPage, 10, 0), -EBADF);
  close(file);
}

TEST_F(KernelAccess, PagesBehindTheEndOfTheFileFault) {
  ASSERT_EQ(ftruncate(fd_, 2 * kPage), 0);
  const int file = memfd_create("file", 0);
  EXPECT_EQ(call(SYS_pwrite64, file, view, 3 * kPage, 0), int64_t(2 * kPage));
  EXPECT_EQ(call(SYS_pwrite64, file, view + 2 * kPage, 10, 0), -EFAULT);
  close(file);
}

TEST_F(KernelAccess, RangeFromPrivateIntoTracedMemory) {
  char* both = static_cast<char*>(
      mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mmap(both + kPage, kPage, PROT_NONE, MAP_SHARED | MAP_FIXED, fd_, 0);
  {
    Locked lock(regions_lock);
    Region region = {};
    region.begin = address(both + kPage), region.end = address(both + 2 * kPage);
    region.alias = address(real), region.segment = 1, region.protection = PROT_READ | PROT_WRITE;
    region_insert(region);
  }
  memset(both, 'p', kPage);
  memset(real, 't', kPage);
  EXPECT_EQ(call(SYS_write, pipe_[1], both + kPage - 2, 4), 4);
  EXPECT_EQ(call(SYS_read, pipe_[0], both + kPage - 1, 3), 3);
  EXPECT_EQ(std::string(both + kPage - 2, 2) + std::string(real, 3), "ppptt");
  EXPECT_EQ(logged, (Log_{{'r', 0, 2, SYS_write + 1}, {'w', 0, 2, SYS_read + 1}}));
  munmap(both, 2 * kPage);
}

// ---- Text ---------------------------------------------------------------------------------------

TEST_F(KernelAccess, PathsAreReadUpToTheirEnd) {
  strcpy(real + 10, "/proc/self/exe");
  const int64_t fd = call(SYS_open, view + 10, O_RDONLY, 0);
  EXPECT_GE(fd, 0);
  close(static_cast<int>(fd));
  EXPECT_EQ(logged, (Log_{read_of(view + 10, 15, SYS_open)}));
}

TEST_F(KernelAccess, PathAtTheEndOfTheMapping) {
  strcpy(real + kSize - 5, "/tmp");
  EXPECT_EQ(call(SYS_access, view + kSize - 5, 0), 0);
  memcpy(real + kSize - 5, "/tmpx", 5);
  EXPECT_EQ(call(SYS_access, view + kSize - 5, 0), -EFAULT);
  EXPECT_EQ(call(SYS_access, "/tmp", 0), 0);
  EXPECT_EQ(last, Answer::kNative);
}

TEST_F(KernelAccess, ReadlinkReadsAndWrites) {
  strcpy(real, "/proc/self/exe");
  const int64_t size = call(SYS_readlink, view, view + 100, 1000);
  EXPECT_GT(size, 0);
  EXPECT_EQ(real[100], '/');
  EXPECT_EQ(logged, (Log_{read_of(view, 15, SYS_readlink),
                          write_of(view + 100, uint64_t(size), SYS_readlink)}));
}

// ---- Vectors ------------------------------------------------------------------------------------

TEST_F(KernelAccess, VectorsMixTracedAndPrivateMemory) {
  char mine[5] = "mine";
  memcpy(real + 50, "shared", 6);
  iovec out[3] = {{mine, 4}, {view + 50, 6}, {mine, 1}};
  EXPECT_EQ(call(SYS_writev, pipe_[1], out, 3), 11);
  EXPECT_EQ(logged, (Log_{read_of(view + 50, 6, SYS_writev)}));
  logged.clear();
  char first[3] = {};
  iovec in[3] = {{first, 3}, {view + 300, 2}, {view + 400, 100}};
  EXPECT_EQ(call(SYS_readv, pipe_[0], in, 3), 11);
  EXPECT_EQ(std::string(first, 3) + std::string(real + 300, 2) + std::string(real + 400, 6),
            "minesharedm");
  EXPECT_EQ(logged, (Log_{write_of(view + 300, 2, SYS_readv), write_of(view + 400, 6, SYS_readv)}));
}

TEST_F(KernelAccess, VectorArrayMayBeTraced) {
  char mine[5] = "mine";
  const iovec out[2] = {{mine, 4}, {view + 500, 4}};
  memcpy(real + 64, out, sizeof out);
  EXPECT_EQ(call(SYS_writev, pipe_[1], view + 64, 2), 8);
  EXPECT_EQ(logged, (Log_{read_of(view + 64, 32, SYS_writev), read_of(view + 500, 4, SYS_writev)}));
}

TEST_F(KernelAccess, BadVectorsAnswerAsNative) {
  iovec vector = {view, 10};
  EXPECT_EQ(call(SYS_writev, pipe_[1], &vector, 5000), -EINVAL);
  EXPECT_EQ(call(SYS_writev, pipe_[1], 16, 1), -EFAULT);
  vector = {view, ~size_t{0}};
  EXPECT_EQ(call(SYS_writev, pipe_[1], &vector, 1), -EINVAL);
}

// ---- Sockets ------------------------------------------------------------------------------------

TEST_F(KernelAccess, MessagesCarryNameDataControlAndFlags) {
  const int to = socket(AF_UNIX, SOCK_DGRAM, 0), from = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un name = {AF_UNIX, {}};
  const std::string text = "shmrec-test-" + std::to_string(getpid());
  strcpy(name.sun_path + 1, text.c_str());
  const socklen_t bytes = static_cast<socklen_t>(3 + text.size());
  ASSERT_EQ(bind(to, reinterpret_cast<sockaddr*>(&name), bytes), 0);
  sockaddr_un sender = {AF_UNIX, {0, 's', 'e', 'n', 'd', 'e', 'r'}};
  ASSERT_EQ(bind(from, reinterpret_cast<sockaddr*>(&sender), 9), 0);

  // The whole message, its name, vectors, data and descriptor in traced memory.
  memcpy(real, &name, sizeof name);
  memcpy(real + 256, "payload", 7);
  const iovec vector = {view + 256, 7};
  memcpy(real + 512, &vector, sizeof vector);
  const struct {
    size_t bytes;
    int level, type, fd, pad;
  } rights = {CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, pipe_[0], 0};
  memcpy(real + 768, &rights, sizeof rights);
  msghdr message = {view,          bytes, reinterpret_cast<iovec*>(view + 512), 1, view + 768,
                    sizeof rights, 0};
  memcpy(real + 1024, &message, sizeof message);
  EXPECT_EQ(call(SYS_sendmsg, from, view + 1024, 0), 7);
  logged.clear();

  const iovec pieces[2] = {{view + 2000, 3}, {view + 3000, 2}};
  char control[64];
  msghdr received = {view + 5000, 100, const_cast<iovec*>(pieces), 2, control, sizeof control, 0};
  memcpy(real + 4096, &received, sizeof received);
  EXPECT_EQ(call(SYS_recvmsg, to, view + 4096, 0), 5);
  memcpy(&received, real + 4096, sizeof received);
  EXPECT_EQ(received.msg_namelen, 9u);
  EXPECT_EQ(received.msg_flags, MSG_TRUNC);
  EXPECT_EQ(received.msg_controllen, CMSG_SPACE(4));
  int passed;
  memcpy(&passed, CMSG_DATA(reinterpret_cast<cmsghdr*>(control)), sizeof passed);
  EXPECT_EQ(close(passed), 0);
  EXPECT_EQ(received.msg_name, view + 5000);
  EXPECT_EQ(received.msg_iov, pieces);
  EXPECT_EQ(std::string(real + 2000, 3) + std::string(real + 3000, 2), "paylo");
  EXPECT_STREQ(real + 5003, "sender");
  EXPECT_EQ(
      logged,
      (Log_{read_of(view + 4096, 56, SYS_recvmsg), write_of(view + 2000, 3, SYS_recvmsg),
            write_of(view + 3000, 2, SYS_recvmsg), write_of(view + 5000, 9, SYS_recvmsg),
            write_of(view + 4096 + 8, 4, SYS_recvmsg), write_of(view + 4096 + 48, 4, SYS_recvmsg),
            write_of(view + 4096 + 40, 8, SYS_recvmsg)}));
  close(to);
  close(from);
}

TEST_F(KernelAccess, ManyMessagesCountForThemselves) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
  memcpy(real, "aabbb", 5);
  iovec out[2] = {{view, 2}, {view + 2, 3}};
  mmsghdr send[2] = {};
  for (int i = 0; i < 2; ++i) send[i].msg_hdr.msg_iov = &out[i], send[i].msg_hdr.msg_iovlen = 1;
  EXPECT_EQ(call(SYS_sendmmsg, pair[0], send, 2, 0), 2);
  EXPECT_EQ(send[0].msg_len, 2u);
  EXPECT_EQ(send[1].msg_len, 3u);
  logged.clear();
  iovec in[3] = {{view + 100, 10}, {view + 200, 10}, {view + 300, 10}};
  mmsghdr receive[3] = {};
  for (int i = 0; i < 3; ++i)
    receive[i].msg_hdr.msg_iov = &in[i], receive[i].msg_hdr.msg_iovlen = 1;
  EXPECT_EQ(call(SYS_recvmmsg, pair[1], receive, 3, MSG_DONTWAIT, 0), 2);
  EXPECT_EQ(receive[1].msg_len, 3u);
  EXPECT_EQ(std::string(real + 100, 2) + std::string(real + 200, 3), "aabbb");
  EXPECT_EQ(logged,
            (Log_{write_of(view + 100, 2, SYS_recvmmsg), write_of(view + 200, 3, SYS_recvmmsg)}));
  close(pair[0]);
  close(pair[1]);
}

TEST_F(KernelAccess, NamesAreAsLongAsTheKernelSays) {
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un name = {AF_UNIX, {0, 'n', 'a', 'm', 'e'}};
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), 7), 0);
  const socklen_t room = 100;
  memcpy(real + 1000, &room, sizeof room);
  memset(real, 'x', 100);
  EXPECT_EQ(call(SYS_getsockname, fd, view, view + 1000), 0);
  socklen_t size;
  memcpy(&size, real + 1000, sizeof size);
  EXPECT_EQ(size, 7u);
  EXPECT_EQ(real[7], 'x');
  EXPECT_EQ(logged,
            (Log_{read_of(view + 1000, 4, SYS_getsockname),
                  write_of(view + 1000, 4, SYS_getsockname), write_of(view, 7, SYS_getsockname)}));
  logged.clear();
  socklen_t small = 3;
  EXPECT_EQ(call(SYS_getsockname, fd, view, &small), 0);
  EXPECT_EQ(small, 7u);
  EXPECT_EQ(logged, (Log_{write_of(view, 3, SYS_getsockname)}));
  close(fd);
}

// ---- Waiting for descriptors --------------------------------------------------------------------

TEST_F(KernelAccess, PollWritesResultsOnly) {
  const pollfd fds[2] = {{pipe_[0], POLLIN, 99}, {pipe_[1], POLLOUT, 99}};
  memcpy(real, fds, sizeof fds);
  EXPECT_EQ(call(SYS_poll, view, 2, 0), 1);
  pollfd after[2];
  memcpy(after, real, sizeof after);
  EXPECT_EQ(after[0].revents, 0);
  EXPECT_EQ(after[1].revents, POLLOUT);
  EXPECT_EQ(logged, (Log_{read_of(view, 16, SYS_poll), write_of(view + 6, 2, SYS_poll),
                          write_of(view + 14, 2, SYS_poll)}));
}

// The kernel says of each descriptor that nothing has happened.
TEST_F(KernelAccess, PollThatIsInterruptedClearsResults) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  const pollfd fd = {pipe_[0], POLLIN, 99};
  memcpy(real, &fd, sizeof fd);
  const itimerval soon = {{0, 2000}, {0, 2000}}, never = {};
  setitimer(ITIMER_REAL, &soon, nullptr);
  EXPECT_EQ(call(SYS_poll, view, 1, -1), -EINTR);
  setitimer(ITIMER_REAL, &never, nullptr);
  EXPECT_EQ(reinterpret_cast<pollfd*>(real)->revents, 0);
  EXPECT_EQ(logged, (Log_{read_of(view, 8, SYS_poll), write_of(view + 6, 2, SYS_poll)}));
}

TEST_F(KernelAccess, WhatAFailedCallWroteIsThere) {
  EXPECT_EQ(call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 77, view), -EPROTONOSUPPORT);
  int fds[2];
  memcpy(fds, real, sizeof fds);
  EXPECT_EQ(fds[1], fds[0] + 1);
  EXPECT_EQ(logged, (Log_{write_of(view, 8, SYS_socketpair)}));
}

// A filter's length counts instructions of eight bytes.
TEST_F(KernelAccess, AnOptionMaySayWhatItsLengthCounts) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  sock_filter all[] = {{BPF_RET | BPF_K, 0, 0, 0xFFFFFFFF}, {BPF_RET | BPF_K, 0, 0, 7}};
  const sock_fprog program = {2, all};
  ASSERT_EQ(setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
  const uint32_t length = 2;
  memcpy(real, &length, sizeof length);
  EXPECT_EQ(call(SYS_getsockopt, pair[0], SOL_SOCKET, SO_GET_FILTER, view + 64, view), 0);
  EXPECT_EQ(memcmp(real + 64, all, sizeof all), 0);
  EXPECT_EQ(logged.back(), write_of(view + 64, sizeof all, SYS_getsockopt));
  close(pair[0]), close(pair[1]);
}

TEST_F(KernelAccess, AFlagMaySayHowMuchIsWritten) {
  const std::array<uint32_t, 2> handle = {128, 0};
  for (int flags : {0, 1 /* AT_HANDLE_MNT_ID_UNIQUE */}) {
    memcpy(real, handle.data(), sizeof handle);
    logged.clear();
    const int64_t result = call(SYS_name_to_handle_at, AT_FDCWD, "/tmp", view, view + 256, flags);
    if (result != 0) continue;  // a file system without handles, or Linux before 6.12
    EXPECT_EQ(logged.back(), write_of(view + 256, flags ? 8 : 4, SYS_name_to_handle_at));
  }
}

TEST_F(KernelAccess, AFailedCallThatWroteNothingIsNotLogged) {
  const int32_t length = 8;
  memcpy(real, &length, sizeof length);
  EXPECT_EQ(call(SYS_getsockopt, pipe_[0], SOL_SOCKET, SO_TYPE, view + 64, view), -ENOTSOCK);
  EXPECT_EQ(logged, (Log_{read_of(view, 4, SYS_getsockopt)}));
}

TEST_F(KernelAccess, SelectUpdatesSetsAndTime) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe_[1], &set);
  memcpy(real, &set, sizeof set);
  const timeval time = {5, 0};
  memcpy(real + 512, &time, sizeof time);
  EXPECT_EQ(call(SYS_select, pipe_[1] + 1, 0, view, 0, view + 512), 1);
  timeval left;
  memcpy(&left, real + 512, sizeof left);
  EXPECT_LT(left.tv_sec, 5);
  EXPECT_EQ(logged.size(), 4u);
}

TEST_F(KernelAccess, EpollWritesTheEventsThatHappened) {
  const int poll = epoll_create1(0);
  epoll_event event = {EPOLLOUT, {.u64 = 77}};
  memcpy(real, &event, sizeof event);
  EXPECT_EQ(call(SYS_epoll_ctl, poll, EPOLL_CTL_ADD, pipe_[1], view), 0);
  EXPECT_EQ(call(SYS_epoll_wait, poll, view + 100, 10, 0), 1);
  memcpy(&event, real + 100, sizeof event);
  EXPECT_EQ(event.data.u64, 77u);
  EXPECT_EQ(logged,
            (Log_{read_of(view, 12, SYS_epoll_ctl), write_of(view + 100, 12, SYS_epoll_wait)}));
  close(poll);
}

// ---- Commands -----------------------------------------------------------------------------------

TEST_F(KernelAccess, IoctlByTableByEncodingAndUnknown) {
  ASSERT_EQ(write(pipe_[1], "abc", 3), 3);
  EXPECT_EQ(call(SYS_ioctl, pipe_[0], FIONREAD, view), 0);
  EXPECT_EQ(real[0], 3);
  EXPECT_EQ(logged, (Log_{write_of(view, 4, SYS_ioctl)}));
  EXPECT_EQ(call(SYS_ioctl, pipe_[0], 0xABCD, view), -ENOTTY);
  EXPECT_EQ(call(SYS_ioctl, pipe_[0], 0xABCD, view), -ENOTTY);
  ASSERT_EQ(covered.size(), 1u);
  EXPECT_EQ(covered[0], "ioctl 0xabcd on traced memory: not recorded");
}

TEST_F(KernelAccess, LocksAndSemaphoreArrays) {
  const struct flock lock = {F_WRLCK, SEEK_SET, 0, 0, 0};
  memcpy(real, &lock, sizeof lock);
  EXPECT_EQ(call(SYS_fcntl, fd_, F_GETLK, view), 0);
  EXPECT_EQ(real[0], F_UNLCK);
  logged.clear();
  const int set = semget(IPC_PRIVATE, 3, 0600);
  const unsigned short values[3] = {1, 2, 3};
  memcpy(real + 100, values, sizeof values);
  EXPECT_EQ(call(SYS_semctl, set, 0, SETALL, view + 100), 0);
  EXPECT_EQ(call(SYS_semctl, set, 0, GETALL, view + 200), 0);
  EXPECT_EQ(memcmp(real + 200, values, sizeof values), 0);
  EXPECT_EQ(logged,
            (Log_{read_of(view + 100, 6, SYS_semctl), write_of(view + 200, 6, SYS_semctl)}));
  semctl(set, 0, IPC_RMID);
}

TEST_F(KernelAccess, UnknownSyscallsGetTheAliasAndSaySo) {
  const uint64_t args[6] = {0, address(view + 8), 0, 0, 0, 0};
  ASSERT_EQ(enter(thread, 400, args), Answer::kPost);
  EXPECT_EQ(thread->regs.rsi, address(real + 8));
  thread->call.post(thread);
  EXPECT_EQ(thread->regs.rsi, args[1]);
  ASSERT_EQ(covered.size(), 1u);
  EXPECT_EQ(covered[0], "syscall 400 on traced memory: not recorded");
}

// ---- Futexes ------------------------------------------------------------------------------------

class FutexAccess : public KernelAccess {
 protected:
  std::atomic<uint32_t>& at(uint64_t position) {
    return *reinterpret_cast<std::atomic<uint32_t>*>(real + position);
  }
  static int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
  }
  // A lane of the thread `tid` of `pid`, which holds the mutex at `position`.
  void note(int lane, int pid, int tid, uint64_t position) {
    shmlog::LaneEntry& entry = shared_log().lanes[lane];
    entry.pid = pid;
    entry.tid = tid;
    entry.robust[3] = {1, 0, position};
    entry.robust_count = 1;
    log_header().robust_held = 1;
  }
};

TEST_F(FutexAccess, WaitComparesTheRealWord) {
  at(0) = 5;
  EXPECT_EQ(call(SYS_futex, view, FUTEX_WAIT, 4, 0), -EAGAIN);
  EXPECT_EQ(logged, (Log_{read_of(view, 4, SYS_futex)}));
  EXPECT_EQ(call(SYS_futex, view + 1, FUTEX_WAIT, 4, 0), -EINVAL);
  EXPECT_EQ(call(SYS_futex, view, 99, 4, 0), -ENOSYS);
}

TEST_F(FutexAccess, TimeoutsInTracedMemory) {
  const timespec time = {0, 20'000'000};
  memcpy(real + 512, &time, sizeof time);
  const int64_t start = now_ms();
  EXPECT_EQ(call(SYS_futex, view, FUTEX_WAIT, 0, view + 512), -ETIMEDOUT);
  EXPECT_GE(now_ms() - start, 19);
  EXPECT_EQ(rounds, 1);
}

TEST_F(FutexAccess, WakersOutsideMeetWaitersInside) {
  for (const int flag : {0, FUTEX_PRIVATE_FLAG}) {
    std::thread waker([&] {
      while (syscall(SYS_futex, real, FUTEX_WAKE | flag, 1) == 0) usleep(1000);
    });
    EXPECT_EQ(call(SYS_futex, view, FUTEX_WAIT | flag, 0, 0), 0);
    waker.join();
  }
  logged.clear();
  EXPECT_EQ(call(SYS_futex, view, FUTEX_WAKE, 1), 0);
  EXPECT_TRUE(logged.empty());
}

TEST_F(FutexAccess, WakeOpIsAtomicOnTheSecondWord) {
  at(64) = 1;
  const uint32_t add = FUTEX_OP(FUTEX_OP_ADD, 5, FUTEX_OP_CMP_EQ, 1);
  EXPECT_EQ(call(SYS_futex, view, FUTEX_WAKE_OP, 1, 1, view + 64, add), 0);
  EXPECT_EQ(at(64), 6u);
  EXPECT_EQ(logged, (Log_{{'a', 64, 4, SYS_futex + 1}}));
}

TEST_F(FutexAccess, PriorityInheritingLocks) {
  EXPECT_EQ(call(SYS_futex, view, FUTEX_LOCK_PI, 0, 0), 0);
  EXPECT_EQ(at(0), uint32_t(gettid()));
  EXPECT_EQ(call(SYS_futex, view, FUTEX_LOCK_PI, 0, 0), -EDEADLK);
  EXPECT_EQ(call(SYS_futex, view, FUTEX_UNLOCK_PI), 0);
  EXPECT_EQ(at(0), 0u);
  EXPECT_EQ(logged.front(), (Logged{'a', 0, 4, SYS_futex + 1}));
}

TEST_F(FutexAccess, VectorsOfWords) {
  struct futex_waitv waiters[2] = {};
  waiters[0] = {0, address(view + 128), FUTEX_32, 0};
  waiters[1] = {7, address(view + 192), FUTEX_32, 0};
  at(192) = 8;
  const int64_t result = call(SYS_futex_waitv, waiters, 2, 0, 0, 0);
  if (result == -ENOSYS) GTEST_SKIP() << "no futex_waitv in this kernel";
  EXPECT_EQ(result, -EAGAIN);
  EXPECT_EQ(waiters[0].uaddr, address(view + 128));
  EXPECT_EQ(logged, (Log_{read_of(view + 128, 4, SYS_futex_waitv),
                          read_of(view + 192, 4, SYS_futex_waitv)}));
}

// ---- Robust mutexes -----------------------------------------------------------------------------

struct List {
  void* first;
  long offset;
  void* pending;
};

TEST_F(FutexAccess, TakingAndGivingBackIsNotedWhilePending) {
  Region region;
  ASSERT_TRUE(region_find(address(view), &region));
  const uint32_t self = uint32_t(thread->tid);
  List head = {&head, -32, view + 256 + 32};
  thread->robust_head = address(&head);
  robust_note_atomic(thread, region, address(view + 512), 0, self);  // not the pending one
  EXPECT_EQ(log_header().robust_held, 0u);
  robust_note_atomic(thread, region, address(view + 256), 0, self);
  EXPECT_EQ(log_header().robust_held, 1u);
  EXPECT_EQ(thread->lane_entry->robust[0].offset, 256u);
  robust_note_atomic(thread, region, address(view + 256), self, self | FUTEX_WAITERS);
  EXPECT_EQ(log_header().robust_held, 1u);
  robust_note_atomic(thread, region, address(view + 256), self | FUTEX_WAITERS, 0);
  EXPECT_EQ(log_header().robust_held, 0u);
  EXPECT_EQ(thread->lane_entry->robust_count, 0u);
  EXPECT_EQ(thread->lane_entry->robust[0].segment, 0u);
}

TEST_F(FutexAccess, AttemptIsNotedAheadAndStruckIfItFails) {
  Region region;
  ASSERT_TRUE(region_find(address(view), &region));
  const uint32_t self = uint32_t(thread->tid);
  List head = {&head, -32, view + 256 + 32};
  thread->robust_head = address(&head);
  robust_note_ahead(thread, region, address(view + 512));
  EXPECT_EQ(log_header().robust_held, 0u);
  robust_note_ahead(thread, region, address(view + 256));
  EXPECT_EQ(log_header().robust_held, 1u);
  robust_note_atomic(thread, region, address(view + 256), 0, self);
  EXPECT_EQ(log_header().robust_held, 1u);
  robust_note_ahead(thread, region, address(view + 256));
  robust_note_atomic(thread, region, address(view + 256), 12345, 12345);
  EXPECT_EQ(log_header().robust_held, 0u);
}

TEST_F(FutexAccess, ExitHandsOverAndTakesOffTheList) {
  const uint32_t self = uint32_t(thread->tid);
  struct Mutex {
    uint32_t word;
    uint32_t pad[7];
    void* next;
  };
  Mutex private_one = {self, {}, nullptr}, private_two = {self, {}, nullptr};
  auto traced = [&](int i) { return reinterpret_cast<Mutex*>(view + i * 64); };
  auto really = [&](int i) { return reinterpret_cast<Mutex*>(real + i * 64); };
  List head = {&traced(0)->next, -32, &traced(3)->next};
  really(0)->word = self | FUTEX_WAITERS, really(0)->next = &private_one.next;
  private_one.next = &traced(1)->next;
  really(1)->word = self, really(1)->next = &traced(2)->next;
  really(2)->word = 12345, really(2)->next = &private_two.next;
  private_two.next = &head;
  really(3)->word = self;
  thread->robust_head = address(&head);
  robust_walk_at_exit(thread);
  EXPECT_EQ(really(0)->word, FUTEX_OWNER_DIED | FUTEX_WAITERS);
  EXPECT_EQ(really(1)->word, FUTEX_OWNER_DIED);
  EXPECT_EQ(really(2)->word, 12345u) << "belongs to another";
  EXPECT_EQ(really(3)->word, FUTEX_OWNER_DIED) << "pending";
  EXPECT_EQ(private_one.word, self) << "the kernel's job";
  EXPECT_EQ(head.first, &private_one.next);
  EXPECT_EQ(private_one.next, &private_two.next);
  EXPECT_EQ(private_two.next, &head);
  EXPECT_EQ(head.pending, nullptr);
}

TEST_F(FutexAccess, MutexOfADeadOwnerIsHandedOver) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  Region region;
  ASSERT_TRUE(region_find(address(view), &region));
  at(64) = uint32_t(child) | FUTEX_WAITERS;
  EXPECT_FALSE(robust_check_dead(thread, region, address(view + 64))) << "nobody noted it";
  note(2, child, child, 64);
  EXPECT_FALSE(robust_check_dead(thread, region, address(view + 128)));
  EXPECT_TRUE(robust_check_dead(thread, region, address(view + 64)));
  EXPECT_EQ(at(64), FUTEX_OWNER_DIED | FUTEX_WAITERS);
  EXPECT_EQ(log_header().robust_held, 0u);
  EXPECT_EQ(logged, (Log_{{'a', 64, 4, 0}}));
}

TEST_F(FutexAccess, MutexOfALivingOwnerStays) {
  Region region;
  ASSERT_TRUE(region_find(address(view), &region));
  at(64) = uint32_t(getppid());
  note(2, getppid(), getppid(), 64);
  EXPECT_FALSE(robust_check_dead(thread, region, address(view + 64)));
  EXPECT_EQ(at(64), uint32_t(getppid()));
}

TEST_F(FutexAccess, WaiterNoticesThatTheOwnerIsKilled) {
  const pid_t child = fork();
  if (child == 0) {
    usleep(130'000);
    _exit(0);
  }
  std::thread reaper([&] { waitpid(child, nullptr, 0); });
  const uint32_t value = uint32_t(child) | FUTEX_WAITERS;
  at(64) = value;
  note(2, child, child, 64);
  const int64_t start = now_ms();
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT, value, 0), 0);
  EXPECT_GE(now_ms() - start, 100);
  EXPECT_LT(now_ms() - start, 1000);
  EXPECT_GT(rounds, 2);
  EXPECT_EQ(at(64), FUTEX_OWNER_DIED | FUTEX_WAITERS);
  EXPECT_EQ(logged, (Log_{read_of(view + 64, 4, SYS_futex), {'a', 64, 4, 0}}));
  reaper.join();
}

// Not shorter, and longer only by what a busy machine adds.
bool lasts(int64_t ms, int64_t expected) { return ms >= expected - 1 && ms < expected + 1000; }

TEST_F(FutexAccess, SlicedWaitKeepsTheProgramsTimeout) {
  const uint32_t value = uint32_t(getppid());
  at(64) = value;
  note(2, getppid(), getppid(), 64);
  const timespec relative = {0, 130'000'000};
  int64_t start = now_ms();
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT, value, &relative), -ETIMEDOUT);
  EXPECT_TRUE(lasts(now_ms() - start, 130));
  EXPECT_EQ(rounds, 3);
  for (const int clock : {CLOCK_MONOTONIC, CLOCK_REALTIME}) {
    timespec end;
    clock_gettime(clock, &end);
    end.tv_nsec += 80'000'000;
    if (end.tv_nsec >= 1'000'000'000) end.tv_nsec -= 1'000'000'000, ++end.tv_sec;
    const int flag = clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0;
    start = now_ms();
    EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT_BITSET | flag, value, &end, 0,
                   FUTEX_BITSET_MATCH_ANY),
              -ETIMEDOUT);
    EXPECT_TRUE(lasts(now_ms() - start, 80));
    EXPECT_EQ(rounds, 2);
  }
  const timespec past = {1, 0}, bad = {0, -1};
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT_BITSET, value, &past, 0, FUTEX_BITSET_MATCH_ANY),
            -ETIMEDOUT);
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT, value, &bad), -EINVAL);
}

TEST_F(FutexAccess, SlicedWaitIsWoken) {
  const uint32_t value = uint32_t(getppid()) | FUTEX_WAITERS;
  at(64) = value;
  note(2, getppid(), getppid(), 64);
  std::thread waker([&] {
    usleep(120'000);
    while (syscall(SYS_futex, real + 64, FUTEX_WAKE, 1) == 0) usleep(100);
  });
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT, value, 0), 0);
  EXPECT_EQ(rounds, 3);
  waker.join();
  std::thread changer([&] {
    usleep(120'000);
    at(64) = 0;  // between two slices nobody is there to be woken
  });
  EXPECT_EQ(call(SYS_futex, view + 64, FUTEX_WAIT, value, 0), 0);
  changer.join();
}

}  // namespace
}  // namespace shmrec::agent
