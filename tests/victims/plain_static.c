// The same small program linked dynamically, statically and as a static PIE: shared memory across
// fork, threads, exec of itself, signals.
#include <pthread.h>
#include <stdatomic.h>

#include "victim.h"

struct Shared {
  atomic_int counter;
  volatile int words[200];
  char text[100];
};

static struct Shared* s;

static void* in_thread(void* argument) {
  for (int i = 0; i < 200; ++i) atomic_fetch_add(&s->counter, (int)(long)argument);
  return NULL;
}

static void in_child(void* unused) {
  (void)unused;
  in_thread((void*)1l);
  for (int i = 0; i < 200; ++i) s->words[i] = i * i;
  memmove(s->text + 10, strcpy(s->text, "moved"), 6);
}

static void on_signal(int signal) { s->counter += signal; }

int main(int argc, char** argv) {
  (void)argv;
  s = map_shared(sizeof(*s));
  if (argc > 1) {
    s->counter = 11;
    return s->counter;
  }
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, in_thread, (void*)100l) == 0);
  pid_t pid = child(in_child, NULL);
  CHECK(pthread_join(thread, NULL) == 0);
  wait_ok(pid);
  CHECK_EQ(s->counter, 20200);
  CHECK_EQ(s->words[199], 199 * 199);
  CHECK(strcmp(s->text + 10, "moved") == 0);
  signal(SIGUSR1, on_signal);
  raise(SIGUSR1);
  CHECK_EQ(s->counter, 20200 + SIGUSR1);
  pid = fork();
  if (pid == 0) execl("/proc/self/exe", "again", "again", NULL);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 11);
  say("plain %d\n", s->counter);
}
