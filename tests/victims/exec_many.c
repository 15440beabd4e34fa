// Executes a small program again and again, then maps, uses and unmaps as many segments, or leaves
// that to a child that is killed with them, and does all the while little with one that lasts. What
// it does at the end is what e2e/exec_many.py asks for.
//
// usage: exec_many COMMANDS SEGMENTS PROGRAM
#include <spawn.h>

#include "victim.h"

extern char** environ;

static volatile uint64_t* lasting;

__attribute__((noinline)) static void store_last(uint64_t value) { lasting[8] = value; }

static void use_segment(uint64_t value) {
  volatile uint64_t* words = map_shared(kPage);
  words[0] = value;
  munmap((void*)words, kPage);
}

__attribute__((noinline)) static void store_in_child(volatile uint64_t* words, uint64_t value) {
  words[8] = value;
}

// The child inherits one segment that its parent unmaps at once, and has one of its own.
static void use_in_child(uint64_t value) {
  volatile uint64_t* inherited = map_shared(kPage);
  int status;
  const pid_t child = fork();
  if (child == 0) {
    use_segment(value);
    volatile uint64_t* own = map_shared(kPage);
    own[0] = value;
    store_in_child(inherited, value);
    kill(getpid(), SIGKILL);
  }
  munmap((void*)inherited, kPage);
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, SIGKILL);
}

static void execute(char* program) {
  char* arguments[] = {program, NULL};
  pid_t child;
  int status;
  CHECK_EQ(posix_spawn(&child, program, NULL, NULL, arguments, environ), 0);
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

int main(int count, char** arguments) {
  CHECK_EQ(count, 4);
  const int commands = atoi(arguments[1]), segments = atoi(arguments[2]);
  lasting = map_shared(kPage);
  lasting[0] = 1;
  for (int i = 0; i < commands; ++i) execute(arguments[3]);
  for (int i = 0; i < segments; ++i) {
    if (i % 16)
      use_segment((uint64_t)i);
    else
      use_in_child((uint64_t)i);
  }
  store_last(42);
  say("%d commands, %d segments\n", commands, segments);
  return 0;
}
