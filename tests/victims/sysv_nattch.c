// What shmctl(IPC_STAT) tells: size, attachments, pids. Databases use shm_nattch to find out
// whether a crashed server still has children.
#include <sys/ipc.h>
#include <sys/shm.h>

#include "victim.h"

static int id;

static unsigned long attached(void) {
  struct shmid_ds state;
  CHECK(shmctl(id, IPC_STAT, &state) == 0);
  CHECK_EQ(state.shm_segsz, 5000);
  return state.shm_nattch;
}

static void attach_too(void* unused) {
  (void)unused;
  CHECK_EQ(attached(), 2);  // inherited
  uint32_t* words = shmat(id, NULL, 0);
  words[0]++;
  CHECK_EQ(attached(), 3);
}

// Detached is what is left of an attachment, also where its beginning is not there any more, and
// nothing else that was mapped in its place.
static void detach_what_is_left(void) {
  char* gone = shmat(id, NULL, 0);
  CHECK(munmap(gone, kPage) == 0);
  gone[kPage] = 1;
  CHECK(shmdt(gone) == 0);
  CHECK_EQ(attached(), 0);
  CHECK_ERRNO(shmdt(gone), EINVAL);

  char* replaced = shmat(id, NULL, 0);
  CHECK(mmap(replaced, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == replaced);
  replaced[0] = 5;
  replaced[kPage]++;
  CHECK(shmdt(replaced) == 0);
  CHECK_EQ(attached(), 0);
  CHECK_EQ(replaced[0]++, 5);
  CHECK(munmap(replaced, kPage) == 0);

  char* apart = shmat(id, NULL, 0);
  CHECK(mprotect(apart, kPage, PROT_READ) == 0);
  CHECK_EQ(apart[kPage], 2);
  CHECK(shmdt(apart) == 0);
  CHECK_EQ(attached(), 0);
}

int main(void) {
  id = shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600);
  CHECK(id >= 0);
  CHECK_EQ(attached(), 0);
  uint32_t* words = shmat(id, NULL, 0);
  words[0] = 1;
  CHECK_EQ(attached(), 1);
  wait_ok(child(attach_too, NULL));
  CHECK_EQ(attached(), 1);
  CHECK_EQ(words[0], 2);
  CHECK(shmdt(words) == 0);
  CHECK_EQ(attached(), 0);
  detach_what_is_left();
  struct shmid_ds state;
  CHECK(shmctl(id, IPC_STAT, &state) == 0);
  CHECK_EQ(state.shm_cpid, getpid());
  CHECK_EQ(state.shm_lpid, getpid());
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  say("sysv_nattch\n");
}
