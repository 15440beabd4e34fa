// The collector and its control socket before a workload that means harm.
#include "sidecar/collector.h"

#include <fcntl.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_format.h"
#include "sidecar/control.h"
#include "tests/unit/http_fixture.h"

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

TEST_F(ControlTest, IsForUserAndGroupWhateverTheUmask) {
  const mode_t before = umask(0077);
  serve();
  umask(before);
  struct stat status;
  ASSERT_EQ(lstat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, mode_t{S_IFSOCK | 0660});
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
