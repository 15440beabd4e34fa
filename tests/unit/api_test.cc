// libshmrec: arguments and errors as shmrec.h documents them, who creates the log and who joins it.
// That a started program is recorded is tests/e2e's matter.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "api/log_file.h"
#include "api/shmrec.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::api {
namespace {

constexpr uint64_t kLogBytes = uint64_t{8} << 20;

// Runs `body` in a child; true if it returned true. Keeps settings of the library out of other
// tests.
bool in_child(const std::function<bool()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// `result` is -1 and errno is `error`.
testing::AssertionResult fails_with(int result, int error) {
  if (result == -1 && errno == error) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "returned " << result << ", errno " << strerrorname_np(errno) << ", expected "
         << strerrorname_np(error);
}

class ApiTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/shmrec-api-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    log_ = directory_ + "/run.shmlog";
  }
  void TearDown() override {
    unlink(log_.c_str());
    EXPECT_EQ(rmdir(directory_.c_str()), 0) << "something was left in " << directory_;
  }
  void write_log(const std::string& content) { std::ofstream(log_) << content; }
  std::string read_log() {
    std::stringstream content;
    content << std::ifstream(log_).rdbuf();
    return content.str();
  }
  // Inode of the log that a process of this run would use, 0 on failure.
  ino_t open_inode(uint64_t run_id) {
    LogFile log;
    if (open_log({log_, kLogBytes, run_id}, log) != 0) return 0;
    struct stat file {};
    fstat(log.fd, &file);
    close(log.fd);
    return log.bytes == static_cast<uint64_t>(file.st_size) ? file.st_ino : 0;
  }
  ino_t inode_by_name() {
    struct stat file {};
    return stat(log_.c_str(), &file) == 0 ? file.st_ino : 0;
  }
  bool creates_log_in_child(uint64_t run_id) {
    return in_child([&] { return open_inode(run_id) != 0; });
  }

  std::string directory_, log_;
};

TEST_F(ApiTest, StartNeedsALogFileName) { EXPECT_TRUE(fails_with(shmrec_start(), EINVAL)); }

TEST_F(ApiTest, NothingIsRecordedBeforeStart) {
  char id[SHMREC_RECORDING_ID_SIZE];
  EXPECT_EQ(shmrec_is_recording(), 0);
  EXPECT_TRUE(fails_with(shmrec_event("mark"), ESRCH));
  EXPECT_TRUE(fails_with(shmrec_recording_id(id), ESRCH));
  EXPECT_EQ(shmrec_stop(), 0);
}

TEST_F(ApiTest, EventNamesAreChecked) {
  const std::string longest(SHMREC_EVENT_NAME_MAX, 'x');
  EXPECT_TRUE(fails_with(shmrec_event(nullptr), EINVAL));
  EXPECT_TRUE(fails_with(shmrec_event(""), EINVAL));
  EXPECT_TRUE(fails_with(shmrec_event((longest + "x").c_str()), EINVAL));
  EXPECT_TRUE(fails_with(shmrec_event(longest.c_str()), ESRCH));
}

TEST_F(ApiTest, RecordingIdNeedsABuffer) {
  EXPECT_TRUE(fails_with(shmrec_recording_id(nullptr), EINVAL));
}

TEST_F(ApiTest, FileNameIsKeptAbsolute) {
  EXPECT_TRUE(in_child([&] {
    return shmrec_shmem_log_filename_get() == nullptr && chdir(directory_.c_str()) == 0 &&
           shmrec_shmem_log_filename_set("run.shmlog") == 0 && chdir("/") == 0 &&
           shmrec_shmem_log_filename_get() == log_;
  }));
}

TEST_F(ApiTest, FileNameMustBeGiven) {
  EXPECT_TRUE(fails_with(shmrec_shmem_log_filename_set(nullptr), EINVAL));
  EXPECT_TRUE(fails_with(shmrec_shmem_log_filename_set(""), EINVAL));
  EXPECT_TRUE(
      fails_with(shmrec_shmem_log_filename_set(std::string(5000, 'x').c_str()), ENAMETOOLONG));
  EXPECT_EQ(shmrec_shmem_log_filename_get(), nullptr);
}

TEST_F(ApiTest, LogSizeHasADefaultAndBounds) {
  EXPECT_EQ(shmrec_shmem_log_size_get(), uint64_t{64} << 20);
  EXPECT_TRUE(fails_with(shmrec_shmem_log_size_set(kLogBytes - 1), EINVAL));
  EXPECT_TRUE(fails_with(shmrec_shmem_log_size_set((uint64_t{1} << 36) + 1), EINVAL));
  EXPECT_TRUE(in_child([] {
    return shmrec_shmem_log_size_set(kLogBytes) == 0 && shmrec_shmem_log_size_get() == kLogBytes;
  }));
}

TEST_F(ApiTest, StartRefusesASecondThread) {
  EXPECT_TRUE(in_child([&] {
    shmrec_shmem_log_filename_set(log_.c_str());
    bool refused = false;
    std::thread([&] { refused = shmrec_start() == -1 && errno == EBUSY; }).join();
    return refused && access(log_.c_str(), F_OK) != 0;
  }));
}

