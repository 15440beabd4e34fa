// Children that live in their parent's memory and end there, in every way: after each the parent
// stores to shared memory and must still be recorded. Prints how many accesses it made;
// e2e/counted.py finds them in the log.
#include "victim.h"

static volatile uint32_t* words;
static uint32_t accesses;

static void store(uint32_t times) {
  for (uint32_t i = 0; i < times; ++i) words[i % 16] = i;
  accesses += times;
}

enum How {
  kAbort,
  kFault,
  kIllegal,
  kSent,
  kQueued,
  kExit,
  kFailedExec,
  kNoStack,
  kHandled,
  kHows
};

static void handler(int signal) { (void)signal; }

__attribute__((noreturn)) static void end(enum How how) {
  char* arguments[] = {"nothing", NULL};
  switch (how) {
    case kAbort:
      raise(SIGABRT);
      break;
    case kFault:
      *(volatile int*)8 = 1;
      break;
    case kIllegal:
      __asm__ volatile("ud2");
      break;
    case kSent:
      kill(getpid(), SIGSEGV);
      break;
    case kQueued:
      sigqueue(getpid(), SIGTERM, (union sigval){.sival_int = 1});
      break;
    case kFailedExec:
      execv("/nonexistent/program", arguments);
      _exit(errno == ENOENT ? 4 : 5);
    case kNoStack:
      __asm__ volatile("xor %%esp, %%esp\n\tud2" ::: "memory");
      break;
    case kHandled:
      signal(SIGFPE, handler);
      raise(SIGFPE);
      signal(SIGFPE, SIG_DFL);
      raise(SIGFPE);
      break;
    default:
      break;
  }
  _exit(3);
}

static int in_memory_of_parent(void* how) { end((enum How)(long)how); }

static void report(const char* made, enum How how, pid_t pid) {
  CHECK(pid > 0);
  const int status = wait_status(pid);
  say("%s %d: %d\n", made, how, status & 0x7F ? status & 0x7F : status >> 8);
  store(100);
}

int main(void) {
  words = map_shared(kPage);
  store(10);
  static char stack[64 * 1024] __attribute__((aligned(16)));
  for (enum How how = 0; how < kHows; ++how) {
    pid_t pid = vfork();
    if (pid == 0) end(how);
    report("vfork", how, pid);
    report("clone, waiting", how,
           clone(in_memory_of_parent, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD,
                 (void*)(long)how));
    report("clone", how,
           clone(in_memory_of_parent, stack + sizeof stack, CLONE_VM | SIGCHLD, (void*)(long)how));
  }
  say("%u accesses\n", accesses);
  return 0;
}
