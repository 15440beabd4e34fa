// Exec in all its forms: from fork, vfork, posix_spawn and a thread that is not the first; by path,
// descriptor and script; of a dynamic, a static and a set-user-ID program; failing in every way; in
// a chain; by a shell that dies at once. Each image counts in a shared mapping that it got by a
// descriptor, so that the log can be asked whether it was recorded.
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "victim.h"

enum { kFd = 5 };

struct Board {
  int images;  // that have been here
  int last;
};

static char self[4096];
static volatile struct Board* board;

// What every image does, under the name that it was given.
static int image(const char* number, const char* left) {
  board = map_fd(kFd, kPage, PROT_READ | PROT_WRITE);
  __atomic_add_fetch(&board->images, 1, __ATOMIC_SEQ_CST);
  board->last = atoi(number);
  const int more = left ? atoi(left) : 0;
  if (more > 0) {
    char next[16];
    snprintf(next, sizeof(next), "%d", more - 1);
    execl("/proc/self/exe", "chain", "image", number, next, NULL);
    _exit(9);
  }
  return 20 + board->last;
}

static void expect(const char* what, pid_t pid, int number) {
  CHECK_EQ(WEXITSTATUS(wait_status(pid)), 20 + number);
  CHECK_EQ(board->last, number);
  say("%s: %d\n", what, board->images);
}

static void* exec_from_thread(void* path) {
  execl(path, path, "image", "4", NULL);
  _exit(9);
}

static void thread_exec(void* path) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, exec_from_thread, path) == 0);
  for (;;) pause();
}

static void exec_by_descriptor(void* unused) {
  (void)unused;
  char* arguments[] = {"descriptor", "image", "5", NULL};
  int fd = open(self, O_RDONLY | O_CLOEXEC);
  syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
  _exit(9);
}

static void exec_at_directory(void* unused) {
  (void)unused;
  char* arguments[] = {"at", "image", "6", NULL};
  int directory = open(".", O_RDONLY | O_DIRECTORY);
  syscall(SYS_execveat, directory, "program", arguments, environ, 0);
  _exit(9);
}

static void make_script(const char* name, const char* first_line) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700);
  CHECK(fd >= 0);
  dprintf(fd, "%s\n", first_line);
  close(fd);
}

static void exec_script(void* name) {
  execl(name, name, "7", NULL);
  _exit(9);
}

static void exec_program(void* name) {
  execl(name, name, "image", "8", NULL);
  _exit(9);
}

static void failing_execs(void* unused) {
  (void)unused;
  char* const arguments[] = {"failing", NULL};
  char* const nowhere = map_private(kPage);
  CHECK(munmap(nowhere, kPage) == 0);
  close(open("plain", O_WRONLY | O_CREAT, 0600));
  make_script("no-format", "this is no program");
  CHECK_ERRNO(execve("./none", arguments, environ), ENOENT);
  CHECK_ERRNO(execve("./plain", arguments, environ), EACCES);
  CHECK_ERRNO(execve("./no-format", arguments, environ), ENOEXEC);
  CHECK_ERRNO(execve(".", arguments, environ), EACCES);
  CHECK_ERRNO(execve("./plain/x", arguments, environ), ENOTDIR);
  CHECK_ERRNO(execve(nowhere, arguments, environ), EFAULT);
  CHECK_ERRNO(syscall(SYS_execveat, 99, "", arguments, environ, AT_EMPTY_PATH), EBADF);
  const size_t bytes = 8 << 20;
  char* huge = map_private(bytes);
  memset(huge, 'x', bytes - 1);
  char* const too_long[] = {"failing", huge, NULL};
  CHECK_ERRNO(execve(self, too_long, environ), E2BIG);
  board->last = 9;  // and recording goes on
  __atomic_add_fetch(&board->images, 1, __ATOMIC_SEQ_CST);
  _exit(29);
}

static void exec_shell_that_dies(void* unused) {
  (void)unused;
  char command[5000];
  snprintf(command, sizeof(command), "'%s' image 10 & exit 0", self);
  execl("/bin/sh", "sh", "-c", command, NULL);
  _exit(9);
}

static void exec_chain(void* path) {
  execl(path, "chain", "image", "11", "5", NULL);
  _exit(9);
}

int main(int argc, char** argv) {
  if (argc > 2 && !strcmp(argv[1], "image")) return image(argv[2], argc > 3 ? argv[3] : NULL);
  if (argc == 4 && !strcmp(argv[1], "script")) return image(argv[3], NULL);
  CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
  CHECK(symlink(self, "program") == 0);
  int fd = memfd_create("board", 0);
  CHECK(ftruncate(fd, kPage) == 0);
  CHECK_EQ(dup2(fd, kFd), kFd);
  board = map_fd(kFd, kPage, PROT_READ | PROT_WRITE);

  pid_t pid = fork();
  if (pid == 0) {
    execl(self, "fork", "image", "1", NULL);
    _exit(9);
  }
  expect("fork", pid, 1);
  pid = vfork();
  if (pid == 0) {
    execl(self, "vfork", "image", "2", NULL);
    _exit(9);
  }
  expect("vfork", pid, 2);
  char* arguments[] = {"spawn", "image", "3", NULL};
  CHECK(posix_spawn(&pid, self, NULL, NULL, arguments, environ) == 0);
  expect("posix_spawn", pid, 3);
  expect("thread", child(thread_exec, self), 4);
  expect("descriptor", child(exec_by_descriptor, NULL), 5);
  expect("directory", child(exec_at_directory, NULL), 6);
  make_script("script", "#!./program script");
  make_script("script-of-script", "#!./script nested");
  expect("script", child(exec_script, "./script"), 7);
  char static_program[5000];
  snprintf(static_program, sizeof(static_program), "%s_static", self);
  expect("static", child(exec_program, static_program), 8);
  snprintf(static_program, sizeof(static_program), "%s_static_pie", self);
  expect("static-pie", child(exec_program, static_program), 8);
  CHECK_EQ(system("cp program set-user-id && chmod 6755 set-user-id"), 0);
  expect("set-user-id", child(exec_program, "./set-user-id"), 8);
  expect("failing", child(failing_execs, NULL), 9);
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  CHECK_EQ(wait_status(child(exec_shell_that_dies, NULL)), 0);
  int status;
  CHECK(wait(&status) > 0);
  CHECK_EQ(WEXITSTATUS(status), 30);
  say("left by a shell: %d\n", board->images);
  expect("chain", child(exec_chain, self), 11);
}
