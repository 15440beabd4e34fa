// libshmrec with the real agent: a process that starts is recorded, with its threads and children,
// until it stops. Each test records a child of its own.
#include <asm/prctl.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "agent/agent_abi.h"
#include "api/shmrec.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::api {
namespace {

// Ends the child with a message when a condition does not hold.
#define REQUIRE(condition)                                                         \
  do {                                                                             \
    if (!(condition)) {                                                            \
      dprintf(2, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      _exit(1);                                                                    \
    }                                                                              \
  } while (false)

class ApiRecordingTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/shmrec-api-recording-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    log_ = directory_ + "/run.shmlog";
    shared_ = static_cast<volatile int*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(static_cast<volatile void*>(shared_), MAP_FAILED);
  }
  void TearDown() override {
    munmap(const_cast<int*>(shared_), 4096);
    unlink(log_.c_str());
    EXPECT_EQ(rmdir(directory_.c_str()), 0) << "something was left in " << directory_;
  }

  // Runs `body` in a child with the log's name set; its wait status.
  int run(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      REQUIRE(shmrec_shmem_log_filename_set(log_.c_str()) == 0);
      REQUIRE(shmrec_shmem_log_size_set(uint64_t{8} << 20) == 0);
      body();
      _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  }

  std::vector<shmlog::ProcessEntry> recordings() {
    std::vector<shmlog::ProcessEntry> result;
    const int fd = open(log_.c_str(), O_RDONLY);
    shmlog::Header header;
    if (pread(fd, &header, sizeof(header), 0) == static_cast<ssize_t>(sizeof(header))) {
      result.resize(header.next_process - 1);
      for (size_t i = 0; i < result.size(); ++i) {
        const uint64_t offset = header.processes.offset + (i + 1) * sizeof(result[i]);
        if (pread(fd, &result[i], sizeof(result[i]), static_cast<off_t>(offset)) <= 0)
          result[i] = {};
      }
    }
    close(fd);
    return result;
  }

  std::string directory_, log_;
  volatile int* shared_ = nullptr;
};

TEST_F(ApiRecordingTest, AccessesAreRecordedFromStartToStop) {
  EXPECT_EQ(run([&] {
              char id[SHMREC_RECORDING_ID_SIZE] = {};
              shared_[0] = 1;  // before: not recorded
              REQUIRE(shmrec_start() == 0);
              REQUIRE(shmrec_is_recording() == 1);
              REQUIRE(shmrec_start() == 0);
              REQUIRE(shmrec_event("mark") == 0);
              REQUIRE(shmrec_recording_id(id) == 0);
              REQUIRE(strlen(id) == 13 && id[8] == '-');
              shared_[0] = shared_[0] + 1;
              REQUIRE(shmrec_stop() == 0);
              REQUIRE(shmrec_is_recording() == 0);
              shared_[0] = shared_[0] + 40;  // after: not recorded
            }),
            0);
  EXPECT_EQ(shared_[0], 42);
  ASSERT_EQ(recordings().size(), 1u);
  EXPECT_EQ(recordings()[0].accesses, 2u);
  EXPECT_EQ(recordings()[0].start_kind, static_cast<uint32_t>(shmlog::StartKind::kApi));
}

// Four words by one instruction, the last one first.
void gather_four(volatile int* from, int to[4]) {
  static const int indices[4] = {3, 2, 1, 0};
  __asm__ volatile(
      "vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n\tvmovdqu (%1), %%xmm1\n\t"
      "vpgatherdd %%xmm0, (%0,%%xmm1,4), %%xmm2\n\tvmovdqu %%xmm2, (%2)"
      :
      : "r"(from), "r"(indices), "r"(to)
      : "xmm0", "xmm1", "xmm2", "memory");
}

TEST_F(ApiRecordingTest, EachElementOfAGatherIsRecorded) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the processor has no gathers";
  for (int i = 0; i < 4; ++i) shared_[i] = 10 + i;
  EXPECT_EQ(run([&] {
              int got[4] = {};
              REQUIRE(shmrec_start() == 0);
              gather_four(shared_, got);
              REQUIRE(got[0] == 13 && got[1] == 12 && got[2] == 11 && got[3] == 10);
            }),
            0);
  ASSERT_EQ(recordings().size(), 1u);
  EXPECT_EQ(recordings()[0].accesses, 4u);
}

