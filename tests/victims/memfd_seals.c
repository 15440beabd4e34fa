// Seals on a memfd: adding F_SEAL_WRITE needs that nobody maps it writable, and is possible again
// as soon as the program has unmapped it.
#include "victim.h"

int main(void) {
  int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  CHECK(fd >= 0);
  CHECK(ftruncate(fd, 2 * kPage) == 0);
  uint32_t* words = map_fd(fd, 2 * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 50; ++i) words[i] = i * 11;
  CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
  CHECK_ERRNO(ftruncate(fd, kPage), EPERM);
  CHECK(ftruncate(fd, 3 * kPage) == 0);
  CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
  CHECK(munmap(words, 2 * kPage) == 0);
  CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW) == 0);
  CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_GROW);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
  CHECK_ERRNO(pwrite(fd, "x", 1, 0), EPERM);
  CHECK_ERRNO(ftruncate(fd, 4 * kPage), EPERM);
  const uint32_t* readable = map_fd(fd, 3 * kPage, PROT_READ);
  for (int i = 0; i < 50; ++i) CHECK_EQ(readable[i], i * 11);
  CHECK_ERRNO(mprotect((void*)readable, kPage, PROT_READ | PROT_WRITE), EACCES);
  int second = memfd_create("future", MFD_ALLOW_SEALING);
  CHECK(ftruncate(second, kPage) == 0);
  uint32_t* before = map_fd(second, kPage, PROT_READ | PROT_WRITE);
  CHECK(fcntl(second, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
  before[3] = 33;
  const uint32_t* after = map_fd(second, kPage, PROT_READ);
  CHECK_EQ(after[3], 33);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0), EPERM);
  say("memfd_seals %x\n", fcntl(second, F_GET_SEALS));
}
