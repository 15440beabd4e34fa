// Asks the artefact server of the sidecar in this container, as its configuration says: for
// `kubectl exec`, where there is neither curl nor a shell.
#pragma once

#include <cstdio>
#include <string>

#include "base/result.h"
#include "sidecar/config.h"

namespace shmrec::sidecar {

struct ClientRequest {
  std::string method, path, body;
};

// Writes the body to `out` as it comes, or that of an error to `err`. The HTTP status.
Result<int> send_request(const Config& config, const ClientRequest& request, FILE* out, FILE* err);

}  // namespace shmrec::sidecar
