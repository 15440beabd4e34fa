#include "sidecar/http/artefact_server.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>

#include "sidecar/http/bearer_token.h"
#include "sidecar/http/byte_range.h"
#include "sidecar/http/views.h"

extern "C" const char shmrec_openapi_begin[], shmrec_openapi_end[];

namespace shmrec::sidecar {
namespace {

constexpr char kBusyRetrySeconds[] = "5";

Reply json_reply(const Json& json, int status = 200) {
  return {.status = status, .type = "application/json", .body = to_text(json), .headers = {}};
}

// The Service calls unknown names bad input; the rest is its own failure.
Reply error_reply(const Error& error, int if_bad_input) {
  return problem(error.bad_input ? if_bad_input : 500, error.message);
}

Reply unauthorized(const char* challenge, const char* detail) {
  Reply reply = problem(401, detail);
  reply.headers.emplace_back("WWW-Authenticate", challenge);
  return reply;
}

// Whether a request comes by way of a browser from a page of another site: such a page can send
// requests to ports of its visitor's machine, and one whose name is made to resolve to 127.0.0.1
// reads the answers too. It has no token; without one, these headers tell.
bool is_from_web_page(const RequestHead& head) {
  if (head.headers.contains("origin")) return true;
  const std::string host = head.header("host").value_or("localhost");
  const std::string name =
      host.substr(0, host.starts_with('[') ? host.find(']') + 1 : host.find(':'));
  const bool is_ipv4 = name.find_first_not_of("0123456789.") == std::string::npos;
  return name != "localhost" && name != "[::1]" && !(is_ipv4 && name.starts_with("127."));
}

// Loopback sounds as if it were private; in a pod it is everybody's.
void warn_of_no_auth(const std::string& address) {
  if (address.starts_with("unix:"))
    return spdlog::warn(
        "artefacts: no authentication: whoever may open {} can read and remove bundles", address);
  spdlog::warn(
      "artefacts: no authentication: all programs of this machine can read and remove every bundle "
      "at "
      "{}; in a pod all its containers can, the recorded ones too; give a token file, or listen on "
      "unix:/PATH in a volume that they do not mount",
      address);
}

// A file name as it may stand in quotes.
std::string quotable(std::string name) {
  for (char& c : name)
    if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) c = '_';
  return name;
}

}  // namespace

class ArtefactSite : public Site {
 public:
  ArtefactSite(Service& service, const ArtefactOptions& options)
      : service_(service), body_limit_(options.limits.body_bytes) {
    if (!options.no_auth) token_ = std::make_unique<BearerToken>(options.token_file);
    if (token_) token_->look();
  }

  static const std::vector<Route>& routes();

  std::optional<Reply> refuse(const RequestHead& head) override {
    // Before the path is looked at: who has no token learns nothing.
    if (auto refusal = refuse_stranger(head)) return refusal;
    return find_route(routes(), head, body_limit_).refusal;
  }

  Reply answer(const RequestHead& head, const std::string& body) override;

 private:
  struct Call {
    const RequestHead& head;
    const std::string& parameter;
    const std::string& body;
  };
  using Handler = Reply (ArtefactSite::*)(const Call&);
  struct Row {
    Route route;
    Handler handler;
  };
  static const Row kRows[];

  std::optional<Reply> refuse_stranger(const RequestHead& head);
  Reply info(const Call&) { return json_reply(view(service_.info())); }
  Reply openapi(const Call&);
  Reply processes(const Call&);
  Reply bundles(const Call&);
  Reply bundle(const Call& call);
  Reply content(const Call& call);
  Reply remove(const Call& call);
  Reply create(const Call& call);
  Reply operation(const Call& call);

  Service& service_;
  const uint64_t body_limit_;
  std::unique_ptr<BearerToken> token_;  // null: no authentication
};

const ArtefactSite::Row ArtefactSite::kRows[] = {
    {{"GET", "/v1/openapi.json"}, &ArtefactSite::openapi},
    {{"GET", "/v1/info"}, &ArtefactSite::info},
    {{"GET", "/v1/processes"}, &ArtefactSite::processes},
    {{"GET", "/v1/bundles"}, &ArtefactSite::bundles},
    {{"POST", "/v1/bundles", true}, &ArtefactSite::create},
    {{"GET", "/v1/bundles/{name}"}, &ArtefactSite::bundle},
    {{"DELETE", "/v1/bundles/{name}"}, &ArtefactSite::remove},
    {{"GET", "/v1/bundles/{name}/content"}, &ArtefactSite::content},
    {{"HEAD", "/v1/bundles/{name}/content"}, &ArtefactSite::content},
    {{"GET", "/v1/operations/{id}"}, &ArtefactSite::operation},
};

const std::vector<Route>& ArtefactSite::routes() {
  static const std::vector<Route> routes = [] {
    std::vector<Route> made;
    for (const Row& row : kRows) made.push_back(row.route);
    return made;
  }();
  return routes;
}

std::optional<Reply> ArtefactSite::refuse_stranger(const RequestHead& head) {
  if (!token_ && is_from_web_page(head))
    return problem(403, "Without a token only Host: localhost and no Origin are taken.");
  if (!token_) return {};
  switch (token_->check(head.header("authorization"))) {
    case BearerToken::Verdict::kAccepted:
      return {};
    case BearerToken::Verdict::kMissing:
      return unauthorized("Bearer realm=\"shmrec\"",
                          "Give the token: Authorization: Bearer TOKEN.");
    case BearerToken::Verdict::kWrong:
      return unauthorized("Bearer realm=\"shmrec\", error=\"invalid_token\"",
                          "The token is not the one in the server's token file.");
    case BearerToken::Verdict::kUnusable:
      break;
  }
  return problem(503, "The server has no token to compare with; its log says why.");
}

