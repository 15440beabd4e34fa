// Copies into a directory, and the termination message.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "egress_support.h"
#include "sidecar/egress/directory.h"
#include "sidecar/egress/termination_message.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr size_t kMiB = 1024 * 1024;

ino_t inode(const fs::path& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

class EgressDirectory : public EgressTest {
 protected:
  EgressDirectory() { fs::create_directories(volume); }
  fs::path partial() const { return volume / (bundle.name + ".partial"); }
  fs::path target() const { return volume / bundle.name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(volume), {}));
  }

  const fs::path volume = temp.path / "volume";
  const std::string content = some_bytes(3 * kMiB + 17);
  const Bundle bundle = make_bundle(store, "app-20261122T060000Z", content);
  DirectoryDestination to{"pvc", {volume}};
};

TEST_F(EgressDirectory, CopiesWholeAndLeavesNothingElse) {
  const auto sent = to.send(bundle, stop);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_EQ(read_file(target()), content);
  EXPECT_EQ(to.place(), target().string());
  EXPECT_EQ(fs::status(target()).permissions(), fs::perms(0640));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(EgressDirectory, SendingAgainChangesNothing) {
  ASSERT_TRUE(to.send(bundle, stop).ok());
  const ino_t before = inode(target());
  ASSERT_TRUE(to.send(bundle, stop).ok());
  EXPECT_EQ(inode(target()), before);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(EgressDirectory, ABundleOfTheSameNameIsNotOverwritten) {
  write_file(target(), "of another pod");
  const fs::path other =
      volume / ("app-20261122T060000Z-" + bundle.sha256.substr(0, 8) + ".shmrec.tar.zst");
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(to.send(bundle, stop).ok());
    EXPECT_EQ(to.place(), other.string());
  }
  EXPECT_EQ(read_file(target()), "of another pod");
  EXPECT_EQ(read_file(other), content);
  EXPECT_EQ(entries(), 2u);
}

TEST_F(EgressDirectory, GoesOnWithAPartialCopy) {
  write_file(partial(), content.substr(0, kMiB + 5));
  const ino_t before = inode(partial());
  ASSERT_TRUE(to.send(bundle, stop).ok());
  EXPECT_EQ(inode(target()), before);
  EXPECT_EQ(read_file(target()), content);
}

TEST_F(EgressDirectory, ReplacesWhatIsWrongInAStalePartialCopy) {
  for (const std::string& stale : {std::string(content.size() * 2, 'x'), std::string(100, '\0'),
                                   content.substr(0, kMiB) + std::string(kMiB, '\0')}) {
    write_file(partial(), stale);
    ASSERT_TRUE(to.send(bundle, stop).ok());
    EXPECT_EQ(read_file(target()), content);
    fs::remove(target());
  }
}

TEST_F(EgressDirectory, FollowsNoLink) {
  const fs::path victim = temp.path / "victim";
  write_file(victim, "precious");
  const auto plant = {
      +[](const fs::path& from, const fs::path& to) { fs::create_symlink(from, to); },
      +[](const fs::path& from, const fs::path& to) { fs::create_hard_link(from, to); }};
  for (const auto link : plant) {
    link(victim, partial());
    link(victim, target());
    ASSERT_TRUE(to.send(bundle, stop).ok());
    EXPECT_EQ(read_file(victim), "precious");
    EXPECT_EQ(read_file(to.place()), content);
    EXPECT_FALSE(fs::is_symlink(to.place()));
    for (const auto& entry : fs::directory_iterator(volume)) fs::remove(entry);
  }
}

TEST_F(EgressDirectory, APipeInTheWayDoesNotBlock) {
  ASSERT_EQ(mkfifo(partial().c_str(), 0600), 0);
  ASSERT_EQ(mkfifo(target().c_str(), 0600), 0);
  ASSERT_TRUE(to.send(bundle, stop).ok());
  EXPECT_EQ(read_file(to.place()), content);
}

TEST_F(EgressDirectory, ADamagedBundleIsNotBroughtOut) {
  std::string damaged = content;
  damaged[damaged.size() / 2] ^= 1;
  write_file(bundle.path, damaged);
  const auto sent = to.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("damaged"), std::string::npos) << sent.error().message;
  EXPECT_FALSE(to.retry().useful);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(EgressDirectory, ABundleThatRetentionTookIsGivenUp) {
  fs::remove(bundle.path);
  const auto sent = to.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("no longer in the store"), std::string::npos);
  EXPECT_FALSE(to.retry().useful);
}

