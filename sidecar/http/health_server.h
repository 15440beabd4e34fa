// The health server: probes and metrics for whoever reaches the port, so no content of workloads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sidecar/http/router.h"
#include "sidecar/http/server.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

struct HealthOptions {
  std::string listen = "0.0.0.0:7071";
  std::function<std::vector<Metric>()> more_metrics;  // of the artefact server; from any thread
  // Whoever reaches the port may hold connections, and a kubelet waits for a second: a response
  // fits into a socket's buffer, so who is not done with it soon holds on to it.
  ServerLimits limits{.body_bytes = 0,
                      .speak = std::chrono::milliseconds(50),
                      .answer = std::chrono::milliseconds(500)};
};

class HealthSite;

class HealthServer {
 public:
  // `service` is borrowed until stop().
  static Result<std::unique_ptr<HealthServer>> start(Service& service,
                                                     const HealthOptions& options);
  ~HealthServer();
  void stop();
  const std::string& address() const;
  static const std::vector<Route>& routes();

 private:
  HealthServer() = default;
  std::unique_ptr<HealthSite> site_;
  std::unique_ptr<Server> server_;
};

// For an exec probe: asks /healthz of a health server that listens on `address`, prints one line
// (standard output if it is well, else standard error), and returns the exit code, 0 or 1.
int health_probe(const std::string& address);

}  // namespace shmrec::sidecar