Reply ArtefactSite::answer(const RequestHead& head, const std::string& body) {
  const Routed routed = find_route(routes(), head, body_limit_);
  assert(routed.match.route);  // refuse() let it pass
  const auto row = static_cast<size_t>(routed.match.route - routes().data());
  return (this->*kRows[row].handler)({head, routed.match.parameter, body});
}

Reply ArtefactSite::openapi(const Call&) {
  return {.type = "application/json", .body = ArtefactServer::openapi(), .headers = {}};
}

Reply ArtefactSite::processes(const Call&) {
  Json list = Json::array();
  for (const ProcessInfo& process : service_.processes()) list.push_back(view(process));
  return json_reply({{"processes", std::move(list)}});
}

Reply ArtefactSite::bundles(const Call&) {
  Json list = Json::array();
  for (const BundleInfo& bundle : service_.bundles()) list.push_back(view(bundle));
  return json_reply({{"bundles", std::move(list)}});
}

Reply ArtefactSite::bundle(const Call& call) {
  for (const BundleInfo& bundle : service_.bundles())
    if (bundle.name == call.parameter) return json_reply(view(bundle));
  return problem(404, "There is no bundle of this name; GET /v1/bundles lists them.");
}

Reply ArtefactSite::content(const Call& call) {
  auto opened = service_.open_bundle(call.parameter);
  if (!opened) return error_reply(opened.error(), 404);
  const std::string tag = "\"" + opened->sha256 + "\"";
  const std::vector<std::pair<std::string, std::string>> about = {{"ETag", tag},
                                                                  {"Accept-Ranges", "bytes"}};

  // RFC 9110: a range counts for GET alone, and not if the client means another version.
  const auto wanted = call.head.method == "GET" ? call.head.header("range") : std::nullopt;
  const auto if_range = call.head.header("if-range");
  const ByteRange range =
      parse_range(wanted && (!if_range || *if_range == tag) ? *wanted : "", opened->bytes);
  if (range.kind == ByteRange::Kind::kUnsatisfiable) {
    Reply reply = problem(416, "The bundle has " + std::to_string(opened->bytes) + " bytes.");
    reply.headers = about;
    reply.headers.emplace_back("Content-Range", "bytes */" + std::to_string(opened->bytes));
    return reply;
  }
  Reply reply{.type = "application/zstd",
              .headers = about,
              .file = std::move(opened->fd),
              .file_offset = range.offset,
              .file_bytes = range.bytes};
  reply.headers.emplace_back("Content-Disposition",
                             "attachment; filename=\"" + quotable(call.parameter) + "\"");
  if (range.kind == ByteRange::Kind::kPart) {
    reply.status = 206;
    reply.headers.emplace_back("Content-Range", "bytes " + std::to_string(range.offset) + "-" +
                                                    std::to_string(range.offset + range.bytes - 1) +
                                                    "/" + std::to_string(opened->bytes));
  }
  return reply;
}

Reply ArtefactSite::remove(const Call& call) {
  const auto removed = service_.remove_bundle(call.parameter);
  if (!removed) return error_reply(removed.error(), 404);
  return {.status = 204, .headers = {}};
}

Reply ArtefactSite::create(const Call& call) {
  const auto request = parse_bundle_request(call.body);
  if (!request) return problem(400, request.error().message);
  const auto started = service_.start_bundle(*request);
  if (!started) return error_reply(started.error(), 400);
  if (!*started) {
    Reply reply = problem(429, "Too many bundles wait or were asked for; ask again later.");
    reply.headers.emplace_back("Retry-After", kBusyRetrySeconds);
    return reply;
  }
  Reply reply = json_reply(view(**started), 202);
  reply.headers.emplace_back("Location", "/v1/operations/" + (**started).id);
  return reply;
}

Reply ArtefactSite::operation(const Call& call) {
  const auto operation = service_.operation(call.parameter);
  if (!operation) return problem(404, "There is no operation of this ID, or it is long over.");
  return json_reply(view(*operation));
}

Result<std::unique_ptr<ArtefactServer>> ArtefactServer::start(Service& service,
                                                              const ArtefactOptions& options) {
  if (options.token_file.empty() && !options.no_auth)
    return Error{"the artefact server needs a token file; to go without, say so (no-auth)"};
  auto listener = Listener::open(
      options.listen, options.no_auth ? Listener::Reach::kLocalOnly : Listener::Reach::kAnywhere);
  if (!listener) return listener.error();
  if (options.no_auth) warn_of_no_auth(listener->address());
  std::unique_ptr<ArtefactServer> made(new ArtefactServer);
  made->site_ = std::make_unique<ArtefactSite>(service, options);
  made->server_ =
      std::make_unique<Server>("artefacts", std::move(*listener), *made->site_, options.limits);
  return made;
}

ArtefactServer::~ArtefactServer() = default;  // the server stops before its site goes
void ArtefactServer::stop() { server_->stop(); }
const std::string& ArtefactServer::address() const { return server_->address(); }
std::vector<Metric> ArtefactServer::metrics() const { return server_->metrics("artefact"); }
const std::vector<Route>& ArtefactServer::routes() { return ArtefactSite::routes(); }
std::string ArtefactServer::openapi() { return {shmrec_openapi_begin, shmrec_openapi_end}; }

}  // namespace shmrec::sidecar
