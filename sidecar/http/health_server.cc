#include "sidecar/http/health_server.h"

#include <algorithm>
#include <atomic>

#include "sidecar/http/prometheus.h"

namespace shmrec::sidecar {
namespace {

Reply text_reply(bool good, const Health& health) {
  std::string line = good ? "ok" : health.reason.empty() ? "not yet" : health.reason;
  if (!health.remark.empty()) line += "; " + health.remark;
  std::replace(line.begin(), line.end(), '\n', ' ');
  return {.status = good ? 200 : 503,
          .type = "text/plain; charset=utf-8",
          .body = line + "\n",
          .headers = {}};
}

}  // namespace

class HealthSite : public Site {
 public:
  HealthSite(Service& service, const HealthOptions& options)
      : service_(service), more_(options.more_metrics) {}
  // Its own counters are among the metrics as soon as it is there.
  void set_server(const Server& server) { server_ = &server; }

  static const std::vector<Route>& routes() {
    static const std::vector<Route> routes = {
        {"GET", "/healthz"}, {"GET", "/readyz"}, {"GET", "/metrics"}};
    return routes;
  }

  std::optional<Reply> refuse(const RequestHead& head) override {
    return find_route(routes(), head, 0).refusal;
  }

  Reply answer(const RequestHead& head, const std::string&) override {
    const std::string& page = head.segments.front();
    if (page == "metrics") return metrics();
    const Health health = service_.health();
    return text_reply(page == "healthz" ? health.live : health.ready, health);
  }

  // Probes come for ever, and so does whatever else reaches the port.
  bool is_logged(int status) const override { return status >= 500; }

 private:
  Reply metrics() const {
    std::vector<Metric> all = service_.metrics();
    const auto add = [&](const std::vector<Metric>& more) {
      all.insert(all.end(), more.begin(), more.end());
    };
    if (more_) add(more_());
    if (const Server* server = server_) add(server->metrics("health"));
    return {.type = kPrometheusType, .body = prometheus_text(all), .headers = {}};
  }

  Service& service_;
  const std::function<std::vector<Metric>()> more_;
  std::atomic<const Server*> server_{nullptr};
};

Result<std::unique_ptr<HealthServer>> HealthServer::start(Service& service,
                                                          const HealthOptions& options) {
  auto listener = Listener::open(options.listen, Listener::Reach::kAnywhere);
  if (!listener) return listener.error();
  std::unique_ptr<HealthServer> made(new HealthServer);
  made->site_ = std::make_unique<HealthSite>(service, options);
  made->server_ =
      std::make_unique<Server>("health", std::move(*listener), *made->site_, options.limits);
  made->site_->set_server(*made->server_);
  return made;
}

HealthServer::~HealthServer() = default;
void HealthServer::stop() { server_->stop(); }
const std::string& HealthServer::address() const { return server_->address(); }
const std::vector<Route>& HealthServer::routes() { return HealthSite::routes(); }

}  // namespace shmrec::sidecar
