// Scripts: a #! line that names this program, run by execve and by a shell; nested interpreters.
#include <sys/stat.h>

#include "victim.h"

static void make_script(const char* name, const char* interpreter) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700);
  CHECK(fd >= 0);
  dprintf(fd, "#!%s argument\nline of the script\n", interpreter);
  close(fd);
}

static void run_script(void* name) {
  execl(name, name, "last", NULL);
  _exit(8);
}

static int interpret(int argc, char** argv) {
  volatile int* counter = map_fd(5, kPage, PROT_READ | PROT_WRITE);
  counter[0] += 1;
  counter[1] += argc;
  say("interpreter of %s with %d arguments\n", argv[argc - 2], argc);
  return counter[0];
}

int main(int argc, char** argv) {
  if (argc > 1) return interpret(argc, argv);
  char self[4096] = {0};
  CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
  int fd = memfd_create("counter", 0);
  CHECK(ftruncate(fd, kPage) == 0);
  CHECK_EQ(dup2(fd, 5), 5);
  volatile int* counter = map_fd(5, kPage, PROT_READ | PROT_WRITE);
  CHECK(symlink(self, "interpreter") == 0);
  make_script("./script", "./interpreter");
  make_script("./script-of-script", "./script");
  CHECK_EQ(WEXITSTATUS(wait_status(child(run_script, "./script"))), 1);
  CHECK_EQ(WEXITSTATUS(wait_status(child(run_script, "./script-of-script"))), 2);
  CHECK_EQ(WEXITSTATUS(system("./script from-shell")), 3);
  make_script("./bad", "/no/such/interpreter");
  CHECK_EQ(WEXITSTATUS(wait_status(child(run_script, "./bad"))), 8);
  say("shebang %d %d\n", counter[0], counter[1]);
}
