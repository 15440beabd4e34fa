// System calls whose buffers run out of a shared mapping: how much is done, and EFAULT.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "victim.h"

static char* page;  // one shared page, nothing behind it

static void check_transfer(long expected, const char* what, long actual) {
  if (actual < 0) actual = -errno;
  if (actual != expected)
    fail(__FILE__, __LINE__, "%s gave %ld, expected %ld", what, actual, expected);
  say("%s %ld\n", what, actual);
}
#define TRANSFER(expected, call) (errno = 0, check_transfer(expected, #call, call))

static void nothing(void* unused) { (void)unused; }

int main(void) {
  page = map_shared(3 * kPage);
  CHECK(munmap(page + kPage, kPage) == 0);
  char* readable = page + 2 * kPage;
  char* end = page + kPage;
  memset(page, 'p', kPage);
  memset(readable, 'r', kPage);
  CHECK(mprotect(readable, kPage, PROT_READ) == 0);
  int file = make_file("data", 10000);
  int zero = open("/dev/zero", O_RDONLY);
  int pipes[2], sockets[2];
  CHECK(pipe2(pipes, O_NONBLOCK) == 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
  TRANSFER(-EFAULT, read(zero, end, 10));
  TRANSFER(-EFAULT, write(pipes[1], end, 10));
  TRANSFER(-EFAULT, read(zero, readable, 10));
  TRANSFER(10, write(pipes[1], readable, 10));
  TRANSFER(10, pread(file, end - 10, 10, 0));
  TRANSFER(10, pread(file, end - 10, 20, 0));  // what fits
  TRANSFER(10, pwrite(file, end - 10, 20, 0));
  TRANSFER(-EFAULT, pread(file, readable, 5, 0));
  struct iovec vectors[3] = {{page, 8}, {end, 4}, {page + 16, 8}};
  TRANSFER(8, preadv(file, vectors, 3, 0));
  TRANSFER(8, pwritev(file, vectors, 3, 0));
  TRANSFER(-EFAULT, preadv(file, vectors + 1, 2, 0));
  struct iovec* outside = (struct iovec*)(end - 16);
  outside[0] = (struct iovec){page, 4};
  TRANSFER(4, preadv(file, outside, 1, 0));
  TRANSFER(-EFAULT, preadv(file, outside, 2, 0));
  TRANSFER(-EFAULT, send(sockets[0], end, 4, 0));
  TRANSFER(-EFAULT, fstat(file, (struct stat*)(end - 8)));
  TRANSFER(-EFAULT, fstat(file, (struct stat*)readable));
  TRANSFER(-EFAULT, pipe((int*)(end - 4)));
  TRANSFER(-EFAULT, syscall(SYS_getcwd, end - 1, 100));
  TRANSFER(-EFAULT, nanosleep((struct timespec*)(end - 8), NULL));
  TRANSFER(-EFAULT, poll((struct pollfd*)end, 1, 0));
  TRANSFER(-EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, (sigset_t*)(end - 4), NULL, 8));
  TRANSFER(-EFAULT, syscall(SYS_uname, end - 10));
  TRANSFER(-EFAULT, open(end, O_RDONLY));
  TRANSFER(-EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, end - 8));
  TRANSFER(-EFAULT, wait4(child(nothing, NULL), (int*)(end), 0, NULL));
  char* execve_arguments[2] = {end, NULL};
  TRANSFER(-EFAULT, execve("/bin/true", execve_arguments, NULL));
  TRANSFER(-EFAULT, execve("/bin/true", (char**)end, NULL));
  // Nothing was stored where nothing should be.
  CHECK_EQ(readable[0], 'r');
  say("%d\n", end[-1]);
}
