// For the tests of the HTTP servers: a Service of canned answers, and a client that sends exactly
// the bytes it is given.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

#include "sidecar/http/address.h"
#include "sidecar/http/artefact_server.h"
#include "sidecar/http/health_server.h"

namespace shmrec::sidecar {

inline const std::string kToken = "correct-horse_battery.staple~1";
inline const std::string kAuthorization = "Authorization: Bearer " + kToken + "\r\n";
inline const std::string kSmallName = "small-1.shmrec.tar.zst";

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/shmrec-http-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    std::ofstream(file(name), std::ios::binary) << text;
    chmod(file(name).c_str(), mode);
    return file(name);
  }

 private:
  std::string path_;
};

// While it lives, the log goes into a string.
class SaidTo {
 public:
  explicit SaidTo(std::ostringstream& said) : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said)));
  }
  ~SaidTo() { spdlog::set_default_logger(before_); }

 private:
  std::shared_ptr<spdlog::logger> before_;
};

class FakeService : public Service {
 public:
  explicit FakeService(const TempDir& dir) : dir_(dir) { add(kSmallName, "0123456789"); }

  void add(const std::string& name, const std::string& content) {
    const std::lock_guard lock(mutex_);
    dir_.write(name, content);
    bundles_[name] = {.name = name,
                      .bytes = content.size(),
                      .created = "2026-01-02T03:04:05Z",
                      .run = "app-1",
                      .trigger = "signal 6 (SIGABRT)",
                      .rule = "crash",
                      .keep = true,
                      .sha256 = std::string(64, 'a')};
  }

