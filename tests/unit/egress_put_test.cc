// Puts to a real HTTP server. Where a connection must break, a relay stands in between and breaks
// it.
#include <arpa/inet.h>
#include <httplib.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <deque>
#include <map>

#include "egress_support.h"
#include "sidecar/egress/put.h"
#include "sidecar/egress/queue.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr const char* kQuery = "?X-Amz-Signature=SECRET&upload_id=SECRET";

// Keeps objects as a store behind presigned URLs does. An object "/session/..." is an upload
// session as Google Cloud Storage has them: it keeps what came before a connection broke.
template <typename Server>
class ObjectServer {
 public:
  template <typename... Arguments>
  explicit ObjectServer(Arguments&&... arguments) : http_(std::forward<Arguments>(arguments)...) {
    http_.set_keep_alive_timeout(1);
    http_.Put(".*",
              [this](const httplib::Request& request, httplib::Response& response,
                     const httplib::ContentReader& reader) { put(request, response, reader); });
    port = http_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { http_.listen_after_bind(); });
    while (!http_.is_running()) std::this_thread::sleep_for(1ms);
  }
  ~ObjectServer() {
    released_ = true;
    http_.stop();
    thread_.join();
  }

  void answer_first(int status, const std::string& header = "", const std::string& value = "") {
    answers_.push_back({status, header, value});
  }
  std::string object(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return objects_[path];
  }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

  int port = 0;
  std::atomic<size_t> keep_at_most{SIZE_MAX};  // of each request to a session
  std::string error_body;

 private:
  struct Answer {
    int status;
    std::string header, value;
  };

  void put(const httplib::Request& request, httplib::Response& response,
           const httplib::ContentReader& reader) {
    if (request.path == "/slow") {
      while (!released_) std::this_thread::sleep_for(1ms);
      return;
    }
    // One at a time: the next attempt must not see an upload that is still breaking off.
    const std::lock_guard lock(mutex_);
    requests_.push_back(request.path + " " + request.get_header_value("Content-Range"));
    if (!answers_.empty()) {
      reader([](const char*, size_t) { return true; });
      response.status = answers_.front().status;
      if (!answers_.front().header.empty()) {
        response.set_header(answers_.front().header.c_str(), answers_.front().value);
      }
      response.body = error_body;
      answers_.pop_front();
    } else if (request.path.starts_with("/session/")) {
      session(request, response, reader);
    } else {
      std::string content;
      const bool whole = reader([&](const char* data, size_t bytes) {
        content.append(data, bytes);
        return true;
      });
      if (whole) objects_[request.path] = content;
    }
  }

  void session(const httplib::Request& request, httplib::Response& response,
               const httplib::ContentReader& reader) {
    std::string& object = objects_[request.path];
    const std::string range = request.get_header_value("Content-Range");
    size_t from = 0, last = 0, total = 0;
    if (sscanf(range.c_str(), "bytes %zu-%zu/%zu", &from, &last, &total) == 3) {
      if (from != object.size()) response.status = 416;
      if (from != object.size()) return;
    } else if (sscanf(range.c_str(), "bytes */%zu", &total) != 1) {
      total = std::stoul(request.get_header_value("Content-Length"));
      object.clear();
    }
    size_t kept = 0;
    reader([&](const char* data, size_t bytes) {
      const size_t part = std::min(bytes, keep_at_most - kept);
      object.append(data, part);
      kept += part;
      return true;
    });
    response.status = object.size() == total ? 200 : 308;
    if (response.status == 308 && !object.empty()) {
      response.set_header("Range", "bytes=0-" + std::to_string(object.size() - 1));
    }
  }

  Server http_;
  std::thread thread_;
  std::mutex mutex_;
  std::map<std::string, std::string> objects_;
  std::vector<std::string> requests_;
  std::deque<Answer> answers_;
  std::atomic<bool> released_{false};
};

int bound_socket(sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof(address);
  bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  listen(fd, 8);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
  return fd;
}

// Relays to a server, and resets the first `breaks` connections after so many bytes from the
// client.
class BreakingRelay {
 public:
  BreakingRelay(int to_port, int breaks, size_t after) : to_port_(to_port), after_(after) {
    sockaddr_in address{};
    listener_ = UniqueFd(bound_socket(address));
    port = ntohs(address.sin_port);
    thread_ = std::thread([this, breaks] { run(breaks); });
  }
  ~BreakingRelay() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  int port = 0;

