// The launcher's keeper of binaries: a log made by hand says what is mapped, real files are kept,
// and the reader takes them back.
#include "launcher/binary_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "recording/bundle/elf_id.h"
#include "recording/bundle/kept_binaries.h"
#include "recording/bundle/sha256.h"
#include "recording/log/shmlog_create.h"
#include "tests/unit/journal_bytes.h"

namespace shmrec::launcher {
namespace {

namespace fs = std::filesystem;
using recording::KeptBinaries;
using recording::KeptBinary;
using shmlog::JournalType;
using std::chrono::milliseconds;

std::string slurp(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

uint64_t inode_of(const fs::path& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// ---- Build-ids ----------------------------------------------------------------------------------

class ElfIdTest : public testing::Test {
 protected:
  std::string build_id_of(const std::string& bytes) {
    const int fd = memfd_create("elf", MFD_CLOEXEC);
    EXPECT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    const std::string id = recording::build_id(fd);
    close(fd);
    return id;
  }
  const std::string self_ = slurp("/proc/self/exe");
};

TEST_F(ElfIdTest, IsTheOneThatTheLinkerWrote) {
  const std::string id = build_id_of(self_);
  ASSERT_TRUE(recording::is_id(id)) << id;
  std::string bytes;  // the note has it in binary
  for (size_t i = 0; i < id.size(); i += 2)
    bytes += static_cast<char>(std::stoi(id.substr(i, 2), nullptr, 16));
  EXPECT_NE(self_.find(std::string("GNU\0", 4) + bytes), std::string::npos);
}

TEST_F(ElfIdTest, TruncatedAndDamagedFilesHaveNoneOrTheRightOne) {
  const std::string id = build_id_of(self_);
  for (size_t bytes = 0; bytes < 2048; bytes += bytes < 200 ? 1 : 37) {
    const std::string got = build_id_of(self_.substr(0, bytes));
    EXPECT_TRUE(got.empty() || got == id) << bytes;
  }
  // Each byte of the header and the program headers, at its extremes: no crash, no endless loop.
  for (size_t at = 4; at < 64 + 16 * 56; ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string damaged = self_.substr(0, 4096);
      damaged[at] = value;
      (void)build_id_of(damaged);
    }
  }
}

// ---- Keeping ------------------------------------------------------------------------------------

class BinaryKeeperTest : public testing::Test {
 protected:
  BinaryKeeperTest() {
    std::string name = (fs::temp_directory_path() / "keeper_test-XXXXXX").string();
    root_ = mkdtemp(name.data());
    run_ = root_ / "run";
    fs::create_directories(run_);
    recording::CreateOptions options;
    options.log_bytes = recording::kMinLogBytes;
    const Result<int> fd = recording::create_shmlog((run_ / "run.shmlog").string(), options);
    EXPECT_TRUE(fd) << fd.error().message;
    log_.reset(*fd);
    EXPECT_EQ(pread(log_.get(), &header_, sizeof header_, 0), ssize_t{sizeof header_});
    add_process(getpid());
  }
  ~BinaryKeeperTest() override { fs::remove_all(root_); }

  uint32_t add_process(pid_t pid, uint64_t pid_namespace = 0) {
    const uint32_t index = header_.next_process++;
    shmlog::ProcessEntry entry{};
    entry.state = static_cast<uint32_t>(shmlog::EntryState::kLive);
    entry.number = index;
    entry.pid = pid;
    entry.pid_namespace = pid_namespace;
    put(&entry, sizeof entry, header_.processes.offset + index * sizeof entry);
    put(&header_, sizeof header_, 0);
    return index;
  }

  void add_journal(JournalType type, uint32_t process, const std::string& text, uint64_t inode) {
    shmlog::JournalEntry entry{};
    entry.type = static_cast<uint16_t>(type);
    entry.process = process;
    entry.d = inode;
    const std::vector<uint8_t> bytes = journal_bytes(entry, header_.journal_units, text);
    put(bytes.data(), bytes.size(),
        header_.journal.offset + header_.journal_units * shmlog::kJournalUnitBytes);
    header_.journal_units += bytes.size() / shmlog::kJournalUnitBytes;
    put(&header_, sizeof header_, 0);
  }
  void add_module(const fs::path& path, uint32_t process = 1) {
    add_journal(JournalType::kModule, process, path, inode_of(path));
  }

  fs::path copy_of_self(const std::string& name) {
    fs::copy_file("/proc/self/exe", root_ / name, fs::copy_options::overwrite_existing);
    return root_ / name;
  }

  std::unique_ptr<BinaryKeeper> start(BinaryKeeperOptions options = {}) {
    options.run_directory = run_;
    options.log = log_.get();
    if (options.interval == milliseconds(250)) options.interval = milliseconds(20);
    auto keeper = BinaryKeeper::start(options);
    EXPECT_TRUE(keeper) << keeper.error().message;
    return keeper ? std::move(*keeper) : nullptr;
  }

  KeptBinaries kept() {
    const UniqueFd dir(open(run_.c_str(), O_RDONLY | O_DIRECTORY));
    return KeptBinaries::open(dir.get());
  }
  // Why the reader refuses it; "" if it takes it, and it is `original` to the byte.
  std::string refused(const fs::path& path, const fs::path& original) {
    const KeptBinaries index = kept();
    const KeptBinary* line = index.find(path, 0);
    if (line == nullptr) return "no line";
    if (line->file.empty()) return line->missing;
    const auto fd = index.open_checked(*line, UINT64_MAX);
    if (!fd) return fd.error().message;
    return slurp("/proc/self/fd/" + std::to_string(fd->get())) == slurp(original) ? "" : "differs";
  }
  bool soon(const std::function<bool()>& holds) {
    for (int i = 0; i < 500; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  size_t lines() {
    const std::string text = slurp(run_ / "binaries" / "index.jsonl");
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  size_t files() {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(run_ / "binaries"))
      count += entry.path().filename() != "index.jsonl";
    return count;
  }

  void put(const void* data, size_t bytes, uint64_t at) {
    ASSERT_EQ(pwrite(log_.get(), data, bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes));
  }

  fs::path root_, run_;
  UniqueFd log_;
  shmlog::Header header_{};
};

TEST_F(BinaryKeeperTest, KeepsWhatIsMappedWhileTheRunGoesOn) {
  const auto keeper = start();
  const fs::path library = copy_of_self("lib.so");
  add_module(library);
  ASSERT_TRUE(soon([&] { return refused(library, library).empty(); })) << refused(library, library);
  const std::string bytes = slurp(library);
  fs::remove(library);  // what becomes of it later does not matter
  const BinaryKeeper::Summary summary = keeper->finish();
  EXPECT_EQ(summary.files, 1u);
  EXPECT_EQ(summary.bytes, bytes.size());
  EXPECT_EQ(summary.lost, 0u) << summary.why;
  EXPECT_EQ(lines(), 1u);
  EXPECT_EQ(refused(library, "/proc/self/exe"), "");
}

TEST_F(BinaryKeeperTest, FinishCopiesWhatIsMissing) {
  BinaryKeeperOptions late;
  late.interval = std::chrono::hours(1);
  const auto keeper = start(late);
  std::this_thread::sleep_for(milliseconds(100));
  const fs::path library = copy_of_self("lib.so");
  add_module(library);
  add_journal(JournalType::kProcessStart, 1, fs::read_symlink("/proc/self/exe"), 0);
  EXPECT_EQ(keeper->finish().files, 1u);  // one content
  EXPECT_EQ(refused(library, library), "");
  EXPECT_EQ(refused(fs::read_symlink("/proc/self/exe"), library), "");
}

TEST_F(BinaryKeeperTest, KeepsEqualFilesOnceAndOthersOfTheSameBuildIdApart) {
  const fs::path one = copy_of_self("one"), two = copy_of_self("two"),
                 other = copy_of_self("other");
  std::ofstream(other, std::ios::app) << "stripped differently";
  for (int i = 0; i < 3; ++i)
    for (const fs::path& path : {one, two, other}) add_module(path);
  EXPECT_EQ(start()->finish().files, 2u);
  EXPECT_EQ(lines(), 3u);
  EXPECT_EQ(files(), 2u);
  for (const fs::path& path : {one, two, other}) EXPECT_EQ(refused(path, path), "") << path;
}

TEST_F(BinaryKeeperTest, KeepsNothingThatIsNoProgramOrNotTheOneThatWasMapped) {
  const fs::path secret = root_ / "secret", fifo = root_ / "fifo",
                 replaced = copy_of_self("replaced");
  std::ofstream(secret) << "password";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const fs::path paths[] = {secret, fifo, root_, "/dev/zero", "/nonesuch"};
  for (const fs::path& path : paths) add_module(path);
  add_journal(JournalType::kModule, 1, replaced, inode_of(replaced) + 1);
  add_journal(JournalType::kModule, 1, "relative/lib.so", 5);
  add_journal(JournalType::kModule, 1, "[vdso]", 0);
  const BinaryKeeper::Summary summary = start()->finish();
  EXPECT_EQ(summary.files, 0u);
  EXPECT_EQ(summary.lost, 6u);
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(refused(secret, secret), "not an ELF file");
  EXPECT_EQ(refused(fifo, ""), "not a regular file");
  EXPECT_EQ(refused(replaced, ""), "another file has its name now");
  EXPECT_EQ(refused("/nonesuch", ""), "No such file or directory");
}

TEST_F(BinaryKeeperTest, KeepsAnExecutableThatWasRemovedWhileItRuns) {
  const fs::path sleeper = root_ / "sleeper";
  fs::copy_file("/bin/sleep", sleeper);
  const uint64_t inode = inode_of(sleeper);
  const pid_t pid = fork();
  if (pid == 0) {
    execl(sleeper.c_str(), "sleeper", "60", nullptr);
    _exit(127);
  }
  ASSERT_TRUE(soon([&] { return inode_of("/proc/" + std::to_string(pid) + "/exe") == inode; }));
  fs::remove(sleeper);
  const uint32_t process = add_process(pid);
  add_journal(JournalType::kProcessStart, process, sleeper, 0);
  add_journal(JournalType::kModule, process, sleeper, inode);
  EXPECT_EQ(start()->finish().lost, 0u);
  EXPECT_EQ(refused(sleeper, "/bin/sleep"), "");
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

TEST_F(BinaryKeeperTest, FindsFilesInTheRootOfTheProcess) {
  const fs::path jail = root_ / "jail";
  fs::create_directories(jail / "lib");
  const fs::path inside = "/lib/only_in_the_jail.so";
  fs::copy_file("/proc/self/exe", jail / inside.relative_path());
  fs::create_symlink(inside, jail / "lib/link.so");
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    const char answer = chroot(jail.c_str()) == 0 && chdir("/") == 0 ? 'y' : 'n';
    if (write(ready[1], &answer, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char answer = 'n';
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  if (answer == 'y') {
    const uint32_t process = add_process(pid);
    const uint64_t inode = inode_of(jail / inside.relative_path());
    add_journal(JournalType::kModule, process, inside, inode);
    add_journal(JournalType::kModule, process, "/lib/link.so", inode);
    EXPECT_EQ(start()->finish().lost, 0u);
    EXPECT_EQ(refused(inside, "/proc/self/exe"), "");
    EXPECT_EQ(refused("/lib/link.so", "/proc/self/exe"), "");
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  close(ready[0]), close(ready[1]);
  if (answer != 'y') GTEST_SKIP() << "may not chroot";
}

TEST_F(BinaryKeeperTest, LeavesToOtherContainersWhatTheyMap) {
  const uint64_t here = inode_of("/proc/self/ns/pid");
  const fs::path ours = copy_of_self("ours"), theirs = copy_of_self("theirs");
  std::ofstream(theirs, std::ios::app) << "another";
  add_module(ours, add_process(getpid(), here));
  add_module(theirs, add_process(getpid(), here + 1));
  const BinaryKeeper::Summary summary = start()->finish();
  EXPECT_EQ(summary.files, 1u);
  EXPECT_EQ(summary.lost, 0u);
  EXPECT_EQ(refused(ours, ours), "");
  EXPECT_EQ(refused(theirs, theirs), "no line");
}

TEST_F(BinaryKeeperTest, KeepsOnlyWhatIsWanted) {
  const fs::path program = copy_of_self("program"), library = copy_of_self("lib.so");
  std::ofstream(library, std::ios::app) << "another";
  add_journal(JournalType::kProcessStart, 1, program, 0);
  add_module(program);
  add_module(library);
  BinaryKeeperOptions options;
  options.libraries = false;
  EXPECT_EQ(start(options)->finish().files, 1u);
  EXPECT_EQ(refused(program, program), "");
  EXPECT_EQ(refused(library, library), "no line");
}

TEST_F(BinaryKeeperTest, StaysBelowItsLimitAndSaysWhatIsMissing) {
  const fs::path one = copy_of_self("one"), two = copy_of_self("two");
  std::ofstream(two, std::ios::app) << "another";
  add_module(one);
  add_module(two);
  BinaryKeeperOptions options;
  options.max_bytes = fs::file_size(one) + 10;
  const BinaryKeeper::Summary summary = start(options)->finish();
  EXPECT_EQ(summary.files, 1u);
  EXPECT_EQ(summary.lost, 1u);
  EXPECT_NE(summary.why.find("recordingSize"), std::string::npos) << summary.why;
  EXPECT_NE(refused(two, two).find("recordingSize"), std::string::npos);
  EXPECT_EQ(refused(one, one), "");
}

TEST_F(BinaryKeeperTest, SurvivesALogOfNoise) {
  std::string noise(65536, '\0');
  ASSERT_LE(noise.size(), uint64_t{header_.journal.count} * shmlog::kJournalUnitBytes);
  uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  // Every other one looks like an entry.
  for (size_t unit = 0; unit + sizeof(shmlog::JournalEntry) <= noise.size(); unit += 160) {
    shmlog::JournalEntry entry{};
    entry.magic = shmlog::kJournalMagic;
    entry.units = static_cast<uint16_t>(state = state * 1664525 + 1013904223);
    entry.type = static_cast<uint16_t>(JournalType::kModule);
    entry.process = state;
    entry.text_bytes = state >> 3;
    memcpy(&noise[unit], &entry, sizeof entry);
  }
  put(noise.data(), noise.size(), header_.journal.offset);
  header_.journal_units = UINT64_MAX;
  put(&header_, sizeof header_, 0);
  EXPECT_EQ(start()->finish().files, 0u);
}

TEST_F(BinaryKeeperTest, EndsInTimeWithoutBeingAsked) {
  const fs::path library = copy_of_self("lib.so");
  add_module(library);
  start();
  EXPECT_FALSE(kept().problem().size());
  for (const auto& entry : fs::directory_iterator(run_ / "binaries"))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".copy")) << entry.path();
}

TEST_F(BinaryKeeperTest, GivesFilesTheModeThatItIsTold) {
  add_module(copy_of_self("lib.so"));
  ASSERT_EQ(chmod(run_.c_str(), 02770), 0);
  BinaryKeeperOptions options;
  options.file_mode = 0660;
  start(options)->finish();
  struct stat status;
  ASSERT_EQ(stat((run_ / "binaries").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 02770u);
  for (const auto& entry : fs::directory_iterator(run_ / "binaries")) {
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0660u) << entry.path();
  }
}

}  // namespace
}  // namespace shmrec::launcher
