// The launcher's keeper of recordings: what agents ask for is made, and what a hostile one asks for
// is not.
#include "launcher/recording_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/temporary_directory.h"
#include "recording/stream/stream_files.h"
#include "recording/stream/stream_format.h"
#include "recording/stream/stream_reader.h"

namespace shmrec::launcher {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kRoom = 1 << 20, kPage = 4096;

std::string slurp(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class RecordingKeeperTest : public testing::Test {
 protected:
  RecordingKeeperTest() { make(kRoom); }

  void make(uint64_t room, mode_t mode = 0600) {
    auto made = RecordingKeeper::create({root_.path(), mode, room});
    ASSERT_TRUE(made) << made.error().message;
    keeper_ = std::move(*made);
  }
  static agent::StreamRequest request(uint32_t number, uint64_t bytes = kPage) {
    return {0x292B1631, 0xC83D, number, 0, bytes};
  }
  // 0, or why there is no file.
  int refused(const agent::StreamRequest& wanted) {
    errno = 0;
    return keeper_->make_stream(wanted) ? 0 : errno;
  }
  int keep(int fd) { return keeper_->keep(getpid(), fd); }

  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(root_.path() / name) << content;
    return root_.path() / name;
  }
  UniqueFd open_file(const fs::path& path) { return UniqueFd(open(path.c_str(), O_RDONLY)); }
  std::vector<std::string> mapped() {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(mapped_))
      names.push_back(entry.path().filename());
    return names;
  }

  TemporaryDirectory root_ =
      TemporaryDirectory::make(temporary_parent(), "recording_keeper_test-").value();
  fs::path recordings_ = root_.path() / recording::kRecordingsFolder;
  fs::path folder_ = recordings_ / "292b1631-c83d";
  fs::path mapped_ = root_.path() / recording::kMappedFolder;
  std::unique_ptr<RecordingKeeper> keeper_;
};

// ---- Streams ------------------------------------------------------------------------------------

TEST_F(RecordingKeeperTest, AStreamFileHasItsHeaderAndAllItsBlocks) {
  const UniqueFd fd = keeper_->make_stream(request(0, 256 << 10));
  ASSERT_TRUE(fd) << strerror(errno);
  struct stat status;
  ASSERT_EQ(fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_size, 256 << 10);
  EXPECT_GE(status.st_blocks * 512, 256 << 10) << "a store must not fail";
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  stream::FileHeader header;
  ASSERT_EQ(pread(fd.get(), &header, sizeof header, 0), ssize_t{sizeof header});
  EXPECT_EQ(header.committed, sizeof header);
  EXPECT_EQ(header.file_bytes, uint64_t{256 << 10});
  // As the reader wants it, though there is nothing in it.
  auto reader = recording::StreamReader::open(folder_);
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_EQ(reader->recording(), "292b1631-c83d");
  const auto record = reader->next();
  ASSERT_TRUE(record) << record.error().message;
  EXPECT_FALSE(*record);
}

TEST_F(RecordingKeeperTest, WhoMayReadTheRunMayReadTheStreamWhateverTheUmask) {
  const mode_t before = umask(077);
  make(kRoom, 0640);
  const UniqueFd fd = keeper_->make_stream(request(0));
  umask(before);
  ASSERT_TRUE(fd);
  EXPECT_EQ(fs::status(folder_).permissions(), fs::perms{0750});
  EXPECT_EQ(fs::status(folder_ / "0.stream").permissions(), fs::perms{0640});
}

