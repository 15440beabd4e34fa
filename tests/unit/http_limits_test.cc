// What clients cannot do to the artefact server: hold it, outnumber it, or slow others down.
#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/unit/http_fixture.h"

namespace shmrec::sidecar {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kBigBytes = 50'000'000;
constexpr size_t kMoreThanBuffers = 12'000'000;  // a client that reads nothing stops its sender
const std::string kBigPath = "/v1/bundles/big/content";

// Different everywhere, so that a piece in the wrong place shows.
std::string big_content() {
  std::string content(kBigBytes, '\0');
  uint32_t state = 1;
  for (size_t i = 0; i + 4 <= content.size(); i += 4) {
    state = state * 1664525 + 1013904223;
    std::memcpy(&content[i], &state, 4);
  }
  return content;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool eventually(const std::function<bool()>& condition) {
  for (const auto start = Clock::now(); seconds_since(start) < 10;) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(20));
  }
  return false;
}

bool downloads_right(const std::string& address, const std::string& content) {
  return ask(address, head("GET", kBigPath)).body == content;
}

TEST_F(HttpTest, EightDownloadsAtOnceGiveTheRightBytes) {
  const std::string content = big_content();
  service_.add("big", content);
  start();
  std::atomic<int> right{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; i++)
    clients.emplace_back([&] { right += downloads_right(server_->address(), content); });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 8);
}

// Takes about 20 kB a second, until the server ends it.
size_t read_slowly(const std::string& address) {
  Wire wire(address, 4096);
  wire.send(head("GET", kBigPath));
  size_t total = 0;
  char piece[1024];
  ssize_t got;
  while ((got = wire.receive(piece, sizeof piece)) > 0) {
    total += static_cast<size_t>(got);
    std::this_thread::sleep_for(milliseconds(50));
    if (total > 2'000'000) break;
  }
  return total;
}

