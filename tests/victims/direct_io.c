// O_DIRECT reads and writes between a file and shared memory.
#include <sys/uio.h>

#include "victim.h"

enum { kBytes = 8 * kPage };

static void check_from_child(void* memory) {
  int fd = open("data", O_RDONLY | O_DIRECT);
  if (fd < 0) fd = open("data", O_RDONLY);
  CHECK_EQ(pread(fd, (char*)memory + 4 * kPage, 4 * kPage, 0), 4 * kPage);
}

int main(void) {
  uint32_t* words = map_shared(kBytes);
  for (int i = 0; i < kBytes / 4; i += 16) words[i] = i * 2654435761u;
  int fd = open("data", O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
  if (fd < 0) fd = make_file("data", 0);  // a file system without it
  CHECK_EQ(pwrite(fd, words, 4 * kPage, 0), 4 * kPage);
  wait_ok(child(check_from_child, words));
  for (int i = 0; i < kBytes / 8; i += 16) CHECK_EQ(words[i + kPage], i * 2654435761u);
  memset(words + 6 * kPage / 4, 0, 2 * kPage);
  struct iovec vectors[2] = {{words + 6 * kPage / 4, kPage}, {words + 7 * kPage / 4, kPage}};
  CHECK_EQ(preadv(fd, vectors, 2, kPage), 2 * kPage);
  CHECK_EQ(words[6 * kPage / 4], (kPage / 4) * 2654435761u);
  CHECK_EQ(words[7 * kPage / 4], (2 * kPage / 4) * 2654435761u);
  say("misaligned %zd\n", pread(fd, (char*)words + 1, 512, 0));  // the device decides
  uint64_t sum = 0;
  for (int i = 0; i < kBytes / 4; i += 16) sum = mix(sum, words[i]);
  say("direct_io %016llx\n", (unsigned long long)sum);
}