  Info info() const override { return {.version = "0.1.0", .instance = "i", .spool = "/spool"}; }
  Health health() const override {
    const std::lock_guard lock(mutex_);
    return health_;
  }
  void set_health(Health health) {
    const std::lock_guard lock(mutex_);
    health_ = std::move(health);
  }
  std::vector<ProcessInfo> processes() const override {
    return {{.run = "app-1",
             .id = "00000001-0001",
             .name = "a\xff"
                     "b",
             .state = "killed",
             .signal = 6}};
  }
  std::vector<BundleInfo> bundles() const override {
    const std::lock_guard lock(mutex_);
    std::vector<BundleInfo> list;
    for (const auto& [name, bundle] : bundles_) list.push_back(bundle);
    return list;
  }
  Result<OpenedFile> open_bundle(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    const auto found = bundles_.find(name);
    if (found == bundles_.end()) return Error{"no bundle " + name};
    UniqueFd fd(open(dir_.file(name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return system_error(name);
    return OpenedFile{std::move(fd), found->second.bytes, found->second.sha256};
  }
  Result<> remove_bundle(const std::string& name) override {
    const std::lock_guard lock(mutex_);
    return bundles_.erase(name) ? Result<>(Unit{}) : Error{"no bundle " + name};
  }
  Result<std::optional<Operation>> start_bundle(const BundleRequest& request) override {
    const std::lock_guard lock(mutex_);
    asked_ = request;
    if (throws_) throw std::runtime_error("secret of the inside");
    if (request.run == "unknown") return Error{"there is no run unknown"};
    if (busy_) return std::optional<Operation>();
    return std::optional<Operation>(Operation{.id = "op-1", .started = "2026-01-02T03:04:05Z"});
  }
  std::optional<Operation> operation(const std::string& id) const override {
    if (id != "op-1") return {};
    return Operation{id, Operation::State::kSucceeded, "2026-01-02T03:04:05Z", kSmallName, ""};
  }
  std::vector<Metric> metrics() const override {
    return {{"shmrec_runs", "Runs\nby \\ state.", false, "state", {{"a\"b\\c\nd", 1.5}}},
            {"shmrec_bundles_total", "Bundles made.", true, "", {{"", 12345678901.0}}},
            {"not a name", "Left out.", true, "", {{"", 1}}}};
  }

  std::atomic<bool> busy_{false};
  std::atomic<bool> throws_{false};
  BundleRequest asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  const TempDir& dir_;
  mutable std::mutex mutex_;
  std::map<std::string, BundleInfo> bundles_;
  BundleRequest asked_;
  Health health_{true, true, ""};
};

struct Response {
  int status = 0;                              // 0: the connection ended without one
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool whole = false;  // as many bytes as announced
};

// A blocking client. Every wait ends after 20 s.
class Wire {
 public:
  explicit Wire(const std::string& address, int receive_buffer = 0) {
    const auto parsed = parse_address(address);
    const bool is_unix = !parsed->unix_path.empty();
    fd_.reset(socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval timeout{20, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    if (receive_buffer)
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    connected_ = is_unix ? connect_unix(parsed->unix_path) : connect_tcp(parsed->port);
  }

  bool connected() const { return connected_; }
  bool send(const std::string& bytes) {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t sent =
          ::send(fd_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
      if (sent <= 0) return false;
      done += static_cast<size_t>(sent);
    }
    return true;
  }
  ssize_t receive(char* to, size_t bytes) { return recv(fd_.get(), to, bytes, 0); }
  // Reads one byte or the end. True: the end.
  bool at_end() {
    char byte;
    return buffer_.empty() && receive(&byte, 1) <= 0;
  }
  void close() { fd_.reset(); }

  Response read_head() {
    Response response;
    while (buffer_.find("\r\n\r\n") == std::string::npos)
      if (!fill()) return response;
    size_t at = buffer_.find("\r\n");
    response.status = std::atoi(buffer_.substr(9, 3).c_str());
    for (at += 2; buffer_.compare(at, 2, "\r\n") != 0;) {
      const size_t end = buffer_.find("\r\n", at), colon = buffer_.find(':', at);
      std::string name = buffer_.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), ::tolower);
      response.headers[name] = buffer_.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    buffer_.erase(0, at + 2);
    return response;
  }
  Response read_response(bool without_body = false) {
    Response response = read_head();
    const size_t length = without_body || !response.headers.contains("content-length")
                              ? 0
                              : std::stoul(response.headers["content-length"]);
    while (buffer_.size() < length && fill()) {
    }
    response.body = buffer_.substr(0, length);
    response.whole = response.body.size() == length;
    buffer_.erase(0, response.body.size());
    return response;
  }
  std::string& buffer() { return buffer_; }

 private:
  bool fill() {
    char piece[65536];
    const ssize_t got = receive(piece, sizeof piece);
    if (got > 0) buffer_.append(piece, static_cast<size_t>(got));
    return got > 0;
  }
  bool connect_unix(const std::string& path) {
    sockaddr_un name{.sun_family = AF_UNIX};
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    return connect(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  }
  bool connect_tcp(uint16_t port) {
    sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  }

  UniqueFd fd_;
  bool connected_ = false;
  std::string buffer_;
};

// The head of a request with the token. `more`: header lines, each with its CRLF.
inline std::string head(const std::string& method, const std::string& target,
                        const std::string& more = "") {
  return method + " " + target + " HTTP/1.1\r\nHost: sidecar\r\n" + kAuthorization + more + "\r\n";
}

inline std::string post(const std::string& body, const std::string& type = "application/json") {
  return head("POST", "/v1/bundles",
              "Content-Type: " + type + "\r\nContent-Length: " + std::to_string(body.size()) +
                  "\r\n") +
         body;
}

inline Response ask(const std::string& address, const std::string& bytes) {
  Wire wire(address);
  wire.send(bytes);
  return wire.read_response(bytes.starts_with("HEAD "));
}

class HttpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.listen = "127.0.0.1:0";
    options_.token_file = dir_.write("token", kToken + "\n");
  }
  void TearDown() override {
    if (server_) server_->stop();
  }
  void start() {
    auto started = ArtefactServer::start(service_, options_);
    ASSERT_TRUE(started.ok()) << started.error().message;
    server_ = std::move(*started);
  }
  Response ask(const std::string& bytes) { return sidecar::ask(server_->address(), bytes); }
  double metric(const std::string& name, const std::string& label = "") const {
    for (const Metric& metric : server_->metrics())
      for (const auto& [value_label, value] : metric.values)
        if (metric.name == "shmrec_artefact_" + name && value_label == label) return value;
    return -1;
  }

  TempDir dir_;
  FakeService service_{dir_};
  ArtefactOptions options_;
  std::unique_ptr<ArtefactServer> server_;
};

}  // namespace shmrec::sidecar
