// The parts of the HTTP servers that need no socket, and the fuzzer over its corpus.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "sidecar/http/byte_range.h"
#include "sidecar/http/log_limit.h"
#include "sidecar/http/prometheus.h"
#include "sidecar/http/request_head.h"
#include "sidecar/http/views.h"
#include "tests/unit/http_fixture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace shmrec::sidecar {
namespace {

TEST(HttpParts, TheFuzzerAcceptsItsCorpus) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SHMREC_SOURCE_DIR "/tests/fuzz/corpus/http")) {
    SCOPED_TRACE(entry.path());
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()),
              0);
    files++;
  }
  EXPECT_GE(files, 20u);
}

struct RangeCase {
  const char* value;
  uint64_t total;
  ByteRange::Kind kind;
  uint64_t offset, bytes;
};

TEST(HttpParts, RangesAreReadAsRfc9110Says) {
  using Kind = ByteRange::Kind;
  const RangeCase cases[] = {
      {"bytes=0-0", 10, Kind::kPart, 0, 1},
      {"bytes=2-", 10, Kind::kPart, 2, 8},
      {"Bytes=2-100", 10, Kind::kPart, 2, 8},
      {"bytes=-3", 10, Kind::kPart, 7, 3},
      {"bytes=-30", 10, Kind::kPart, 0, 10},
      {"bytes=0-99999999999999999999999", 10, Kind::kPart, 0, 10},
      {"bytes=-0", 10, Kind::kUnsatisfiable, 0, 0},
      {"bytes=10-", 10, Kind::kUnsatisfiable, 0, 0},
      {"bytes=99999999999999999999999-", 10, Kind::kUnsatisfiable, 0, 0},
      {"bytes=0-", 0, Kind::kUnsatisfiable, 0, 0},
      {"bytes=0-1,3-4", 10, Kind::kWhole, 0, 10},
      {"bytes=5-2", 10, Kind::kWhole, 0, 10},
      {"bytes=-", 10, Kind::kWhole, 0, 10},
      {"bytes= 1-2", 10, Kind::kWhole, 0, 10},
      {"bytes=+1-2", 10, Kind::kWhole, 0, 10},
      {"lines=1-2", 10, Kind::kWhole, 0, 10},
      {"", 10, Kind::kWhole, 0, 10},
  };
  for (const RangeCase& c : cases) {
    SCOPED_TRACE(c.value);
    const ByteRange range = parse_range(c.value, c.total);
    EXPECT_EQ(range.kind, c.kind);
    EXPECT_EQ(range.offset, c.offset);
    EXPECT_EQ(range.bytes, c.bytes);
  }
}

struct HeadCase {
  const char* what;
  std::string text;
  int status;  // 0: taken
};