 private:
  void run(int breaks) {
    for (int number = 0;; ++number) {
      UniqueFd client(accept(listener_.get(), nullptr, nullptr));
      if (!client) return;
      UniqueFd server(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<uint16_t>(to_port_));
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      if (connect(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
        return;
      if (!relay(client.get(), server.get(), number < breaks ? after_ : SIZE_MAX)) {
        const linger reset{1, 0};
        setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
      }
    }
  }

  // False once the limit is reached.
  static bool relay(int client, int server, size_t limit) {
    std::vector<char> buffer(64 * 1024);
    for (size_t sent = 0;;) {
      pollfd fds[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      poll(fds, 2, -1);
      const bool up = fds[0].revents != 0;
      const size_t room = up ? std::min(buffer.size(), limit - sent) : buffer.size();
      const ssize_t got = recv(up ? client : server, buffer.data(), room, 0);
      if (got <= 0) return true;
      if (send(up ? server : client, buffer.data(), static_cast<size_t>(got), MSG_NOSIGNAL) < 0) {
        return true;
      }
      if (up && (sent += static_cast<size_t>(got)) >= limit) return false;
    }
  }

  const int to_port_;
  const size_t after_;
  UniqueFd listener_;
  std::thread thread_;
};

using PlainServer = ObjectServer<httplib::Server>;

class EgressPut : public EgressTest {
 protected:
  // The servers are ours: no proxy of the place where the tests run.
  static void SetUpTestSuite() { setenv("no_proxy", "*", 1); }

  std::unique_ptr<PutDestination> destination(int port, const std::string& path,
                                              PutOptions options = {},
                                              const std::string& scheme = "http") {
    write_file(url_file, scheme + "://127.0.0.1:" + std::to_string(port) + path + kQuery + "\n");
    options.url_file = url_file;
    auto created = PutDestination::create("bucket", options);
    EXPECT_TRUE(created.ok());
    return std::move(*created);
  }

  const fs::path url_file = temp.path / "url";
  const std::string content = some_bytes(3 * 1024 * 1024 + 1);
  const Bundle bundle = make_bundle(store, "app+1", content);
};

TEST_F(EgressPut, PutsTheWholeBundleUnderItsName) {
  PlainServer server;
  const auto to = destination(server.port, "/bucket/{name}");
  const auto sent = to->send(bundle, stop);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_TRUE(server.object("/bucket/app+1.shmrec.tar.zst") == content);
  EXPECT_EQ(to->place(),
            "http://127.0.0.1:" + std::to_string(server.port) + "/bucket/app%2B1.shmrec.tar.zst");
}

TEST_F(EgressPut, AcceptsEachStatusOfSuccess) {
  PlainServer server;
  const auto to = destination(server.port, "/a");
  for (const int status : {200, 201, 204}) {
    server.answer_first(status);
    EXPECT_TRUE(to->send(bundle, stop).ok()) << status;
  }
}

TEST_F(EgressPut, TheUrlIsReadAnewEachTime) {
  PlainServer server;
  const auto to = destination(server.port, "/old");
  server.answer_first(403);
  EXPECT_FALSE(to->send(bundle, stop).ok());
  EXPECT_TRUE(to->retry().useful);
  write_file(url_file, "http://127.0.0.1:" + std::to_string(server.port) + "/new?SECRET");
  EXPECT_TRUE(to->send(bundle, stop).ok());
  EXPECT_TRUE(server.object("/new") == content);
}

TEST_F(EgressPut, AFailureSaysWhatAndNeverTheQuery) {
  PlainServer server;
  server.error_body =
      "<Error><Code>SignatureDoesNotMatch</Code><SignatureProvided>SECRET</SignatureProvided>";
  const auto to = destination(server.port, "/a");
  server.answer_first(403);
  const auto refused = to->send(bundle, stop);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("/a: HTTP status 403 (SignatureDoesNotMatch)"),
            std::string::npos)
      << refused.error().message;
  EXPECT_EQ(refused.error().message.find("SECRET"), std::string::npos);

  for (const char* url : {"http://127.0.0.1:1/x?SECRET", "ftp://host/x?SECRET", "http://?SECRET",
                          "http://a b/?SECRET", "?SECRET", "https://u:SECRET@127.0.0.1:1/"}) {
    write_file(url_file, url);
    const auto failed = to->send(bundle, stop);
    ASSERT_FALSE(failed.ok()) << url;
    EXPECT_EQ(failed.error().message.find("SECRET"), std::string::npos) << failed.error().message;
  }
}

TEST_F(EgressPut, SaysWhichFailuresAreFinalAndHowLongToWait) {
  PlainServer server;
  const auto to = destination(server.port, "/a");
  for (const auto& [status, useful] : std::map<int, bool>{{400, false},
                                                          {403, true},
                                                          {404, true},
                                                          {411, false},
                                                          {413, false},
                                                          {429, true},
                                                          {500, true},
                                                          {503, true},
                                                          {501, false},
                                                          {308, false}}) {
    server.answer_first(status, "Retry-After", "7");
    EXPECT_FALSE(to->send(bundle, stop).ok()) << status;
    EXPECT_EQ(to->retry().useful, useful) << status;
    EXPECT_EQ(to->retry().at_least, 7s) << status;
  }
}

TEST_F(EgressPut, SendsTheHeadersThatWereSigned) {
  PutOptions options;
  options.headers = {"Content-Range: as configured"};
  PlainServer server;
  ASSERT_TRUE(destination(server.port, "/a", options)->send(bundle, stop).ok());
  EXPECT_EQ(server.requests(), std::vector<std::string>{"/a as configured"});
  options.url_file = url_file;
  options.headers = {"A: b\r\nHost: other"};
  EXPECT_FALSE(PutDestination::create("bucket", options).ok());
}

// ---- Again --------------------------------------------------------------------------------------

TEST_F(EgressPut, TheQueueRepeatsAfterAnErrorOfTheServer) {
  PlainServer server;
  server.answer_first(500);
  std::vector<std::unique_ptr<Destination>> destinations;
  destinations.push_back(destination(server.port, "/a"));
  QueueOptions options{store};
  options.retry.first_pause = 10ms;
  options.log = log.log();
  const auto queue = Queue::open(options, std::move(destinations));
  ASSERT_TRUE(queue.ok());
  ASSERT_TRUE((*queue)->add(bundle).ok());
  EXPECT_TRUE(eventually([&] { return (*queue)->size() == 0; }));
  EXPECT_TRUE(server.object("/a") == content);
  EXPECT_EQ(server.requests().size(), 2u);
  EXPECT_NE(log.text().find("attempt 1 failed"), std::string::npos) << log.text();
  EXPECT_EQ(log.text().find("SECRET"), std::string::npos) << log.text();
}

TEST_F(EgressPut, WithoutASessionABrokenUploadBeginsAgain) {
  PlainServer server;
  BreakingRelay relay(server.port, 1, 1024 * 1024);
  const auto to = destination(relay.port, "/a");
  EXPECT_FALSE(to->send(bundle, stop).ok());
  EXPECT_EQ(server.object("/a"), "");
  ASSERT_TRUE(to->send(bundle, stop).ok());
  EXPECT_TRUE(server.object("/a") == content);
}

TEST_F(EgressPut, ABrokenUploadToASessionGoesOnWhereItBroke) {
  PutOptions options;
  options.resumable = true;
  PlainServer server;
  // The second attempt is by another destination object: nothing is remembered but by the server.
  BreakingRelay relay(server.port, 1, 1024 * 1024);
  EXPECT_FALSE(destination(relay.port, "/session/1", options)->send(bundle, stop).ok());
  // The server keeps what it got when it finds the connection broken.
  EXPECT_TRUE(eventually([&] { return !server.object("/session/1").empty(); }));
  const size_t stored = server.object("/session/1").size();
  EXPECT_LT(stored, content.size());
  const auto sent = destination(relay.port, "/session/1", options)->send(bundle, stop);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_TRUE(server.object("/session/1") == content);
  EXPECT_EQ(server.requests().back(), "/session/1 bytes " + std::to_string(stored) + "-" +
                                          std::to_string(content.size() - 1) + "/" +
                                          std::to_string(content.size()));
}

TEST_F(EgressPut, ASessionThatKeepsOnlyPartsIsGivenTheRest) {
  PutOptions options;
  options.resumable = true;
  PlainServer server;
  server.keep_at_most = 1000 * 1000;
  const auto sent = destination(server.port, "/session/1", options)->send(bundle, stop);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_TRUE(server.object("/session/1") == content);
  EXPECT_EQ(server.requests().size(), 1u + 4u);
}

TEST_F(EgressPut, ASessionThatKeepsNothingIsAFailureNotALoop) {
  PutOptions options;
  options.resumable = true;
  PlainServer server;
  server.keep_at_most = 0;
  const auto sent = destination(server.port, "/session/1", options)->send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("does not get on"), std::string::npos);
}

TEST_F(EgressPut, AFinishedSessionIsNotSentAgain) {
  PutOptions options;
  options.resumable = true;
  PlainServer server;
  const auto to = destination(server.port, "/session/1", options);
  ASSERT_TRUE(to->send(bundle, stop).ok());
  const size_t before = server.requests().size();
  ASSERT_TRUE(to->send(bundle, stop).ok());
  EXPECT_EQ(server.requests().size(), before + 1);
}

TEST(EgressPutRange, IsBelievedOnlyIfItIsPossible) {
  EXPECT_EQ(*stored_bytes("", 100), 0u);
  EXPECT_EQ(*stored_bytes("bytes=0-41", 100), 42u);
  EXPECT_EQ(*stored_bytes("bytes=0-99", 100), 100u);
  for (const char* range : {"bytes=0-100", "bytes=1-5", "bytes=0-", "bytes=0--1", "0-5",
                            "bytes=0-5 ", "bytes=0-99999999999999999999999"}) {
    EXPECT_FALSE(stored_bytes(range, 100).ok()) << range;
  }
}

// ---- Time ---------------------------------------------------------------------------------------

TEST_F(EgressPut, ASlowServerEndsTheAttempt) {
  PutOptions options;
  options.low_speed_time = 1s;
  PlainServer server;
  const Bundle small = make_bundle(store, "small", "1234");
  const auto begin = std::chrono::steady_clock::now();
  const auto sent = destination(server.port, "/slow", options)->send(small, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("too slow"), std::string::npos) << sent.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 8s);
}

