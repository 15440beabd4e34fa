// A memfd that another process receives over SCM_RIGHTS and maps elsewhere.
#include <sys/socket.h>

#include "victim.h"

enum { kBytes = 2 * kPage };

static void send_fd(int socket, int fd) {
  char byte = 'f';
  struct iovec vector = {&byte, 1};
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct msghdr message = {.msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof(control)};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof(int));
  CHECK_EQ(sendmsg(socket, &message, 0), 1);
}

static int receive_fd(int socket) {
  char byte;
  struct iovec vector = {&byte, 1};
  char control[CMSG_SPACE(sizeof(int))];
  struct msghdr message = {.msg_iov = &vector,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof(control)};
  CHECK_EQ(recvmsg(socket, &message, 0), 1);
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  CHECK(header && header->cmsg_type == SCM_RIGHTS);
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof(int));
  return fd;
}

static void receiver(void* argument) {
  int socket = *(int*)argument;
  int fd = receive_fd(socket);
  uint32_t* words = mmap((void*)0x310000000000, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK_EQ((uint64_t)words, 0x310000000000);
  close(fd);
  for (int i = 0; i < 200; ++i) {
    CHECK_EQ(words[i], i * 7);
    words[i] = ~words[i];
  }
  int own = memfd_create("from-child", MFD_CLOEXEC);
  CHECK(ftruncate(own, kBytes) == 0);
  uint32_t* reply = map_fd(own, kBytes, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 100; ++i) reply[i] = i + 1;
  send_fd(socket, own);
}

int main(void) {
  int sockets[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  pid_t pid = child(receiver, &sockets[1]);
  close(sockets[1]);
  int fd = memfd_create("to-child", MFD_CLOEXEC);
  CHECK(ftruncate(fd, kBytes) == 0);
  uint32_t* words = map_fd(fd, kBytes, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 200; ++i) words[i] = i * 7;
  send_fd(sockets[0], fd);
  int reply = receive_fd(sockets[0]);
  wait_ok(pid);
  uint64_t sum = 0;
  for (int i = 0; i < 200; ++i) {
    CHECK_EQ(words[i], (uint32_t) ~(i * 7));
    sum = mix(sum, words[i]);
  }
  // The sender is dead; its memory is what it left.
  uint32_t* other = map_fd(reply, kBytes, PROT_READ);
  for (int i = 0; i < 100; ++i) CHECK_EQ(other[i], i + 1);
  say("memfd_scm %016llx\n", (unsigned long long)sum);
}