TEST_F(HttpTest, ASlowReaderIsCutWhileAnotherDownloadsAtFullSpeed) {
  const std::string content = big_content();
  service_.add("big", content);
  options_.limits.bytes_per_second = 200'000;
  options_.limits.rate_window = milliseconds(1'000);
  options_.limits.stall = milliseconds(2'000);
  start();
  size_t slowly = 0;
  std::thread slow([&] { slowly = read_slowly(server_->address()); });
  const auto start = Clock::now();
  EXPECT_TRUE(downloads_right(server_->address(), content));
  EXPECT_LT(seconds_since(start), 10);
  EXPECT_TRUE(eventually([&] {
    return metric("connections_cut_total", "slow") + metric("connections_cut_total", "stall") == 1;
  }));
  server_->stop();
  slow.join();
  EXPECT_LT(slowly, 2'000'000u);
}

// Each poll for room succeeds, so only the rate can cut it.
TEST_F(HttpTest, AReaderBelowTheMinimumRateIsCutForItsRate) {
  service_.add("big", big_content());
  options_.listen = "unix:" + dir_.file("s");
  options_.limits.bytes_per_second = 10'000'000;
  options_.limits.rate_window = milliseconds(300);
  start();
  Wire wire(server_->address());
  wire.send(head("GET", kBigPath));
  std::string piece(65536, '\0');
  for (int i = 0; i < 600 && wire.receive(piece.data(), piece.size()) > 0; i++)
    std::this_thread::sleep_for(milliseconds(20));  // about 3 MB/s
  EXPECT_EQ(metric("connections_cut_total", "slow"), 1);
  EXPECT_EQ(metric("connections_cut_total", "stall"), 0);
}

TEST_F(HttpTest, AReaderThatStopsIsCut) {
  service_.add("big", big_content());
  options_.limits.stall = milliseconds(300);
  start();
  Wire wire(server_->address());
  wire.send(head("GET", kBigPath));
  EXPECT_TRUE(eventually([&] { return metric("connections_cut_total", "stall") == 1; }));
}

TEST_F(HttpTest, ADownloadHasADeadline) {
  service_.add("big", big_content());
  options_.limits.whole = milliseconds(300);
  start();
  Wire wire(server_->address(), 4096);
  wire.send(head("GET", kBigPath));
  EXPECT_TRUE(eventually([&] { return metric("connections_cut_total", "deadline") == 1; }));
}

// Each byte is taken in time, all of them are not.
TEST_F(HttpTest, AReaderOfAByteNowAndThenHasADeadline) {
  service_.add("big", big_content());
  options_.limits.whole = milliseconds(500);
  start();
  Wire wire(server_->address(), 4096);
  wire.send(head("GET", kBigPath));
  const auto start = Clock::now();
  char byte;
  while (seconds_since(start) < 10 && metric("connections_cut_total", "deadline") == 0) {
    wire.receive(&byte, 1);
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_EQ(metric("connections_cut_total", "deadline"), 1);
  EXPECT_LT(seconds_since(start), 3);
}

size_t threads_here() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/task"), {}));
}

TEST_F(HttpTest, SlowClientsCostNoThreadAndDelayNobody) {
  service_.add("big", big_content());
  start();
  const size_t before = threads_here();
  const std::string kinds[] = {
      "", "GET /v1/in", head("GET", kBigPath),
      head("POST", "/v1/bundles", "Content-Type: application/json\r\nContent-Length: 9\r\n")};
  std::vector<std::unique_ptr<Wire>> held;
  for (int i = 0; i < 60; i++) {
    held.push_back(std::make_unique<Wire>(server_->address(), 4096));
    held.back()->send(kinds[i % 4]);
  }
  ASSERT_TRUE(eventually([&] { return metric("connections") == 60; }));
  EXPECT_EQ(threads_here(), before);
  const auto start = Clock::now();
  for (int i = 0; i < 100; i++) ASSERT_EQ(ask(head("GET", "/v1/info")).status, 200);
  EXPECT_LT(seconds_since(start), 2);
  EXPECT_EQ(metric("connections_cut_total", "crowded"), 0);
}

TEST_F(HttpTest, ARequestByteByByteHasADeadline) {
  options_.limits.request = milliseconds(500);
  start();
  Wire wire(server_->address());
  const auto start = Clock::now();
  const std::string request = head("GET", "/v1/info");
  for (size_t i = 0; i < 20; i++) {
    wire.send(request.substr(i, 1));
    std::this_thread::sleep_for(milliseconds(50));
  }
  EXPECT_EQ(wire.read_response().status, 408);
  EXPECT_TRUE(wire.at_end());
  EXPECT_LT(seconds_since(start), 5);
  Wire body(server_->address());
  body.send(head("POST", "/v1/bundles", "Content-Type: application/json\r\nContent-Length: 9\r\n") +
            "{");
  EXPECT_EQ(body.read_response().status, 408);
  EXPECT_TRUE(body.at_end());
  EXPECT_EQ(metric("connections_cut_total", "request_timeout"), 2);
}

TEST_F(HttpTest, AnIdleConnectionEnds) {
  options_.limits.idle = milliseconds(1'000);
  start();
  Wire silent(server_->address()), kept(server_->address());
  kept.send(head("GET", "/v1/info"));
  EXPECT_EQ(kept.read_response().status, 200);
  EXPECT_TRUE(kept.at_end());
  EXPECT_TRUE(silent.at_end());
  EXPECT_TRUE(eventually([&] { return metric("connections_cut_total", "idle") == 2; }));
}

TEST_F(HttpTest, ConnectionsBeyondTheLimitWait) {
  service_.add("big", big_content());
  options_.limits.connections = 2;
  start();
  // Two that hold the limit with a download; four behind them, not accepted.
  std::vector<std::unique_ptr<Wire>> wires;
  for (int i = 0; i < 6; i++) {
    wires.push_back(std::make_unique<Wire>(server_->address()));
    ASSERT_TRUE(wires.back()->connected());
    wires.back()->send(i < 2 ? head("GET", kBigPath)
                             : head("GET", "/v1/info", "Connection: close\r\n"));
    if (i < 2) {
      ASSERT_TRUE(eventually([&] { return metric("connections") == i + 1; }));
    }
  }
  ASSERT_TRUE(eventually([&] { return metric("connections_total") == 2; }));
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(metric("connections_total"), 2);
  EXPECT_EQ(metric("connections"), 2);
  EXPECT_EQ(metric("connections_cut_total", "crowded"), 0) << "downloads are not cut for others";
  wires[0]->close();
  for (int i = 2; i < 6; i++) EXPECT_EQ(wires[i]->read_response().status, 200) << i;
  wires[1]->close();
}

TEST_F(HttpTest, HeldConnectionsWithoutARequestKeepNobodyOut) {
  options_.limits.connections = 4;
  options_.limits.speak = milliseconds(50);
  start();
  std::vector<std::unique_ptr<Wire>> held;
  for (int i = 0; i < 30; i++) {
    held.push_back(std::make_unique<Wire>(server_->address()));
    ASSERT_TRUE(held.back()->connected());
    if (i % 2) held.back()->send("GET /v1/info");
  }
  const auto start = Clock::now();
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200);
  EXPECT_LT(seconds_since(start), 2) << "sooner than the idle limit of 5 s";
  EXPECT_GT(metric("connections_cut_total", "crowded"), 0);
}

TEST_F(HttpTest, AnIdleConnectionGivesWayToThoseWhoWait) {
  options_.limits.connections = 1;
  start();
  Wire kept(server_->address());
  kept.send(head("GET", "/v1/info"));
  EXPECT_EQ(kept.read_response().status, 200);
  const auto start = Clock::now();
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200);
  EXPECT_LT(seconds_since(start), 3) << "sooner than the idle limit of 5 s";
  EXPECT_TRUE(kept.at_end());
}

TEST_F(HttpTest, StoppingLetsARequestEndAndThenCuts) {
  const std::string content = big_content().substr(0, kMoreThanBuffers);
  service_.add("big", content);
  options_.limits.stop_grace = milliseconds(2'500);
  start();
  Wire stuck(server_->address());  // reads nothing
  stuck.send(head("GET", kBigPath));
  Wire idle(server_->address()), reading(server_->address());
  reading.send(head("GET", kBigPath));
  ASSERT_EQ(reading.read_head().status, 200);
  bool right = false;
  std::thread reader([&] {
    std::string got = std::move(reading.buffer()), piece(65536, '\0');
    ssize_t bytes;
    while (got.size() < content.size() && (bytes = reading.receive(piece.data(), piece.size())) > 0)
      got.append(piece, 0, static_cast<size_t>(bytes));
    right = got == content;
  });
  const auto start = Clock::now();
  server_->stop();
  EXPECT_GT(seconds_since(start), 2) << "the stuck one had its time";
  EXPECT_LT(seconds_since(start), 8);
  reader.join();
  EXPECT_TRUE(right);
  EXPECT_TRUE(idle.at_end());
  EXPECT_FALSE(Wire(server_->address()).connected());
}

TEST_F(HttpTest, AFloodOfNonsenseIsSummedInTheLog) {
  std::ostringstream said;
  const SaidTo capture(said);
  start();
  const std::string nonsense = "GET /" + std::string(4000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
  const auto before = said.str().size();
  int asked = 0;
  for (; asked < 3000; asked++) {
    Wire wire(server_->address());
    ASSERT_TRUE(wire.send(asked % 2 ? nonsense : "\x16\x03\x01nonsense"));
    ASSERT_NE(wire.read_head().status, 0);
  }
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200);
  server_->stop();
  const std::string log = said.str().substr(before);
  EXPECT_LT(log.size(), 60'000u) << "a line and its sum for each of some windows of 10 s";
  EXPECT_NE(log.find(" more answers of 4xx in "), std::string::npos) << log;
  EXPECT_NE(log.find("/v1/info 200"), std::string::npos) << "what was served is not hidden";
  EXPECT_GT(metric("log_lines_withheld_total"), asked - 300);
  server_.reset();
}

TEST_F(HttpTest, AFileThatBecameShorterIsNotCompletedWithAnythingElse) {
  service_.add("big", big_content());
  start();
  std::filesystem::resize_file(dir_.file("big"), 1000);
  const Response response = ask(head("GET", kBigPath));
  EXPECT_EQ(response.status, 200);
  EXPECT_FALSE(response.whole);
  EXPECT_EQ(response.body.size(), 1000u);
}

TEST_F(HttpTest, TheProcessKeepsItsSigpipe) {
  signal(SIGPIPE, SIG_DFL);
  start();
  EXPECT_EQ(signal(SIGPIPE, SIG_DFL), SIG_DFL);
  service_.add("big", big_content());
  for (int i = 0; i < 5; i++) {
    Wire wire(server_->address());
    wire.send(head("GET", kBigPath));
    wire.read_head();
  }  // closed in the middle: a SIGPIPE would end this test
  EXPECT_TRUE(eventually([&] { return metric("connections") == 0; }));
  EXPECT_EQ(metric("connections_cut_total", "gone"), 5);
}

}  // namespace
}  // namespace shmrec::sidecar
