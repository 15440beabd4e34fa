#include "launcher/line_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace shmrec::launcher {

std::string LineSocket::connect(const std::string& path) {
  close();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return "its path has " + std::to_string(path.size()) + " bytes; expected 1 to " +
           std::to_string(sizeof address.sun_path - 1);
  memcpy(address.sun_path, path.data(), path.size());
  fd_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // EAGAIN: more clients wait than it has room for.
  if (fd_ && ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
    return "";
  const std::string trouble = strerror(errno);
  close();
  return trouble;
}

bool LineSocket::send(const std::string& line) {
  const std::string text = line + "\n";
  return ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

LineSocket::Got LineSocket::receive(std::string& line) {
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return Got::kLine;
    }
    if (buffer_.size() > kMaxLineBytes) return Got::kTooLong;
    char part[4096];
    const ssize_t bytes = recv(fd_.get(), part, sizeof part, 0);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return Got::kNothingYet;
    if (bytes <= 0) return Got::kClosed;
    buffer_.append(part, static_cast<size_t>(bytes));
  }
}

void LineSocket::close() {
  fd_.reset();
  buffer_.clear();
}

std::optional<ucred> LineSocket::peer() const {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return std::nullopt;
  return peer;
}

}  // namespace shmrec::launcher
