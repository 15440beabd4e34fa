// Routes of a port as a table, and what all of them share: 404, 405 with Allow, and bodies.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sidecar/http/reply.h"
#include "sidecar/http/request_head.h"

namespace shmrec::sidecar {

// HEAD is answered wherever GET is; a row says so only where it is a promise of its own.
struct Route {
  const char* method;
  const char* path;  // "/v1/bundles/{name}/content": a segment in braces matches any one segment
  bool takes_json = false;
};

struct Match {
  const Route* route = nullptr;
  std::string parameter;  // what stands for the segment in braces; routes have at most one
};

// The route of a request, or the reply that there is none or that its body cannot be taken.
struct Routed {
  Match match;
  std::optional<Reply> refusal;
};
Routed find_route(const std::vector<Route>& routes, const RequestHead& head, uint64_t body_limit);

}  // namespace shmrec::sidecar