TEST(HttpParts, HeadsThatTwoReadersCouldReadDifferentlyAreRefused) {
  const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n";
  const HeadCase cases[] = {
      {"plain", get + "\r\n", 0},
      {"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0},
      {"absolute target", "GET http://a/v1/info HTTP/1.1\r\nHost: a\r\n\r\n", 0},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Hosts", get + "Host: b\r\n\r\n", 400},
      {"bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"bare CR", get + "X: a\rb\r\n\r\n", 400},
      {"NUL", get + std::string("X: a\0b\r\n\r\n", 10), 400},
      {"folded", get + "X: a\r\n b\r\n\r\n", 400},
      {"space before colon", get + "X : a\r\n\r\n", 400},
      {"two lengths", get + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
      {"signed length", get + "Content-Length: +1\r\n\r\n", 400},
      {"negative length", get + "Content-Length: -1\r\n\r\n", 400},
      {"length too large", get + "Content-Length: 18446744073709551616\r\n\r\n", 400},
      {"chunked", get + "Transfer-Encoding: chunked\r\n\r\n", 411},
      {"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"target with a space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"other version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"other method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"escaped slash", "GET /..%2fetc HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"escaped backslash", "GET /..%5cetc HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"backslash", "GET /..\\etc HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"dots", "GET /v1/../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"escaped dots", "GET /%2e%2E/etc HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"escaped NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"half an escape", "GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"long target", "GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
  };
  for (const HeadCase& c : cases) {
    SCOPED_TRACE(c.what);
    RequestHead head;
    const auto refusal = parse_head(c.text, HeadLimits{}, head);
    EXPECT_EQ(refusal ? refusal->status : 0, c.status) << (refusal ? refusal->detail : "");
  }
}

TEST(HttpParts, LinesBeyondTheLimitAreCountedAndToldOnce) {
  std::ostringstream said;
  const SaidTo capture(said);
  LogLimit limit("port");
  const auto start = LogLimit::Clock::now();
  uint64_t taken = 0;
  for (int i = 0; i < 12'365; i++) taken += limit.take(4, start);
  EXPECT_EQ(taken, LogLimit::kLines);
  EXPECT_EQ(limit.withheld(), 12'345u);
  EXPECT_TRUE(limit.take(2, start)) << "refusals do not hide downloads";
  limit.tell(false, start + LogLimit::kWindow / 2);
  EXPECT_EQ(said.str(), "") << "the window is not over";
  limit.tell(false, start + LogLimit::kWindow);
  limit.tell(false, start + LogLimit::kWindow);
  EXPECT_NE(said.str().find("port: ... and 12,345 more answers of 4xx in 10 s\n"),
            std::string::npos)
      << said.str();
  const std::string all = said.str();
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 1);
  EXPECT_TRUE(limit.take(4, start + LogLimit::kWindow));
}

TEST(HttpParts, PrometheusTextIsEscaped) {
  const TempDir dir;
  const FakeService service(dir);
  EXPECT_EQ(prometheus_text(service.metrics()),
            "# HELP shmrec_runs Runs\\nby \\\\ state.\n"
            "# TYPE shmrec_runs gauge\n"
            "shmrec_runs{state=\"a\\\"b\\\\c\\nd\"} 1.5\n"
            "# HELP shmrec_bundles_total Bundles made.\n"
            "# TYPE shmrec_bundles_total counter\n"
            "shmrec_bundles_total 12345678901\n");
}

struct AddressCase {
  const char* text;
  bool good;
};

TEST(HttpParts, AddressesAreHostAndPortOrAUnixPath) {
  const AddressCase cases[] = {
      {"127.0.0.1:80", true}, {"[::1]:80", true}, {":80", true},        {"unix:/run/s", true},
      {"unix:run/s", false},  {"::1:80", false},  {"127.0.0.1", false}, {"a:99999", false},
      {"a:", false},          {"a:-1", false},    {"", false}};
  for (const AddressCase& c : cases) EXPECT_EQ(parse_address(c.text).ok(), c.good) << c.text;
}

TEST(HttpParts, AUnixSocketIsReplacedOnlyIfNobodyListens) {
  const TempDir dir;
  const std::string path = dir.file("s.sock"), address = "unix:" + path;
  const auto open = [&] { return Listener::open(address, Listener::Reach::kLocalOnly); };
  {
    const auto first = open();
    ASSERT_TRUE(first.ok()) << first.error().message;
    struct stat file;
    ASSERT_EQ(stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777, 0660u);
    const auto second = open();
    ASSERT_FALSE(second.ok());
    EXPECT_NE(second.error().message.find("listens"), std::string::npos);
  }
  EXPECT_FALSE(std::filesystem::exists(path)) << "it goes with its listener";
  {  // What a killed server leaves.
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name{.sun_family = AF_UNIX};
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    close(fd);
  }
  EXPECT_TRUE(open().ok());
  dir.write("s.sock", "a file");
  EXPECT_FALSE(open().ok()) << "a file is not removed";
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(HttpParts, WithoutATokenOnlyLocalAddressesAreBound) {
  const TempDir dir;
  FakeService service(dir);
  for (const char* const address : {"0.0.0.0:0", "[::]:0", ":0"}) {
    const auto server =
        ArtefactServer::start(service, {.listen = address, .token_file = "", .no_auth = true});
    ASSERT_FALSE(server.ok()) << address;
  }
  EXPECT_TRUE(
      ArtefactServer::start(service, {.listen = "127.0.0.1:0", .token_file = "", .no_auth = true})
          .ok());
  EXPECT_FALSE(ArtefactServer::start(service, {.listen = "127.0.0.1:0", .token_file = ""}).ok())
      << "no token file, and not told to go without";
}

}  // namespace
}  // namespace shmrec::sidecar
