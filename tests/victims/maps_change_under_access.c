// Two threads count in shared memory without a pause, while the main thread changes the mapping
// under them: grown, shrunk, mapped again, attached again, protected beside them. The memory is
// mapped before and after each change, so no access may fault, and none may be lost.
#include <pthread.h>
#include <sys/shm.h>

#include "victim.h"

enum { kThreads = 2, kRounds = 300 };

static volatile int stop, running;
static uint64_t* volatile counter;
static uint64_t counted[kThreads];

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fail(__FILE__, __LINE__, "fault at %p, counter is at %p", info->si_addr, (void*)counter);
}

static void* count(void* number) {
  uint64_t* own = &counted[(intptr_t)number];
  __atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
  while (!stop) {
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
    counter[1 + (intptr_t)number] = ++*own;
    if (counter[1 + (intptr_t)number] != *own) fail(__FILE__, __LINE__, "a store is lost");
  }
  return NULL;
}

// Changes the mapping `change` makes again and again, under the threads that count at `at`.
static void run(const char* name, void* at, void (*change)(void* at)) {
  pthread_t threads[kThreads];
  counter = at;
  stop = running = 0;
  memset(counted, 0, sizeof counted);
  memset(at, 0, 64);
  for (intptr_t i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], NULL, count, (void*)i) == 0);
  await_value(&running, kThreads);
  for (int i = 0; i < kRounds; ++i) change(at);
  stop = 1;
  uint64_t sum = 0;
  for (int i = 0; i < kThreads; ++i) {
    CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ(counter[1 + i], counted[i]);
    sum += counted[i];
  }
  CHECK_EQ(*counter, sum);
  say("%s: none lost\n", name);
}

static int fd, segment;

static void* at_fresh_place(size_t bytes) {
  char* room = mmap(NULL, 16 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED && munmap(room + bytes, 16 * kPage - bytes) == 0);
  CHECK(mmap(room, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == room);
  return room;
}

static void resize(void* at) {
  CHECK(mremap(at, kPage, 8 * kPage, 0) == at);
  CHECK(mremap(at, 8 * kPage, kPage, 0) == at);
}

static void map_again(void* at) {
  CHECK(mmap(at, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == at);
}

static void duplicate_over(void* at) {
  void* twin = mremap(at, 0, kPage, MREMAP_MAYMOVE);
  CHECK(twin != MAP_FAILED);
  CHECK(mremap(twin, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
}

static void attach_again(void* at) { CHECK(shmat(segment, at, SHM_REMAP) == at); }

static void reorder(void* at) { CHECK(syscall(SYS_remap_file_pages, at, kPage, 0, 0, 0) == 0); }

static void protect_beside(void* at) {
  CHECK(mprotect((char*)at + kPage, kPage, PROT_READ) == 0);
  CHECK(mprotect(at, 3 * kPage, PROT_READ | PROT_WRITE) == 0);
}

static void unmap_beside(void* at) {
  CHECK(munmap((char*)at + kPage, kPage) == 0);
  CHECK(mmap((char*)at + kPage, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, kPage) ==
        (char*)at + kPage);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
  fd = memfd_create("counted", 0);
  CHECK(fd >= 0 && ftruncate(fd, 16 * kPage) == 0);
  run("resized", at_fresh_place(kPage), resize);
  run("mapped again", at_fresh_place(kPage), map_again);
  run("duplicated over", at_fresh_place(kPage), duplicate_over);
  run("remapped", at_fresh_place(kPage), reorder);
  run("protected beside", at_fresh_place(3 * kPage), protect_beside);
  run("unmapped beside", at_fresh_place(3 * kPage), unmap_beside);
  segment = shmget(IPC_PRIVATE, kPage, 0600);
  void* attached = shmat(segment, NULL, 0);
  CHECK(attached != (void*)-1 && shmctl(segment, IPC_RMID, NULL) == 0);
  run("attached again", attached, attach_again);
}
