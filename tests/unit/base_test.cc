// Outputs go where a person pointed, and never replace what is no file. Names of signals. Foreign
// text is shown without what steers a terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/output_file.h"
#include "base/printable.h"
#include "base/signal_name.h"

namespace shmrec {
namespace {

namespace fs = std::filesystem;

std::string content_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

mode_t type_of(const fs::path& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0 ? status.st_mode & S_IFMT : 0;
}

class OutputFileTest : public testing::Test {
 protected:
  OutputFileTest() {
    std::string name = (fs::temp_directory_path() / "output-XXXXXX").string();
    dir_ = mkdtemp(name.data());
  }
  ~OutputFileTest() override { fs::remove_all(dir_); }

  // Writes "new" there; the message if it is refused.
  static std::string write_new(const fs::path& path,
                               OutputFile::Special special = OutputFile::Special::kWrite) {
    Result<OutputFile> file = OutputFile::create(path, 0600, special);
    if (!file) return file.error().message;
    EXPECT_EQ(write(file->fd(), "new", 3), 3);
    const Result<> committed = file->commit();
    return committed ? "" : committed.error().message;
  }

  void put(const std::string& name, const char* text) { std::ofstream(dir_ / name) << text; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  // A device that swallows what is written; false without the right to make one.
  bool make_device(const std::string& name) const {
    return mknod((dir_ / name).c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0;
  }
  void make_socket(const std::string& name) const {
    sockaddr_un address{AF_UNIX, {}};
    (dir_ / name).string().copy(address.sun_path, sizeof address.sun_path - 1);
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }

  fs::path dir_;
};

TEST_F(OutputFileTest, AppearsWholeAtCommitAndReplacesAFile) {
  put("file", "old");
  for (const char* name : {"file", "fresh"}) {
    Result<OutputFile> file = OutputFile::create(dir_ / name, 0600, OutputFile::Special::kWrite);
    ASSERT_TRUE(file);
    ASSERT_EQ(write(file->fd(), "new", 3), 3);
    EXPECT_EQ(content_of(dir_ / name), name == std::string("file") ? "old" : "");
    ASSERT_TRUE(file->commit());
    EXPECT_EQ(content_of(dir_ / name), "new");
  }
  EXPECT_EQ(entries(), 2u);
}

TEST_F(OutputFileTest, WithoutCommitTheOldFileStays) {
  put("file", "old");
  (void)OutputFile::create(dir_ / "file", 0600, OutputFile::Special::kWrite).ok();
  EXPECT_EQ(content_of(dir_ / "file"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(OutputFileTest, ADeviceIsWrittenIntoOrRefusedAndStays) {
  if (!make_device("null")) GTEST_SKIP() << "may not make devices";
  EXPECT_EQ(write_new(dir_ / "null"), "");
  EXPECT_NE(write_new(dir_ / "null", OutputFile::Special::kRefuse).find("a device"),
            std::string::npos);
  fs::create_symlink("null", dir_ / "link");
  EXPECT_EQ(write_new(dir_ / "link"), "");
  EXPECT_EQ(type_of(dir_ / "null"), static_cast<mode_t>(S_IFCHR));
  EXPECT_EQ(type_of(dir_ / "link"), static_cast<mode_t>(S_IFLNK));
  EXPECT_FALSE(is_plain_output(dir_ / "link"));
  EXPECT_EQ(entries(), 2u);
}

TEST_F(OutputFileTest, APipeIsWrittenIntoAndStays) {
  const fs::path pipe = dir_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = content_of(pipe); });
  EXPECT_EQ(write_new(pipe), "");
  reader.join();
  EXPECT_EQ(got, "new");
  EXPECT_EQ(type_of(pipe), static_cast<mode_t>(S_IFIFO));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(OutputFileTest, ADirectoryAndASocketAreRefusedAndStay) {
  fs::create_directory(dir_ / "directory");
  make_socket("socket");
  EXPECT_NE(write_new(dir_ / "directory").find("a directory"), std::string::npos);
  EXPECT_NE(write_new(dir_ / "socket").find("a socket"), std::string::npos);
  EXPECT_EQ(type_of(dir_ / "socket"), static_cast<mode_t>(S_IFSOCK));
  EXPECT_EQ(entries(), 2u);
}

TEST_F(OutputFileTest, ALinkStaysAndItsTargetIsReplaced) {
  fs::create_directory(dir_ / "directory");
  put("directory/file", "old");
  fs::create_symlink("directory/file", dir_ / "second");
  fs::create_symlink(dir_ / "second", dir_ / "first");
  EXPECT_EQ(write_new(dir_ / "first"), "");
  EXPECT_EQ(type_of(dir_ / "first"), static_cast<mode_t>(S_IFLNK));
  EXPECT_EQ(type_of(dir_ / "second"), static_cast<mode_t>(S_IFLNK));
  EXPECT_EQ(content_of(dir_ / "directory/file"), "new");
  EXPECT_EQ(entries(), 3u);
}

TEST_F(OutputFileTest, LinksThatLeadNowhereAreRefused) {
  fs::create_symlink("nowhere", dir_ / "dangling");
  fs::create_symlink("loop", dir_ / "loop");
  EXPECT_NE(write_new(dir_ / "dangling").find("leads nowhere"), std::string::npos);
  EXPECT_NE(write_new(dir_ / "loop"), "");
  EXPECT_EQ(entries(), 2u);
}

TEST_F(OutputFileTest, AnOpenFileIsWrittenIntoByItsDescriptor) {
  put("file", "longer than new");
  const UniqueFd fd(open((dir_ / "file").c_str(), O_RDWR | O_CLOEXEC));
  struct stat before, after;
  ASSERT_EQ(fstat(fd.get(), &before), 0);
  const fs::path path = "/proc/self/fd/" + std::to_string(fd.get());
  EXPECT_FALSE(is_plain_output(path));
  EXPECT_EQ(write_new(path), "");
  ASSERT_EQ(stat((dir_ / "file").c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(content_of(dir_ / "file"), "new");
}

TEST_F(OutputFileTest, WhatIsInTheWayOfThePartialFileStays) {
  ASSERT_EQ(mkfifo((dir_ / "file.partial").c_str(), 0600), 0);
  EXPECT_NE(write_new(dir_ / "file").find("not a regular file"), std::string::npos);
  EXPECT_EQ(type_of(dir_ / "file.partial"), static_cast<mode_t>(S_IFIFO));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(OutputFileTest, WhatTookTheNameMeanwhileStays) {
  Result<OutputFile> file = OutputFile::create(dir_ / "file", 0600, OutputFile::Special::kWrite);
  ASSERT_TRUE(file);
  ASSERT_EQ(mkfifo((dir_ / "file").c_str(), 0600), 0);
  EXPECT_FALSE(file->commit());
  EXPECT_EQ(type_of(dir_ / "file"), static_cast<mode_t>(S_IFIFO));
}

TEST_F(OutputFileTest, RenamingAndRemovingSpareWhatIsNoFile) {
  const UniqueFd dir(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  put("from", "new");
  ASSERT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(rename_over_file(dir.get(), "from", dir.get(), "pipe"));
  EXPECT_EQ(errno, EEXIST);
  EXPECT_FALSE(unlink_file(dir.get(), "pipe"));
  EXPECT_EQ(type_of(dir_ / "pipe"), static_cast<mode_t>(S_IFIFO));
  EXPECT_TRUE(rename_over_file(dir.get(), "from", dir.get(), "to"));
  EXPECT_TRUE(unlink_file(dir.get(), "to"));
  EXPECT_TRUE(unlink_file(dir.get(), "to"));
}

TEST(SignalName, EverySignalHasOne) {
  EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
  EXPECT_EQ(signal_name(SIGRTMIN), "SIGRTMIN");
  EXPECT_EQ(signal_name(SIGRTMAX), "SIGRTMIN+30");
  EXPECT_EQ(signal_name(32), "signal 32");
  EXPECT_EQ(signal_name(200), "signal 200");
  EXPECT_EQ(signal_with_number(SIGABRT), "signal 6 (SIGABRT)");
  EXPECT_EQ(signal_with_number(36), "signal 36 (SIGRTMIN+2)");
  EXPECT_EQ(signal_with_number(33), "signal 33");
}

TEST(Printable, EscapesWhatSteersATerminalOrHides) {
  const std::pair<std::string_view, const char*> cases[] = {
      {"\x1b[2J\r\n\t", "\\x1b[2J\\x0d\\x0a\\x09"},
      {{"a\0b", 3}, "a\\x00b"},
      {"\x7f", "\\x7f"},
      {"\xc2\x9b"
       "2J",
       "\\u009b2J"},  // C1, as UTF-8
      {"\x9b"
       "2J",
       "\\x9b2J"},  // C1, as a byte
      {"\xe2\x80\xae"
       "cod",
       "\\u202ecod"},  // right-to-left override
      {"\xe2\x81\xa6"
       "a\xe2\x81\xa9",
       "\\u2066a\\u2069"},  // isolates
      {"a\xe2\x80\x8b"
       "b\xef\xbb\xbf",
       "a\\u200bb\\ufeff"},                                   // no width
      {"\xf3\xa0\x81\x81", "\\U000e0041"},                    // a tag
      {"\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80"},  // overlong, surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},           // beyond Unicode
      {"\xe2\x82", "\\xe2\\x82"},                             // cut
  };
  for (const auto& [text, shown] : cases) {
    EXPECT_EQ(printable(text), shown);
    EXPECT_EQ(printable(printable(text)), shown);
  }
}

TEST(Printable, LeavesWordsOfAllScripts) {
  for (const char* text : {"", "a/b 'c' \\n",
                           "gr\xc3\xb6\xc3\x9f"
                           "e",
                           "\xe5\x85\xb1\xe6\x9c\x89", "\xd7\xa9\xd7\xaa", "\xf0\x9f\x9a\x80"}) {
    EXPECT_EQ(printable(text), text);
  }
}

}  // namespace
}  // namespace shmrec