// The agent cannot ask the processor any more where a signal frame has the vector registers: it
// has asked before.
TEST_F(ApiRecordingTest, AGatherWorksAfterCpuidWasTurnedOff) {
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "the processor has no gathers";
  for (int i = 0; i < 4; ++i) shared_[i] = 10 + i;
  const int status = run([&] {
    int got[4] = {};
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) _exit(77);
    REQUIRE(shmrec_start() == 0);
    gather_four(shared_, got);
    REQUIRE(got[0] == 13 && got[1] == 12 && got[2] == 11 && got[3] == 10);
  });
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    GTEST_SKIP() << "CPUID cannot be turned off here";
  EXPECT_EQ(status, 0);
  ASSERT_EQ(recordings().size(), 1u);
  EXPECT_EQ(recordings()[0].accesses, 4u);
}

TEST_F(ApiRecordingTest, StopIsForGood) {
  EXPECT_EQ(run([&] {
              REQUIRE(shmrec_start() == 0);
              REQUIRE(shmrec_stop() == 0);
              REQUIRE(shmrec_start() == -1 && errno == EALREADY);
              REQUIRE(shmrec_event("mark") == -1 && errno == ESRCH);
              REQUIRE(shmrec_stop() == 0);
              if (fork() == 0) {
                REQUIRE(shmrec_is_recording() == 0);
                shared_[0] = 5;
                _exit(0);
              }
              int status = -1;
              wait(&status);
              REQUIRE(status == 0 && shared_[0] == 5);
            }),
            0);
  ASSERT_EQ(recordings().size(), 1u);
  EXPECT_EQ(recordings()[0].accesses, 0u);
}

TEST_F(ApiRecordingTest, ThreadsStartedLaterAreRecorded) {
  EXPECT_EQ(run([&] {
              REQUIRE(shmrec_start() == 0);
              std::thread([&] {
                REQUIRE(shmrec_is_recording() == 1);
                REQUIRE(shmrec_event("in the thread") == 0);
                shared_[1] = 7;
              }).join();
              REQUIRE(shared_[1] == 7);
            }),
            0);
  ASSERT_EQ(recordings().size(), 1u);
  EXPECT_EQ(recordings()[0].accesses, 2u);
}

TEST_F(ApiRecordingTest, ForkedChildrenAreRecordingsOfTheirOwn) {
  EXPECT_EQ(run([&] {
              REQUIRE(shmrec_start() == 0);
              char parent_id[SHMREC_RECORDING_ID_SIZE], id[SHMREC_RECORDING_ID_SIZE];
              REQUIRE(shmrec_recording_id(parent_id) == 0);
              if (fork() == 0) {
                REQUIRE(shmrec_recording_id(id) == 0);
                REQUIRE(strcmp(id, parent_id) != 0);
                shared_[0] = 3;
                _exit(0);
              }
              int status = -1;
              wait(&status);
              REQUIRE(status == 0 && shared_[0] == 3);
            }),
            0);
  ASSERT_EQ(recordings().size(), 2u);
  for (const shmlog::ProcessEntry& entry : recordings()) EXPECT_EQ(entry.accesses, 1u);
}

TEST_F(ApiRecordingTest, ProcessesThatStartAfterTheForkShareTheLog) {
  EXPECT_EQ(run([&] {
              const pid_t child = fork();
              REQUIRE(shmrec_start() == 0);
              if (child == 0) {
                shared_[0] = 42;
                _exit(0);
              }
              int status = -1;
              wait(&status);
              REQUIRE(status == 0);
              shared_[0] = shared_[0] + 58;
            }),
            0);
  EXPECT_EQ(shared_[0], 100);
  ASSERT_EQ(recordings().size(), 2u);
  EXPECT_EQ(recordings()[0].accesses + recordings()[1].accesses, 3u);
}

bool take(uint64_t address, bool taken) {
  void* const at = reinterpret_cast<void*>(address);
  if (!taken) return munmap(at, 4096) == 0;
  return mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at;
}

// When all places are taken that is an error, and nothing else has happened; one that is free is
// found, wherever in its zone another is taken.
TEST_F(ApiRecordingTest, StartGoesWhereThereIsRoom) {
  EXPECT_EQ(run([&] {
              for (uint64_t base : agent::kBases) REQUIRE(take(base, true));
              REQUIRE(shmrec_start() == -1 && errno == EADDRINUSE);
              REQUIRE(shmrec_is_recording() == 0);
              REQUIRE(take(agent::kBases[0], false) && take(agent::kBases[1], false));
              REQUIRE(take(agent::kBases[0] + agent::kLogOffset, true));
              REQUIRE(shmrec_start() == 0 && shmrec_is_recording() == 1);
              REQUIRE(!take(agent::kBases[1], true));
            }),
            0);
}

}  // namespace
}  // namespace shmrec::api