TEST_F(ApiTest, StartNeedsTheDirectory) {
  EXPECT_TRUE(in_child([&] {
    shmrec_shmem_log_filename_set((directory_ + "/missing/run.shmlog").c_str());
    return shmrec_start() == -1 && errno == ENOENT;
  }));
}

TEST_F(ApiTest, StartLeavesAFileAloneThatIsNoLog) {
  const std::string content = "the only copy of something";
  write_log(content);
  EXPECT_TRUE(in_child([&] {
    shmrec_shmem_log_filename_set(log_.c_str());
    return shmrec_start() == -1 && errno == EEXIST;
  }));
  EXPECT_EQ(read_log(), content);
}

TEST_F(ApiTest, StartRefusesAnotherVersionsLog) {
  ASSERT_TRUE(creates_log_in_child(1));
  const int fd = open(log_.c_str(), O_WRONLY);
  const uint32_t version = shmlog::kVersion + 1;
  ASSERT_EQ(pwrite(fd, &version, sizeof(version), offsetof(shmlog::Header, version)),
            static_cast<ssize_t>(sizeof(version)));
  close(fd);
  EXPECT_TRUE(in_child([&] {
    shmrec_shmem_log_filename_set(log_.c_str());
    return shmrec_start() == -1 && errno == EPROTO;
  }));
}

TEST_F(ApiTest, StartRefusesADirectoryAndAPipe) {
  LogFile log;
  EXPECT_EQ(open_log({directory_, kLogBytes, 1}, log), EISDIR);
  ASSERT_EQ(mkfifo(log_.c_str(), 0600), 0);
  EXPECT_EQ(open_log({log_, kLogBytes, 1}, log), EEXIST);
}

TEST_F(ApiTest, ALinkToTheLogStays) {
  const std::string link = log_ + ".link";
  ASSERT_EQ(symlink(log_.c_str(), link.c_str()), 0);
  LogFile log;
  EXPECT_EQ(open_log({link, kLogBytes, 1}, log), ENOENT);  // leads nowhere
  EXPECT_TRUE(creates_log_in_child(1));
  EXPECT_EQ(open_log({link, kLogBytes, 2}, log), 0);  // replaces the earlier run's
  close(log.fd);
  struct stat status;
  EXPECT_TRUE(lstat(link.c_str(), &status) == 0 && S_ISLNK(status.st_mode));
  unlink(link.c_str());
}

TEST_F(ApiTest, ALogOfThisRunIsJoinedAfterItsCreatorEnded) {
  ASSERT_TRUE(creates_log_in_child(7));
  const ino_t created = inode_by_name();
  EXPECT_EQ(open_inode(7), created);
}

TEST_F(ApiTest, ALogOfAnEarlierRunIsReplaced) {
  ASSERT_TRUE(creates_log_in_child(7));
  const int old = open(log_.c_str(), O_RDONLY);  // keeps the inode number from being used again
  const ino_t created = inode_by_name();
  const ino_t mine = open_inode(8);
  EXPECT_NE(mine, 0u);
  EXPECT_NE(mine, created);
  EXPECT_EQ(mine, inode_by_name());
  close(old);
}

TEST_F(ApiTest, ALogOfAnotherRunIsJoinedWhileItsCreatorLives) {
  int done[2], ready[2];
  ASSERT_EQ(pipe(done), 0);
  ASSERT_EQ(pipe(ready), 0);
  const pid_t creator = fork();
  if (creator == 0) {
    close(done[1]);
    LogFile log;  // open until the end, as the agent's mapping of it would be
    if (open_log({log_, kLogBytes, 7}, log) != 0) _exit(1);
    char byte = 0;
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    _exit(read(done[0], &byte, 1) == 0 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const ino_t created = inode_by_name();
  const int old = open(log_.c_str(), O_RDONLY);  // keeps the inode number from being used again
  EXPECT_EQ(open_inode(8), created);
  close(done[1]);
  waitpid(creator, nullptr, 0);
  EXPECT_NE(open_inode(8), created);
  close(old);
  for (const int fd : {done[0], ready[0], ready[1]}) close(fd);
}

// Over an old log too, which all of them want to replace.
TEST_F(ApiTest, ProcessesThatStartTogetherShareOneLog) {
  constexpr int kProcesses = 16, kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    int gate[2], inodes[2];
    ASSERT_EQ(pipe(gate), 0);
    ASSERT_EQ(pipe(inodes), 0);
    for (int i = 0; i < kProcesses; ++i) {
      if (fork() != 0) continue;
      close(gate[1]);
      char byte = 0;
      if (read(gate[0], &byte, 1) != 0) _exit(1);
      const ino_t inode = open_inode(100 + static_cast<uint64_t>(round));
      _exit(write(inodes[1], &inode, sizeof(inode)) == sizeof(inode) ? 0 : 1);
    }
    close(gate[1]);
    close(inodes[1]);
    std::set<ino_t> seen;
    ino_t inode = 0;
    while (read(inodes[0], &inode, sizeof(inode)) == sizeof(inode)) seen.insert(inode);
    while (wait(nullptr) > 0) {
    }
    EXPECT_EQ(seen, std::set<ino_t>{inode_by_name()}) << "round " << round;
    close(gate[0]);
    close(inodes[0]);
  }
}

}  // namespace
}  // namespace shmrec::api
