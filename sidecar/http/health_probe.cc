#include <httplib.h>

#include <cstdio>

#include "sidecar/http/address.h"
#include "sidecar/http/health_server.h"

namespace shmrec::sidecar {
namespace {

constexpr time_t kTimeoutSeconds = 2;

int unwell(const std::string& why) {
  std::fprintf(stderr, "shmrec-sidecar: not healthy: %s\n", why.c_str());
  return 1;
}

// Listening on all addresses is reached on the loopback one.
std::string host_to_ask(const Address& address) {
  if (!address.unix_path.empty()) return address.unix_path;
  if (address.host.empty() || address.host == "0.0.0.0") return "127.0.0.1";
  return address.host == "::" ? "::1" : address.host;
}

}  // namespace

int health_probe(const std::string& text) {
  const auto address = parse_address(text);
  if (!address) return unwell(address.error().message);
  httplib::Client client(host_to_ask(*address), address->unix_path.empty() ? address->port : 80);
  if (!address->unix_path.empty()) client.set_address_family(AF_UNIX);
  client.set_connection_timeout(kTimeoutSeconds);
  client.set_read_timeout(kTimeoutSeconds);
  const auto response = client.Get("/healthz", {{"Host", "localhost"}});
  if (!response) return unwell(text + ": " + httplib::to_string(response.error()));
  const std::string line =
      response->body.substr(0, std::min<size_t>(response->body.find('\n'), 200));
  if (response->status != 200) return unwell(text + ": " + line);
  std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace shmrec::sidecar
