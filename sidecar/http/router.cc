#include "sidecar/http/router.h"

#include <strings.h>

#include <algorithm>
#include <string_view>

namespace shmrec::sidecar {
namespace {

bool is_parameter(std::string_view segment) { return segment.starts_with('{'); }

// The parameter, "" if there is none, or nothing if the path is another.
std::optional<std::string> match_path(std::string_view pattern,
                                      const std::vector<std::string>& segments) {
  std::string parameter;
  for (const std::string& segment : segments) {
    if (pattern.empty()) return {};
    pattern.remove_prefix(1);
    const size_t end = std::min(pattern.find('/'), pattern.size());
    const std::string_view wanted = pattern.substr(0, end);
    pattern.remove_prefix(end);
    if (is_parameter(wanted)) {
      if (segment.empty()) return {};
      parameter = segment;
    } else if (segment != wanted) {
      return {};
    }
  }
  if (!pattern.empty()) return {};
  return parameter;
}

bool same_method(const Route& route, const std::string& method) {
  return method == route.method || (method == "HEAD" && std::string_view(route.method) == "GET");
}

Reply method_not_allowed(const std::vector<std::string>& allowed) {
  std::string list;
  for (const std::string& method : allowed) list += (list.empty() ? "" : ", ") + method;
  Reply reply = problem(405, "This path takes " + list + ".");
  reply.headers.emplace_back("Allow", list);
  return reply;
}

void allow(const Route& route, std::vector<std::string>& allowed) {
  const auto add = [&](const std::string& method) {
    if (std::find(allowed.begin(), allowed.end(), method) == allowed.end())
      allowed.push_back(method);
  };
  add(route.method);
  if (std::string_view(route.method) == "GET") add("HEAD");
}

bool is_json(const std::optional<std::string>& type) {
  constexpr std::string_view kJson = "application/json";
  return type && strncasecmp(type->c_str(), kJson.data(), kJson.size()) == 0 &&
         (type->size() == kJson.size() || (*type)[kJson.size()] == ';' ||
          (*type)[kJson.size()] == ' ');
}

std::optional<Reply> refuse_body(const Route& route, const RequestHead& head, uint64_t limit) {
  if (head.content_bytes > limit)
    return problem(413, "A body has at most " + std::to_string(limit) + " bytes.");
  if (head.content_bytes == 0) return {};
  if (!route.takes_json) return problem(400, "This request takes no body.");
  if (!is_json(head.header("content-type")))
    return problem(415, "The body must be of Content-Type application/json.");
  if (head.headers.contains("content-encoding"))
    return problem(415, "The body must not be encoded.");
  return {};
}

}  // namespace

Routed find_route(const std::vector<Route>& routes, const RequestHead& head, uint64_t body_limit) {
  std::vector<std::string> allowed;
  for (const Route& route : routes) {
    auto parameter = match_path(route.path, head.segments);
    if (!parameter) continue;
    if (same_method(route, head.method))
      return {{&route, std::move(*parameter)}, refuse_body(route, head, body_limit)};
    allow(route, allowed);
  }
  if (allowed.empty()) return {{}, problem(404, "There is nothing at this path.")};
  return {{}, method_not_allowed(allowed)};
}

}  // namespace shmrec::sidecar
