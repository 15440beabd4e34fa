// Where a server listens: "HOST:PORT" (host numeric, "localhost", or empty for all; IPv6 in
// brackets) or "unix:/path".
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::sidecar {

struct Address {
  std::string unix_path;  // if not empty, host and port mean nothing
  std::string host;       // without brackets; "" : all addresses
  uint16_t port = 0;      // 0: any free one
};

// Of one end of a socket: "10.0.0.1", "::1" or "unix".
std::string numeric_host(const sockaddr_storage& name);

Result<Address> parse_address(const std::string& text);

// A socket that listens: non-blocking, closed on exec. A Unix socket goes with it.
class Listener {
 public:
  enum class Reach {
    kAnywhere,
    kLocalOnly,  // refuse an address that other machines reach
  };
  // A Unix socket gets mode 0660. One that is there is replaced only if nobody listens on it.
  static Result<Listener> open(const std::string& address, Reach reach);

  Listener(Listener&&) = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int fd() const { return fd_.get(); }
  const std::string& address() const { return address_; }  // as bound: with the port it got

 private:
  Listener() = default;
  static Result<Listener> open_unix(const std::string& path);
  static Result<Listener> open_tcp(const Address& address, const std::string& text, Reach reach);

  UniqueFd fd_;
  std::string address_;
  std::string unix_path_;
  uint64_t device_ = 0, inode_ = 0;  // of the Unix socket: another's is not removed
};

}  // namespace shmrec::sidecar
