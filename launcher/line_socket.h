// A Unix stream socket with one JSON object a line each way: the sidecar's control socket as its
// clients see it (docs/spool.md).
//
// Never blocks: connecting to a Unix socket is decided at once, what is sent is small, and
// receive() takes what is there. Close-on-exec. Trust: nothing that is received is believed; lines
// longer than kMaxLineBytes end the connection.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>

#include "base/unique_fd.h"

namespace shmrec::launcher {

class LineSocket {
 public:
  static constexpr size_t kMaxLineBytes = 64 * 1024;

  enum class Got { kLine, kNothingYet, kClosed, kTooLong };

  // "" or what went wrong, for a person. What was connected before is closed.
  std::string connect(const std::string& path);
  // `line` without its newline. False: the other side is gone, or takes nothing in.
  bool send(const std::string& line);
  Got receive(std::string& line);
  void close();
  std::optional<ucred> peer() const;  // who made the socket that it is connected to

  int fd() const { return fd_.get(); }  // -1: not connected

 private:
  UniqueFd fd_;
  std::string buffer_;
};

}  // namespace shmrec::launcher
