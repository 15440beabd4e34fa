// A program that execs itself several times, keeping its pid; each image maps the memory anew, with
// and without an environment, from the main thread and from another thread.
#include <pthread.h>

#include "victim.h"

enum { kImages = 5 };

struct Shared {
  volatile int images, pid;
  volatile uint64_t sum;
};

static char** next_arguments;

static void* exec_in_thread(void* unused) {
  (void)unused;
  execv("/proc/self/exe", next_arguments);
  _exit(9);
}

static void* idle(void* unused) {
  for (;;) pause();
  return unused;
}

int main(int argc, char** argv) {
  int image = argc > 1 ? atoi(argv[1]) : 0;
  int fd = argc > 2 ? atoi(argv[2]) : memfd_create("kept", 0);  // inherited across exec
  if (image == 0) CHECK(ftruncate(fd, kPage) == 0);
  struct Shared* s = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
  if (image == 0) s->pid = getpid();
  CHECK_EQ(s->pid, getpid());
  CHECK_EQ(s->images, image);
  if (image == 3) CHECK(environ == NULL || environ[0] == NULL);
  s->images = s->images + 1;
  for (int i = 0; i < 20; ++i) s->sum = s->sum * 3 + image;
  if (image == kImages - 1) {
    say("exec_self %d %016llx\n", s->images, (unsigned long long)s->sum);
    return 0;
  }
  char number[16], descriptor[16];
  snprintf(number, sizeof(number), "%d", image + 1);
  snprintf(descriptor, sizeof(descriptor), "%d", fd);
  char* arguments[4] = {"exec_self", number, descriptor, NULL};
  char* empty[1] = {NULL};
  next_arguments = arguments;
  pthread_t thread;
  if (image % 2 == 1) CHECK(pthread_create(&thread, NULL, idle, NULL) == 0);
  if (image == 1) {
    CHECK(pthread_create(&thread, NULL, exec_in_thread, NULL) == 0);
    pthread_join(thread, NULL);
  }
  if (image == 2) execve("/proc/self/exe", arguments, empty);
  execv("/proc/self/exe", arguments);
  return 9;
}
