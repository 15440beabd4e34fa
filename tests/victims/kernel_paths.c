// Paths, argument and environment vectors in shared memory: open, rename, execve and the rest.
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "victim.h"

struct Shared {
  char a[256], b[256], c[256], text[512];
  char *arguments[8], *environment[4];
};

static struct Shared* s;

static int executed(int argc, char** argv) {
  CHECK_EQ(argc, 4);
  CHECK(strcmp(argv[2], "second argument") == 0);
  CHECK(strcmp(getenv("SHARED_VARIABLE"), "its value") == 0);
  CHECK(getenv("PATH") == NULL);
  say("executed %s with %s\n", argv[1], argv[3]);
  return 7;
}

static void fill_vectors(const char* how) {
  strcpy(s->a, "/proc/self/exe");
  strcpy(s->b, how);
  strcpy(s->c, "second argument");
  strcpy(s->text, "third");
  strcpy(s->text + 100, "SHARED_VARIABLE=its value");
  strcpy(s->text + 200, "kernel_paths");
  s->arguments[0] = s->text + 200;
  s->arguments[1] = s->b;
  s->arguments[2] = s->c;
  s->arguments[3] = s->text;
  s->arguments[4] = NULL;
  s->environment[0] = s->text + 100;
  s->environment[1] = NULL;
}

static void execute(void* unused) {
  (void)unused;
  execve(s->a, s->arguments, s->environment);
}

static void execute_fd(void* unused) {
  (void)unused;
  int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  strcpy(s->a, "");
  syscall(SYS_execveat, fd, s->a, s->arguments, s->environment, AT_EMPTY_PATH);
}

int main(int argc, char** argv) {
  if (argc > 1) return executed(argc, argv);
  s = map_shared(sizeof(*s));
  strcpy(s->a, "created");
  strcpy(s->b, "renamed");
  int fd = open(s->a, O_RDWR | O_CREAT | O_EXCL, 0640);
  CHECK(fd >= 0);
  CHECK_ERRNO(open(s->a, O_CREAT | O_EXCL, 0640), EEXIST);
  CHECK(rename(s->a, s->b) == 0);
  CHECK_ERRNO(access(s->a, F_OK), ENOENT);
  CHECK(link(s->b, s->a) == 0);
  CHECK(chmod(s->a, 0600) == 0);
  CHECK(truncate(s->a, 77) == 0);
  CHECK(symlink(s->a, strcpy(s->c, "symbolic")) == 0);
  CHECK(mkdir(strcpy(s->text, "made"), 0700) == 0);
  CHECK_EQ(openat(AT_FDCWD, strcpy(s->text, "made/none"), O_RDONLY), -1);
  CHECK(rmdir(strcpy(s->text, "made")) == 0);
  CHECK(unlink(s->a) == 0);
  // A path that ends exactly with its page, and one that does not.
  char* pages = map_shared(2 * kPage);
  CHECK(munmap(pages + kPage, kPage) == 0);
  strcpy(pages + kPage - 8, "renamed");
  CHECK(access(pages + kPage - 8, R_OK) == 0);
  memset(pages + kPage - 8, 'x', 8);
  CHECK_ERRNO(access(pages + kPage - 8, R_OK), EFAULT);
  memset(pages, 'x', kPage - 1);
  pages[kPage - 1] = 0;
  CHECK_ERRNO(access(pages, R_OK), ENAMETOOLONG);
  strcpy(s->a, "thread-name");
  CHECK(prctl(PR_SET_NAME, s->a) == 0);
  CHECK(prctl(PR_GET_NAME, s->b) == 0);
  CHECK(strcmp(s->a, s->b) == 0);
  fill_vectors("execve");
  CHECK_EQ(WEXITSTATUS(wait_status(child(execute, NULL))), 7);
  fill_vectors("execveat");
  CHECK_EQ(WEXITSTATUS(wait_status(child(execute_fd, NULL))), 7);
  fill_vectors("posix_spawn");
  pid_t pid;
  CHECK(posix_spawn(&pid, s->a, NULL, NULL, s->arguments, s->environment) == 0);
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 7);
  strcpy(s->a, "/no/such/program");
  CHECK_ERRNO(execve(s->a, s->arguments, s->environment), ENOENT);
  CHECK_ERRNO(execve(pages, s->arguments, s->environment), ENAMETOOLONG);
  say("kernel_paths\n");
}
