// A debugger's start of a program: a child asks to be traced, execs, and its parent sees the stops
// that the kernel makes and no others, whether the child was made by fork or by vfork.
#include <sys/ptrace.h>

#include "victim.h"

static pid_t start(int by_vfork) {
  const pid_t pid = by_vfork ? vfork() : fork();
  CHECK(pid >= 0);
  if (pid > 0) return pid;
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  setpgid(0, 0);
  execl("/bin/true", "true", (char*)NULL);
  _exit(9);
}

static void follow(const char* how, pid_t pid) {
  for (int stops = 0;; ++stops) {
    const int status = wait_status(pid);
    if (WIFEXITED(status)) {
      say("%s: %d stops, exit %d\n", how, stops, WEXITSTATUS(status));
      return;
    }
    CHECK(WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTRAP);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
  }
}

int main(void) {
  volatile int* word = map_shared(kPage);
  *word = 1;
  follow("fork", start(0));
  ++*word;
  follow("vfork", start(1));
  ++*word;
  CHECK_EQ(*word, 3);
}
