// Reading the spool: states by real locks of real processes, and everything that a workload can do
// to one who reads what it wrote.
#include "recording/run/spool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "recording/run/flat_json.h"
#include "recording/run/run_follower.h"
#include "tests/unit/shmlog_builder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;
using shmlog::JournalType;
using shmrec::testing::ShmlogBuilder;
using Type = RunFact::Type;
using End = FollowedProcess::End;

constexpr const char* kEnd = R"({"endTime":"2026-09-21T14:13:21.3Z","status":6,"exitCode":134})"
                             "\n";

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void write_log(const fs::path& path, ShmlogBuilder& log) {
  const std::vector<uint8_t> bytes = log.build();
  // In place: a follower holds the file open.
  const shmrec::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT, 0600));
  ASSERT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
}

// As if somebody had set the clock since.
void make_old(const fs::path& path) {
  const timespec times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

// A process that holds the lock of a file, as a launcher does, until it is killed.
class Holder {
 public:
  explicit Holder(const fs::path& file) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    pid_ = fork();
    if (pid_ == 0) {
      const int fd = open(file.c_str(), O_RDWR);
      const char held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 ? 'y' : 'n';
      if (write(ready[1], &held, 1) != 1) _exit(1);
      for (;;) pause();
    }
    char held = 0;
    EXPECT_EQ(read(ready[0], &held, 1), 1);
    EXPECT_EQ(held, 'y');
    close(ready[0]);
    close(ready[1]);
  }
  ~Holder() { kill_it(); }
  void kill_it() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

class SpoolTest : public ::testing::Test {
 protected:
  SpoolTest() {
    char path[] = "/tmp/shmrec-spool-XXXXXX";
    root_ = mkdtemp(path);
    fs::create_directory(root_ / "spool");
    auto opened = Spool::open((root_ / "spool").string());
    EXPECT_TRUE(opened.ok());
    spool_ = std::move(*opened);
  }
  ~SpoolTest() override { fs::remove_all(root_); }

  fs::path make_run(const std::string& name = "demo-1") {
    const fs::path run = root_ / "spool" / name;
    fs::create_directory(run);
    ShmlogBuilder log(1);
    write_log(run / "run.shmlog", log);
    return run;
  }

  RunStatus status(const std::string& name = "demo-1", bool long_known = false) {
    const auto status = spool_.status(name, long_known);
    EXPECT_TRUE(status.ok()) << status.error().message;
    return status ? *status : RunStatus{};
  }

  RunIdentity identity(const std::string& name = "demo-1") {
    const auto identity = spool_.identify(name);
    EXPECT_TRUE(identity.ok());
    return identity ? *identity : RunIdentity{};
  }

  fs::path root_;
  Spool spool_;
};

// ---- State --------------------------------------------------------------------------------------

TEST_F(SpoolTest, RunGoesOnWhileItsLogIsHeldAndIsLostOnceTheHolderIsKilled) {
  const fs::path run = make_run();
  Holder launcher(run / "run.shmlog");
  EXPECT_EQ(status().state, RunState::kRecording);
  EXPECT_FALSE(status().launcher_gone);
  EXPECT_TRUE(status().has_log);
  launcher.kill_it();
  EXPECT_EQ(status().state, RunState::kLost);
  EXPECT_TRUE(status().launcher_gone);
}

TEST_F(SpoolTest, RunGoesOnWhileOneOfTwoThatShareTheOpeningLives) {
  const fs::path run = make_run();
  shmrec::UniqueFd launcher(open((run / "run.shmlog").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(flock(launcher.get(), LOCK_EX | LOCK_NB), 0);
  const pid_t recorded = fork();
  if (recorded == 0)
    for (;;) pause();
  launcher.reset();
  EXPECT_EQ(status().state, RunState::kRecording);
  kill(recorded, SIGKILL);
  waitpid(recorded, nullptr, 0);
  EXPECT_EQ(status().state, RunState::kLost);
}

TEST_F(SpoolTest, AskingDoesNotKeepALauncherFromTheLock) {
  const fs::path run = make_run();
  EXPECT_EQ(status().state, RunState::kLost);
  Holder launcher(run / "run.shmlog");  // expects to get it
  EXPECT_EQ(status().state, RunState::kRecording);
}

TEST_F(SpoolTest, EndJsonTellsHowTheCommandEnded) {
  const fs::path run = make_run();
  write_file(run / "end.json", kEnd);
  const RunStatus ended = status();
  EXPECT_EQ(ended.state, RunState::kEnded);
  EXPECT_EQ(ended.wait_status, 6);
  EXPECT_EQ(ended.signal, 6);
  EXPECT_EQ(ended.exit_code, 134);
  EXPECT_EQ(ended.end_time, "2026-09-21T14:13:21.3Z");
}

TEST_F(SpoolTest, RunWhoseCommandEndedGoesOnWhileAProcessLives) {
  const fs::path run = make_run();
  write_file(run / "end.json", kEnd);
  const Holder left_behind(run / "run.shmlog");
  EXPECT_EQ(status().state, RunState::kRecording);
  EXPECT_TRUE(status().launcher_gone);
  EXPECT_EQ(status().wait_status, 6);
}

TEST_F(SpoolTest, EndJsonCutAtAnyByteIsNotBelieved) {
  const fs::path run = make_run();
  const std::string whole = kEnd;
  for (size_t bytes = 0; bytes + 1 < whole.size(); ++bytes) {
    write_file(run / "end.json", whole.substr(0, bytes));
    EXPECT_EQ(status().state, RunState::kLost) << bytes;
  }
}

TEST_F(SpoolTest, LogThatIsBeingMadeIsNotAskedForItsLock) {
  const fs::path run = make_run();
  write_file(run / "run.shmlog", std::string(4096, '\0'));
  EXPECT_EQ(status().state, RunState::kRecording);
  EXPECT_FALSE(status().has_log);
  make_old(run / "run.shmlog");
  EXPECT_EQ(status().state, RunState::kRecording);
  EXPECT_EQ(status("demo-1", true).state, RunState::kLost);  // its launcher died while it made it
}

TEST_F(SpoolTest, RunWithoutALogIsLostOnceItIsLongKnown) {
  fs::create_directory(root_ / "spool" / "demo-1");
  EXPECT_EQ(status().state, RunState::kRecording);
  make_old(root_ / "spool" / "demo-1");
  EXPECT_EQ(status().state, RunState::kRecording);
  EXPECT_EQ(status("demo-1", true).state, RunState::kLost);
}

TEST_F(SpoolTest, BytesAreBlocksNotSizes) {
  const fs::path run = make_run();
  const uint64_t before = status().bytes;
  write_file(run / "sparse", "");
  fs::resize_file(run / "sparse", uint64_t{1} << 30);
  EXPECT_EQ(status().bytes, before);
  fs::create_directory(run / "below");
  write_file(run / "below" / "file", std::string(100000, 'x'));
  EXPECT_GE(status().bytes, before + 100000);
}

// ---- Identity -----------------------------------------------------------------------------------

TEST_F(SpoolTest, RunJsonTellsCommandAndContainer) {
  write_file(
      make_run() / "run.json",
      R"({"command":["./demo","a b"],"executable":"/work/demo","startTime":"T","runId":"12",)"
      R"("container":{"pod":"shop-1","containerName":"app","podNamespace":"ns","node":"n1"},)"
      R"("launcherPid":7,"hostname":"box"})");
  const RunIdentity run = identity();
  EXPECT_EQ(run.problem, "");
  EXPECT_EQ(run.name, "demo-1");
  EXPECT_EQ(run.command, (std::vector<std::string>{"./demo", "a b"}));
  EXPECT_EQ(run.command_line, "./demo 'a b'");
  EXPECT_EQ(run.executable, "/work/demo");
  EXPECT_EQ(run.container, "app");
  EXPECT_EQ(run.pod, "shop-1");
  EXPECT_EQ(run.pod_namespace, "ns");
  EXPECT_EQ(run.node, "n1");
  EXPECT_EQ(run.hostname, "box");
  EXPECT_EQ(run.launcher_pid, 7);
}

TEST_F(SpoolTest, RunJsonThatIsMissingCutOrTooLongIsAProblemNotAnError) {
  const fs::path run = make_run();
  EXPECT_NE(identity().problem, "");
  write_file(run / "run.json", R"({"command":["./demo")");
  EXPECT_NE(identity().problem, "");
  EXPECT_EQ(identity().command.size(), 0u);
  write_file(run / "run.json", "{}" + std::string(5 << 20, ' '));
  EXPECT_NE(identity().problem.find("File too large"), std::string::npos) << identity().problem;
}

TEST_F(SpoolTest, ControlCharactersOfRunJsonNeverComeThrough) {
  write_file(
      make_run() / "run.json",
      R"({"command":["\u001b[2J","\n"],"container":{"pod":"a\u0000b"},"hostname":"\u009b"})");
  const RunIdentity run = identity();
  EXPECT_EQ(run.command[0], "\\x1b[2J");
  EXPECT_EQ(run.pod, "a\\x00b");
  for (const char c : run.command_line + run.pod + run.hostname) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST(FlatJson, KeepsAtMostItsLimits) {
  std::string text = R"({"command":[)";
  for (int i = 0; i < 200; ++i) text += "\"" + std::string(10000, 'x') + "\",";
  const auto flat = flatten_json(text + "\"end\"]}");
  ASSERT_TRUE(flat);
  size_t bytes = 0;
  for (const std::string& word : flat->texts_untrusted.at("command")) {
    EXPECT_LE(word.size(), kMaxFlatTextBytes);
    bytes += word.size();
  }
  EXPECT_LE(bytes, kMaxFlatBytes);
  EXPECT_GT(bytes, kMaxFlatBytes / 2);
}

TEST(FlatJson, TakesOnlyObjectsAndOnlyOneLevel) {
  EXPECT_FALSE(flatten_json(R"(["a"])"));
  EXPECT_FALSE(flatten_json("{} x"));
  EXPECT_FALSE(flatten_json(""));
  EXPECT_FALSE(flatten_json(R"({"a":)" + std::string(1 << 20, '[')));
  const auto flat =
      flatten_json(R"({"a":{"b":"1","c":{"b":"2"}},"d":[["3"],"4"],"a.b":"5","n":-7})");
  ASSERT_TRUE(flat);
  EXPECT_EQ(flat->text("d"), "4");
  EXPECT_EQ(flat->text("a.c"), "");
  EXPECT_EQ(flat->number("n"), -7);
  EXPECT_EQ(flat->number("a"), std::nullopt);
}

// ---- What a workload can do ---------------------------------------------------------------------

TEST_F(SpoolTest, SymbolicLinksAreNeverFollowed) {
  const fs::path run = make_run();
  const fs::path secret = root_ / "secret.json";
  write_file(secret, R"({"command":["secret"],"status":0})");
  fs::create_symlink(secret, run / "run.json");
  fs::create_symlink(secret, run / "end.json");
  EXPECT_EQ(identity().command.size(), 0u);
  EXPECT_NE(identity().problem, "");
  EXPECT_EQ(status().state, RunState::kLost);
  EXPECT_FALSE(status().wait_status);
}

TEST_F(SpoolTest, RunDirectoryThatIsALinkIsNoRun) {
  fs::create_directory(root_ / "elsewhere");
  fs::create_directory_symlink(root_ / "elsewhere", root_ / "spool" / "linked");
  EXPECT_EQ(spool_.list()->names.size(), 0u);
  EXPECT_FALSE(spool_.status("linked", true).ok());
  EXPECT_FALSE(spool_.identify("linked").ok());
  EXPECT_FALSE(spool_.remove("linked").ok());
  EXPECT_TRUE(fs::exists(root_ / "elsewhere"));
}

TEST_F(SpoolTest, LogThatIsALinkToAHeldFileIsNotTheRunsLog) {
  const fs::path other = make_run("other");
  const Holder holder(other / "run.shmlog");
  const fs::path run = root_ / "spool" / "demo-1";
  fs::create_directory(run);
  fs::create_symlink(other / "run.shmlog", run / "run.shmlog");
  EXPECT_EQ(status("demo-1", true).state, RunState::kLost);
}

TEST_F(SpoolTest, PipesInPlaceOfFilesDoNotBlock) {
  const fs::path run = root_ / "spool" / "demo-1";
  fs::create_directory(run);
  for (const char* name : {"run.json", "end.json", "run.shmlog", "events.jsonl"})
    ASSERT_EQ(mkfifo((run / name).c_str(), 0600), 0);
  EXPECT_NE(identity().problem, "");
  EXPECT_FALSE(status().has_log);
  EXPECT_FALSE(RunFollower().poll(*spool_.open_run("demo-1"), false).ok());
}

TEST_F(SpoolTest, NamesThatNoLauncherMakesAreLeftOutAndCounted) {
  make_run("demo-20260921T141320Z-7");
  for (const char* name : {"a\x1b[2Jb", "new\nline", "sp ace", ".hidden", "-dash", "\xff"})
    fs::create_directory(root_ / "spool" / name);
  write_file(root_ / "spool" / "file", "");
  const auto listing = spool_.list();
  ASSERT_TRUE(listing.ok());
  EXPECT_EQ(listing->names, (std::vector<std::string>{"demo-20260921T141320Z-7"}));
  EXPECT_EQ(listing->ignored, 6u);
  EXPECT_FALSE(listing->truncated);
  for (const std::string name : {"..", ".", "", "a/b", "../spool/demo-1", "new\nline"}) {
    EXPECT_FALSE(spool_.status(name, true).ok()) << name;
    EXPECT_FALSE(spool_.remove(name).ok()) << name;
  }
}

TEST_F(SpoolTest, ErrorAboutARunThatVanishedNamesItPrintably) {
  const auto status = spool_.status("gone-1", true);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("spool/gone-1: no run directory"), std::string::npos);
  EXPECT_EQ(spool_.status("\x1b[2J", true).error().message.find('\x1b'), std::string::npos);
}

TEST_F(SpoolTest, ListingOfThousandsOfRunsIsCutAndSaysSo) {
  for (size_t i = 0; i < Spool::kMaxRuns + 10; ++i)
    fs::create_directory(root_ / "spool" / ("run-" + std::to_string(i)));
  const auto listing = spool_.list();
  ASSERT_TRUE(listing.ok());
  EXPECT_EQ(listing->names.size(), Spool::kMaxRuns);
  EXPECT_TRUE(listing->truncated);
}

TEST_F(SpoolTest, RunThatVanishesAndComesBackBetweenCallsIsAnErrorOrARun) {
  const fs::path run = make_run();
  const pid_t workload = fork();
  if (workload == 0) {
    for (;;) {
      std::error_code ignored;
      fs::rename(run, run.string() + "x", ignored);
      fs::create_symlink(run.parent_path(), run, ignored);
      fs::remove(run, ignored);
      fs::rename(run.string() + "x", run, ignored);
    }
  }
  int seen = 0, errors = 0;
  for (int i = 0; i < 2000 || (seen == 0 && i < 100000); ++i) {
    const auto status = spool_.status("demo-1", true);
    status ? ++seen : ++errors;
    EXPECT_TRUE(!status || status->has_log);
  }
  kill(workload, SIGKILL);
  waitpid(workload, nullptr, 0);
  EXPECT_GT(seen, 0);
}

TEST_F(SpoolTest, RemovingTakesAllBelowAndNothingBehindLinks) {
  const fs::path run = make_run();
  write_file(root_ / "precious", "kept");
  fs::create_directories(run / "a" / "b");
  write_file(run / "a" / "b" / "file", "x");
  fs::create_symlink(root_ / "precious", run / "a" / "link");
  fs::create_directory_symlink(root_, run / "up");
  ASSERT_TRUE(spool_.remove("demo-1").ok());
  EXPECT_FALSE(fs::exists(run));
  EXPECT_TRUE(fs::exists(root_ / "precious"));
  EXPECT_TRUE(spool_.remove("demo-1").ok()) << "gone already";
}

TEST_F(SpoolTest, RemovingGivesUpOnDirectoriesWithoutEnd) {
  fs::path run = make_run();
  for (int i = 0; i < 100; ++i) fs::create_directory(run /= "d");
  EXPECT_FALSE(spool_.remove("demo-1").ok());
  EXPECT_GT(status().bytes, 0u);
}

// With so few descriptors left that the call fails at each of its steps in turn.
template <typename Call>
void with_few_descriptors(Call call) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = dup(0);
  ASSERT_GE(next, 0);
  close(next);
  for (int left = 0; left < 6; ++left) {
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(next + left);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    call();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  }
}

TEST_F(SpoolTest, WantOfDescriptorsRemovesNoRunThatIsHeld) {
  const fs::path run = make_run();
  Holder launcher(run / "run.shmlog");
  int refused = 0;
  with_few_descriptors([&] { refused += !spool_.remove("demo-1").ok(); });
  EXPECT_EQ(refused, 6);
  EXPECT_TRUE(fs::exists(run / "run.shmlog"));
}

TEST_F(SpoolTest, WantOfDescriptorsMakesNoRunLookLostOrWithoutMembers) {
  const fs::path run = make_run();
  write_file(run / "end.json", kEnd);
  fs::create_directories(run / "members" / "other-2");
  write_file(run / "members" / "other-2" / "end.json", kEnd);
  int failures = 0;
  with_few_descriptors([&] {
    const auto status = spool_.status("demo-1", false);
    const auto members = spool_.members("demo-1");
    failures += !status + !members;
    EXPECT_TRUE(!status || status->state == RunState::kEnded);
    EXPECT_TRUE(!members || (members->size() == 1 && members->front().end));
  });
  EXPECT_GT(failures, 2);
  EXPECT_LT(failures, 12) << "six are enough";
}

// ---- Following ----------------------------------------------------------------------------------

class FollowerTest : public SpoolTest {
 protected:
  FollowerTest()
      : run_(make_run()), run_fd_(open(run_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}

  std::vector<RunFact> poll(bool over = false) {
    write_log(run_ / "run.shmlog", log_);
    auto facts = follower_.poll(run_fd_, over);
    EXPECT_TRUE(facts.ok()) << facts.error().message;
    return facts ? std::move(*facts) : std::vector<RunFact>{};
  }

  const FollowedProcess& process(size_t place) const { return follower_.log().processes()[place]; }

  fs::path run_;
  shmrec::UniqueFd run_fd_;
  ShmlogBuilder log_{1};
  RunFollower follower_;
};

std::vector<Type> types(const std::vector<RunFact>& facts) {
  std::vector<Type> types;
  for (const RunFact& fact : facts) types.push_back(fact.type);
  return types;
}

TEST_F(FollowerTest, TellsEachThingOnce) {
  EXPECT_TRUE(poll().empty());
  const uint32_t a = log_.add_process(
      {.id_high = 0x292b1631, .id_low = 0xc83d, .pid = 100, .name = "a", .executable = "/bin/a"});
  auto facts = poll();
  ASSERT_EQ(types(facts), (std::vector<Type>{Type::kProcessStarted}));
  EXPECT_EQ(facts[0].text, "/bin/a");
  EXPECT_EQ(facts[0].pid, 100);
  EXPECT_EQ(process(0).id, "292b1631-c83d");
  EXPECT_EQ(process_state(process(0), false), "running");
  EXPECT_EQ(process_state(process(0), true), "unknown");
  log_.add_journal(JournalType::kMark, a, 0, {1}, "half\nway");
  log_.process(a).accesses = 12;
  facts = poll();
  ASSERT_EQ(types(facts), (std::vector<Type>{Type::kMark}));
  EXPECT_EQ(facts[0].text, "half\\x0away");
  EXPECT_EQ(facts[0].process, a);
  EXPECT_EQ(follower_.log().accesses(), 12u);
  EXPECT_TRUE(poll().empty());
}

// Facts and what time_at says compare, wherever the wall clock is meanwhile.
TEST_F(FollowerTest, TimesAreByTheClockThatStoodWhenTheRunBegan) {
  constexpr int64_t kDay = 86'400'000'000'000;
  EXPECT_EQ(follower_.log().time_at(5), 0);
  log_.header().start_realtime_ns = 1000 * kDay;
  log_.header().start_monotonic_ns = 3 * kDay;
  const uint32_t a = log_.add_process({.pid = 100});
  log_.add_journal(JournalType::kMark, a, 0, {1}, "now");
  const int64_t mark = poll().back().time_ns;
  EXPECT_GE(mark, follower_.log().time_at(3 * kDay));
  EXPECT_LT(mark, follower_.log().time_at(3 * kDay + 1'000'000'000));
  EXPECT_EQ(follower_.log().time_at(2 * kDay), 999 * kDay);
  EXPECT_EQ(follower_.log().time_at(-kDay), 0);
}

TEST_F(FollowerTest, UntrustedTimesDoNotOverflow) {
  log_.header().start_realtime_ns = log_.header().start_monotonic_ns = UINT64_MAX;
  poll();
  EXPECT_EQ(follower_.log().time_at(7), 7);
  EXPECT_EQ(follower_.log().time_at(INT64_MIN), 0);
}

TEST_F(FollowerTest, SignalIsToldAtOnceAndTheEndOnceItStands) {
  const uint32_t a = log_.add_process({.pid = 100});
  log_.add_journal(JournalType::kSignal, a, 0, {11, 1, 0, 0});
  log_.process(a).exit_known = 1;
  log_.process(a).exit_status = 11;
  const auto first = poll();
  ASSERT_EQ(types(first), (std::vector<Type>{Type::kProcessStarted, Type::kSignal}));
  EXPECT_EQ(first[1].signal, 11);
  EXPECT_EQ(process(0).fatal_signal, 11);
  const auto second = poll();
  ASSERT_EQ(types(second), (std::vector<Type>{Type::kProcessEnded}));
  EXPECT_EQ(second[0].signal, 11);
  EXPECT_EQ(process_state(process(0), false), "killed");
  EXPECT_TRUE(poll(true).empty());
}

TEST_F(FollowerTest, ExecveThatFailsTakesItsEndBack) {
  const uint32_t a = log_.add_process({.pid = 100});
  log_.process(a).exit_known = 2;
  poll();
  log_.process(a).exit_known = 0;
  EXPECT_TRUE(poll().empty());
  EXPECT_EQ(process_state(process(0), false), "running");
  log_.process(a).exit_known = 2;
  poll();
  const auto facts = poll();
  ASSERT_EQ(facts.size(), 1u);
  EXPECT_TRUE(facts[0].replaced);
  EXPECT_EQ(process_state(process(0), false), "replaced");
}

TEST_F(FollowerTest, LastPollTellsEndsWithoutASecondLook) {
  const uint32_t a = log_.add_process({.pid = 100});
  log_.process(a).exit_known = 1;
  log_.process(a).exit_status = 3 << 8;
  EXPECT_EQ(types(poll(true)), (std::vector<Type>{Type::kProcessStarted, Type::kProcessEnded}));
  EXPECT_EQ(process(0).end, End::kExited);
  EXPECT_EQ(process(0).wait_status, 3 << 8);
}

TEST_F(FollowerTest, ParentTellsOfAChildThatWasKilled) {
  const uint32_t a = log_.add_process({.pid = 100});
  log_.add_process({.pid = 101});
  poll();
  log_.add_journal(JournalType::kChildExit, a, 0, {101, SIGKILL});
  const auto facts = poll();
  ASSERT_EQ(types(facts), (std::vector<Type>{Type::kChildExit, Type::kProcessEnded}));
  EXPECT_EQ(facts[1].pid, 101);
  EXPECT_EQ(facts[1].signal, SIGKILL);
  EXPECT_EQ(process_state(process(1), false), "killed");
  EXPECT_EQ(process_state(process(0), false), "running");
}

TEST_F(FollowerTest, ExitBelongsToTheRecordingThatHadThePidThen) {
  const uint32_t a = log_.add_process({.pid = 100});
  const uint32_t old = log_.add_process({.pid = 101});
  log_.add_journal(JournalType::kChildExit, a, 0, {101, 0});
  log_.add_process({.pid = 101});
  poll();
  EXPECT_EQ(process(old - 1).end, End::kExited);
  EXPECT_EQ(process(old).end, End::kNone);
}

TEST_F(FollowerTest, LauncherTellsOfExitsLineByLine) {
  log_.add_process({.pid = 100});
  poll();
  std::ofstream events(run_ / "events.jsonl");
  events << R"({"time":"T","type":"exec","pid":100,"argv":["exit"]})"
            "\n"
         << R"({"time":"T","type":"exit","pid":100,"sta)" << std::flush;
  EXPECT_TRUE(poll().empty());
  events << R"(tus":9})"
            "\n"
         << std::flush;
  const auto facts = poll();
  ASSERT_EQ(types(facts), (std::vector<Type>{Type::kChildExit, Type::kProcessEnded}));
  EXPECT_EQ(facts[1].signal, 9);
  EXPECT_TRUE(poll().empty());
}

TEST_F(FollowerTest, EachLauncherTellsOfItsOwnProcesses) {
  log_.process(log_.add_process({.pid = 7})).pid_namespace = 1111;
  log_.process(log_.add_process({.pid = 7})).pid_namespace = 2222;
  write_file(run_ / "run.json", R"({"pidNamespace":1111})");
  const fs::path member = run_ / "members" / "other-2";
  fs::create_directories(member);
  write_file(member / "run.json", R"({"pidNamespace":2222})");
  poll();
  write_file(member / "events.jsonl",
             "{\"type\":\"oom\",\"count\":1}\n"
             "{\"type\":\"exit\",\"pid\":7,\"status\":9,\"tsc\":4000}\n");
  const auto facts = poll();
  ASSERT_EQ(types(facts),
            (std::vector<Type>{Type::kChildExit, Type::kProcessEnded, Type::kOutOfMemory}));
  for (const RunFact& fact : facts) EXPECT_EQ(fact.launcher, "other-2");
  EXPECT_EQ(process_state(process(1), false), "killed");
  EXPECT_EQ(process_state(process(0), false), "running") << "its number in another namespace";
  EXPECT_TRUE(poll().empty());
  write_file(run_ / "events.jsonl", "{\"type\":\"exit\",\"pid\":7,\"status\":0,\"tsc\":4000}\n");
  ASSERT_EQ(types(poll()), (std::vector<Type>{Type::kChildExit, Type::kProcessEnded}));
  EXPECT_EQ(process_state(process(0), false), "exited");
}

TEST_F(FollowerTest, ExitThatALauncherSawIsNotOfWhoStartedLater) {
  const uint32_t old = log_.add_process({.pid = 100});
  const uint64_t between = log_.process(old).start_tsc;
  log_.add_process({.pid = 100});
  poll();
  write_file(run_ / "events.jsonl",
             R"({"type":"exit","pid":100,"status":9,"tsc":)" + std::to_string(between) + "}\n");
  EXPECT_EQ(poll().size(), 2u);
  EXPECT_EQ(process_state(process(0), false), "killed");
  EXPECT_EQ(process_state(process(1), false), "running");
}

TEST_F(FollowerTest, ProcessesBeyondTheRoomArePassedOver) {
  for (int pid = 100; pid < 105; ++pid) log_.add_process({.pid = pid});
  write_log(run_ / "run.shmlog", log_);
  const auto facts = follower_.poll(run_fd_, false, 3);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(follower_.log().processes().size(), 3u);
  write_file(run_ / "events.jsonl",
             "{\"type\":\"exit\",\"pid\":102,\"status\":9}\n"
             "{\"type\":\"exit\",\"pid\":104,\"status\":9}\n");
  ASSERT_TRUE(follower_.poll(run_fd_, false, 3).ok());
  EXPECT_EQ(follower_.log().processes().size(), 3u);
  EXPECT_EQ(process_state(process(2), false), "killed");
}

TEST_F(FollowerTest, KeepsNoDescriptor) {
  poll();
  const int next = dup(0);
  close(next);
  const fs::path elsewhere = make_run("demo-2");
  RunFollower other;
  const shmrec::UniqueFd fd(open(elsewhere.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(other.poll(fd, false).ok());
  EXPECT_EQ(fd.get(), next);
  const shmrec::UniqueFd after(dup(0));
  EXPECT_EQ(after.get(), next + 1);
}

TEST_F(FollowerTest, EntryThatWasBeingWrittenIsToldOnceItIs) {
  const uint32_t a = log_.add_process({.pid = 100});
  poll();
  const uint64_t unit = log_.header().journal_units;
  log_.add_journal(JournalType::kMark, a, 0, {1}, std::string(100, 'x'));  // three units
  log_.add_journal(JournalType::kMark, a, 0, {1}, "after");
  std::vector<uint8_t> whole = log_.build();
  std::vector<uint8_t> torn = whole;
  const uint64_t at = log_.journal_offset(unit);
  std::fill_n(torn.begin() + static_cast<ptrdiff_t>(at), 4, 0);  // its magic
  const auto put = [&](const std::vector<uint8_t>& bytes) {
    const shmrec::UniqueFd fd(open((run_ / "run.shmlog").c_str(), O_WRONLY));
    ASSERT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  };
  put(torn);
  auto facts = follower_.poll(run_fd_, false);
  ASSERT_EQ(facts->size(), 1u);
  EXPECT_EQ((*facts)[0].text, "after");
  put(whole);
  facts = follower_.poll(run_fd_, false);
  ASSERT_EQ(facts->size(), 1u);
  EXPECT_EQ((*facts)[0].text, std::string(100, 'x'));
  EXPECT_TRUE(follower_.poll(run_fd_, false)->empty());
}

TEST_F(FollowerTest, ProcessWhoseStartDidNotFitTheJournalIsToldToo) {
  log_.add_process({.pid = 100});
  const uint64_t at = log_.header().journal.offset;
  std::vector<uint8_t> bytes = log_.build();
  std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(at), 64, 0);
  write_file(run_ / "run.shmlog", std::string(bytes.begin(), bytes.end()));
  EXPECT_TRUE(follower_.poll(run_fd_, false)->empty());
  EXPECT_EQ(types(*follower_.poll(run_fd_, false)), (std::vector<Type>{Type::kProcessStarted}));
  EXPECT_TRUE(follower_.poll(run_fd_, false)->empty());
}

TEST_F(FollowerTest, LayoutThatTheWorkloadRewritesIsNotBelieved) {
  const uint32_t a = log_.add_process({.pid = 100});
  poll();
  log_.header().journal.offset += 64;
  log_.header().processes.offset += 8;
  log_.header().journal.count = UINT32_MAX;
  log_.header().processes.count = UINT32_MAX;
  EXPECT_TRUE(poll().empty());
  // Counters it may write; they are clamped.
  log_.header().journal_units = UINT64_MAX;
  log_.header().next_process = UINT32_MAX;
  EXPECT_TRUE(poll().empty());
  EXPECT_EQ(follower_.log().processes().size(), a);
}

TEST_F(FollowerTest, ALogThatLostItsHeaderIsAnErrorAndNotTheEnd) {
  log_.add_process({.pid = 100});
  poll();
  const std::string nothing(64, '\0');
  const shmrec::UniqueFd fd(open((run_ / "run.shmlog").c_str(), O_WRONLY));
  ASSERT_EQ(pwrite(fd.get(), nothing.data(), nothing.size(), 0), 64);
  EXPECT_FALSE(follower_.poll(run_fd_, false).ok());
  EXPECT_TRUE(poll().empty());
}

uint64_t bytes_read_so_far() {
  std::ifstream io("/proc/self/io");
  std::string name;
  uint64_t bytes = 0;
  io >> name >> bytes;
  EXPECT_EQ(name, "rchar:");
  return bytes;
}

TEST_F(SpoolTest, PollOfALargeLogReadsLittleAndFillsNoHole) {
  const fs::path run = make_run();
  ShmlogBuilder log(1);
  log.add_process({.pid = 100});
  log.header().processes.count = 65536;
  log.header().journal.count = 64;
  write_log(run / "run.shmlog", log);
  fs::resize_file(run / "run.shmlog", 256 << 20);
  RunFollower follower;
  const shmrec::UniqueFd run_fd(open(run.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(follower.poll(run_fd, false).ok());
  const uint64_t blocks = status().bytes, before = bytes_read_so_far();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(follower.poll(run_fd, false).ok());
  EXPECT_LT(bytes_read_so_far() - before, 100u * 16384);
  EXPECT_EQ(status().bytes, blocks);
}

TEST(SpoolFuzz, EveryFileOfTheCorpus) {
  size_t files = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(SHMREC_SOURCE_DIR) / "tests/fuzz/corpus/spool")) {
    std::stringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    const std::string bytes = text.str();
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
              0);
    ++files;
  }
  EXPECT_GE(files, 10u);
}

}  // namespace
}  // namespace shmrec::recording
