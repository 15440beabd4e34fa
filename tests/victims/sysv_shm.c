// SysV shared memory: attach, read-only attach, attach at an address, SHM_REMAP, detach, removal.
#include <sys/ipc.h>
#include <sys/shm.h>

#include "victim.h"

enum { kBytes = 3 * kPage };

static int id;

static void writer(void* at) {
  uint64_t* words = shmat(id, at, 0);
  CHECK(words == at);
  for (int i = 0; i < 100; ++i) words[i] = words[i] * 5 + 1;
  CHECK(shmdt(words) == 0);
}

static volatile int faults;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  ++faults;
  CHECK_EQ(info->si_code, SEGV_ACCERR);
  CHECK(shmat(id, (void*)((uint64_t)info->si_addr & -kPage), SHM_REMAP) != (void*)-1);
}

int main(void) {
  id = shmget(IPC_PRIVATE, kBytes - 100, IPC_CREAT | 0600);
  CHECK(id >= 0);
  uint64_t* words = shmat(id, NULL, 0);
  CHECK(words != (void*)-1);
  for (int i = 0; i < 100; ++i) words[i] = i;
  wait_ok(child(writer, (void*)0x320000000000));
  uint64_t* const readable = shmat(id, (void*)0x321000000000, SHM_RDONLY);
  CHECK_EQ((uint64_t)readable, 0x321000000000);
  uint64_t sum = 0;
  for (int i = 0; i < 100; ++i) {
    CHECK_EQ(readable[i], i * 5 + 1);
    sum = mix(sum, readable[i]);
  }
  words[1] = 77;
  CHECK_EQ(((volatile uint64_t*)readable)[1], 77);
  // A store to the read-only attachment faults; the handler attaches it again, writable.
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  ((volatile uint64_t*)readable)[0] = 123;
  CHECK_EQ(faults, 1);
  CHECK_EQ(((volatile uint64_t*)words)[0], 123);
  CHECK_ERRNO(shmat(id, (void*)((uint64_t)words + 1), 0), EINVAL);
  CHECK_ERRNO(shmat(id, words, 0), EINVAL);
  CHECK_ERRNO(shmdt((char*)words + kPage), EINVAL);
  CHECK_ERRNO(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600), EINVAL);
  uint64_t* rounded = shmat(id, (void*)0x322000000123, SHM_RND);
  CHECK_EQ((uint64_t)rounded, 0x322000000000);
  CHECK_EQ(rounded[1], 77);
  CHECK(shmdt(rounded) == 0);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  words[99] = 1;  // lives until the last detach
  CHECK_EQ(((volatile uint64_t*)readable)[99], 1);
  CHECK(shmdt(readable) == 0);
  CHECK(shmdt(words) == 0);
  CHECK_ERRNO(shmat(id, NULL, 0), EINVAL);
  say("sysv_shm %016llx\n", (unsigned long long)sum);
}
