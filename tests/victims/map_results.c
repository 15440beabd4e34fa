// What mprotect, pkey_mprotect and mremap answer, and leave, over ranges of several mappings:
// shared ones of different protection, private ones, holes; and over what may not be written.
#include "victim.h"

static int fd;
static char* range;

static void show(const char* what, void* result) {
  const long value = (long)result;
  say("%s: %s\n", what, value == -1 ? strerrorname_np(errno) : value == 0 ? "0" : "moved");
}

// Which pages of the range can be read and written, by the kernel's word.
static void show_pages(int pages) {
  int ends[2];
  char byte = 1;
  CHECK(pipe(ends) == 0);
  say(" ");
  for (int i = 0; i < pages; ++i) {
    const int readable = write(ends[1], range + i * kPage, 1) == 1;
    const int writable = write(ends[1], &byte, 1) == 1 && read(ends[0], range + i * kPage, 1) == 1;
    say(" %s", writable ? "rw" : readable ? "r" : "-");
    close(ends[0]), close(ends[1]);
    CHECK(pipe(ends) == 0);
  }
  close(ends[0]), close(ends[1]);
  say("\n");
}

// page 0, 1: shared; 2: private; 3: shared, read-only; 4: hole; 5: shared.
static void arrange(void) {
  if (range) munmap(range, 6 * kPage);
  range =
      mmap(range, 6 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | (range ? MAP_FIXED : 0), fd, 0);
  CHECK(range != MAP_FAILED);
  CHECK(mmap(range + 2 * kPage, kPage, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
  CHECK(mprotect(range + 3 * kPage, kPage, PROT_READ) == 0);
  CHECK(munmap(range + 4 * kPage, kPage) == 0);
}

static void protect(void) {
  arrange();
  show("over a hole", (void*)(long)mprotect(range, 6 * kPage, PROT_READ));
  show_pages(6);
  arrange();
  show("from a hole", (void*)(long)mprotect(range + 4 * kPage, 2 * kPage, PROT_NONE));
  show("unknown bits", (void*)(long)mprotect(range, kPage, 0x40));
  show("unaligned", (void*)(long)mprotect(range + 1, kPage, PROT_READ));
  show("nothing", (void*)(long)mprotect(range, 0, PROT_READ));
  show("unknown key", (void*)syscall(SYS_pkey_mprotect, range, kPage, PROT_READ, 15));
  show("no key", (void*)syscall(SYS_pkey_mprotect, range, kPage, PROT_READ | PROT_WRITE, -1));
  show_pages(6);
}

static void read_only_file(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int reader = open(path, O_RDONLY);
  CHECK(reader >= 0);
  char* view = mmap(NULL, 4 * kPage, PROT_READ, MAP_SHARED, reader, 0);
  CHECK(view != MAP_FAILED);
  show("no right to write", (void*)(long)mprotect(view, kPage, PROT_READ | PROT_WRITE));
  // The first mapping can be made writable, the second cannot.
  CHECK(mmap(view, kPage, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == view);
  show("half a right", (void*)(long)mprotect(view, 2 * kPage, PROT_READ | PROT_WRITE));
  view[5] = 55;
  CHECK_EQ(range[5], 55);
  show("write over nothing",
       mmap(view, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, reader, 0));
  CHECK_EQ(view[5], 55);
}

static void move(void) {
  char* target = map_private(8 * kPage);
  arrange();
  range[0] = 1, range[kPage] = 2;
  CHECK(mprotect(range + kPage, kPage, PROT_READ) == 0);
  show("grow over two", mremap(range, 2 * kPage, 3 * kPage, MREMAP_MAYMOVE));
  show("move two", mremap(range, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target));
  range = target;
  show_pages(2);
  CHECK_EQ(target[0], 1);
  CHECK_EQ(target[kPage], 2);
  show("shrink over two", mremap(target, 2 * kPage, kPage, 0));
  show_pages(2);
  show("keep the old", mremap(target, kPage, kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL));
  show_pages(1);
  char* twin = mremap(target, 0, kPage, MREMAP_MAYMOVE);
  CHECK(twin != MAP_FAILED);
  twin[9] = 9;
  CHECK_EQ(((volatile char*)target)[9], 9);
}

int main(void) {
  fd = memfd_create("several", 0);
  CHECK(fd >= 0 && ftruncate(fd, 16 * kPage) == 0);
  protect();
  read_only_file();
  move();
}
