// Passing a small number and a descriptor to another process over a Unix socket.
#pragma once

#include "base/unique_fd.h"

namespace shmrec::launcher {

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
