// All ways to make a process: fork, vfork, posix_spawn, clone with and without CLONE_VM, clone3,
// system.
#include <linux/sched.h>
#include <spawn.h>

#include "victim.h"

struct Shared {
  volatile int order[16], count;
  char text[64];
};

static struct Shared* s;
static char shm_name[64];

static void note(int what) { s->order[s->count++] = what; }

static int in_clone(void* argument) {
  note((int)(long)argument);
  return 3;
}

static int spawned(const char* name, int what) {
  int fd = shm_open(name, O_RDWR, 0);
  CHECK(fd >= 0);
  s = map_fd(fd, sizeof(*s), PROT_READ | PROT_WRITE);
  note(what);
  return 5;
}

int main(int argc, char** argv) {
  if (argc == 3) return spawned(argv[1], atoi(argv[2]));
  snprintf(shm_name, sizeof(shm_name), "/shmrec-victim-spawn-%d", getpid());
  int fd = shm_open(shm_name, O_RDWR | O_CREAT | O_EXCL, 0600);
  CHECK(ftruncate(fd, sizeof(*s)) == 0);
  s = map_fd(fd, sizeof(*s), PROT_READ | PROT_WRITE);
  char number[4] = "2";
  char* arguments[4] = {"spawn_forms", shm_name, number, NULL};
  // vfork: the child uses the parent's memory until it execs or exits.
  pid_t pid = vfork();
  if (pid == 0) {
    note(1);
    execv("/proc/self/exe", arguments);
    _exit(9);
  }
  CHECK_EQ(s->order[0], 1);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 5);
  pid = vfork();
  if (pid == 0) {
    note(3);
    _exit(6);
  }
  CHECK_EQ(s->order[2], 3);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 6);
  pid = vfork();
  if (pid == 0) {
    execv("/no/such/program", arguments);
    note(4);
    _exit(7);
  }
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 7);
  strcpy(number, "5");
  CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, NULL) == 0);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 5);
  CHECK_EQ(posix_spawn(&pid, "/no/such/program", NULL, NULL, arguments, NULL), ENOENT);
  char* stack = map_private(64 * 1024);
  pid = clone(in_clone, stack + 64 * 1024, SIGCHLD, (void*)6l);
  CHECK(pid > 0);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 3);
  pid = clone(in_clone, stack + 64 * 1024, CLONE_VM | SIGCHLD, (void*)7l);
  CHECK(pid > 0);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 3);
  pid =
      clone(in_clone, stack + 64 * 1024, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, (void*)8l);
  CHECK(pid > 0);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 3);
  struct clone_args three = {.exit_signal = SIGCHLD};
  pid = syscall(SYS_clone3, &three, sizeof(three));
  if (pid < 0) pid = fork();  // a sandbox may refuse it
  if (pid == 0) {
    note(9);
    _exit(0);
  }
  wait_ok(pid);
  pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    note(10);
    _exit(0);
  }
  wait_ok(pid);
  CHECK_EQ(WEXITSTATUS(system("exit 4")), 4);
  FILE* pipe = popen("echo from a pipe", "r");
  CHECK(fgets(s->text, sizeof(s->text), pipe));
  CHECK(pclose(pipe) == 0);
  CHECK(shm_unlink(shm_name) == 0);
  for (int i = 0; i < s->count; ++i) say("%d ", s->order[i]);
  say("%s", s->text);
}
