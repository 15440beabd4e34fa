#include "launcher/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP  // Linux 6.6; not in Debian 12's headers
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

namespace shmrec::launcher {
namespace {

bool answer(int listener, uint64_t id, int error, uint32_t flags) {
  seccomp_notif_resp response{id, 0, -error, flags};
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0;
}

}  // namespace

bool receive_notification(int listener, seccomp_notif& request) {
  memset(&request, 0, sizeof request);  // the kernel insists
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == 0;
}

bool answer_continue(int listener, uint64_t id) {
  return answer(listener, id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

bool answer_error(int listener, uint64_t id, int error) { return answer(listener, id, error, 0); }

int answer_with_descriptor(int listener, uint64_t id, int fd) {
  seccomp_notif_addfd add{};
  add.id = id;
  add.flags = SECCOMP_ADDFD_FLAG_SEND;
  add.srcfd = static_cast<uint32_t>(fd);
  add.newfd_flags = O_CLOEXEC;
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0 ? 0 : errno;
}

bool wake_up_on_this_processor(int listener) {
  // The flag goes by value.
  return ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
}

}  // namespace shmrec::launcher
