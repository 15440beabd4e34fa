#include "sidecar/http/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <charconv>
#include <memory>

namespace shmrec::sidecar {
namespace {

constexpr int kBacklog = 256;  // one that the kernel refuses asks again after a second
constexpr char kUnixPrefix[] = "unix:";

Error bad_address(const std::string& text, const std::string& why) {
  return Error{"address \"" + text + "\": " + why + "; give HOST:PORT or unix:/PATH"};
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un name{.sun_family = AF_UNIX};
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  return name;
}

// Nothing there, or a socket that nobody listens on.
Result<> require_free(const std::string& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0)
    return errno == ENOENT ? Result<>(Unit{}) : system_error(path);
  if (!S_ISSOCK(found.st_mode)) return Error{path + ": is there and is no socket"};
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return system_error("socket");
  const sockaddr_un name = unix_address(path);
  const bool refused =
      connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 &&
      (errno == ECONNREFUSED || errno == ENOENT);
  if (!refused) return Error{path + ": another program listens there", false};
  return Unit{};
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

std::string bound_address(int fd) {
  sockaddr_storage name{};
  socklen_t bytes = sizeof name;
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &bytes);
  const std::string host = numeric_host(name);
  const bool v6 = name.ss_family == AF_INET6;
  const uint16_t port = v6 ? reinterpret_cast<const sockaddr_in6&>(name).sin6_port
                           : reinterpret_cast<const sockaddr_in&>(name).sin_port;
  return (v6 ? "[" + host + "]:" : host + ":") + std::to_string(ntohs(port));
}

}  // namespace

std::string numeric_host(const sockaddr_storage& name) {
  if (name.ss_family == AF_UNIX) return "unix";
  char host[NI_MAXHOST] = "?";
  getnameinfo(reinterpret_cast<const sockaddr*>(&name), sizeof name, host, sizeof host, nullptr, 0,
              NI_NUMERICHOST);
  return host;
}

Result<Address> parse_address(const std::string& text) {
  Address address;
  if (text.starts_with(kUnixPrefix)) {
    address.unix_path = text.substr(sizeof kUnixPrefix - 1);
    if (!address.unix_path.starts_with('/')) return bad_address(text, "no absolute path");
    if (address.unix_path.find('\0') != std::string::npos) return bad_address(text, "has a NUL");
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return bad_address(text, "no port");
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
  if (error != std::errc{} || stop != end) return bad_address(text, "no port from 0 to 65535");
  address.host = text.substr(0, colon);
  if (address.host.starts_with('[') && address.host.ends_with(']'))
    address.host = address.host.substr(1, address.host.size() - 2);
  else if (address.host.find(':') != std::string::npos)
    return bad_address(text, "an IPv6 address needs brackets");
  return address;
}

Result<Listener> Listener::open(const std::string& text, Reach reach) {
  const auto address = parse_address(text);
  if (!address) return address.error();
  return address->unix_path.empty() ? open_tcp(*address, text, reach)
                                    : open_unix(address->unix_path);
}

// Made under another name and renamed when it has its mode and listens: whoever sees the name can
// connect, and nobody connects before the mode is right.
Result<Listener> Listener::open_unix(const std::string& path) {
  const std::string partial = path + "." + std::to_string(getpid());
  if (partial.size() >= sizeof sockaddr_un{}.sun_path)
    return Error{path + ": too long for a Unix socket (at most " +
                 std::to_string(sizeof sockaddr_un{}.sun_path - 12) + " bytes)"};
  if (const auto free = require_free(path); !free) return free.error();

  Listener made;
  made.fd_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.fd_) return system_error("socket");
  const sockaddr_un name = unix_address(partial);
  // Left by one that had our number.
  if (const auto free = require_free(partial); !free) return free.error();
  unlink(partial.c_str());
  struct stat self;
  if (bind(made.fd(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
    return system_error(partial);
  if (chmod(partial.c_str(), 0660) != 0 || listen(made.fd(), kBacklog) != 0 ||
      lstat(partial.c_str(), &self) != 0 || rename(partial.c_str(), path.c_str()) != 0) {
    const Error error = system_error(path);
    unlink(partial.c_str());
    return error;
  }
  made.address_ = kUnixPrefix + path;
  made.unix_path_ = path;
  made.device_ = self.st_dev;
  made.inode_ = self.st_ino;
  return made;
}

Result<Listener> Listener::open_tcp(const Address& address, const std::string& text, Reach reach) {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV | (address.host == "localhost" ? 0 : AI_NUMERICHOST);
  hints.ai_family = address.host.empty() ? AF_INET : AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  const int failed = getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                 std::to_string(address.port).c_str(), &hints, &first);
  if (failed != 0) return bad_address(text, gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> found(first, freeaddrinfo);
  if (reach == Reach::kLocalOnly && !is_loopback(found->ai_addr))
    return Error{"address \"" + text +
                 "\": other machines reach it, and without a token they could read every bundle; "
                 "give a token file, or listen on 127.0.0.1, [::1] or unix:/PATH"};

  Listener made;
  made.fd_.reset(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.fd_) return system_error("socket");
  const int on = 1;
  // A restart does not wait for connections of the one before.
  setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(made.fd(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(made.fd(), kBacklog) != 0)
    return system_error(text);
  made.address_ = bound_address(made.fd());
  return made;
}

Listener::~Listener() {
  struct stat found;
  if (fd_ && !unix_path_.empty() && lstat(unix_path_.c_str(), &found) == 0 &&
      found.st_dev == device_ && found.st_ino == inode_)
    unlink(unix_path_.c_str());
}

}  // namespace shmrec::sidecar
