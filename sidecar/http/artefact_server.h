// The artefact server: hands out bundles and makes them on request (docs/http.md).
//
// Threads: its own; start and stop from one. Trust: clients are hostile until their token is right,
// and their names never become paths here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sidecar/http/router.h"
#include "sidecar/http/server.h"
#include "sidecar/service.h"

namespace shmrec::sidecar {

struct ArtefactOptions {
  std::string listen = "127.0.0.1:7070";  // or unix:/PATH
  std::string token_file;                 // REQUIRES: not empty, unless no_auth
  bool no_auth = false;                   // only where other machines do not reach
  ServerLimits limits;
};

class ArtefactSite;

class ArtefactServer {
 public:
  // `service` is borrowed until stop().
  static Result<std::unique_ptr<ArtefactServer>> start(Service& service,
                                                       const ArtefactOptions& options);
  ~ArtefactServer();
  void stop();
  const std::string& address() const;
  std::vector<Metric> metrics() const;  // shmrec_artefact_...

  // All that it serves: openapi.json is held against it.
  static const std::vector<Route>& routes();
  static std::string openapi();

 private:
  ArtefactServer() = default;
  std::unique_ptr<ArtefactSite> site_;
  std::unique_ptr<Server> server_;
};

}  // namespace shmrec::sidecar