TEST_F(EgressPut, StopsWhenAsked) {
  PlainServer server;
  const auto to = destination(server.port, "/slow");
  std::thread stopper([this] {
    std::this_thread::sleep_for(100ms);
    stop = true;
  });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(to->send(bundle, stop).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  stopper.join();
}

TEST_F(EgressPut, KeepsToItsRate) {
  PutOptions options;
  options.max_rate_bytes = 2 * 1024 * 1024;
  PlainServer server;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(destination(server.port, "/a", options)->send(bundle, stop).ok());
  EXPECT_GT(std::chrono::steady_clock::now() - begin, 700ms);
}

// ---- Who is there -------------------------------------------------------------------------------

TEST_F(EgressPut, ARedirectToAnotherHostIsRefused) {
  PlainServer server, other;
  const std::string elsewhere = "http://127.0.0.1:" + std::to_string(other.port) + "/b?SECRET";
  server.answer_first(307, "Location", elsewhere);
  const auto to = destination(server.port, "/a");
  const auto sent = to->send(bundle, stop);
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("another host"), std::string::npos) << sent.error().message;
  EXPECT_EQ(sent.error().message.find("SECRET"), std::string::npos) << sent.error().message;
  EXPECT_FALSE(to->retry().useful);
  EXPECT_TRUE(other.requests().empty());
}

