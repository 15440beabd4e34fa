#include "sidecar/http/request_head.h"

#include <curl/curl.h>

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cctype>
#include <memory>

namespace shmrec::sidecar {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::empty_body>;

// Others are refused before anybody looks at the path.
constexpr std::string_view kMethods[] = {"GET",    "HEAD",  "POST",   "PUT",
                                         "DELETE", "PATCH", "OPTIONS"};
// Headers of which a second one would leave open which counts.
constexpr const char* kSingle[] = {"host",  "content-length", "content-type",
                                   "range", "if-range",       "authorization"};

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

bool is_visible(char c) { return c > 0x20 && c < 0x7f; }
bool is_control(char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
std::string lowered(std::string_view text) {
  std::string made(text);
  std::transform(made.begin(), made.end(), made.begin(), lower);
  return made;
}

Refusal bad(std::string detail) { return {400, std::move(detail)}; }

// libcurl leaves a % that stands alone as it is.
bool is_escaped_well(std::string_view text) {
  for (size_t at = text.find('%'); at != text.npos; at = text.find('%', at + 1))
    if (at + 2 >= text.size() || !std::isxdigit(text[at + 1]) || !std::isxdigit(text[at + 2]))
      return false;
  return true;
}

// REQUIRES: visible ASCII.
std::optional<Refusal> decode_segment(std::string_view text, std::string& segment) {
  if (text.empty()) return {};  // whose length libcurl would look for
  if (!is_escaped_well(text)) return bad("The path has a % without two hexadecimal digits.");
  int bytes = 0;
  const std::unique_ptr<char, decltype(&curl_free)> decoded(
      curl_easy_unescape(nullptr, text.data(), static_cast<int>(text.size()), &bytes), &curl_free);
  if (decoded == nullptr) return Refusal{503, "There is no memory to read the path."};
  segment.assign(decoded.get(), static_cast<size_t>(bytes));
  const auto is_refused = [](char c) { return c == '/' || c == '\\' || is_control(c); };
  if (std::any_of(segment.begin(), segment.end(), is_refused))
    return bad("The path has a backslash, an escaped slash or a control character.");
  if (segment == "." || segment == "..") return bad("The path has a segment . or .. in it.");
  return {};
}

// Beast calls a target with a space and a line that ends in LF alone a bad version too.
bool is_other_version(std::string_view text) {
  const std::string_view line = text.substr(0, text.find("\r\n"));
  const std::string_view version = line.substr(line.rfind(' ') + 1);
  return version.starts_with("HTTP/") && version != "HTTP/1.1" && version != "HTTP/1.0";
}

// What Beast takes and others may read otherwise.
std::optional<Refusal> judge_headers(const Parser& parser, const HeadLimits& limits,
                                     RequestHead& head) {
  for (const auto& field : parser.get())
    head.headers.emplace(lowered(view(field.name_string())), view(field.value()));
  if (head.headers.size() > limits.headers)
    return Refusal{431, "There are more than " + std::to_string(limits.headers) + " headers."};
  for (const char* const name : kSingle)
    if (head.headers.count(name) > 1)
      return bad(std::string("There is more than one ") + name + ".");
  if (parser.get().version() == 11 && !head.headers.contains("host"))
    return bad("There is no Host header.");
  if (head.headers.contains("transfer-encoding"))
    return Refusal{411, "A body needs Content-Length; Transfer-Encoding is not taken."};
  const auto length = head.header("content-length");
  if (length && length->find_first_not_of("0123456789") != std::string::npos)
    return bad("Content-Length is no number.");
  head.content_bytes = parser.content_length().value_or(0);
  head.keep_alive = parser.keep_alive() && parser.get().version() == 11;
  head.expects_continue = lowered(head.header("expect").value_or("")) == "100-continue";
  return {};
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
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(limits.bytes));
  parser.body_limit(UINT64_MAX);  // the site says what it takes
  boost::system::error_code error;
  const size_t used = parser.put(boost::asio::buffer(text), error);
  if (error == http::error::bad_version && is_other_version(text))
    return Refusal{505, "The request line does not end in HTTP/1.1 or HTTP/1.0."};
  if (error == http::error::header_limit)
    return Refusal{431, "The head is longer than " + std::to_string(limits.bytes) + " bytes."};
  if (error) return bad("This is no head of HTTP/1.1: " + error.message() + ".");
  if (!parser.is_header_done()) return bad("The head does not end in an empty line.");
  if (used != text.size()) return bad("There is something behind the empty line.");
  // Beast joins folded lines, others do not.
  if (text.find("\r\n ") != std::string_view::npos || text.find("\r\n\t") != std::string_view::npos)
    return bad("A header line is folded.");
  const std::string_view target = view(parser.get().target());
  if (target.size() > limits.target_bytes)
    return Refusal{414,
                   "The target is longer than " + std::to_string(limits.target_bytes) + " bytes."};
  head.method = view(parser.get().method_string());
  if (std::find(std::begin(kMethods), std::end(kMethods), head.method) == std::end(kMethods))
    return Refusal{501, "No path of this server has this method."};
  if (auto refusal = parse_target(target, head)) return refusal;
  return judge_headers(parser, limits, head);
}

}  // namespace shmrec::sidecar
