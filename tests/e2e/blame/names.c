// Files that change their names and sizes while they are mapped, as programs do that write a new
// file beside the old one; names.py asks for them by every name that they had.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int* map_file(const char* path, int flags) {
  const int fd = open(path, O_RDWR | flags, 0600);
  if (fd < 0 || ftruncate(fd, 4096) != 0) _exit(9);
  void* at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) _exit(9);
  return at;
}

static void expect(int ok, const char* what) {
  if (!ok) {
    perror(what);
    _exit(9);
  }
}

// The file "index" is replaced twice; who had it mapped goes on with what it was.
static void replace_index(int generation) {
  volatile int* index = map_file("index.tmp", O_CREAT | O_TRUNC);
  index[0] = generation;
  munmap((void*)index, 4096);
  expect(rename("index.tmp", "./index") == 0, "rename");
}

int main(void) {
  map_file("index", O_CREAT)[0] = 1;
  map_file("left", O_CREAT)[0] = 10;
  map_file("right", O_CREAT)[0] = 11;
  volatile int* kept = map_file("kept", O_CREAT);
  kept[0] = 12;
  map_file("gone", O_CREAT)[0] = 13;
  volatile int* cut = map_file("cut", O_CREAT);
  cut[0] = 14;
  volatile int* emptied = map_file("emptied", O_CREAT);
  emptied[0] = 15;
  const int id = shmget(0x5e9, 4096, IPC_CREAT | 0600);
  volatile int* sysv = shmat(id, NULL, 0);
  sysv[0] = 16;
  if (fork() == 0) {
    replace_index(2);
    replace_index(3);
    const int here = open(".", O_RDONLY | O_DIRECTORY);
    expect(syscall(SYS_renameat2, here, "left", AT_FDCWD, "right", 2 /* RENAME_EXCHANGE */) == 0,
           "exchange");
    expect(link("kept", "linked") == 0, "link");
    expect(unlinkat(here, "gone", 0) == 0, "unlink");
    expect(truncate("cut", 0) == 0 && truncate("cut", 8192) == 0, "truncate");
    expect(close(open("emptied", O_RDWR | O_TRUNC)) == 0, "open");
    expect(truncate("emptied", 4096) == 0, "truncate");
    expect(rename("linked", "kept") == 0, "rename to itself");
    expect(rename("nowhere", "kept") != 0, "rename of nothing");
    expect(shmctl(id, IPC_RMID, NULL) == 0, "IPC_RMID");
    _exit(0);
  }
  wait(NULL);
  const int seen = map_file("index", 0)[0];
  printf("%d %d %d %d\n", seen, cut[0], emptied[0], sysv[0]);
  return seen == 3 && cut[0] == 0 && emptied[0] == 0 && sysv[0] == 16 ? 1 : 9;
}
