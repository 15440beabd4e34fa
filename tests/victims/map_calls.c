// Calls about ranges of shared memory: mincore, msync, mlock, munlock, mlock2, mlockall, madvise,
// process_madvise, remap_file_pages; ranges with holes, beyond the end, unaligned, of several
// mappings; their results in shared memory.
#include <sys/stat.h>
#include <sys/uio.h>

#include "victim.h"

enum { kPages = 16 };

static int file;
static volatile char* memory;

static void show(const char* what, long result) {
  say("%s: %ld %s\n", what, result, result < 0 ? strerrorname_np(errno) : "");
}

static void residence(const char* what, volatile char* at, size_t bytes, unsigned char* vector) {
  memset(vector, 0x5A, 64);
  errno = 0;
  long result = syscall(SYS_mincore, at, bytes, vector);
  say("%s: %ld %s:", what, result, result < 0 ? strerrorname_np(errno) : "");
  for (int i = 0; i < kPages + 1; ++i) say(" %d", vector[i]);
  say("\n");
}

static volatile char* fresh(int fd) {
  CHECK(ftruncate(fd, 0) == 0);
  CHECK(ftruncate(fd, kPages * kPage) == 0);
  volatile char* at = map_fd(fd, kPages * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < kPages; i += 2) at[i * kPage] = i + 1;
  return at;
}

static void ask_residence(void) {
  unsigned char own[64];
  volatile char* shared = map_shared(2 * kPage);
  residence("own vector", memory, kPages * kPage, own);
  residence("shared vector", memory, kPages * kPage, (unsigned char*)shared + 100);
  residence("over two pages", memory, kPages * kPage, (unsigned char*)shared + kPage - 5);
  residence("odd length", memory, 3 * kPage + 1, (unsigned char*)shared);
  residence("unaligned", memory + 1, kPage, (unsigned char*)shared);
  residence("nothing", memory, 0, (unsigned char*)shared);
  CHECK(mprotect((void*)(shared + kPage), kPage, PROT_READ) == 0);
  errno = 0;
  show("read-only vector", syscall(SYS_mincore, memory, kPage, shared + kPage));
  show("vector ends", syscall(SYS_mincore, memory, kPages * kPage, shared + kPage - 2));
  CHECK(munmap((void*)(memory + 8 * kPage), kPage) == 0);
  residence("a hole", memory, kPages * kPage, (unsigned char*)shared);
  munmap((void*)shared, 2 * kPage);
}

static void with_hole(void) {
  show("msync", msync((void*)memory, kPages * kPage, MS_SYNC));
  show("msync flags", msync((void*)memory, kPage, MS_SYNC | MS_ASYNC));
  show("msync unaligned", msync((void*)(memory + 1), kPage, MS_SYNC));
  show("mlock", mlock((void*)memory, kPages * kPage));
  show("munlock", munlock((void*)memory, kPages * kPage));
  show("willneed", madvise((void*)memory, kPages * kPage, MADV_WILLNEED));
  show("populate", madvise((void*)memory, kPages * kPage, 23 /* MADV_POPULATE_WRITE */));
  show("remove", madvise((void*)memory, kPages * kPage, MADV_REMOVE));
  for (int i = 0; i < kPages; ++i)
    if (i != 8) say(" %d", memory[i * kPage]);
  say("\n");
}

static void locked(void) {
  memory[5] = 55;
  show("mlock", mlock((void*)memory, 2 * kPage));
  show("invalidate", msync((void*)memory, 2 * kPage, MS_INVALIDATE));
  show("remove locked", madvise((void*)memory, kPage, MADV_REMOVE));
  CHECK_EQ(memory[5], 55);
  show("munlock", munlock((void*)(memory + 7), kPage));
  show("remove half locked", madvise((void*)memory, 2 * kPage, MADV_REMOVE));
  show("munlock", munlock((void*)memory, 2 * kPage));
  show("mlock within", mlock((void*)(memory + 100), 5000));
  show("invalidate", msync((void*)(memory + kPage), kPage, MS_INVALIDATE));
  show("munlock within", munlock((void*)(memory + 100), 5000));
  show("mlock2", syscall(SYS_mlock2, memory + 3, 10, 1));
  show("mlock2 flags", syscall(SYS_mlock2, memory, kPage, 99));
  show("munlock", munlock((void*)memory, 2 * kPage));
  show("mlock nothing", mlock((void*)memory, 0));
  show("mlock wrapped", mlock((void*)memory, -kPage));
  CHECK(mprotect((void*)memory, kPage, PROT_NONE) == 0);
  show("mlock none", mlock((void*)memory, 2 * kPage));
  CHECK(mprotect((void*)memory, kPage, PROT_READ) == 0);
  show("munlock", munlock((void*)memory, 2 * kPage));
  show("remove read-only", madvise((void*)memory, kPage, MADV_REMOVE));
  CHECK(mprotect((void*)memory, kPage, PROT_READ | PROT_WRITE) == 0);
}

