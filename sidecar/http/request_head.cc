#include "sidecar/http/request_head.h"

#include <algorithm>
#include <charconv>

namespace shmrec::sidecar {
namespace {

constexpr std::string_view kTokenMarks = "!#$%&'*+-.^_`|~";
// Others are refused before anybody looks at the path.
constexpr std::string_view kMethods[] = {"GET",    "HEAD",  "POST",   "PUT",
                                         "DELETE", "PATCH", "OPTIONS"};
// Headers of which a second one would leave open which counts.
constexpr const char* kSingle[] = {"host",  "content-length", "content-type",
                                   "range", "if-range",       "authorization"};

bool is_alphanumeric(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || kTokenMarks.find(c) != std::string_view::npos;
  });
}
bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
std::string lowered(std::string_view text) {
  std::string made(text);
  std::transform(made.begin(), made.end(), made.begin(), lower);
  return made;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Refusal bad(std::string detail) { return {400, std::move(detail)}; }

std::optional<Refusal> decode_segment(std::string_view text, std::string& segment) {
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return bad("The path has a % without two hexadecimal digits.");
      c = static_cast<char>(high << 4 | low);
      i += 2;
    }
    if (c == '/' || c == '\\' || (c >= 0 && c < 0x20) || c == 0x7f)
      return bad("The path has a backslash, an escaped slash or a control character.");
    segment += c;
  }
  if (segment == "." || segment == "..") return bad("The path has a segment . or .. in it.");
  return {};
}

std::optional<Refusal> parse_request_line(std::string_view line, const HeadLimits& limits,
                                          RequestHead& head) {
  const size_t method_end = line.find(' ');
  const size_t target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || target_end == method_end)
    return bad("The request line is not METHOD TARGET HTTP/1.1.");
  const std::string_view method = line.substr(0, method_end);
  const std::string_view target = line.substr(method_end + 1, target_end - method_end - 1);
  const std::string_view version = line.substr(target_end + 1);
  if (!is_token(method)) return bad("The method has characters that no method has.");
  if (!version.starts_with("HTTP/")) return bad("The request line does not end in HTTP/1.1.");
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return Refusal{505, "This server speaks HTTP/1.1 and HTTP/1.0."};
  if (target.size() > limits.target_bytes)
    return Refusal{414,
                   "The target is longer than " + std::to_string(limits.target_bytes) + " bytes."};
  head.method = method;
  head.keep_alive = version == "HTTP/1.1";
  if (std::find(std::begin(kMethods), std::end(kMethods), method) == std::end(kMethods))
    return Refusal{501, "No path of this server has this method."};
  return parse_target(target, head);
}

std::optional<Refusal> parse_header(std::string_view line, RequestHead& head) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
    return bad("A header line is not NAME: VALUE.");
  const std::string_view value = trimmed(line.substr(colon + 1));
  for (const char c : value)
    if ((c >= 0 && c < 0x20 && c != '\t') || c == 0x7f)
      return bad("A header value has a control character.");
  head.headers.emplace(lowered(line.substr(0, colon)), value);
  return {};
}

std::optional<Refusal> read_framing(bool host_needed, RequestHead& head) {
  for (const char* const name : kSingle)
    if (head.headers.count(name) > 1)
      return bad(std::string("There is more than one ") + name + ".");
  if (host_needed && !head.headers.contains("host")) return bad("There is no Host header.");
  if (head.headers.contains("transfer-encoding"))
    return Refusal{411, "A body needs Content-Length; Transfer-Encoding is not taken."};
  if (const auto length = head.header("content-length")) {
    const auto [stop, error] =
        std::from_chars(length->data(), length->data() + length->size(), head.content_bytes);
    if (length->empty() || error != std::errc{} || stop != length->data() + length->size())
      return bad("Content-Length is no number.");
    head.has_body = true;
  }
  return {};
}

void read_wishes(RequestHead& head) {
  const auto [first, last] = head.headers.equal_range("connection");
  for (auto at = first; at != last; ++at) {
    const std::string wish = lowered(at->second);
    if (wish.find("close") != std::string::npos) head.keep_alive = false;
  }
  const auto expect = head.header("expect");
  head.expects_continue = expect && lowered(*expect) == "100-continue";
}

}  // namespace

std::optional<std::string> RequestHead::header(const std::string& name) const {
  const auto [first, last] = headers.equal_range(name);
  if (first == last || std::next(first) != last) return {};
  return first->second;
}

std::optional<Refusal> parse_target(std::string_view target, RequestHead& head) {
  // Clients of a proxy send http://HOST/PATH; servers must take it.
  if (lowered(target.substr(0, 7)) == "http://") {
    const size_t slash = target.find('/', 7);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  if (!target.starts_with('/')) return bad("The target does not start with a slash.");
  if (!std::all_of(target.begin(), target.end(), is_visible))
    return bad("The target has a space, a control character or a byte above 126.");
  std::string_view path = target.substr(0, target.find_first_of("?#"));
  head.path = path;
  head.segments.clear();
  while (!path.empty()) {
    path.remove_prefix(1);
    const size_t end = std::min(path.find('/'), path.size());
    if (auto refusal = decode_segment(path.substr(0, end), head.segments.emplace_back()))
      return refusal;
    path.remove_prefix(end);
  }
  return {};
}

std::optional<Refusal> parse_head(std::string_view text, const HeadLimits& limits,
                                  RequestHead& head) {
  bool first = true;
  size_t headers = 0;
  while (true) {
    const size_t end = text.find("\r\n");
    if (end == std::string_view::npos) return bad("The head does not end in an empty line.");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
      return bad("The head has a CR, LF or NUL inside a line.");
    if (first) {
      if (auto refusal = parse_request_line(line, limits, head)) return refusal;
      first = false;
      continue;
    }
    if (line.empty()) break;
    if (++headers > limits.headers)
      return Refusal{431, "There are more than " + std::to_string(limits.headers) + " headers."};
    if (auto refusal = parse_header(line, head)) return refusal;
  }
  if (!text.empty()) return bad("There is something behind the empty line.");
  const bool is_1_1 = head.keep_alive;
  read_wishes(head);
  return read_framing(is_1_1, head);
}

}  // namespace shmrec::sidecar
