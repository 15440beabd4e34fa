// A shared file mapping and the file itself, by read(2), write(2), msync and a second mapping at
// another file offset.
#include <sys/stat.h>

#include "victim.h"

enum { kBytes = 4 * kPage };

static void writes_by_call(void* fd) {
  uint64_t value = 0x1122334455667788;
  CHECK_EQ(pwrite(*(int*)fd, &value, 8, kPage + 12), 8);
}

static void writes_by_mapping(void* fd) {
  char* memory = map_fd(*(int*)fd, kBytes, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 26; ++i) memory[2 * kPage + i] = 'a' + i;
}

int main(void) {
  int fd = make_file("data", kBytes);
  char* memory = map_fd(fd, kBytes, PROT_READ | PROT_WRITE);
  uint64_t* tail = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * kPage);
  CHECK(tail != MAP_FAILED);
  wait_ok(child(writes_by_call, &fd));
  uint64_t value;
  memcpy(&value, memory + kPage + 12, 8);
  CHECK_EQ(value, 0x1122334455667788);
  wait_ok(child(writes_by_mapping, &fd));
  char text[27] = {0};
  CHECK_EQ(pread(fd, text, 26, 2 * kPage), 26);
  CHECK(strcmp(text, "abcdefghijklmnopqrstuvwxyz") == 0);
  CHECK_EQ(tail[0], 0x6867666564636261);
  tail[kPage / 8] = 42;
  CHECK_EQ(*(uint64_t*)(memory + 3 * kPage), 42);
  // File to mapping of the same file, and back.
  CHECK_EQ(pread(fd, memory, 26, 2 * kPage), 26);
  CHECK(memcmp(memory, text, 26) == 0);
  CHECK_EQ(pwrite(fd, memory + 3, 10, 100), 10);
  CHECK(memcmp(memory + 100, "defghijklm", 10) == 0);
  CHECK(msync(memory, kBytes, MS_SYNC) == 0);
  CHECK(msync(memory, kBytes, MS_ASYNC | MS_INVALIDATE) == 0);
  CHECK_ERRNO(msync(memory + 1, kPage, MS_SYNC), EINVAL);
  int again = open("data", O_RDONLY);
  CHECK_EQ(pread(again, &value, 8, 3 * kPage), 8);
  CHECK_EQ(value, 42);
  const char* readable = map_fd(again, kBytes, PROT_READ);
  CHECK(memcmp(readable + 2 * kPage, text, 26) == 0);
  CHECK_ERRNO(mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), EACCES);
  CHECK(munmap(memory, kBytes) == 0);
  CHECK_EQ(tail[kPage / 8], 42);
  say("file_shared %s\n", text);
}
