// The store and its retention: nothing finished is lost, whatever dies when; nothing is dropped
// that must stay.
#include "sidecar/store/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "recording/bundle/bundle.h"
#include "recording/bundle/sha256.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::sidecar {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kSecond = 1'000'000'000;

std::string read_file(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    char path[] = "/tmp/shmrec-store-XXXXXX";
    root_ = mkdtemp(path);
    dir_ = root_ / "store";
    open_again();
  }
  ~StoreTest() override { fs::remove_all(root_); }

  void open_again() {
    store_.reset();
    auto opened = Store::open(dir_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = std::move(*opened);
  }

  // A finished file that looks like a bundle by its name.
  fs::path finished(const std::string& name, const std::string& bytes = "bundle") {
    const fs::path path = store_->incoming() / (name + std::string(kBundleSuffix));
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  StoredBundle adopt(const std::string& name, const std::string& bytes = "bundle",
                     const BundleFacts& facts = {}) {
    auto adopted = store_->adopt(finished(name, bytes), facts);
    EXPECT_TRUE(adopted.ok()) << adopted.error().message;
    return adopted ? *adopted : StoredBundle{};
  }

  // A real one, of a command that ended by SIGABRT.
  fs::path make_real(const std::string& run_name = "demo-20260921T141320Z-7") {
    const fs::path run = root_ / run_name;
    fs::create_directory(run);
    shmrec::testing::ShmlogBuilder log(1);
    const auto bytes = log.build();
    std::ofstream(run / "run.shmlog", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    std::ofstream(run / "run.json")
        << R"({"format":"shmrec-run/1","runId":"1122334455667788","command":["./demo","a b"],)"
           R"("container":{"containerName":"app"},"startTime":"2026-09-21T14:13:20Z"})";
    std::ofstream(run / "end.json")
        << R"({"endTime":"2026-09-21T14:13:21Z","status":6,"exitCode":134})";
    const auto made = recording::create_bundle(
        run, {.output = store_->incoming(), .trigger = "signal 6 (SIGABRT)"});
    EXPECT_TRUE(made.ok()) << made.error().message;
    return made ? *made : fs::path();
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const StoredBundle& bundle : store_->list())
      names.push_back(bundle.info.name.substr(0, bundle.info.name.find('.')));
    return names;
  }

  fs::path root_, dir_;
  std::unique_ptr<Store> store_;
};

using Names = std::vector<std::string>;

// ---- Taking in and giving out -------------------------------------------------------------------

TEST_F(StoreTest, AdoptedBundleIsListedReadAndRemoved) {
  const BundleFacts facts{"run-1", "exit 3", "any-exit", true, "./demo", "app", "exit 3"};
  const StoredBundle bundle = adopt("a", "some bytes", facts);
  EXPECT_EQ(bundle.info.name, "a.shmrec.tar.zst");
  EXPECT_EQ(bundle.info.sha256, recording::sha256_hex("some bytes"));
  EXPECT_EQ(bundle.info.bytes, 10u);
  EXPECT_TRUE(bundle.on_record);
  EXPECT_TRUE(fs::is_empty(store_->incoming()));
  EXPECT_EQ(store_->bytes(), 10u);

  auto opened = store_->open_bundle("a.shmrec.tar.zst");
  ASSERT_TRUE(opened.ok());
  ASSERT_TRUE(store_->remove("a.shmrec.tar.zst").ok());
  char bytes[20];
  EXPECT_EQ(pread(opened->fd.get(), bytes, sizeof bytes, 0), 10) << "who has it open reads on";
  EXPECT_FALSE(store_->open_bundle("a.shmrec.tar.zst").ok());
  EXPECT_FALSE(fs::exists(dir_ / "a.json"));
  EXPECT_FALSE(store_->remove("a.shmrec.tar.zst").ok());
}

TEST_F(StoreTest, AllThatIsKnownComesBackAfterARestart) {
  const BundleFacts facts{"run-1", "exit 3", "any-exit", true, "./demo 'a b'", "app", "exit 3"};
  const StoredBundle before = adopt("a", "x", facts);
  adopt("b");
  open_again();
  ASSERT_EQ(names(), (Names{"a", "b"}));
  const StoredBundle after = store_->list()[0];
  EXPECT_EQ(after.info.run, "run-1");
  EXPECT_EQ(after.info.trigger, "exit 3");
  EXPECT_EQ(after.info.rule, "any-exit");
  EXPECT_EQ(after.info.created, before.info.created);
  EXPECT_EQ(after.info.sha256, before.info.sha256);
  EXPECT_TRUE(after.info.keep);
  EXPECT_EQ(after.command, "./demo 'a b'");
  EXPECT_EQ(after.container, "app");
  EXPECT_EQ(after.failure, "exit 3");
  EXPECT_EQ(after.made.boot_ns, before.made.boot_ns);
  adopt("c");
  EXPECT_EQ(names(), (Names{"a", "b", "c"})) << "the order goes on";
}

TEST_F(StoreTest, SecondBundleOfANameGetsAnother) {
  adopt("a");
  EXPECT_EQ(adopt("a").info.name, "a-2.shmrec.tar.zst");
  EXPECT_EQ(adopt("a").info.name, "a-3.shmrec.tar.zst");
}

TEST_F(StoreTest, NamesFromOutsideAreNeverPaths) {
  std::ofstream(root_ / "secret.shmrec.tar.zst") << "secret";
  adopt("a");
  for (const std::string name : {"../secret.shmrec.tar.zst", "", ".", "owner", "a.json", "incoming",
                                 "./a.shmrec.tar.zst", "/etc/passwd", "\x1b[2J.shmrec.tar.zst"}) {
    const auto opened = store_->open_bundle(name);
    ASSERT_FALSE(opened.ok()) << name;
    EXPECT_TRUE(opened.error().bad_input);
    EXPECT_EQ(opened.error().message.find('\x1b'), std::string::npos);
    EXPECT_FALSE(store_->remove(name).ok());
  }
  EXPECT_FALSE(store_->adopt(root_ / "secret.shmrec.tar.zst", {}).ok());
  EXPECT_TRUE(fs::exists(root_ / "secret.shmrec.tar.zst"));
}

TEST_F(StoreTest, BundleThatBecameALinkIsNotOpened) {
  adopt("a");
  std::ofstream(root_ / "secret") << "secret";
  fs::remove(dir_ / "a.shmrec.tar.zst");
  fs::create_symlink(root_ / "secret", dir_ / "a.shmrec.tar.zst");
  EXPECT_FALSE(store_->open_bundle("a.shmrec.tar.zst").ok());
  open_again();
  EXPECT_TRUE(store_->list().empty());
}

// ---- Restarts -----------------------------------------------------------------------------------

TEST_F(StoreTest, RecordThatIsMissingIsMadeAgainFromTheBundle) {
  const StoredBundle adopted = *store_->adopt(make_real(), {.rule = "r"});
  fs::remove(dir_ / record_name(adopted.info.name));
  open_again();
  ASSERT_EQ(store_->list().size(), 1u);
  const StoredBundle again = store_->list()[0];
  EXPECT_EQ(again.info.run, "demo-20260921T141320Z") << "a manifest has no pid";
  EXPECT_EQ(again.info.trigger, "signal 6 (SIGABRT)");
  EXPECT_EQ(again.info.sha256, adopted.info.sha256);
  EXPECT_EQ(again.command, "./demo 'a b'");
  EXPECT_EQ(again.container, "app");
  EXPECT_EQ(again.failure, "signal 6");
  EXPECT_TRUE(again.info.keep) << "it may be the first of its failures";
  EXPECT_TRUE(fs::exists(dir_ / record_name(adopted.info.name)));
}

TEST_F(StoreTest, RecordCutAtAnyByteIsMadeAgain) {
  const StoredBundle adopted = adopt("a", "not really a bundle", {.trigger = "exit 3"});
  const fs::path record = dir_ / "a.json";
  const std::string whole = read_file(record);
  for (size_t bytes = 0; bytes + 2 < whole.size(); bytes += 7) {
    std::ofstream(record, std::ios::binary) << whole.substr(0, bytes);
    open_again();
    ASSERT_EQ(store_->list().size(), 1u) << bytes;
    EXPECT_EQ(store_->list()[0].info.trigger, "damaged bundle");
    EXPECT_EQ(store_->list()[0].info.sha256, adopted.info.sha256);
  }
  std::ofstream(record, std::ios::binary) << whole;
  open_again();
  EXPECT_EQ(store_->list()[0].info.trigger, "exit 3");
}

TEST_F(StoreTest, DiskWithoutRoomForTheRecordKeepsNoBundleOut) {
  const fs::path path = finished("a");
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit full = {10, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const auto adopted = store_->adopt(path, {.trigger = "exit 3"});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  ASSERT_TRUE(adopted.ok()) << adopted.error().message;
  EXPECT_FALSE(adopted->on_record);
  EXPECT_EQ(store_->list()[0].info.trigger, "exit 3");
  EXPECT_FALSE(fs::exists(dir_ / "a.json"));
  EXPECT_FALSE(fs::exists(dir_ / "a.json.partial"));
  open_again();
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_TRUE(store_->list()[0].on_record);
}

TEST_F(StoreTest, RecordOfAnotherFileIsNotBelieved) {
  adopt("a", "one", {.trigger = "exit 3"});
  std::ofstream(dir_ / "a.shmrec.tar.zst") << "another";
  open_again();
  EXPECT_EQ(store_->list()[0].info.trigger, "damaged bundle");
  EXPECT_EQ(store_->list()[0].info.bytes, 7u);
}

TEST_F(StoreTest, FinishedBundleThatWasNotTakenInIsNotLost) {
  make_real();
  open_again();
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_EQ(store_->list()[0].failure, "signal 6");
  EXPECT_TRUE(store_->list()[0].info.keep);
  EXPECT_TRUE(fs::is_empty(store_->incoming()));
}

TEST_F(StoreTest, DeathBetweenRecordAndRenameLosesNothing) {
  adopt("a", "first");
  adopt("a", "second", {.trigger = "exit 3", .keep = true});
  // As if death had come before its renaming.
  fs::rename(dir_ / "a-2.shmrec.tar.zst", store_->incoming() / "a.shmrec.tar.zst");
  open_again();
  ASSERT_EQ(store_->list().size(), 2u);
  const StoredBundle again = store_->list()[1];
  EXPECT_EQ(again.info.name, "a-2.shmrec.tar.zst");
  EXPECT_EQ(again.info.trigger, "exit 3");
  EXPECT_TRUE(again.info.keep);
}

TEST_F(StoreTest, RecordWhoseBundleIsGoneIsRemoved) {
  adopt("a");
  fs::remove(dir_ / "a.shmrec.tar.zst");
  open_again();
  EXPECT_TRUE(store_->list().empty());
  EXPECT_FALSE(fs::exists(dir_ / "a.json"));
}

TEST_F(StoreTest, PartialFilesGoIfTheirWriterIsDead) {
  const fs::path dead = store_->incoming() / "dead.shmrec.tar.zst.partial";
  const fs::path living = store_->incoming() / "living.shmrec.tar.zst.partial";
  std::ofstream(dir_ / "a.json.partial") << "{";
  std::ofstream(dead) << "x";
  store_.reset();  // a child would hold its lock too
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t writer = fork();
  if (writer == 0) {
    const int fd = open(living.c_str(), O_RDWR | O_CREAT, 0600);
    if (flock(fd, LOCK_EX) != 0 || write(ready[1], "y", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  open_again();
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(dir_ / "a.json.partial"));
  EXPECT_TRUE(fs::exists(living));
  kill(writer, SIGKILL);
  waitpid(writer, nullptr, 0);
  open_again();
  EXPECT_FALSE(fs::exists(living));
}

TEST_F(StoreTest, KilledAtAnyMomentNoFinishedBundleIsLost) {
  store_.reset();
  const std::string bytes(20000, 'x');
  size_t expected = 0;
  for (int round = 0; round < 20; ++round) {
    int told[2];
    ASSERT_EQ(pipe(told), 0);
    const pid_t sidecar = fork();
    if (sidecar == 0) {
      auto store = Store::open(dir_);
      for (int i = 0; store && i < 1000; ++i) {
        const fs::path partial = (*store)->incoming() / "x.partial";
        const fs::path path = (*store)->incoming() / ("b" + std::string(kBundleSuffix));
        std::ofstream(partial, std::ios::binary) << bytes;
        fs::rename(partial, path);
        if (write(told[1], "f", 1) != 1) _exit(1);
        if (!(*store)->adopt(path, {.trigger = "exit 1"})) _exit(1);
      }
      _exit(0);
    }
    usleep(static_cast<useconds_t>(1000 + round * 1500));
    kill(sidecar, SIGKILL);
    waitpid(sidecar, nullptr, 0);
    close(told[1]);
    char byte;
    while (read(told[0], &byte, 1) == 1) ++expected;
    close(told[0]);
    open_again();
    // One may have been finished, but its writer died before it told.
    ASSERT_GE(store_->list().size(), expected);
    ASSERT_LE(store_->list().size(), expected + 1);
    expected = store_->list().size();
    for (const StoredBundle& bundle : store_->list())
      ASSERT_EQ(bundle.info.sha256, recording::sha256_hex(bytes));
    store_.reset();
  }
  EXPECT_GT(expected, 0u);
}

// ---- One owner ----------------------------------------------------------------------------------

TEST_F(StoreTest, SecondSidecarIsToldWhoHasTheStore) {
  const auto second = Store::open(dir_);
  ASSERT_FALSE(second.ok());
  EXPECT_FALSE(second.error().bad_input);
  EXPECT_NE(second.error().message.find("another sidecar has this store (pid " +
                                        std::to_string(getpid())),
            std::string::npos)
      << second.error().message;
}

TEST_F(StoreTest, StoreIsFreeOnceItsSidecarIsKilled) {
  store_.reset();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t first = fork();
  if (first == 0) {
    const auto store = Store::open(dir_);
    if (!store || write(ready[1], "y", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_FALSE(Store::open(dir_).ok());
  kill(first, SIGKILL);
  waitpid(first, nullptr, 0);
  EXPECT_TRUE(Store::open(dir_).ok());
}

TEST(OwnerLock, FileOfTheWorkloadsMakingIsNotTouched) {
  char path[] = "/tmp/shmrec-owner-XXXXXX";
  const fs::path root = mkdtemp(path);
  const fs::path spool = root / "spool", precious = root / "precious";
  fs::create_directory(spool);
  std::ofstream(precious) << "kept";
  const UniqueFd fd(open(spool.c_str(), O_RDONLY | O_DIRECTORY));
  const auto take = [&] { return OwnerLock::take(fd.get(), spool.string(), "spool").ok(); };

  fs::create_symlink(precious, spool / "owner");
  EXPECT_FALSE(take());
  fs::remove(spool / "owner");
  fs::create_hard_link(precious, spool / "owner");
  EXPECT_FALSE(take());
  fs::remove(spool / "owner");
  ASSERT_EQ(mkfifo((spool / "owner").c_str(), 0600), 0);
  EXPECT_FALSE(take());
  fs::remove(spool / "owner");
  EXPECT_EQ(read_file(precious), "kept");
  EXPECT_TRUE(take());
  fs::remove_all(root);
}

TEST_F(StoreTest, DirectoryThatCannotBeUsedIsAClearError) {
  std::ofstream(root_ / "file") << "x";
  const auto opened = Store::open(root_ / "file");
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find("file: cannot open the store: Not a directory"),
            std::string::npos)
      << opened.error().message;
}

// ---- Retention ----------------------------------------------------------------------------------

StoredBundle old(const std::string& name, uint64_t sequence, uint64_t bytes, int64_t wall_s = 0,
                 bool keep = false) {
  StoredBundle bundle;
  bundle.info.name = name;
  bundle.info.bytes = bytes;
  bundle.info.keep = keep;
  bundle.sequence = sequence;
  bundle.made.wall_ns = wall_s * kSecond;
  return bundle;
}

struct Plan {
  std::vector<std::string> drop, rules;
  std::string unmet;
};
Plan plan_at(const std::vector<StoredBundle>& bundles, const RetentionLimits& limits,
             const Moment& now, uint64_t free_bytes) {
  const RetentionPlan made = plan_retention(bundles, limits, now, free_bytes);
  Plan plan{.unmet = made.unmet};
  for (const auto& [name, rule] : made.drops) {
    plan.drop.push_back(name);
    plan.rules.push_back(rule);
  }
  return plan;
}
Plan plan(const std::vector<StoredBundle>& bundles, const RetentionLimits& limits,
          int64_t now_s = 0, uint64_t free_bytes = 1 << 30) {
  return plan_at(bundles, limits, {.wall_ns = now_s * kSecond}, free_bytes);
}

TEST(Retention, EachDropNamesTheRuleThatWantedIt) {
  const std::vector<StoredBundle> bundles{old("a", 1, 10), old("b", 2, 10), old("c", 3, 10)};
  using Names = std::vector<std::string>;
  EXPECT_EQ(plan(bundles, {.count = 2}).rules, (Names{"retention.count"}));
  EXPECT_EQ(plan(bundles, {.count = 2, .bytes = 15}).rules,
            (Names{"retention.count", "retention.bytes"}));
  EXPECT_EQ(plan(bundles, {.age_s = 1}, 1000).rules, Names(3, "retention.age"));
  EXPECT_EQ(plan(bundles, {.free_bytes = 5}, 0, 0).rules, (Names{"retention.free"}));
}

TEST(Retention, WithoutLimitsAllStays) {
  EXPECT_TRUE(plan({old("a", 1, 1 << 30)}, {}, 1'000'000).drop.empty());
}

TEST(Retention, OldestGoFirstForEachLimit) {
  const std::vector<StoredBundle> bundles = {old("c", 3, 10, 300), old("a", 1, 10, 100),
                                             old("b", 2, 10, 200)};
  EXPECT_EQ(plan(bundles, {.count = 2}).drop, (Names{"a"}));
  EXPECT_EQ(plan(bundles, {.bytes = 29}).drop, (Names{"a"}));
  EXPECT_EQ(plan(bundles, {.bytes = 30}).drop, (Names{}));
  EXPECT_EQ(plan(bundles, {.bytes = 10}).drop, (Names{"a", "b"}));
  EXPECT_EQ(plan(bundles, {.age_s = 100}, 301).drop, (Names{"a", "b"}));
  EXPECT_EQ(plan(bundles, {.free_bytes = 105}, 0, 90).drop, (Names{"a", "b"}));
  EXPECT_EQ(plan(bundles, {.free_bytes = 105}, 0, 105).drop, (Names{}));
}

TEST(Retention, FirstFailureNeverGoes) {
  const std::vector<StoredBundle> bundles = {old("first", 1, 10, 0, true), old("b", 2, 10),
                                             old("c", 3, 10)};
  EXPECT_EQ(plan(bundles, {.count = 1}).drop, (Names{"b", "c"}));
  EXPECT_EQ(plan(bundles, {.bytes = 5}).drop, (Names{"b", "c"}));
  EXPECT_EQ(plan(bundles, {.age_s = 1}, 1000).drop, (Names{"b", "c"}));
  EXPECT_EQ(plan(bundles, {.free_bytes = 20}, 0, 0).drop, (Names{"b", "c"}));
}

TEST(Retention, WhatWasAskedForGoesBeforeFailuresButForTheNewest) {
  std::vector<StoredBundle> bundles;
  for (uint64_t i = 0; i < 6; ++i) {
    bundles.push_back(old("crash" + std::to_string(i), 2 * i, 10));
    bundles.back().failure = "signal 11";
    bundles.push_back(old("asked" + std::to_string(i), 2 * i + 1, 10));
  }
  EXPECT_EQ(plan(bundles, {.count = 10}).drop, (Names{"asked0", "asked1"}));
  EXPECT_EQ(plan(bundles, {.count = 8}).drop, (Names{"asked0", "asked1", "crash0", "crash1"}));
  EXPECT_EQ(plan(bundles, {.bytes = 1}).drop.size(), 12u);
}

// However often a workload asks for bundles, the evidence of failures stays.
TEST(Retention, RequestsWithoutEndPushOutFourFailuresAtMost) {
  std::vector<StoredBundle> bundles;
  for (uint64_t i = 0; i < 50; ++i) {
    bundles.push_back(old("crash" + std::to_string(i), i, 10));
    bundles.back().failure = "signal 11";
  }
  for (uint64_t i = 50; i < 500; ++i) {
    bundles.push_back(old("asked" + std::to_string(i), i, 10));
    for (const std::string& name : plan(bundles, {.count = 50}).drop)
      std::erase_if(bundles, [&](const StoredBundle& bundle) { return bundle.info.name == name; });
    ASSERT_EQ(bundles.back().sequence, i) << "who asked gets it";
  }
  EXPECT_EQ(bundles.size(), 50u);
  EXPECT_EQ(std::count_if(bundles.begin(), bundles.end(),
                          [](const auto& b) { return !b.failure.empty(); }),
            46);
}

TEST(Retention, KeptBundlesBeyondTheLimitAreSaidToBe) {
  const auto over = plan({old("first", 1, 10, 0, true), old("b", 2, 10)}, {.bytes = 5});
  EXPECT_EQ(
      over.unmet,
      "bundles that are kept for good take 10 bytes, the limit is 5; remove bundles by hand or "
      "raise the limit");
  EXPECT_EQ(plan({old("first", 1, 10, 0, true)}, {.bytes = 10}).unmet, "");
}

TEST(Retention, NothingGoesForRoomThatCannotBeMade) {
  const auto full = plan({old("a", 1, 10), old("b", 2, 10)}, {.free_bytes = 100}, 0, 5);
  EXPECT_TRUE(full.drop.empty());
  EXPECT_NE(full.unmet.find("5 bytes free"), std::string::npos);
}

TEST(Retention, ClockSetBackDropsNothingAndDoesNotTurnTheOrder) {
  // "new" was made after the clock had been set back by a year.
  const std::vector<StoredBundle> bundles = {old("old", 1, 10, 40'000'000),
                                             old("new", 2, 10, 10'000'000)};
  EXPECT_TRUE(plan(bundles, {.age_s = 60}, 10'000'001).drop.empty());
  EXPECT_EQ(plan(bundles, {.count = 1}, 10'000'001).drop, (Names{"old"}));
}

TEST(Retention, WithinOneBootTheWallClockDoesNotMatter) {
  StoredBundle bundle = old("a", 1, 10, 1000);
  bundle.made.boot_id = "boot";
  bundle.made.boot_ns = 50 * kSecond;
  const Moment now{.wall_ns = 400'000'000 * kSecond, .boot_ns = 60 * kSecond, .boot_id = "boot"};
  EXPECT_TRUE(plan_at({bundle}, {.age_s = 60}, now, 0).drop.empty());
  Moment later = now;
  later.boot_ns = 111 * kSecond;
  later.wall_ns = 0;
  EXPECT_EQ(plan_at({bundle}, {.age_s = 60}, later, 0).drop, (Names{"a"}));
}

TEST_F(StoreTest, WhatABundleReplacesGoesAfterItAlsoOverARestart) {
  const StoredBundle first = adopt("a", "first", {.process_failure_ns = 7});
  const fs::path path = store_->directory() / first.info.name;
  fs::copy_file(path, root_ / "copy");
  const std::string record = record_name(first.info.name);
  fs::copy_file(store_->directory() / record, root_ / "record");
  adopt("b", "second", {.supersedes = {first.info.name}});
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_FALSE(fs::exists(path));
  // As if death had come before it was removed.
  const fs::path directory = store_->directory();
  store_.reset();
  fs::copy_file(root_ / "copy", path);
  fs::copy_file(root_ / "record", directory / record);
  open_again();
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_FALSE(fs::exists(path));
  // The name is free for others then.
  adopt("a", "another", {.kinds = {"signal 6 of /bin/x"}});
  store_.reset();
  open_again();
  ASSERT_EQ(store_->list().size(), 2u);
  EXPECT_EQ(store_->list()[1].kinds, (std::vector<std::string>{"signal 6 of /bin/x"}));
}

TEST_F(StoreTest, EnforcingRemovesTheFiles) {
  adopt("a", std::string(100, 'x'));
  adopt("b", std::string(100, 'x'), {.keep = true});
  adopt("c", std::string(100, 'x'));
  const auto enforced = store_->enforce({.bytes = 250}, Moment::now());
  ASSERT_TRUE(enforced.ok());
  EXPECT_EQ(names(), (Names{"b", "c"}));
  EXPECT_FALSE(fs::exists(dir_ / "a.shmrec.tar.zst"));
  EXPECT_FALSE(fs::exists(dir_ / "a.json"));
  EXPECT_GT(*store_->free_bytes(), 0u);
}

TEST(Retention, AStoreInMemoryTakesAtMostHalfOfIt) {
  const RetentionLimits limits{.count = 5, .bytes = 1000, .free_bytes = 7};
  EXPECT_EQ(within_memory(limits, {false, 10}, {10, "f"}, 0).bytes, 1000u);
  EXPECT_EQ(within_memory(limits, {true, 4000}, {5000, "f"}, 0).bytes, 1000u);
  EXPECT_EQ(within_memory(limits, {true, 4000}, {1400, "f"}, 100).bytes, 750u);
  EXPECT_EQ(within_memory(limits, {true, 500}, {5000, "f"}, 100).bytes, 300u);
  EXPECT_EQ(within_memory({}, {true, 500}, {}, 100).bytes, 300u);
  EXPECT_EQ(within_memory({}, {true, 0}, {}, 0).bytes, 1u);  // 0 would be no limit
  EXPECT_EQ(within_memory(limits, {true, 500}, {}, 100).free_bytes, 7u);
}

}  // namespace
}  // namespace shmrec::sidecar
