// The collector and its control socket before a workload that means harm.
#include "sidecar/collector.h"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_format.h"
#include "sidecar/control.h"
#include "tests/unit/http_fixture.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::sidecar {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// ---- The control socket

class ControlTest : public ::testing::Test {
 protected:
  void serve(std::chrono::milliseconds first_line = std::chrono::minutes(1)) {
    ControlOptions options{path_, "00ff", [](const std::string&) { return std::string(); }, [] {}};
    options.first_line = first_line;
    options.look_after = std::chrono::milliseconds(100);
    auto server = ControlServer::open(options, service_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  UniqueFd connect_to() const {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    const timeval patience{10, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fd.reset();
    return fd;
  }
  static json ask(const UniqueFd& fd, const json& request) {
    const std::string line = request.dump() + "\n";
    if (send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != ssize_t(line.size()))
      return json::object();
    std::string reply;
    for (char c; recv(fd.get(), &c, 1, 0) == 1 && c != '\n';) reply += c;
    return json::parse(reply, nullptr, false);
  }
  static bool is_launcher(const UniqueFd& fd) {
    return ask(fd, {{"type", "hello"}}).value("ok", false) &&
           ask(fd, {{"type", "run"}, {"name", "app-1"}}).value("ok", false);
  }
  // Waits for the end of the connection, at most as long as it is patient.
  static bool is_cut(const UniqueFd& fd) {
    char c;
    const ssize_t got = recv(fd.get(), &c, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
  bool takes(const std::string& trigger) const {
    return ask(connect_to(), {{"type", "trigger"}, {"run", ""}, {"trigger", trigger}})
        .value("ok", false);
  }
  bool serves_within(std::chrono::seconds limit) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      if (takes("x")) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  TempDir dir_;
  const std::string path_ = dir_.file("sidecar.sock");
  FakeService service_{dir_};
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlTest, WhyABundleIsWantedIsOneShortLine) {
  serve();
  EXPECT_TRUE(takes("looks slow"));
  EXPECT_EQ(service_.asked().trigger, "looks slow");
  EXPECT_FALSE(takes("x\n2026-11-22T00:00:00Z info bundle forged.shmrec.tar.zst"));
  EXPECT_FALSE(takes("\x1b]0;title\x07"));
  EXPECT_TRUE(takes(std::string(255, 'x')));
  EXPECT_FALSE(takes(std::string(256, 'x')));
  EXPECT_EQ(service_.asked().trigger.size(), 255u);
}

TEST_F(ControlTest, IsForWhoMayRecordThereWhateverTheUmask) {
  const struct {
    mode_t directory, socket;
  } cases[] = {{0700, 0660}, {02770, 0660}, {0775, 0660}, {0777, 0666}, {01777, 0666}};
  const std::string directory = std::filesystem::path(path_).parent_path();
  for (const auto& one : cases) {
    ASSERT_EQ(chmod(directory.c_str(), one.directory), 0);
    const mode_t before = umask(0077);
    serve();
    umask(before);
    struct stat status;
    ASSERT_EQ(lstat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode, S_IFSOCK | one.socket) << std::oct << one.directory;
  }
}

TEST_F(ControlTest, HeldConnectionsKeepNobodyOutAndNoLauncherIsCutForThem) {
  serve();
  const UniqueFd launcher = connect_to();
  ASSERT_TRUE(is_launcher(launcher));
  std::vector<UniqueFd> held;
  for (size_t i = 0; i < 2 * ControlServer::kMaxClients; ++i) {
    held.push_back(connect_to());
    ASSERT_TRUE(held.back()) << i;
  }
  EXPECT_TRUE(takes("in spite of them"));
  EXPECT_TRUE(is_cut(held.front()));
  EXPECT_TRUE(ask(launcher, {{"type", "status"}}).value("ok", false));
}

TEST_F(ControlTest, SoManyLaunchersKeepNobodyOut) {
  serve();
  std::vector<UniqueFd> held;
  for (size_t i = 0; i < ControlServer::kMaxClients + 10; ++i) {
    held.push_back(connect_to());
    ASSERT_TRUE(is_launcher(held.back())) << i;
  }
  EXPECT_EQ(server_->launchers(), ControlServer::kMaxClients);
  EXPECT_TRUE(is_cut(held.front()));
}

TEST_F(ControlTest, WhoDoesNotSpeakIsCut) {
  serve(std::chrono::milliseconds(200));
  const UniqueFd launcher = connect_to(), mute = connect_to();
  ASSERT_TRUE(is_launcher(launcher));
  ASSERT_EQ(send(mute.get(), "{", 1, MSG_NOSIGNAL), 1);
  EXPECT_TRUE(is_cut(mute));
  EXPECT_TRUE(ask(launcher, {{"type", "status"}}).value("ok", false));
}

TEST_F(ControlTest, LinesWithoutEndAreCut) {
  serve();
  const UniqueFd client = connect_to();
  const std::string piece(8192, 'x');
  size_t sent = 0;
  for (ssize_t got; sent < (1 << 20) &&
                    (got = send(client.get(), piece.data(), piece.size(), MSG_NOSIGNAL)) > 0;)
    sent += static_cast<size_t>(got);
  EXPECT_LT(sent, size_t{1} << 20);
}

TEST_F(ControlTest, ANameThatIsTakenIsSaidAndUsedOnceItIsFree) {
  fs::create_directories(path_ + "/full");
  serve();
  EXPECT_NE(server_->problem().find(path_), std::string::npos) << server_->problem();
  fs::remove(path_ + "/full");  // an empty directory is in nobody's way
  EXPECT_TRUE(serves_within(std::chrono::seconds(10)));
  EXPECT_EQ(server_->problem(), "");
}

TEST_F(ControlTest, ANameThatIsTakenAwayComesBack) {
  serve();
  const UniqueFd launcher = connect_to();
  ASSERT_TRUE(is_launcher(launcher));
  fs::remove(path_);
  EXPECT_TRUE(serves_within(std::chrono::seconds(10)));
  EXPECT_TRUE(ask(launcher, {{"type", "status"}}).value("ok", false));
}

// ---- The bundler

TEST(BundlerTest, SmallRunsComeFirstButLargeOnesComeToo) {
  const auto now = std::chrono::steady_clock::now();
  const auto job = [](uint64_t bytes, std::chrono::steady_clock::time_point not_before) {
    return BundleJob{.not_before = not_before, .bytes = bytes};
  };
  std::list<BundleJob> jobs{job(5000, now), job(10, now), job(1, now + std::chrono::seconds(1))};
  EXPECT_EQ(Bundler::choose(jobs, now, false)->bytes, 10u);
  EXPECT_EQ(Bundler::choose(jobs, now, true)->bytes, 1u) << "in a hurry all are due";
  EXPECT_EQ(Bundler::choose(jobs, now - std::chrono::seconds(1), false), jobs.end());
  const auto later = now + Bundler::kPatience + std::chrono::milliseconds(1);
  jobs.push_back(job(2, later));
  EXPECT_EQ(Bundler::choose(jobs, later, false)->bytes, 5000u) << "it has waited long enough";
}

// ---- The collector

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
  return count;
}

class CollectorTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(spool_); }

  // Collects while `meanwhile` runs. Fills `bundles_`.
  void collect(std::vector<Rule> rules, const std::function<void(Collector&)>& meanwhile) {
    Config config;
    config.rules = std::move(rules);
    const auto spool = recording::Spool::open(spool_);
    ASSERT_TRUE(spool);
    auto store = Store::open(dir_.file("store"));
    ASSERT_TRUE(store);
    auto queue = egress::Queue::open({.store = dir_.file("store")}, {});
    ASSERT_TRUE(queue);
    Collector collector(config, "00ff", *spool, **store, **queue);
    std::thread loop([&] { collector.run(); });
    meanwhile(collector);
    collector.stop();
    loop.join();
    bundles_ = (*store)->list();
  }

  static void pause() { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }

  TempDir dir_;
  const fs::path spool_ = dir_.file("spool");
  std::vector<StoredBundle> bundles_;
};

TEST_F(CollectorTest, ARunThatCannotBeRemovedDoesNotFillTheLog) {
  const fs::path run = spool_ / "app-20261122T000000Z-1";
  fs::path deep = run;  // deeper than what is removed
  for (int level = 0; level < 20; ++level) deep /= "d";
  fs::create_directories(deep);
  // A log that nobody holds: its launcher is dead.
  std::ofstream(run / "run.shmlog").write(shmlog::kMagic, sizeof shmlog::kMagic);

  std::ostringstream said;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said)));
  collect({}, [](Collector& collector) {
    for (int i = 0; i < 15; ++i) {  // each makes it look again
      collector.look();
      pause();
    }
  });
  spdlog::set_default_logger(before);
  EXPECT_TRUE(fs::exists(deep));
  EXPECT_EQ(count_of(said.str(), "not removed"), 1u) << said.str();
}