TEST_F(RecordingKeeperTest, SizesOutOfRangeAreRefused) {
  make(UINT64_MAX);
  for (const uint64_t bytes :
       {uint64_t{0}, kPage - 1, kPage + 8, stream::kMaxFileBytes + kPage, UINT64_MAX})
    EXPECT_EQ(refused(request(0, bytes)), EINVAL) << bytes;
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(RecordingKeeperTest, BeyondItsLimitNothingIsMade) {
  EXPECT_EQ(refused(request(0, kRoom + kPage)), EDQUOT);
  EXPECT_EQ(refused(request(0, kRoom - kPage)), 0);
  EXPECT_EQ(refused(request(1, 2 * kPage)), EDQUOT);
  EXPECT_FALSE(fs::exists(folder_ / "1.stream"));
  EXPECT_EQ(refused(request(1, kPage)), 0);
  EXPECT_EQ(refused(request(2, kPage)), EDQUOT);
}

TEST_F(RecordingKeeperTest, AStreamFileThatIsThereIsLeftAloneAndTakesNoRoom) {
  ASSERT_EQ(refused(request(0)), 0);
  write("recordings/292b1631-c83d/0.stream", "somebody's");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(refused(request(0, kRoom - kPage)), EEXIST);
  EXPECT_EQ(slurp(folder_ / "0.stream"), "somebody's");
  EXPECT_EQ(refused(request(1, kRoom - kPage)), 0);
}

TEST_F(RecordingKeeperTest, ALinkInPlaceOfTheFolderIsNotFollowed) {
  fs::create_directories(root_.path() / "elsewhere");
  fs::create_directory_symlink(root_.path() / "elsewhere", folder_);
  EXPECT_EQ(refused(request(0)), ENOTDIR);
  EXPECT_TRUE(fs::is_empty(root_.path() / "elsewhere"));
  EXPECT_EQ(refused({1, 1, 0, 0, kRoom}), 0) << "it took no room";
}

TEST_F(RecordingKeeperTest, ALinkInPlaceOfTheFileIsNotFollowed) {
  fs::create_directories(folder_);
  fs::create_symlink(root_.path() / "elsewhere", folder_ / "0.stream");
  EXPECT_EQ(refused(request(0)), EEXIST);
  EXPECT_FALSE(fs::exists(root_.path() / "elsewhere"));
}

TEST_F(RecordingKeeperTest, FoldersThatAreLinksAreRefusedAtOnce) {
  fs::remove_all(recordings_);
  fs::create_directory_symlink(root_.path(), recordings_);
  EXPECT_FALSE(RecordingKeeper::create({root_.path(), 0600, kRoom}));
}

// The signal would end the launcher.
TEST_F(RecordingKeeperTest, TheLimitOnFileSizesIsNoSignal) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{kPage, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const int stream = refused(request(0, 2 * kPage));
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(stream, EFBIG);
}

// ---- Mapped files -------------------------------------------------------------------------------

TEST_F(RecordingKeeperTest, AFileIsKeptOnceUnderTheNameOfItsContent) {
  const fs::path path = write("library", "content");
  const UniqueFd fd = open_file(path);
  ASSERT_EQ(keep(fd.get()), 0);
  struct stat status;
  ASSERT_EQ(fstat(fd.get(), &status), 0);
  ASSERT_EQ(mapped().size(), 1u);
  EXPECT_EQ(slurp(mapped_ / mapped()[0]), "content");
  EXPECT_NE(mapped()[0].find("-7-"), std::string::npos) << "its size";
  EXPECT_EQ(keep(open_file(path).get()), 0);
  EXPECT_EQ(mapped().size(), 1u);
}

TEST_F(RecordingKeeperTest, AChangedFileIsAnotherOne) {
  const fs::path path = write("library", "content");
  ASSERT_EQ(keep(open_file(path).get()), 0);
  write("library", "another");
  const std::array<timespec, 2> times{{{0, UTIME_OMIT}, {1, 2}}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
  ASSERT_EQ(keep(open_file(path).get()), 0);
  ASSERT_EQ(mapped().size(), 2u);
  EXPECT_NE(slurp(mapped_ / mapped()[0]), slurp(mapped_ / mapped()[1]));
}

// By a file system that is not the run directory's.
TEST_F(RecordingKeeperTest, AFileOfAnotherFileSystemIsKeptToo) {
  const UniqueFd fd(memfd_create("elsewhere", MFD_CLOEXEC));
  const std::string content(600 << 10, 'x');
  ASSERT_EQ(::write(fd.get(), content.data(), content.size()),
            static_cast<ssize_t>(content.size()));
  ASSERT_EQ(keep(fd.get()), 0);
  ASSERT_EQ(mapped().size(), 1u);
  EXPECT_EQ(slurp(mapped_ / mapped()[0]), content);
}

TEST_F(RecordingKeeperTest, WhatIsNoRegularFileIsRefused) {
  int pipes[2], sockets[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
  const UniqueFd ends[] = {UniqueFd(pipes[0]),   UniqueFd(pipes[1]),     UniqueFd(sockets[0]),
                           UniqueFd(sockets[1]), open_file("/dev/null"), open_file(root_.path())};
  for (const UniqueFd& fd : ends) EXPECT_EQ(keep(fd.get()), ENODEV) << fd.get();
  EXPECT_EQ(keep(-1), ENOENT);
  EXPECT_EQ(keep(99999), ENOENT);
  EXPECT_TRUE(mapped().empty());
}

TEST_F(RecordingKeeperTest, AFileBeyondTheLimitIsNotKeptAndTakesNoRoom) {
  const fs::path large = write("large", std::string(kRoom + 1, 'x'));
  EXPECT_EQ(keep(open_file(large).get()), EDQUOT);
  EXPECT_TRUE(mapped().empty());
  const fs::path rest = write("rest", std::string(kRoom, 'x'));
  EXPECT_EQ(keep(open_file(rest).get()), 0);
}

// What changes while it is copied has no name that says what it was.
TEST_F(RecordingKeeperTest, AFileThatChangesMeanwhileIsNotKept) {
  const fs::path path = write("library", std::string(kRoom / 2, 'x'));
  std::atomic<bool> stop = false;
  std::thread touch([&] {
    for (long i = 0; !stop; i = (i + 1) % 1'000'000) {
      const std::array<timespec, 2> times{{{0, UTIME_OMIT}, {1, i}}};
      utimensat(AT_FDCWD, path.c_str(), times.data(), 0);
    }
  });
  int error = 0;
  for (int i = 0; i < 10'000 && error == 0; ++i) {
    make(kRoom);
    error = keep(open_file(path).get());
  }
  stop = true;
  touch.join();
  EXPECT_EQ(error, EAGAIN);
  for (const std::string& name : mapped()) EXPECT_NE(name.find(".copy-"), 0u);
  EXPECT_EQ(keep(open_file(path).get()), 0) << "it took no room";
}

TEST_F(RecordingKeeperTest, ALinkInPlaceOfTheCopyIsNotFollowed) {
  const fs::path path = write("library", "content"), victim = write("victim", "untouched");
  ASSERT_EQ(keep(open_file(path).get()), 0);
  const std::string name = mapped()[0];
  fs::remove(mapped_ / name);
  fs::create_symlink(victim, mapped_ / (".copy-" + name));
  make(kRoom);
  EXPECT_EQ(keep(open_file(path).get()), ELOOP);
  EXPECT_EQ(slurp(victim), "untouched");
}

}  // namespace
}  // namespace shmrec::launcher
