// Exec in all its forms: from fork, vfork, clone, posix_spawn and a thread that is not the first;
// by path, descriptor and script, with all that it is given in shared memory; of a dynamic, a
// static and a set-user-ID program; failing in every way, also too late to go on; in a chain; by a
// shell that dies at once. Each image counts in a shared mapping that it got by a descriptor, so
// that the log can be asked whether it was recorded (e2e/images.py).
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

static void thread_exec_without_leader(void* path) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, exec_from_thread, path) == 0);
  pthread_exit(NULL);
}

static void* exec_in_vain(void* unused) {
  for (int i = 0; i < 20; ++i) CHECK_ERRNO(execl("./none", "none", (char*)NULL), ENOENT);
  return unused;
}

// They fail while the other threads store to shared memory.
static void threads_exec_in_vain(void* unused) {
  (void)unused;
  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) CHECK(pthread_create(&threads[i], NULL, exec_in_vain, NULL) == 0);
  for (int i = 0; i < 100; ++i) board->last = i;
  for (int i = 0; i < 3; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  exec_from_thread(self);
}

static int clone_body(void* path) {
  execl("./none", "none", (char*)NULL);
  execl(path, "clone", "image", "12", (char*)NULL);
  _exit(9);
}

static pid_t clone_and_exec(int flags) {
  static char stack[64 * 1024];
  const pid_t pid = clone(clone_body, stack + sizeof stack, flags | SIGCHLD, self);
  CHECK(pid > 0);
  return pid;
}

static void exec_by_descriptor(void* unused) {
  (void)unused;
  char* arguments[] = {"descriptor", "image", "5", NULL};
  int fd = open(self, O_RDONLY | O_CLOEXEC);
  syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
  _exit(9);
}

static void exec_by_path_descriptor(void* unused) {
  (void)unused;
  char* arguments[] = {"path descriptor", "image", "13", NULL};
  int fd = open(self, O_PATH | O_CLOEXEC);
  CHECK_ERRNO(syscall(SYS_execveat, fd, "", arguments, environ, 0), ENOENT);
  syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
  _exit(9);
}

static void exec_in_memory(void* unused) {
  (void)unused;
  char* arguments[] = {"memory", "image", "14", NULL};
  char block[kPage];
  const int from = open(self, O_RDONLY), to = memfd_create("program", MFD_CLOEXEC);
  for (ssize_t got; (got = read(from, block, sizeof block)) > 0;)
    CHECK_EQ(write(to, block, got), got);
  close(from);
  fexecve(to, arguments, environ);
  _exit(9);
}

// Path, arguments and environment, and the vectors, lie in traced memory.
static void exec_from_shared(void* unused) {
  (void)unused;
  struct {
    char path[4096], words[3][16];
    char *arguments[4], *environment[2];
  }* all = map_shared(8 * kPage);
  strcpy(all->path, self);
  strcpy(all->words[0], "image");
  strcpy(all->words[1], "15");
  strcpy(all->words[2], "MARK=1");
  all->arguments[0] = all->words[0], all->arguments[1] = all->words[0];
  all->arguments[2] = all->words[1];
  all->environment[0] = all->words[2];
  execve(all->path, all->arguments, all->environment);
  _exit(9);
}

// The first bytes of a program: the kernel finds out when there is no way back.
static void exec_part(void* path) {
  char block[kPage];
  const int from = open(path, O_RDONLY), to = open("part", O_WRONLY | O_CREAT | O_TRUNC, 0700);
  CHECK_EQ(read(from, block, sizeof block), kPage);
  CHECK_EQ(write(to, block, sizeof block), kPage);
  close(from), close(to);
  execl("./part", "part", "image", "9", (char*)NULL);
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

static void failing_by_what_it_is(char* const arguments[]) {
  make_script("no-interpreter", "#!./none");
  make_script("directory-interpreter", "#!.");
  make_script("endless", "#!./endless");
  make_script("elf", "\177ELF\2\1\1");
  int fd = open("elf", O_WRONLY);
  CHECK_ERRNO(execve("./elf", arguments, environ), ETXTBSY);
  close(fd);
  CHECK_ERRNO(execve("./elf", arguments, environ), ENOEXEC);
  CHECK_ERRNO(execve("./no-interpreter", arguments, environ), ENOENT);
  CHECK_ERRNO(execve("./directory-interpreter", arguments, environ), EACCES);
  CHECK_ERRNO(execve("./endless", arguments, environ), ELOOP);
  CHECK_ERRNO(syscall(SYS_execveat, AT_FDCWD, "program", arguments, environ, AT_SYMLINK_NOFOLLOW),
              ELOOP);
  CHECK_ERRNO(syscall(SYS_execveat, AT_FDCWD, "program", arguments, environ, 1 << 20), EINVAL);
  fd = open("script", O_RDONLY | O_CLOEXEC);  // its interpreter could not open it
  CHECK_ERRNO(syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH), ENOENT);
  close(fd);
  char name[300];
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = 0;
  CHECK_ERRNO(execve(name, arguments, environ), ENAMETOOLONG);
  CHECK_ERRNO(execve("", arguments, environ), ENOENT);
}

static void failing_execs(void* unused) {
  (void)unused;
  char* const arguments[] = {"failing", NULL};
  failing_by_what_it_is(arguments);
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
  if (argc >= 4 && !strcmp(argv[1], "script")) return image(argv[argc - 1], NULL);
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
  expect("script of a script", child(exec_script, "./script-of-script"), 7);
  expect("thread without a leader", child(thread_exec_without_leader, self), 4);
  expect("threads in vain", child(threads_exec_in_vain, NULL), 4);
  expect("clone", clone_and_exec(0), 12);
  expect("clone that shares memory", clone_and_exec(CLONE_VM), 12);
  expect("clone as vfork", clone_and_exec(CLONE_VM | CLONE_VFORK), 12);
  expect("path descriptor", child(exec_by_path_descriptor, NULL), 13);
  expect("memory", child(exec_in_memory, NULL), 14);
  expect("from shared memory", child(exec_from_shared, NULL), 15);
  char static_program[5000];
  snprintf(static_program, sizeof(static_program), "%s_static", self);
  expect("static", child(exec_program, static_program), 8);
  snprintf(static_program, sizeof(static_program), "%s_static_pie", self);
  expect("static-pie", child(exec_program, static_program), 8);
  CHECK_EQ(system("cp program set-user-id && chmod 6755 set-user-id"), 0);
  expect("set-user-id", child(exec_program, "./set-user-id"), 8);
  expect("failing", child(failing_execs, NULL), 9);
  say("too late: status %#x\n", wait_status(child(exec_part, self)));
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  CHECK_EQ(wait_status(child(exec_shell_that_dies, NULL)), 0);
  int status;
  CHECK(wait(&status) > 0);
  CHECK_EQ(WEXITSTATUS(status), 30);
  say("left by a shell: %d\n", board->images);
  expect("chain", child(exec_chain, self), 11);
}
