// As many mappings as the kernel allows in a quarter of its limit: of one object at ten thousand
// places, of one mapping protected page by page, of pages in falling order, of a moving window.
#include "victim.h"

enum { kMany = 10000 };

int main(void) {
  int fd = memfd_create("many", 0);
  CHECK(fd >= 0 && ftruncate(fd, (size_t)kMany * kPage) == 0);
  static volatile char* places[kMany];
  for (int i = 0; i < kMany; ++i) places[i] = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
  places[0][7] = 77;
  CHECK_EQ(places[kMany - 1][7], 77);
  places[kMany / 2][8] = 88;
  CHECK_EQ(places[1][8], 88);
  for (int i = 0; i < kMany; i += 2) CHECK(munmap((void*)places[i], kPage) == 0);
  CHECK_EQ(places[kMany - 1][8], 88);
  for (int i = 1; i < kMany; i += 2) CHECK(munmap((void*)places[i], kPage) == 0);

  volatile char* whole = map_fd(fd, (size_t)kMany * kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < kMany; i += 2)
    CHECK(mprotect((void*)(whole + (size_t)i * kPage), kPage, PROT_READ) == 0);
  whole[kPage + 1] = 11;
  CHECK_EQ(whole[kPage + 1], 11);
  CHECK_EQ(whole[7], 77);
  CHECK(munmap((void*)whole, (size_t)kMany * kPage) == 0);

  for (int i = 0; i < kMany; ++i) {
    const off_t page = kMany - 1 - i;
    places[i] = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page * kPage);
    CHECK(places[i] != MAP_FAILED);
  }
  CHECK_EQ(places[kMany - 1][8], 88);
  places[0][3] = 33;
  CHECK_EQ(pread(fd, (char*)places[1], 1, (off_t)(kMany - 1) * kPage + 3), 1);
  CHECK_EQ(places[1][0], 33);
  say("%d mappings, three ways\n", kMany);
}