TEST_F(EgressPut, ARedirectWithinTheHostIsFollowedAFewTimes) {
  PlainServer server;
  const auto to = destination(server.port, "/a");
  server.answer_first(307, "Location", "/b");
  ASSERT_TRUE(to->send(bundle, stop).ok());
  EXPECT_TRUE(server.object("/b") == content);
  for (int i = 0; i < 10; ++i) server.answer_first(307, "Location", "/c");
  EXPECT_FALSE(to->send(bundle, stop).ok());
}

class EgressPutTls : public EgressPut {
 protected:
  void SetUp() override {
    if (system("openssl version >/dev/null 2>&1") != 0) GTEST_SKIP() << "no openssl program";
  }
  // A certificate that nobody signed but itself.
  void certify(const std::string& names) {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x "
        "-addext subjectAltName=" +
        names + " -keyout " + key.string() + " -out " + certificate.string() + " >/dev/null 2>&1";
    ASSERT_EQ(system(command.c_str()), 0);
  }
  const fs::path key = temp.path / "key.pem";
  const fs::path certificate = temp.path / "certificate.pem";
};

TEST_F(EgressPutTls, AnUnknownCertificateIsRefusedAndAKnownOneAccepted) {
  certify("IP:127.0.0.1");
  ObjectServer<httplib::SSLServer> server(certificate.c_str(), key.c_str());
  const auto refused = destination(server.port, "/a", {}, "https")->send(bundle, stop);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("certificate"), std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(server.requests().empty());

  PutOptions options;
  options.ca_file = certificate;
  const auto sent = destination(server.port, "/a", options, "https")->send(bundle, stop);
  ASSERT_TRUE(sent.ok()) << sent.error().message;
  EXPECT_TRUE(server.object("/a") == content);
}

TEST_F(EgressPutTls, ACertificateForAnotherHostIsRefused) {
  certify("DNS:other.example");
  ObjectServer<httplib::SSLServer> server(certificate.c_str(), key.c_str());
  PutOptions options;
  options.ca_file = certificate;
  EXPECT_FALSE(destination(server.port, "/a", options, "https")->send(bundle, stop).ok());
  EXPECT_TRUE(server.requests().empty());
}

}  // namespace
}  // namespace shmrec::sidecar::egress