TEST_F(EgressDirectory, AMissingVolumeIsWorthAnotherAttempt) {
  DirectoryDestination nowhere("pvc", {temp.path / "missing"});
  const auto sent = nowhere.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("missing: No such file"), std::string::npos)
      << sent.error().message;
  EXPECT_TRUE(nowhere.retry().useful);
}

TEST_F(EgressDirectory, StopsWhenAsked) {
  stop = true;
  ASSERT_FALSE(to.send(bundle, stop).ok());
  EXPECT_FALSE(fs::exists(target()));
  stop = false;
  ASSERT_TRUE(to.send(bundle, stop).ok());
  EXPECT_EQ(read_file(target()), content);
}

TEST_F(EgressDirectory, TwoWritersOfOneFileDoNotMix) {
  const UniqueFd other(open(partial().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
  const auto sent = to.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("another process"), std::string::npos);
  EXPECT_TRUE(to.retry().useful);
}

// ---- Volumes that are full or cannot be written -------------------------------------------------

TEST_F(EgressDirectory, ALimitOfFileSizeIsAClearErrorThatCleansUp) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{kMiB, kMiB};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto sent = to.send(bundle, stop);
    const bool right = !sent.ok() &&
                       sent.error().message.find("RLIMIT_FSIZE") != std::string::npos &&
                       to.retry().useful && entries() == 0;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

class Tmpfs {
 public:
  Tmpfs(const fs::path& path, const char* options) : path_(path) {
    mounted = mount("tmpfs", path.c_str(), "tmpfs", 0, options) == 0;
  }
  ~Tmpfs() {
    if (mounted) umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted;

 private:
  const fs::path path_;
};

TEST_F(EgressDirectory, AFullVolumeIsAClearErrorAndLeftAsItWas) {
  const Tmpfs tmpfs(volume, "size=2m");
  if (!tmpfs.mounted) GTEST_SKIP() << "cannot mount a tmpfs here";
  const auto sent = to.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("no space left for a bundle of 3.0 MiB"), std::string::npos)
      << sent.error().message;
  EXPECT_TRUE(to.retry().useful);
  EXPECT_EQ(entries(), 0u);
}

TEST_F(EgressDirectory, AReadOnlyVolumeIsAClearError) {
  const Tmpfs tmpfs(volume, "size=16m");
  if (!tmpfs.mounted) GTEST_SKIP() << "cannot mount a tmpfs here";
  ASSERT_EQ(mount(nullptr, volume.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const auto sent = to.send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("read-only"), std::string::npos) << sent.error().message;
}

// ---- Death --------------------------------------------------------------------------------------

// Kills a copying process once it has written about `bytes`. True if that was in the middle.
bool kill_in_the_middle(DirectoryDestination& to, const Bundle& bundle, const fs::path& partial,
                        uintmax_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    const std::atomic<bool> never{false};
    _exit(to.send(bundle, never).ok() ? 0 : 1);
  }
  const auto grown = [&] {
    struct stat status {};
    return waitpid(child, nullptr, WNOHANG) == child ||
           (stat(partial.c_str(), &status) == 0 && static_cast<uintmax_t>(status.st_size) >= bytes);
  };
  while (!grown()) usleep(50);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return fs::exists(partial);
}

TEST_F(EgressDirectory, AKilledCopyIsFinishedByTheNextProcess) {
  const std::string large = some_bytes(96 * kMiB);
  const Bundle big = make_bundle(store, "big", large);
  const fs::path partial_copy = volume / (big.name + ".partial");
  int in_the_middle = 0;
  for (const size_t mib : {0, 1, 40, 80}) {
    if (kill_in_the_middle(to, big, partial_copy, mib * kMiB)) {
      ++in_the_middle;
      EXPECT_FALSE(fs::exists(volume / big.name)) << "killed after " << mib << " MiB";
    }
    ASSERT_TRUE(to.send(big, stop).ok());
    EXPECT_TRUE(read_file(volume / big.name) == large) << "killed after " << mib << " MiB";
    EXPECT_EQ(entries(), 1u);
    fs::remove(volume / big.name);
  }
  EXPECT_GT(in_the_middle, 0);
}

// ---- Termination message ------------------------------------------------------------------------

class EgressTermination : public EgressTest {
 protected:
  const fs::path file = temp.path / "termination-log";
  TerminationMessage to{"message", file};
};

TEST_F(EgressTermination, SaysWhereTheBundleIs) {
  const Bundle bundle = make_bundle(store, "app", "1234");
  ASSERT_TRUE(to.send(bundle, stop).ok());
  EXPECT_EQ(read_file(file), "shmrec: signal 6 (SIGABRT) in run app-7: bundle " +
                                 bundle.path.string() + " (4 bytes, sha256 " + bundle.sha256 +
                                 ")\n");
  to.placed(bundle, "/pvc/" + bundle.name);
  EXPECT_NE(read_file(file).find("); /pvc/app.shmrec.tar.zst\n"), std::string::npos);
}

TEST_F(EgressTermination, NotesStandAloneOrBehindTheBundle) {
  to.note("s.yaml:3:1: unknown key 'retentoin'");
  EXPECT_EQ(read_file(file), "shmrec: s.yaml:3:1: unknown key 'retentoin'\n");
  const Bundle bundle = make_bundle(store, "app", "1234");
  ASSERT_TRUE(to.send(bundle, stop).ok());
  to.note("another");
  to.note("another");
  const std::string line = read_file(file);
  EXPECT_TRUE(line.starts_with("shmrec: signal 6 (SIGABRT) in run app-7: bundle ")) << line;
  EXPECT_TRUE(line.ends_with("); s.yaml:3:1: unknown key 'retentoin'; another\n")) << line;
  for (int i = 0; i < 100; ++i) to.note(std::to_string(i) + std::string(1000, 'x'));
  EXPECT_LE(fs::file_size(file), 4096u);
}

TEST_F(EgressTermination, TheNewestBundleHasTheLine) {
  const Bundle late = make_bundle(store, "late", "1", "2026-11-22T06:00:02Z");
  const Bundle early = make_bundle(store, "early", "1", "2026-11-22T06:00:01Z");
  ASSERT_TRUE(to.send(early, stop).ok());
  EXPECT_NE(read_file(file).find("early.shmrec"), std::string::npos);
  ASSERT_TRUE(to.send(late, stop).ok());
  ASSERT_TRUE(to.send(early, stop).ok());
  to.placed(early, "https://elsewhere/early");
  const std::string line = read_file(file);
  EXPECT_NE(line.find("late.shmrec"), std::string::npos);
  EXPECT_EQ(line.find("early"), std::string::npos);
}

TEST_F(EgressTermination, IsOneLineOfBoundedSizeWhateverTheWorkloadSays) {
  Bundle bundle = make_bundle(store, "app", "1");
  bundle.trigger = "a\nb\x1b[31m";
  ASSERT_TRUE(to.send(bundle, stop).ok());
  std::string line = read_file(file);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(line.find('\x1b'), std::string::npos);
  Bundle next = make_bundle(store, "next", "1", "2026-11-22T07:00:00Z");
  next.trigger = std::string(10000, 'x');
  ASSERT_TRUE(to.send(next, stop).ok());
  EXPECT_EQ(fs::file_size(file), 4096u);
  EXPECT_EQ(read_file(file).back(), '\n');
}

TEST_F(EgressTermination, NothingOfALongerLineStays) {
  write_file(file, std::string(100000, 'x'));
  ASSERT_TRUE(to.send(make_bundle(store, "app", "1"), stop).ok());
  EXPECT_EQ(read_file(file).find("xxx"), std::string::npos);
}

TEST_F(EgressTermination, FollowsNoLink) {
  const Bundle bundle = make_bundle(store, "app", "1");
  const fs::path victim = temp.path / "victim";
  write_file(victim, "precious");
  fs::create_symlink(victim, file);
  EXPECT_FALSE(to.send(bundle, stop).ok());
  fs::remove(file);
  fs::create_hard_link(victim, file);
  EXPECT_FALSE(to.send(bundle, stop).ok());
  EXPECT_EQ(read_file(victim), "precious");
}

TEST_F(EgressTermination, APipeDoesNotBlock) {
  ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
  EXPECT_FALSE(to.send(make_bundle(store, "app", "1"), stop).ok());
}

}  // namespace
}  // namespace shmrec::sidecar::egress
