// sendmsg, recvmsg, sendmmsg, recvmmsg, names and control data, with every structure in shared
// memory.
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "victim.h"

struct Shared {
  struct msghdr message;
  struct mmsghdr messages[4];
  struct iovec vectors[8];
  struct sockaddr_un name, peer;
  socklen_t length;
  char control[256];
  char data[1024], received[1024];
  int value;
  struct ucred credentials;
  struct timespec timeout;
};

static struct Shared* s;

static int bound(const char* path) {
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  CHECK(fd >= 0);
  unlink(path);
  s->name.sun_family = AF_UNIX;
  strcpy(s->name.sun_path, path);
  CHECK(bind(fd, (struct sockaddr*)&s->name, sizeof(s->name)) == 0);
  return fd;
}

static void names_and_options(int fd) {
  s->length = sizeof(s->peer);
  CHECK(getsockname(fd, (struct sockaddr*)&s->peer, &s->length) == 0);
  CHECK(strcmp(s->peer.sun_path, "receiver") == 0);
  CHECK_EQ(s->length, 2 + strlen("receiver") + 1);
  s->value = 1;
  CHECK(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &s->value, sizeof(int)) == 0);
  s->value = 0;
  s->length = sizeof(int);
  CHECK(getsockopt(fd, SOL_SOCKET, SO_PASSCRED, &s->value, &s->length) == 0);
  CHECK_EQ(s->value, 1);
  CHECK_EQ(s->length, 4);
}

static void send_with_control(int from) {
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  memset(&s->message, 0, sizeof(s->message));
  for (int i = 0; i < 3; ++i) s->vectors[i] = (struct iovec){s->data + i * 100, 50};
  strcpy(s->name.sun_path, "receiver");
  s->message = (struct msghdr){&s->name,   sizeof(s->name),         s->vectors, 3,
                               s->control, CMSG_SPACE(sizeof(int)), 0};
  struct cmsghdr* header = CMSG_FIRSTHDR(&s->message);
  *header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &pipes[1], sizeof(int));
  CHECK_EQ(sendmsg(from, &s->message, 0), 150);
  close(pipes[1]);
  s->value = pipes[0];
}

static void receive_with_control(int to) {
  memset(s->control, 0, sizeof(s->control));
  memset(s->received, 0, sizeof(s->received));
  s->vectors[4] = (struct iovec){s->received, 70};
  s->vectors[5] = (struct iovec){s->received + 200, 500};
  s->message = (struct msghdr){
      &s->peer, sizeof(s->peer), &s->vectors[4], 2, s->control, sizeof(s->control), 0};
  CHECK_EQ(recvmsg(to, &s->message, 0), 150);
  CHECK(strcmp(s->peer.sun_path, "sender") == 0);
  CHECK(memcmp(s->received, s->data, 50) == 0);
  CHECK(memcmp(s->received + 50, s->data + 100, 20) == 0);
  CHECK(memcmp(s->received + 200, s->data + 120, 30) == 0);
  CHECK(memcmp(s->received + 230, s->data + 200, 50) == 0);
  int fd = -1, credentials = 0;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&s->message); header;
       header = CMSG_NXTHDR(&s->message, header)) {
    if (header->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(header), sizeof(int));
    if (header->cmsg_type == SCM_CREDENTIALS) {
      memcpy(&s->credentials, CMSG_DATA(header), sizeof(s->credentials));
      CHECK_EQ(s->credentials.pid, getpid());
      credentials = 1;
    }
  }
  CHECK(fd >= 0 && credentials);
  CHECK_EQ(write(fd, "through", 7), 7);
  CHECK_EQ(read(s->value, s->received, 10), 7);
  CHECK(memcmp(s->received, "through", 7) == 0);
}

static void many(int from, int to) {
  strcpy(s->name.sun_path, "receiver");
  memset(s->messages, 0, sizeof(s->messages));
  for (int i = 0; i < 3; ++i) {
    s->vectors[i] = (struct iovec){s->data + i * 64, 10 + i};
    s->messages[i].msg_hdr =
        (struct msghdr){&s->name, sizeof(s->name), &s->vectors[i], 1, NULL, 0, 0};
  }
  CHECK_EQ(sendmmsg(from, s->messages, 3, 0), 3);
  for (int i = 0; i < 3; ++i) CHECK_EQ(s->messages[i].msg_len, 10 + i);
  memset(s->received, 0, sizeof(s->received));
  for (int i = 0; i < 4; ++i) {
    s->vectors[i] = (struct iovec){s->received + i * 64, 64};
    s->messages[i].msg_hdr = (struct msghdr){.msg_iov = &s->vectors[i], .msg_iovlen = 1};
    s->messages[i].msg_len = 99;
  }
  s->timeout = (struct timespec){5, 0};
  CHECK_EQ(recvmmsg(to, s->messages, 4, MSG_DONTWAIT, &s->timeout), 3);
  for (int i = 0; i < 3; ++i) {
    CHECK_EQ(s->messages[i].msg_len, 10 + i);
    CHECK(memcmp(s->received + i * 64, s->data + i * 64, 10 + i) == 0);
  }
  CHECK_EQ(s->messages[3].msg_len, 99);
  CHECK_EQ(sendto(from, s->data, 20, 0, (struct sockaddr*)&s->name, sizeof(s->name)), 20);
  s->length = sizeof(s->peer);
  CHECK_EQ(recvfrom(to, s->received, 10, MSG_TRUNC, (struct sockaddr*)&s->peer, &s->length), 20);
  CHECK(strcmp(s->peer.sun_path, "sender") == 0);
  CHECK_EQ(s->length, 2 + strlen("sender") + 1);
  CHECK(memcmp(s->received, s->data, 10) == 0);
  CHECK_ERRNO(recvmsg(to, &s->message, MSG_DONTWAIT), EAGAIN);
}

static void streams(void) {
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  s->name.sun_family = AF_UNIX;
  strcpy(s->name.sun_path, "stream");
  CHECK(bind(listener, (struct sockaddr*)&s->name, sizeof(s->name)) == 0 &&
        listen(listener, 4) == 0);
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(client, (struct sockaddr*)&s->name, sizeof(s->name)) == 0);
  s->length = sizeof(s->peer);
  int server = accept4(listener, (struct sockaddr*)&s->peer, &s->length, SOCK_CLOEXEC);
  CHECK(server >= 0);
  CHECK_EQ(s->length, 2);
  s->length = sizeof(s->credentials);
  CHECK(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &s->credentials, &s->length) == 0);
  CHECK_EQ(s->credentials.pid, getpid());
  s->length = sizeof(s->peer);
  CHECK(getpeername(client, (struct sockaddr*)&s->peer, &s->length) == 0);
  CHECK(strcmp(s->peer.sun_path, "stream") == 0);
}

int main(void) {
  s = map_shared(2 * kPage);
  for (int i = 0; i < 1024; ++i) s->data[i] = i * 7;
  int to = bound("receiver"), from = bound("sender");
  names_and_options(to);
  send_with_control(from);
  receive_with_control(to);
  many(from, to);
  streams();
  say("kernel_sockets %d\n", s->length);
}
