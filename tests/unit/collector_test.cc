// The collector and its control socket before a workload that means harm.
#include <fcntl.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "recording/shmlog_format.h"
#include "sidecar/collector.h"
#include "sidecar/control.h"
#include "tests/unit/http_fixture.h"

namespace shmrec::sidecar {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// ---- The control socket

class ControlTest : public ::testing::Test {
 protected:
  ControlTest() : service_(dir_) {
    auto server = ControlServer::open({dir_.file("sidecar.sock"), "00ff",
                                       [](const std::string&) { return std::string(); }, [] {}},
                                      service_);
    EXPECT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  json ask(const json& request) {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    dir_.file("sidecar.sock").copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string line = request.dump() + "\n";
    EXPECT_EQ(send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL), ssize_t(line.size()));
    std::string reply;
    for (char c; recv(fd.get(), &c, 1, 0) == 1 && c != '\n';) reply += c;
    return json::parse(reply, nullptr, false);
  }
  bool takes(const std::string& trigger) {
    return ask({{"type", "trigger"}, {"run", ""}, {"trigger", trigger}})["ok"];
  }

  TempDir dir_;
  FakeService service_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlTest, WhyABundleIsWantedIsOneShortLine) {
  EXPECT_TRUE(takes("looks slow"));
  EXPECT_EQ(service_.asked().trigger, "looks slow");
  EXPECT_FALSE(takes("x\n2026-11-22T00:00:00Z info bundle forged.shmrec.tar.zst"));
  EXPECT_FALSE(takes("\x1b]0;title\x07"));
  EXPECT_TRUE(takes(std::string(255, 'x')));
  EXPECT_FALSE(takes(std::string(256, 'x')));
  EXPECT_EQ(service_.asked().trigger.size(), 255u);
}

// ---- The collector

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
  return count;
}

TEST(CollectorTest, ARunThatCannotBeRemovedDoesNotFillTheLog) {
  TempDir dir;
  const fs::path run = fs::path(dir.file("spool")) / "app-20261122T000000Z-1";
  fs::path deep = run;  // deeper than what is removed
  for (int level = 0; level < 20; ++level) deep /= "d";
  fs::create_directories(deep);
  // A log that nobody holds: its launcher is dead.
  std::ofstream(run / "run.shmlog").write(shmlog::kMagic, sizeof shmlog::kMagic);

  std::ostringstream said;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said)));
  {
    Config config;
    config.rules = {};
    config.spool = dir.file("spool");
    config.store = dir.file("store");
    const auto spool = recording::Spool::open(config.spool);
    ASSERT_TRUE(spool);
    auto store = Store::open(config.store);
    ASSERT_TRUE(store);
    auto queue = egress::Queue::open({.store = config.store}, {});
    ASSERT_TRUE(queue);
    Collector collector(config, "00ff", *spool, **store, **queue);
    std::thread loop([&] { collector.run(); });
    for (int i = 0; i < 15; ++i) {  // each makes it look again
      collector.look();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    collector.stop();
    loop.join();
  }
  spdlog::set_default_logger(before);
  EXPECT_TRUE(fs::exists(deep));
  EXPECT_EQ(count_of(said.str(), "not removed"), 1u) << said.str();
}

// A kubelet that gets no answer in a second restarts the sidecar.
TEST(CollectorTest, ProbesDoNotWaitForAnExpensiveSpool) {
  TempDir dir;
  const fs::path spool_dir = dir.file("spool");
  fs::create_directories(spool_dir);
  const fs::path text = spool_dir / "text";  // one file for all: it costs the workload nothing
  std::ofstream(text) << "{\"a\":\"" << std::string((4 << 20) - 100, 'x');
  for (int i = 0; i < 16; ++i) {
    const fs::path run = spool_dir / ("app-" + std::to_string(i));
    fs::create_directory(run);
    fs::create_hard_link(text, run / "run.json");
  }
  Config config;
  config.rules = {};
  const auto spool = recording::Spool::open(spool_dir);
  ASSERT_TRUE(spool);
  auto store = Store::open(dir.file("store"));
  ASSERT_TRUE(store);
  auto queue = egress::Queue::open({.store = dir.file("store")}, {});
  ASSERT_TRUE(queue);
  Collector collector(config, "00ff", *spool, **store, **queue);
  std::thread loop([&] { collector.run(); });
  std::chrono::duration<double> longest{};
  for (int i = 0; i < 20; ++i) {
    const auto asked = std::chrono::steady_clock::now();
    (void)collector.health();
    longest = std::max<std::chrono::duration<double>>(longest, std::chrono::steady_clock::now() - asked);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  collector.stop();
  loop.join();
  EXPECT_LT(longest.count(), 0.5);
}

}  // namespace
}  // namespace shmrec::sidecar
