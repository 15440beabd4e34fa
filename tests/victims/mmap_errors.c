// MAP_FIXED over a reservation and over shared memory, MAP_FIXED_NOREPLACE, and every way in which
// mmap and its kin refuse.
#include "victim.h"

int main(void) {
  char* reserved =
      mmap(NULL, 64 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(reserved != MAP_FAILED);
  int fd = make_file("data", 8 * kPage);
  char* shared =
      mmap(reserved + 8 * kPage, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  CHECK(shared == reserved + 8 * kPage);
  for (int i = 0; i < 8; ++i) shared[i * kPage] = i + 1;
  // Another file's page over the middle of it, then private memory over that.
  int other = memfd_create("other", 0);
  CHECK(ftruncate(other, kPage) == 0);
  char* page =
      mmap(shared + 3 * kPage, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other, 0);
  CHECK(page == shared + 3 * kPage);
  CHECK_EQ(page[0], 0);
  page[0] = 77;
  CHECK_EQ(shared[4 * kPage], 5);
  CHECK(mmap(shared + 3 * kPage, kPage, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page);
  CHECK_EQ(page[0], 0);
  page[0] = 78;
  char byte;
  CHECK_EQ(pread(fd, &byte, 1, 3 * kPage), 1);
  CHECK_EQ(byte, 4);
  CHECK_EQ(pread(other, &byte, 1, 0), 1);
  CHECK_EQ(byte, 77);
  CHECK_ERRNO(
      mmap(shared, kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
      EEXIST);
  CHECK_ERRNO(
      mmap(reserved + 7 * kPage, 2 * kPage, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0),
      EEXIST);
  CHECK(munmap(reserved, kPage) == 0);
  char* first = mmap(reserved, kPage, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(first == reserved);
  first[9] = 9;
  CHECK_EQ(first[9], 9);
  CHECK_ERRNO(mmap(NULL, 0, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0), EINVAL);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, -1, 0), EBADF);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, fd, 100), EINVAL);
  CHECK_ERRNO(mmap((void*)123, kPage, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0),
              EINVAL);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
  CHECK_ERRNO(mmap(NULL, 1ul << 50, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0), ENOMEM);
  CHECK_ERRNO(mmap(NULL, -kPage, PROT_READ, MAP_SHARED, fd, 0), ENOMEM);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, fd, -kPage), EOVERFLOW);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
  CHECK_ERRNO(
      mmap((void*)0x800000000000, kPage, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0),
      ENOMEM);
  int write_only = open("data", O_WRONLY);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, write_only, 0), EACCES);
  int read_only = open("data", O_RDONLY);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_WRITE, MAP_SHARED, read_only, 0), EACCES);
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, pipes[0], 0), ENODEV);
  int directory = open(".", O_RDONLY);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ, MAP_SHARED, directory, 0), ENODEV);
  // A hint at an occupied place is not followed; memory below the hint's place stays.
  char* elsewhere = mmap(shared, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(elsewhere != MAP_FAILED && elsewhere != shared);
  CHECK_EQ(elsewhere[0], 1);
  // Never accessible, then accessible; populated; write-only.
  char* populated = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  CHECK_EQ(populated[kPage], 2);
  char* none = mmap(NULL, 2 * kPage, PROT_NONE, MAP_SHARED, fd, 0);
  CHECK(mprotect(none, 2 * kPage, PROT_READ) == 0);
  CHECK_EQ(none[kPage], 2);
  char* writable = mmap(NULL, kPage, PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(writable != MAP_FAILED);
  writable[5] = 55;
  CHECK_EQ(populated[5], 55);
  say("mmap_errors %d\n", populated[5]);
}
