// The artefact and health servers over real sockets: every endpoint, tokens, ranges, bad requests.
#include <nlohmann/json.hpp>
#include <set>

#include "tests/unit/http_fixture.h"

namespace shmrec::sidecar {
namespace {

using nlohmann::json;

const std::string kContentPath = "/v1/bundles/" + kSmallName + "/content";

// A problem says its status in the body too, and something for a person.
void expect_problem(const Response& response, int status) {
  EXPECT_EQ(response.status, status) << response.body;
  ASSERT_EQ(response.headers.at("content-type"), "application/problem+json");
  const json body = json::parse(response.body);
  EXPECT_EQ(body.at("status"), status);
  EXPECT_EQ(body.at("type"), "about:blank");
  EXPECT_FALSE(body.at("title").get<std::string>().empty());
  EXPECT_FALSE(body.at("detail").get<std::string>().empty());
}

TEST_F(HttpTest, InfoProcessesAndBundlesAreListed) {
  start();
  const json info = json::parse(ask(head("GET", "/v1/info")).body);
  EXPECT_EQ(info.at("spool"), "/spool");
  const json processes = json::parse(ask(head("GET", "/v1/processes?x=y")).body).at("processes");
  EXPECT_EQ(processes.at(0).at("name"),
            "a\uFFFD"
            "b")
      << "bytes that are no UTF-8 are replaced";
  EXPECT_EQ(processes.at(0).at("signal"), 6);
  EXPECT_FALSE(processes.at(0).contains("exitCode"));
  const Response bundles = ask(head("GET", "/v1/bundles"));
  EXPECT_EQ(bundles.headers.at("content-type"), "application/json");
  EXPECT_EQ(json::parse(bundles.body).at("bundles").at(0).at("name"), kSmallName);
  EXPECT_EQ(json::parse(ask(head("GET", "/v1/bundles/" + kSmallName)).body).at("bytes"), 10);
  expect_problem(ask(head("GET", "/v1/bundles/other")), 404);
}

TEST_F(HttpTest, ABundleIsDownloadedWithItsNameAndSum) {
  start();
  const Response whole = ask(head("GET", kContentPath));
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, "0123456789");
  EXPECT_EQ(whole.headers.at("content-type"), "application/zstd");
  EXPECT_EQ(whole.headers.at("etag"), "\"" + std::string(64, 'a') + "\"");
  EXPECT_EQ(whole.headers.at("content-disposition"), "attachment; filename=\"" + kSmallName + "\"");
  EXPECT_EQ(whole.headers.at("accept-ranges"), "bytes");
  EXPECT_TRUE(whole.headers.at("date").ends_with(" GMT"));
  service_.add("empty", "");
  const Response empty = ask(head("GET", "/v1/bundles/empty/content"));
  EXPECT_EQ(empty.status, 200);
  EXPECT_EQ(empty.headers.at("content-length"), "0");
}

TEST_F(HttpTest, HeadGivesTheSizeAndNoBody) {
  start();
  Wire wire(server_->address());
  wire.send(head("HEAD", kContentPath, "Range: bytes=1-2\r\n") + head("HEAD", "/v1/info") +
            head("GET", kContentPath));
  const Response response = wire.read_response(true);
  EXPECT_EQ(response.status, 200) << "a range counts for GET alone";
  EXPECT_EQ(response.headers.at("content-length"), "10");
  EXPECT_TRUE(response.headers.contains("etag"));
  EXPECT_EQ(wire.read_response(true).status, 200);
  EXPECT_EQ(wire.read_response().body, "0123456789") << "nothing of a body was in between";
}

struct RangeRequest {
  const char* headers;
  int status;
  const char* body;
  const char* content_range;
};

TEST_F(HttpTest, RangesAreServed) {
  start();
  const std::string tag = "\"" + std::string(64, 'a') + "\"";
  const std::string same = "Range: bytes=1-2\r\nIf-Range: " + tag + "\r\n";
  const RangeRequest requests[] = {
      {"Range: bytes=2-4\r\n", 206, "234", "bytes 2-4/10"},
      {"Range: bytes=-2\r\n", 206, "89", "bytes 8-9/10"},
      {"Range: bytes=9-\r\n", 206, "9", "bytes 9-9/10"},
      {"Range: bytes=0-1,4-5\r\n", 200, "0123456789", ""},
      {same.c_str(), 206, "12", "bytes 1-2/10"},
      {"Range: bytes=1-2\r\nIf-Range: \"other\"\r\n", 200, "0123456789", ""},
      {"Range: bytes=1-2\r\nIf-Range: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 200, "0123456789", ""},
  };
  for (const RangeRequest& request : requests) {
    SCOPED_TRACE(request.headers);
    Response response = ask(head("GET", kContentPath, request.headers));
    EXPECT_EQ(response.status, request.status);
    EXPECT_EQ(response.body, request.body);
    EXPECT_EQ(response.headers["content-range"], request.content_range);
  }
  const Response beyond = ask(head("GET", kContentPath, "Range: bytes=10-\r\n"));
  expect_problem(beyond, 416);
  EXPECT_EQ(beyond.headers.at("content-range"), "bytes */10");
}

TEST_F(HttpTest, ABundleIsRemovedOnce) {
  start();
  const Response removed = ask(head("DELETE", "/v1/bundles/" + kSmallName));
  EXPECT_EQ(removed.status, 204);
  EXPECT_FALSE(removed.headers.contains("content-length"));
  EXPECT_FALSE(removed.headers.contains("content-type"));
  expect_problem(ask(head("DELETE", "/v1/bundles/" + kSmallName)), 404);
  expect_problem(ask(head("GET", kContentPath)), 404);
}

TEST_F(HttpTest, ABundleIsMadeAsAnOperation) {
  start();
  const Response begun = ask(post(R"({"run": "app-1", "trigger": "by hand"})"));
  EXPECT_EQ(begun.status, 202);
  EXPECT_EQ(begun.headers.at("location"), "/v1/operations/op-1");
  EXPECT_EQ(json::parse(begun.body).at("state"), "running");
  EXPECT_EQ(service_.asked().run, "app-1");
  EXPECT_EQ(service_.asked().trigger, "by hand");
  const json operation = json::parse(ask(head("GET", "/v1/operations/op-1")).body);
  EXPECT_EQ(operation.at("state"), "succeeded");
  EXPECT_EQ(operation.at("bundle"), kSmallName);
  expect_problem(ask(head("GET", "/v1/operations/op-2")), 404);

  EXPECT_EQ(ask(head("POST", "/v1/bundles")).status, 202) << "a body is optional";
  EXPECT_EQ(service_.asked().run, "");
  EXPECT_EQ(service_.asked().trigger, "on demand");
}

TEST_F(HttpTest, ABusyServiceAnswers429) {
  service_.busy_ = true;
  start();
  const Response busy = ask(post("{}"));
  expect_problem(busy, 429);
  EXPECT_GE(std::stoi(busy.headers.at("retry-after")), 1);
}

TEST_F(HttpTest, BodiesThatAreNoRequestAreRefusedWithWhatWasExpected) {
  start();
  for (const char* const body :
       {"{", "[]", R"({"rum": "a"})", R"({"run": 1})", R"({"trigger": "a\nb"})", "nonsense"}) {
    SCOPED_TRACE(body);
    const Response response = ask(post(body));
    expect_problem(response, 400);
    EXPECT_NE(response.body.find("must be a JSON object"), std::string::npos);
  }
  expect_problem(ask(post(R"({"trigger": ")" + std::string(300, 'a') + "\"}")), 400);
  expect_problem(ask(post(R"({"run": "unknown"})")), 400);
  expect_problem(ask(post("{}", "text/plain")), 415);
  expect_problem(ask(post("{}", "application/jsonx")), 415);
  EXPECT_EQ(ask(post("{}", "application/json; charset=utf-8")).status, 202);
  expect_problem(ask(head("POST", "/v1/bundles",
                          "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
                          "Content-Length: 2\r\n") +
                     "{}"),
                 415);
  expect_problem(ask(post(std::string(64 * 1024 + 1, ' '))), 413);
  EXPECT_EQ(ask(post("{}" + std::string(64 * 1024 - 2, ' '))).status, 202);
  expect_problem(ask(head("POST", "/v1/bundles", "Content-Length: 99999999999\r\n")), 413);
  expect_problem(ask(head("GET", "/v1/info", "Content-Length: 2\r\n") + "{}"), 400);
}

TEST_F(HttpTest, ABodyOfOneRequestIsNeverTheNext) {
  start();
  Wire wire(server_->address());
  const std::string hidden = head("DELETE", "/v1/bundles/" + kSmallName);
  wire.send(head("GET", "/v1/info", "Content-Length: " + std::to_string(hidden.size()) + "\r\n") +
            hidden);
  expect_problem(wire.read_response(), 400);
  EXPECT_TRUE(wire.at_end());
  EXPECT_EQ(service_.bundles().size(), 1u);
}

TEST_F(HttpTest, ExpectedContinueIsSent) {
  start();
  Wire wire(server_->address());
  wire.send(
      head("POST", "/v1/bundles",
           "Content-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ(wire.read_head().status, 100);
  wire.send("{}");
  EXPECT_EQ(wire.read_response().status, 202);
}

TEST_F(HttpTest, OtherMethodsAndPathsAreToldWhatThereIs) {
  start();
  for (const char* const path :
       {"/", "/v1", "/v1/info/", "/v1/bundles/", "/v2/info", "//v1/info", "/v1/bundles//content"})
    expect_problem(ask(head("GET", path)), 404);
  const Response info = ask(head("DELETE", "/v1/info"));
  expect_problem(info, 405);
  EXPECT_EQ(info.headers.at("allow"), "GET, HEAD");
  const Response bundles = ask(head("PUT", "/v1/bundles"));
  expect_problem(bundles, 405);
  EXPECT_EQ(bundles.headers.at("allow"), "GET, HEAD, POST");
  EXPECT_EQ(ask(head("OPTIONS", "/v1/bundles/a")).headers.at("allow"), "GET, HEAD, DELETE");
  expect_problem(ask(head("TRACE", "/v1/info")), 501);
}

TEST_F(HttpTest, BadRequestsAreRefusedAndTheConnectionEnds) {
  start();
  const std::pair<std::string, int> requests[] = {
      {"\x16\x03\x01\x02\x05garbage", 400},
      {"hello\r\n\r\n", 400},
      {"GET /v1/info HTTP/1.1\r\n" + kAuthorization + "\r\n", 400},
      {head("GET", "/v1/bundles/..%2f..%2fetc%2fpasswd/content"), 400},
      {head("GET", "/v1/bundles/../../etc/passwd"), 400},
      {head("GET", "/v1/bundles/a%00b"), 400},
      {head("GET", std::string("/v1/bundles/a\0b", 15)), 400},
      {head("GET", "/v1/bundles/" + std::string(5000, 'a')), 414},
      {head("GET", "/v1/info", "X: " + std::string(20000, 'a') + "\r\n"), 431},
      {head("POST", "/v1/bundles", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", 411},
  };
  for (const auto& [bytes, status] : requests) {
    SCOPED_TRACE(bytes.substr(0, 60));
    Wire wire(server_->address());
    wire.send(bytes);
    expect_problem(wire.read_response(), status);
    EXPECT_TRUE(wire.at_end());
  }
  std::string many;
  for (int i = 0; i < 100; i++) many += "X" + std::to_string(i) + ": a\r\n";
  expect_problem(ask(head("GET", "/v1/info", many)), 431);
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200) << "and the server goes on";
}

TEST_F(HttpTest, AnExceptionOfTheServiceIsA500WithoutItsText) {
  service_.throws_ = true;
  start();
  const Response response = ask(post("{}"));
  expect_problem(response, 500);
  EXPECT_EQ(response.body.find("secret"), std::string::npos);
  for (const auto& [name, value] : response.headers)
    EXPECT_EQ(value.find("secret"), std::string::npos) << name;
}

TEST_F(HttpTest, ConnectionsAreKeptAndRequestsMayBePipelined) {
  start();
  Wire wire(server_->address());
  wire.send(post("{}") + "\r\n" + head("GET", "/v1/info") + head("GET", kContentPath) +
            head("GET", "/v1/info", "Connection: close\r\n"));
  for (const int status : {202, 200, 200, 200}) EXPECT_EQ(wire.read_response().status, status);
  EXPECT_TRUE(wire.at_end());
  Wire old(server_->address());
  old.send("GET /v1/info HTTP/1.0\r\n" + kAuthorization + "\r\n");
  EXPECT_EQ(old.read_response().status, 200);
  EXPECT_TRUE(old.at_end());
}

TEST_F(HttpTest, WithoutTheTokenNothingIsShown) {
  start();
  const std::string get = "GET /v1/info HTTP/1.1\r\nHost: a\r\n";
  const Response none = ask(get + "\r\n");
  expect_problem(none, 401);
  EXPECT_EQ(none.headers.at("www-authenticate"), "Bearer realm=\"shmrec\"");
  for (const std::string& value :
       {"Bearer " + kToken + "x", "Bearer " + kToken.substr(1), std::string("Bearer"),
        std::string("Bearer "), "Basic " + kToken, kToken, "Bearer " + kToken + " " + kToken}) {
    SCOPED_TRACE(value);
    const Response wrong = ask(get + "Authorization: " + value + "\r\n\r\n");
    expect_problem(wrong, 401);
    EXPECT_NE(wrong.headers.at("www-authenticate").find("invalid_token"), std::string::npos);
  }
  EXPECT_EQ(ask("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").status, 401) << "nor which paths exist";
  EXPECT_EQ(ask("PUT /v1/info HTTP/1.1\r\nHost: a\r\n\r\n").status, 401);
  EXPECT_EQ(ask("GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n").status, 401);
  EXPECT_EQ(ask(get + "authorization: bEARER " + kToken + "\r\n\r\n").status, 200);
  expect_problem(ask(get + kAuthorization + kAuthorization + "\r\n"), 400);
}

TEST_F(HttpTest, ARotatedTokenCountsAtOnce) {
  start();
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200);
  dir_.write("token", "another\r\n");
  expect_problem(ask(head("GET", "/v1/info")), 401);
  EXPECT_EQ(ask("GET /v1/info HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer another\r\n\r\n").status,
            200);
  dir_.write("token", "\n");
  expect_problem(ask(head("GET", "/v1/info")), 503);
  EXPECT_EQ(ask("GET /v1/info HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \r\n\r\n").status, 503);
  dir_.write("token", "two words\n");
  expect_problem(ask(head("GET", "/v1/info")), 503);
  std::filesystem::remove(dir_.file("token"));
  expect_problem(ask(head("GET", "/v1/info")), 503);
  ASSERT_EQ(mkfifo(dir_.file("token").c_str(), 0600), 0);
  expect_problem(ask(head("GET", "/v1/info")), 503);
  std::filesystem::remove(dir_.file("token"));
  dir_.write("token", kToken, 0644);
  EXPECT_EQ(ask(head("GET", "/v1/info")).status, 200) << "no newline at the end; a warning";
}

TEST_F(HttpTest, AUnixSocketServesAndGoesWithTheServer) {
  options_.listen = "unix:" + dir_.file("http.sock");
  options_.no_auth = true;
  start();
  EXPECT_EQ(server_->address(), options_.listen);
  EXPECT_EQ(ask("GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
  EXPECT_EQ(ask("GET " + kContentPath + " HTTP/1.0\r\n\r\n").body, "0123456789");
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(dir_.file("http.sock")));
}

TEST_F(HttpTest, WithoutATokenWebPagesAreRefused) {
  options_.no_auth = true;
  start();
  const std::string get = "GET /v1/info HTTP/1.1\r\nHost: ";
  for (const char* const host : {"localhost:7070", "127.0.0.1:7070", "[::1]:7070", "localhost"})
    EXPECT_EQ(ask(get + host + "\r\n\r\n").status, 200) << host;
  for (const char* const host : {"example.org", "localhost.example.org", "127.0.0.1.example.org",
                                 "[::1", "", "10.0.0.1:7070"})
    expect_problem(ask(get + host + "\r\n\r\n"), 403);
  expect_problem(ask(get + "localhost\r\nOrigin: null\r\n\r\n"), 403);
}

TEST_F(HttpTest, RequestsAreCountedByClass) {
  start();
  ask(head("GET", "/v1/info"));
  ask(head("GET", "/v1/info"));
  ask(head("GET", "/none"));
  service_.throws_ = true;
  ask(post("{}"));
  server_->stop();  // the counting comes after the response
  EXPECT_EQ(metric("requests_total", "2xx"), 2);
  EXPECT_EQ(metric("requests_total", "4xx"), 1);
  EXPECT_EQ(metric("requests_total", "5xx"), 1);
  EXPECT_EQ(metric("connections_total"), 4);
  EXPECT_EQ(metric("connections"), 0);
  EXPECT_GT(metric("sent_bytes_total"), 500);
}

// The schema, with $ref followed.
const json& resolve(const json& document, const json& node) {
  if (!node.contains("$ref")) return node;
  return document.at(json::json_pointer(node.at("$ref").get<std::string>().substr(1)));
}

bool has_type(const json& value, const std::string& type) {
  return type == "object"    ? value.is_object()
         : type == "array"   ? value.is_array()
         : type == "string"  ? value.is_string()
         : type == "integer" ? value.is_number_integer()
         : type == "boolean" ? value.is_boolean()
                             : false;
}

void expect_schema(const json& document, const json& node, const json& value) {
  const json& schema = resolve(document, node);
  ASSERT_TRUE(has_type(value, schema.at("type"))) << value << "\n" << schema;
  if (schema.contains("enum")) {
    EXPECT_EQ(std::count(schema["enum"].begin(), schema["enum"].end(), value), 1) << value;
  }
  for (const json& name : schema.value("required", json::array()))
    EXPECT_TRUE(value.contains(name.get<std::string>())) << name << " in " << value;
  if (schema.contains("items"))
    for (const json& item : value) expect_schema(document, schema["items"], item);
  if (schema.contains("properties") && !schema["properties"].empty() && schema.contains("required"))
    for (const auto& [name, member] : value.items()) {
      if (name == "info" || name == "security" || name == "components") continue;  // OpenAPI's own
      ASSERT_TRUE(schema["properties"].contains(name)) << name << " is not described";
      expect_schema(document, schema["properties"][name], member);
    }
}

void expect_described(const json& document, const json& operation, const Response& response,
                      bool is_head) {
  const json& responses = operation.at("responses");
  ASSERT_TRUE(responses.contains(std::to_string(response.status))) << response.status;
  const json& described = resolve(document, responses[std::to_string(response.status)]);
  const json headers = described.value("headers", json::object());
  for (const auto& [name, header] : headers.items()) {
    std::string lower = name;
    std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
    EXPECT_TRUE(response.headers.contains(lower)) << name;
  }
  if (is_head || !described.contains("content")) return;
  const auto content = described["content"].begin();
  EXPECT_EQ(response.headers.at("content-type"), content.key());
  if (content.key() != "application/zstd")
    expect_schema(document, content.value().at("schema"), json::parse(response.body));
}

std::string with_parameters(std::string path) {
  const std::pair<std::string, std::string> values[] = {{"{name}", kSmallName}, {"{id}", "op-1"}};
  for (const auto& [name, value] : values)
    if (const size_t at = path.find(name); at != std::string::npos)
      path.replace(at, name.size(), value);
  return path;
}

TEST_F(HttpTest, TheServerDoesWhatItsOpenApiFileSays) {
  start();
  const json document = json::parse(ask(head("GET", "/v1/openapi.json")).body);
  EXPECT_EQ(document.at("openapi"), "3.1.0");
  std::set<std::string> described, served;
  for (const auto& [path, operations] : document.at("paths").items())
    for (const auto& [lower, operation] : operations.items()) {
      std::string method = lower;
      std::transform(method.begin(), method.end(), method.begin(), ::toupper);
      SCOPED_TRACE(method + " " + path);
      described.insert(method + " " + path);
      service_.add(kSmallName, "0123456789");  // DELETE comes by too
      const Response good = ask(head(method, with_parameters(path)));
      EXPECT_EQ(good.status / 100, 2);
      expect_described(document, operation, good, method == "HEAD");
      const Response stranger =
          sidecar::ask(server_->address(),
                       method + " " + with_parameters(path) + " HTTP/1.1\r\nHost: a\r\n\r\n");
      EXPECT_EQ(stranger.status, 401);
      expect_described(document, operation, stranger, method == "HEAD");
      if (path.find('{') == std::string::npos) continue;
      std::string missing = path;
      missing.replace(missing.find('{'), missing.find('}') - missing.find('{') + 1, "missing");
      const Response unknown = ask(head(method, missing));
      EXPECT_EQ(unknown.status, 404);
      expect_described(document, operation, unknown, method == "HEAD");
    }
  for (const Route& route : ArtefactServer::routes())
    served.insert(std::string(route.method) + " " + route.path);
  EXPECT_EQ(described, served);
  const json& content = document["paths"]["/v1/bundles/{name}/content"]["get"];
  for (const char* const range : {"bytes=1-2", "bytes=99-"})
    expect_described(document, content,
                     ask(head("GET", kContentPath, std::string("Range: ") + range + "\r\n")),
                     false);
  service_.busy_ = true;
  expect_described(document, document["paths"]["/v1/bundles"]["post"], ask(post("{}")), false);
}

class HealthTest : public HttpTest {
 protected:
  void start_health() {
    start();
    HealthOptions options;
    options.listen = "127.0.0.1:0";
    options.more_metrics = [this] { return server_->metrics(); };
    auto started = HealthServer::start(service_, options);
    ASSERT_TRUE(started.ok()) << started.error().message;
    health_ = std::move(*started);
  }
  void TearDown() override {
    health_.reset();
    HttpTest::TearDown();
  }
  Response get(const std::string& path) {
    return sidecar::ask(health_->address(), "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
  }
  std::unique_ptr<HealthServer> health_;
};

TEST_F(HealthTest, ProbesSayWhyNot) {
  start_health();
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/readyz").body, "ok\n");
  service_.set_health({true, false, "the store is\nread-only"});
  EXPECT_EQ(get("/healthz").status, 200);
  const Response ready = get("/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_EQ(ready.body, "the store is read-only\n");
  for (const char* const path : {"/", "/v1/info", "/v1/bundles", "/metrics/x"})
    expect_problem(get(path), 404);
  expect_problem(sidecar::ask(health_->address(), "POST /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
                 405);
}

TEST_F(HealthTest, MetricsAreThoseOfAllParts) {
  start_health();
  ask(head("GET", "/none"));
  get("/healthz");
  const Response metrics = get("/metrics");
  EXPECT_EQ(metrics.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  for (const char* const line :
       {"shmrec_bundles_total 12345678901\n", "# TYPE shmrec_artefact_requests_total counter\n",
        "shmrec_artefact_connections_cut_total{reason=\"slow\"} 0\n",
        "# TYPE shmrec_health_connections gauge\n"})
    EXPECT_NE(metrics.body.find(line), std::string::npos) << line << metrics.body;
  std::set<std::string> names;
  for (size_t at = 0; (at = metrics.body.find("# TYPE ", at)) != std::string::npos; at += 7)
    EXPECT_TRUE(names.insert(metrics.body.substr(at, metrics.body.find(' ', at + 7) - at)).second);
}

// A kubelet's probe waits for a second.
TEST_F(HealthTest, HeldConnectionsDoNotDelayAProbe) {
  start_health();
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
  std::string many;
  for (int i = 0; i < 99; i++) many += request;
  const std::string kinds[] = {"", "GET /healthz HTTP/1.1\r\nHost:", many,
                               std::string(20'000, 'x')};
  std::vector<std::unique_ptr<Wire>> held;
  for (int i = 0; i < 100; i++) {  // more than the limit
    held.push_back(std::make_unique<Wire>(health_->address(), 4096));
    ASSERT_TRUE(held.back()->connected());
    held.back()->send(kinds[i % 4]);
  }
  for (int i = 0; i < 3; i++) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(health_probe(health_->address()), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  }
}

TEST_F(HealthTest, OnlyTroubleIsLogged) {
  std::ostringstream said;
  const SaidTo capture(said);
  start_health();
  get("/healthz");
  get("/none");
  service_.set_health({true, false, "the store is read-only"});
  get("/readyz");
  health_.reset();
  server_->stop();
  server_.reset();
  EXPECT_EQ(said.str().find("/healthz"), std::string::npos) << said.str();
  EXPECT_EQ(said.str().find("/none"), std::string::npos) << said.str();
  EXPECT_NE(said.str().find("GET /readyz 503"), std::string::npos) << said.str();
}

TEST_F(HealthTest, TheProbeIsTheAnswerOfHealthz) {
  start_health();
  EXPECT_EQ(health_probe(health_->address()), 0);
  const std::string port = health_->address().substr(health_->address().rfind(':'));
  EXPECT_EQ(health_probe("0.0.0.0" + port), 0) << "listening everywhere is asked on loopback";
  service_.set_health({false, false, "the collector does not turn"});
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(health_probe(health_->address()), 1);
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("the collector does not turn\n"),
            std::string::npos);
  health_.reset();
  EXPECT_EQ(health_probe("127.0.0.1" + port), 1);
  EXPECT_EQ(health_probe("nonsense"), 1);
}

}  // namespace
}  // namespace shmrec::sidecar
