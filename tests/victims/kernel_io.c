// read and write in all their forms, with buffers and vectors in shared memory, on files, pipes,
// sockets and devices.
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "victim.h"

struct Shared {
  char in[3 * kPage], out[3 * kPage];
  struct iovec vectors[4];
  long offset_in, offset_out;
  int pair[2];
};

static struct Shared* s;

static void fill(void) {
  for (int i = 0; i < 3 * kPage; i += 8) *(uint64_t*)(s->out + i) = i * 0x9E3779B97F4A7C15 + 1;
  memset(s->in, 0, sizeof(s->in));
}

static void files(void) {
  int fd = make_file("data", 0);
  fill();
  CHECK_EQ(write(fd, s->out, 5000), 5000);
  CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
  CHECK_EQ(read(fd, s->in + 11, 6000), 5000);
  CHECK(memcmp(s->in + 11, s->out, 5000) == 0);
  CHECK_EQ(pwrite(fd, s->out + 1, 300, 100), 300);
  CHECK_EQ(pread(fd, s->in, 300, 100), 300);
  CHECK(memcmp(s->in, s->out + 1, 300) == 0);
  char own[64];
  s->vectors[0] = (struct iovec){s->out + 10, 100};
  s->vectors[1] = (struct iovec){own, sizeof(own)};
  s->vectors[2] = (struct iovec){s->out + 4000, 200};
  s->vectors[3] = (struct iovec){s->out, 0};
  memset(own, 'o', sizeof(own));
  CHECK_EQ(pwritev(fd, s->vectors, 4, 50), 364);
  s->vectors[0].iov_base = s->in + 4090;
  s->vectors[2].iov_base = s->in + 9000;
  memset(own, 0, sizeof(own));
  CHECK_EQ(preadv(fd, s->vectors, 4, 50), 364);
  CHECK(memcmp(s->in + 4090, s->out + 10, 100) == 0);
  CHECK(memcmp(s->in + 9000, s->out + 4000, 200) == 0);
  CHECK_EQ(own[63], 'o');
  CHECK_EQ(preadv2(fd, s->vectors, 3, 50, RWF_HIPRI), 364);
  CHECK_EQ(lseek(fd, 50, SEEK_SET), 50);
  CHECK_EQ(readv(fd, s->vectors, 3), 364);
  CHECK_EQ(writev(fd, s->vectors, 3), 364);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), 778);
  s->offset_in = 50;
  s->offset_out = 2000;
  CHECK_EQ(copy_file_range(fd, &s->offset_in, fd, &s->offset_out, 100, 0), 100);
  CHECK_EQ(s->offset_in, 150);
  CHECK_EQ(s->offset_out, 2100);
  CHECK_EQ(pread(fd, s->in, 100, 2000), 100);
  CHECK(memcmp(s->in, s->out + 10, 100) == 0);
}

static void pipes(void) {
  CHECK(pipe2(s->pair, O_NONBLOCK) == 0);
  CHECK(s->pair[0] > 2 && s->pair[1] > s->pair[0]);
  fill();
  CHECK_EQ(write(s->pair[1], s->out + 3, 4096), 4096);
  CHECK(ioctl(s->pair[0], FIONREAD, &s->offset_in) == 0);
  CHECK_EQ((int)s->offset_in, 4096);
  CHECK_EQ(read(s->pair[0], s->in + 5, 1000), 1000);
  CHECK_EQ(read(s->pair[0], s->in + 1005, 5000), 3096);
  CHECK(memcmp(s->in + 5, s->out + 3, 4096) == 0);
  CHECK_ERRNO(read(s->pair[0], s->in, 1), EAGAIN);
  // Pages given to a pipe, and back by tee and splice.
  s->vectors[0] = (struct iovec){s->out, 100};
  CHECK_EQ(vmsplice(s->pair[1], s->vectors, 1, 0), 100);
  CHECK_EQ(read(s->pair[0], s->in, 100), 100);
  CHECK(memcmp(s->in, s->out, 100) == 0);
  int fd = open("data", O_RDWR);
  s->offset_in = 50;
  CHECK_EQ(splice(fd, &s->offset_in, s->pair[1], NULL, 100, 0), 100);
  CHECK_EQ(s->offset_in, 150);
  CHECK_EQ(read(s->pair[0], s->in, 200), 100);
  CHECK(memcmp(s->in, s->out + 10, 100) == 0);
  s->offset_in = 50;
  CHECK_EQ(sendfile(s->pair[1], fd, &s->offset_in, 64), 64);
  CHECK_EQ(s->offset_in, 114);
  CHECK_EQ(read(s->pair[0], s->in, 200), 64);
  close(s->pair[0]);
  signal(SIGPIPE, SIG_IGN);
  CHECK_ERRNO(write(s->pair[1], s->out, 10), EPIPE);
}

static void sockets(void) {
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s->pair) == 0);
  fill();
  CHECK_EQ(send(s->pair[0], s->out, 2000, 0), 2000);
  CHECK_EQ(recv(s->pair[1], s->in, 700, MSG_PEEK), 700);
  CHECK_EQ(recv(s->pair[1], s->in, 2000, MSG_WAITALL), 2000);
  CHECK(memcmp(s->in, s->out, 2000) == 0);
  CHECK(shutdown(s->pair[0], SHUT_WR) == 0);
  CHECK_EQ(read(s->pair[1], s->in, 10), 0);
}

static void devices(void) {
  int zero = open("/dev/zero", O_RDWR);
  fill();
  memset(s->in, 1, sizeof(s->in));
  CHECK_EQ(read(zero, s->in + 100, 5000), 5000);
  CHECK_EQ(s->in[99], 1);
  CHECK_EQ(s->in[100], 0);
  CHECK_EQ(s->in[5099], 0);
  CHECK_EQ(s->in[5100], 1);
  CHECK_EQ(write(zero, s->out, sizeof(s->out)), sizeof(s->out));
  memset(s->in, 0, 256);
  CHECK_EQ(getrandom(s->in, 128, 0), 128);
  int set = 0;
  for (int i = 0; i < 128; ++i) set += s->in[i] != 0;
  CHECK(set > 100);
  CHECK_EQ(s->in[128], 0);
}

int main(void) {
  s = map_shared(sizeof(*s));
  files();
  pipes();
  sockets();
  devices();
  say("kernel_io %016llx\n", *(unsigned long long*)(s->out + 4096));
}