// A hole that is punched: zeros for all, and no blocks.
static void removed(void) {
  struct stat status;
  for (int i = 0; i < kPages; ++i)
    if (i != 8) memory[i * kPage + 9] = 99;
  CHECK(fstat(file, &status) == 0);
  say("blocks %ld\n", (long)status.st_blocks);
  show("remove", madvise((void*)(memory + 2 * kPage), 3 * kPage, MADV_REMOVE));
  CHECK(fstat(file, &status) == 0);
  say("blocks %ld\n", (long)status.st_blocks);
  for (int i = 0; i < 8; ++i) say(" %d", memory[i * kPage + 9]);
  say("\n");
}

static void advised_by_descriptor(void) {
  int pidfd = syscall(SYS_pidfd_open, getpid(), 0);
  struct iovec* vectors = map_shared(kPage);
  vectors[0] = (struct iovec){(void*)memory, 2 * kPage};
  vectors[1] = (struct iovec){(void*)(memory + 4 * kPage), kPage};
  show("process_madvise", syscall(440, pidfd, vectors, 2, MADV_COLD, 0));
  show("process_madvise", syscall(440, pidfd, vectors, 2, MADV_WILLNEED, 0));
  show("process_madvise", syscall(440, pidfd, vectors, 2, MADV_COLD, 1));
}

// Pages of a file in another order.
static void reordered(void) {
  int fd = memfd_create("reordered", 0);
  CHECK(ftruncate(fd, 8 * kPage) == 0);
  volatile char* window = map_fd(fd, 8 * kPage, PROT_READ | PROT_WRITE);
  volatile char* straight = map_fd(fd, 8 * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 8; ++i) window[i * kPage] = i + 1;
  for (int i = 0; i < 8; ++i)
    CHECK(syscall(SYS_remap_file_pages, window + i * kPage, kPage, 0, 7 - i, 0) == 0);
  for (int i = 0; i < 8; ++i) CHECK_EQ(window[i * kPage], 8 - i);
  for (int i = 0; i < 8; ++i) window[i * kPage + 1] = i;
  for (int i = 0; i < 8; ++i) CHECK_EQ(straight[i * kPage + 1], 7 - i);
  CHECK(syscall(SYS_remap_file_pages, window + kPage + 5, 2 * kPage + 7, 0, 3, 0) == 0);
  CHECK_EQ(window[kPage], 4);
  CHECK_EQ(window[2 * kPage], 5);
  CHECK_EQ(window[3 * kPage], 5);
  CHECK(mprotect((void*)window, kPage, PROT_READ) == 0);
  show("remap read-only", syscall(SYS_remap_file_pages, window, kPage, 0, 2, 0));
  CHECK_EQ(window[0], 3);
  show("remap protection", syscall(SYS_remap_file_pages, window, kPage, PROT_READ, 2, 0));
  show("remap private", syscall(SYS_remap_file_pages, map_private(kPage), kPage, 0, 2, 0));
  show("remap nothing", syscall(SYS_remap_file_pages, window, 0, 0, 2, 0));
  for (int i = 0; i < 8; ++i) say(" %d", window[i * kPage]);
  say("\n");
}

static void all_locked(void* unused) {
  (void)unused;
  show("mlockall", mlockall(MCL_CURRENT));
  memory[kPage] = 3;
  show("munlockall", munlockall());
  show("mlockall flags", mlockall(99));
}

int main(void) {
  file = memfd_create("memory", 0);
  memory = fresh(file);
  ask_residence();
  with_hole();
  locked();
  removed();
  advised_by_descriptor();
  reordered();
  wait_ok(child(all_locked, NULL));
}