// Logs that nobody holds: one of a launcher that was killed at once, one of a launcher that had
// begun.
TEST_F(CollectorTest, ARunThatNeverBeganMakesNoBundle) {
  for (const char* name : {"never-1", "begun-2"}) {
    fs::create_directories(spool_ / name);
    recording::CreateOptions options;
    options.log_bytes = recording::kMinLogBytes;
    const auto log = recording::create_shmlog(spool_ / name / "run.shmlog", options);
    ASSERT_TRUE(log);
    close(*log);
  }
  std::ofstream(spool_ / "begun-2" / "run.json") << R"({"command": ["app"]})";
  collect({Rule{.name = "all", .trigger = {.lost = true}}}, [&](Collector&) {
    for (int i = 0; i < 200 && !fs::is_empty(spool_); ++i) pause();
  });
  EXPECT_TRUE(fs::is_empty(spool_));
  ASSERT_EQ(bundles_.size(), 1u);
  EXPECT_EQ(bundles_.front().info.run, "begun-2");
}

// ---- One failure, one bundle

// A run whose moments are the test's: nothing here depends on how fast the machine is. The command
// is process 1, pid 100; a worker of it is process 2, pid 101.
class IncidentTest : public CollectorTest {
 protected:
  static constexpr uint64_t kSecond = 1'000'000'000;
  static constexpr uint64_t kCrash = 5 * kSecond;  // by the log's clock

