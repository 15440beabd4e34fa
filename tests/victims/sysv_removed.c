// A removed segment of System V lives as long as it is attached. Mapped anew by remap_file_pages,
// which takes the attachment away first, it is gone if that was the last one.
#include <sys/ipc.h>
#include <sys/shm.h>

#include "victim.h"

static int id;

static char* attach_removed(unsigned pages) {
  id = shmget(IPC_PRIVATE, pages * kPage, IPC_CREAT | 0600);
  CHECK(id >= 0);
  char* at = shmat(id, NULL, 0);
  CHECK(at != (char*)-1);
  CHECK(remap_file_pages(at, pages * kPage, 0, 0, 0) == 0);  // not removed yet
  at[0] = 1;
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  at[0]++;
  CHECK_EQ(at[0], 2);
  return at;
}

static int is_mapped(void* page) { return msync(page, kPage, MS_ASYNC) == 0; }

static void check_gone(char* at, unsigned pages) {
  CHECK_ERRNO(remap_file_pages(at, pages * kPage, 0, 0, 0), EINVAL);
  for (unsigned i = 0; i < pages; ++i) CHECK(!is_mapped(at + i * kPage));
  struct shmid_ds state;
  CHECK_ERRNO(shmctl(id, IPC_STAT, &state), EINVAL);
  CHECK_ERRNO(remap_file_pages(at, pages * kPage, 0, 0, 0), EINVAL);
  // The addresses are free again.
  enum { kFlags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED };
  char* next = mmap(at, kPage, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  CHECK(next == at);
  CHECK_EQ(next[0], 0);
  CHECK(munmap(next, kPage) == 0);
}

static void last_attachment(void) { check_gone(attach_removed(1), 1); }

// What the kernel refuses before it takes anything away leaves all as it is.
static void refused(void) {
  char* at = attach_removed(1);
  CHECK_ERRNO(remap_file_pages(at, kPage, PROT_READ, 0, 0), EINVAL);
  CHECK_ERRNO(remap_file_pages(at, 2 * kPage, 0, 0, 0), EINVAL);
  CHECK_EQ(++at[0], 3);
  check_gone(at, 1);
}

// The rest of the mapping keeps the segment.
static void part_of_it(void) {
  char* at = attach_removed(3);
  at[2 * kPage] = 7;
  CHECK(remap_file_pages(at, kPage, 0, 2, 0) == 0);
  CHECK_EQ(at[0], 7);
  CHECK(munmap(at + kPage, 2 * kPage) == 0);
  CHECK_EQ(++at[0], 8);
  check_gone(at, 1);
}

static void protected_apart(void) {
  char* at = attach_removed(2);
  CHECK(mprotect(at, kPage, PROT_READ) == 0);
  CHECK(remap_file_pages(at + kPage, kPage, 0, 0, 0) == 0);
  CHECK_EQ(++at[kPage], 3);
  CHECK_EQ(at[0], 3);
  CHECK(munmap(at, kPage) == 0);
  check_gone(at + kPage, 1);
}

static void attached_twice(void) {
  char* at = attach_removed(2);
  char* other = shmat(id, NULL, 0);
  CHECK(remap_file_pages(at, 2 * kPage, 0, 0, 0) == 0);
  CHECK_EQ(++at[0], 3);
  CHECK_EQ(other[0], 3);
  CHECK(shmdt(other) == 0);
  check_gone(at, 2);
}

static void exit_at_once(void* unused) { (void)unused; }
static void remap_in_child(void* at) {
  CHECK(remap_file_pages(at, kPage, 0, 0, 0) == 0);  // the parent keeps it
  ++*(char*)at;
}

static void inherited(void) {
  char* at = attach_removed(1);
  wait_ok(child(remap_in_child, at));
  CHECK_EQ(at[0], 3);
  wait_ok(child(exit_at_once, NULL));
  check_gone(at, 1);
}

int main(void) {
  last_attachment();
  refused();
  part_of_it();
  protected_apart();
  attached_twice();
  inherited();
  say("sysv_removed\n");
}
