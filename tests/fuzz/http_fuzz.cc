// What the HTTP servers read of a client's bytes themselves: whatever they are, a refusal or a
// sound result.
//
// The first byte of the input says what the rest is:
//   0  the head of a request
//   1  a Range header, behind 8 bytes that are the length of the file
//   2  the body of POST /v1/bundles
//   3  an Authorization header
//   4  an address to listen on
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sidecar/http/address.h"
#include "sidecar/http/artefact_server.h"
#include "sidecar/http/bearer_token.h"
#include "sidecar/http/byte_range.h"
#include "sidecar/http/request_head.h"
#include "sidecar/http/views.h"

namespace {

using namespace shmrec::sidecar;

void require(bool condition) {
  if (!condition) abort();
}

void read_head(const std::string& text) {
  const HeadLimits limits;
  RequestHead head;
  const auto refusal = parse_head(text, limits, head);
  for (const char c : head.path) require(c > 0x20 && c < 0x7f);  // it goes to the log
  if (refusal) {
    require(refusal->status >= 400 && refusal->status < 600 && !refusal->detail.empty());
    return;
  }
  require(head.path.starts_with('/') && head.headers.size() <= limits.headers);
  for (const std::string& segment : head.segments) {
    require(segment != "." && segment != "..");
    require(segment.find_first_of(std::string_view("/\\\0\r\n", 5)) == std::string::npos);
  }
  const Routed routed = find_route(ArtefactServer::routes(), head, 64 * 1024);
  require(routed.refusal || routed.match.route);
}

void read_range(const std::string& input) {
  uint64_t total = 0;
  std::memcpy(&total, input.data(), std::min(input.size(), sizeof total));
  const ByteRange range = parse_range(input.substr(std::min<size_t>(8, input.size())), total);
  if (range.kind == ByteRange::Kind::kUnsatisfiable) return;
  require(range.offset <= total && range.bytes <= total - range.offset);
  require(range.kind == ByteRange::Kind::kWhole ? range.bytes == total : range.bytes > 0);
}

void read_body(const std::string& text) {
  const auto request = parse_bundle_request(text);
  if (!request) return require(!request.error().message.empty());
  for (const std::string* field : {&request->run, &request->trigger}) {
    require(field->size() <= 255);
    for (const char c : *field) require(c < 0 || c >= 0x20);
  }
}

void read_token(const std::string& text) {
  const auto given = bearer_credentials(text);
  if (!given) return;
  require(!given->empty() && same_secret(*given, *given));
  const std::string other(*given);
  require(!same_secret(*given, other + "x") && !same_secret(other + "x", *given));
}

void read_address(const std::string& text) {
  const auto address = parse_address(text);
  if (address) require(address->unix_path.empty() || address->unix_path.starts_with('/'));
}

constexpr void (*kReaders[])(const std::string&) = {read_head, read_range, read_body, read_token,
                                                    read_address};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  kReaders[data[0] % std::size(kReaders)](
      std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  return 0;
}
