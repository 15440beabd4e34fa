// A file descriptor with one owner, and passing one to another process over a Unix socket.
#pragma once

#include <unistd.h>

#include <utility>

namespace shmrec::launcher {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// Sends `value` and, if fd >= 0, a copy of fd. Allocates nothing. False: errno is set.
bool send_message(int socket, int value, int fd);

// What came: `ok` is false at end of file or on an error. `fd` is close-on-exec, -1 if none came.
struct Message {
  bool ok = false;
  int value = 0;
  UniqueFd fd;
};
Message receive_message(int socket);

}  // namespace shmrec::launcher