  void SetUp() override {
    CollectorTest::SetUp();
    log_.header().start_tsc = 0;
    log_.header().start_realtime_ns = 1'700'000'000 * kSecond;
    log_.add_process({.id_high = 1, .pid = 100, .name = "sh", .executable = "/bin/sh"});
    log_.add_process({.id_high = 2,
                      .pid = 101,
                      .name = "worker",
                      .start = shmlog::StartKind::kFork,
                      .parent = 1,
                      .executable = "/bin/worker"});
    fs::create_directories(run_);
    std::ofstream(run_ / "run.json") << R"({"command": ["sh"]})";
  }

  // As it is on disk now.
  void write_log() {
    const std::vector<uint8_t> bytes = log_.build();
    const fs::path partial = dir_.file("partial");
    std::ofstream(partial, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<ssize_t>(bytes.size()));
    if (!held_) held_.reset(open(partial.c_str(), O_RDWR | O_CLOEXEC));
    if (!fs::exists(run_ / "run.shmlog")) {
      ASSERT_EQ(flock(held_.get(), LOCK_SH), 0);
      return fs::rename(partial, run_ / "run.shmlog");
    }
    ASSERT_EQ(pwrite(held_.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  }
  void crash(uint32_t process, int signal) {
    log_.process(process).exit_known = 1;
    log_.process(process).exit_status = signal;
    journal_at(kCrash, shmlog::JournalType::kSignal, process, {static_cast<uint64_t>(signal)});
    write_log();
  }
  void journal_at(uint64_t tsc, shmlog::JournalType type, uint32_t process,
                  std::vector<uint64_t> values) {
    log_.set_time(tsc - 100);
    log_.add_journal(type, process, 0, std::move(values));
  }
  // The launcher's word on the command, seen at `tsc`.
  void end(int pid, int wait_status, int exit_code, uint64_t tsc) {
    const json text = {
        {"status", wait_status}, {"exitCode", exit_code}, {"pid", pid}, {"tsc", tsc}};
    std::ofstream(dir_.file("end")) << text.dump();
    fs::rename(dir_.file("end"), run_ / "end.json");
  }
  void let_go() { held_.reset(); }

  static bool holds(const std::function<bool()>& condition) {
    for (int i = 0; i < 300 && !condition(); ++i) pause();
    return condition();
  }
  bool is_gone() const { return !fs::exists(run_); }
  static void look_often(Collector& collector) {
    for (int i = 0; i < 5; ++i, pause()) collector.look();
  }

  testing::ShmlogBuilder log_;
  UniqueFd held_;
  const fs::path run_ = spool_ / "app-20261122T000000Z-1";
};

TEST_F(IncidentTest, EndJsonIsSeenBeforeTheLockGoes) {
  collect(Config::default_rules(), [&](Collector& collector) {
    crash(1, SIGSEGV);
    end(100, SIGSEGV, 139, kCrash + kSecond / 10);
    look_often(collector);
    EXPECT_TRUE(collector.bundles().empty()) << "it is held until the run is over";
    let_go();
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
  EXPECT_EQ(bundles_[0].info.trigger, "signal 11 (SIGSEGV)");
  EXPECT_TRUE(bundles_[0].info.keep);
}

TEST_F(IncidentTest, TheEndTakesTheLaterPlaceOfABundleThatStandsAlready) {
  std::string first;
  collect(Config::default_rules(), [&](Collector& collector) {
    crash(2, SIGSEGV);
    EXPECT_TRUE(holds([&] { return !collector.bundles().empty(); }));
    first = collector.bundles().front().name;
    // The shell waited for it, and ended 20 ms later; only now is it seen.
    end(100, 139 << 8, 139, kCrash + kSecond / 50);
    let_go();
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
  EXPECT_NE(bundles_[0].info.name, first);
  EXPECT_EQ(bundles_[0].info.trigger, "exit 139");
  EXPECT_TRUE(bundles_[0].info.keep) << "it is the first of the failure now";
}

TEST_F(IncidentTest, ALateEndOfTheProcessItselfIsTheSameFailure) {
  collect(Config::default_rules(), [&](Collector& collector) {
    crash(1, SIGABRT);
    EXPECT_TRUE(holds([&] { return !collector.bundles().empty(); }));
    end(100, SIGABRT, 134, kCrash + 300 * kSecond);  // a core dump of five minutes
    let_go();
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
}

TEST_F(IncidentTest, ARestartBetweenMakesNoSecondBundle) {
  collect(Config::default_rules(), [&](Collector& collector) {
    crash(2, SIGSEGV);
    EXPECT_TRUE(holds([&] { return !collector.bundles().empty(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
  collect(Config::default_rules(), [&](Collector& collector) {
    look_often(collector);
    end(100, 139 << 8, 139, kCrash + kSecond / 50);
    let_go();
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
  EXPECT_EQ(bundles_[0].info.trigger, "exit 139");
  EXPECT_TRUE(bundles_[0].info.keep);
}

TEST_F(IncidentTest, AnotherFailureLaterHasItsOwnBundle) {
  collect(Config::default_rules(), [&](Collector& collector) {
    crash(2, SIGSEGV);
    EXPECT_TRUE(holds([&] { return !collector.bundles().empty(); }));
    end(100, 3 << 8, 3, kCrash + 30 * kSecond);
    let_go();
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 2u);
  EXPECT_NE(bundles_[0].info.trigger.find("/bin/worker"), std::string::npos);
  EXPECT_EQ(bundles_[1].info.trigger, "exit 3");
}

// An emptyDir that is full when a process crashes, and an orderly end afterwards: the run must not
// go without its bundle.
TEST_F(IncidentTest, ABundleThatFailedIsMadeBeforeTheRunGoes) {
  const fs::path incoming = dir_.file("store/incoming");
  collect(Config::default_rules(), [&](Collector& collector) {
    fs::rename(incoming, dir_.file("away"));
    fs::create_directory(incoming.string() + ".partial");  // where it would be written
    crash(2, SIGSEGV);
    const auto failed = [&] { return collector.health().reason.find("incoming"); };
    EXPECT_TRUE(holds([&] { return failed() != std::string::npos; }));
    end(100, 0, 0, kCrash + 30 * kSecond);
    let_go();
    look_often(collector);
    EXPECT_FALSE(is_gone());
    fs::remove(incoming.string() + ".partial");
    fs::rename(dir_.file("away"), incoming);
    EXPECT_TRUE(holds([&] { return is_gone(); }));
  });
  ASSERT_EQ(bundles_.size(), 1u);
}

TEST(IncidentRules, WhoWaitsForAFailureEndsLikeIt) {
  EXPECT_TRUE(explains("signal 11", "exit 139"));
  EXPECT_TRUE(explains("signal 11", "signal 11"));
  EXPECT_TRUE(explains("exit 3", "exit 3"));
  EXPECT_TRUE(explains("out of memory", "exit 137"));
  EXPECT_FALSE(explains("signal 11", "exit 134"));
  EXPECT_FALSE(explains("signal 1", "exit 139"));
  EXPECT_FALSE(explains("exit 3", "exit 131"));
}

TEST(IncidentRules, AParentThatEndsByItsChildIsTheSameFailure) {
  Incident child{.process = 3, .parent = 2}, parent{.process = 2, .parent = 1};
  child.decision.failure = "signal 6";
  parent.decision.failure = "exit 134";
  EXPECT_TRUE(same_chain(child, parent));
  parent.decision.failure = "exit 1";
  EXPECT_FALSE(same_chain(child, parent));
  parent = {.process = 9};
  parent.decision.failure = "exit 134";
  EXPECT_FALSE(same_chain(child, parent)) << "it is no parent";
}

// A kubelet that gets no answer in a second restarts the sidecar.
TEST_F(CollectorTest, ProbesDoNotWaitForAnExpensiveSpool) {
  const fs::path text = spool_ / "text";  // one file for all: it costs the workload nothing
  std::ofstream(text) << "{\"a\":\"" << std::string((4 << 20) - 100, 'x');
  for (int i = 0; i < 16; ++i) {
    const fs::path run = spool_ / ("app-" + std::to_string(i));
    fs::create_directory(run);
    fs::create_hard_link(text, run / "run.json");
  }
  std::chrono::duration<double> longest{};
  collect({}, [&](Collector& collector) {
    for (int i = 0; i < 20; ++i) {
      const auto asked = std::chrono::steady_clock::now();
      (void)collector.health();
      longest = std::max<std::chrono::duration<double>>(longest,
                                                        std::chrono::steady_clock::now() - asked);
      pause();
    }
  });
  EXPECT_LT(longest.count(), 0.5);
}

}  // namespace
}  // namespace shmrec::sidecar
