// The head of an HTTP/1 request: request line and headers. Boost.Beast reads it; what it takes and
// two readers could understand differently is refused here. libcurl decodes the path's escapes: the
// targets are no whole URLs, and Boost.URL is newer than Debian 12's Boost.
//
// Trust: hostile bytes. Not taken: bare CR or LF, NUL, folded lines, spaces before a colon,
// repeated Content-Length, any Transfer-Encoding, escaped slashes in a path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shmrec::sidecar {

struct HeadLimits {
  size_t bytes = 16 * 1024;
  size_t target_bytes = 4096;
  size_t headers = 64;
};

struct RequestHead {
  std::string method;
  std::string path;                   // as sent, without the query; printable ASCII
  std::vector<std::string> segments;  // of the path, decoded: "/v1/a%20b" is {"v1", "a b"}
  std::multimap<std::string, std::string> headers;  // names in lower case
  uint64_t content_bytes = 0;
  bool keep_alive = true;
  bool expects_continue = false;

  // Its value if it is there once.
  std::optional<std::string> header(const std::string& name) const;
};

// Why a request is refused: an HTTP status, and a sentence for a person.
struct Refusal {
  int status = 400;
  std::string detail;
};

// `text`: everything up to and with the empty line. What could be read before a refusal is in
// `head`.
std::optional<Refusal> parse_head(std::string_view text, const HeadLimits& limits,
                                  RequestHead& head);

// Path and segments from the target of a request line.
std::optional<Refusal> parse_target(std::string_view target, RequestHead& head);

}  // namespace shmrec::sidecar
