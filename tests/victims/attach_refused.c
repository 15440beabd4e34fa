// Attaching that the kernel refuses, for whatever reason, leaves the process that it was tried on
// as it was: recorded. Prints how many accesses that one made; e2e/counted.py finds them in the
// log.
#include <sys/prctl.h>
#include <sys/ptrace.h>

#include "victim.h"

enum { kStores = 500, kNobody = 65534 };

static volatile int* words;
static int go[2], ready[2];

static void target(void* by_nobody) {
  char byte = 0;
  close(go[1]);
  if (by_nobody) CHECK(setuid(kNobody) == 0);
  CHECK_EQ(write(ready[1], &byte, 1), 1);
  CHECK_EQ(read(go[0], &byte, 1), 0);
  for (int i = 0; i < kStores; ++i) words[i % 64] = i;
}

static void try_refused(void* pid) {
  const pid_t other = *(pid_t*)pid;
  CHECK_ERRNO(ptrace(PTRACE_ATTACH, other, NULL, NULL), EPERM);
  CHECK_ERRNO(ptrace(PTRACE_SEIZE, other, NULL, NULL), EPERM);
}
static void try_as_nobody(void* pid) {
  CHECK(setuid(kNobody) == 0);
  try_refused(pid);
}

// Whatever the error is: it differs between kernels.
static void refused(long request, pid_t pid, void* address, void* data) {
  errno = 0;
  CHECK_EQ(ptrace(request, pid, address, data), -1);
  say("request %#lx: errno %d\n", request, errno);
}

static void with_target(int by_nobody, void (*attempt)(void*)) {
  char byte;
  CHECK(pipe(go) == 0 && pipe(ready) == 0);
  pid_t pid = child(target, by_nobody ? &by_nobody : NULL);
  CHECK_EQ(read(ready[0], &byte, 1), 1);
  wait_ok(child(attempt, &pid));
  close(go[0]), close(go[1]), close(ready[0]), close(ready[1]);
  wait_ok(pid);
}

static void by_arguments(void* raw) {
  const pid_t pid = *(pid_t*)raw;
  refused(PTRACE_SEIZE, pid, (void*)8, NULL);
  refused(PTRACE_SEIZE, pid, NULL, (void*)(1ul << 18));
  refused(PTRACE_SEIZE, pid, NULL, (void*)(1ul << 40));
  refused(PTRACE_ATTACH, getpid(), NULL, NULL);
  refused(PTRACE_ATTACH, -1, NULL, NULL);
  refused(PTRACE_SEIZE, 0x3fffffff, NULL, NULL);
  const pid_t ended = fork();
  if (ended == 0) _exit(0);
  siginfo_t info;
  CHECK(waitid(P_PID, ended, &info, WEXITED | WNOWAIT) == 0);
  refused(PTRACE_ATTACH, ended, NULL, NULL);
  CHECK_EQ(wait_status(ended), 0);
}

int main(void) {
  words = map_shared(kPage);
  int targets = 1;
  with_target(0, by_arguments);
  if (getuid() == 0) {
    with_target(0, try_as_nobody);  // another user's
    with_target(1, try_as_nobody);  // the same user's, but it may not be dumped
    targets = 3;
  }
  say("%d accesses\n", targets * kStores);
}
