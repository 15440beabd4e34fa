// /dev/zero mapped shared is memory that parent and children share, each mapping for itself.
#include "victim.h"

static void store_there(void* memory) {
  ((volatile int*)memory)[3] = 42;
  __atomic_fetch_add((int*)memory + 1, 7, __ATOMIC_SEQ_CST);
}

int main(void) {
  int fd = open("/dev/zero", O_RDWR);
  CHECK(fd >= 0);
  volatile int* one = map_fd(fd, 2 * kPage, PROT_READ | PROT_WRITE);
  volatile int* two = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
  CHECK(close(fd) == 0);
  wait_ok(child(store_there, (void*)one));
  CHECK_EQ(one[3], 42);
  CHECK_EQ(one[1], 7);
  CHECK_EQ(two[3], 0);
  volatile int* moved = mremap((void*)one, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                               map_private(2 * kPage));
  CHECK(moved != MAP_FAILED);
  wait_ok(child(store_there, (void*)moved));
  CHECK_EQ(moved[1], 14);
  say("zero_device %d %d\n", moved[3], two[3]);
}
