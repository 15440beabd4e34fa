// Memory of another process by process_vm_writev, /proc/PID/mem and ptrace: over the borders
// between shared and private memory, in several vectors, where it is read-only and where there is
// none, and what each call returns and leaves behind.
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "victim.h"

enum { kPages = 6 };

// private, shared, shared of another object, read-only shared, private, nothing
static char* lay_out(void) {
  char* at = map_private(kPages * kPage);
  const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
  CHECK(mmap(at + kPage, kPage, PROT_READ | PROT_WRITE, flags, -1, 0) == at + kPage);
  CHECK(mmap(at + 2 * kPage, 2 * kPage, PROT_READ | PROT_WRITE, flags, -1, 0) == at + 2 * kPage);
  for (int i = 0; i < 5; ++i) memset(at + i * kPage, 'a' + i, kPage);
  CHECK(mprotect(at + 3 * kPage, kPage, PROT_READ) == 0);
  CHECK(munmap(at + 5 * kPage, kPage) == 0);
  return at;
}

static char* there;
static int to_child[2], to_parent[2];

static void hear(int fd) {
  char byte;
  CHECK_EQ(read(fd, &byte, 1), 1);
}

// Says what is at the borders.
static void show_borders(const char* when) {
  char text[128] = "";
  for (int i = 1; i < 5; ++i) snprintf(text + strlen(text), 32, " %.8s", there + i * kPage - 4);
  say("%s:%s\n", when, text);
}

static void serve(void* unused) {
  (void)unused;
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
  for (const char* when = "child"; write(to_parent[1], "x", 1) == 1; when = "child again") {
    hear(to_child[0]);
    show_borders(when);
  }
}

static void vectors(pid_t pid) {
  static char got[4 * kPage];
  struct iovec local = {got, sizeof got}, remote = {there + kPage / 2, 4 * kPage};
  long result = process_vm_readv(pid, &local, 1, &remote, 1, 0);
  say("all %ld: %c%c%c%c%c\n", result, got[0], got[kPage], got[2 * kPage], got[3 * kPage],
      got[4 * kPage - 1]);
  struct iovec parts[3] = {{"<1234567", 8}, {"<abcdefg", 8}, {"<ABCDEFG", 8}};
  struct iovec places[3] = {
      {there + kPage - 4, 8}, {there + 2 * kPage - 4, 8}, {there + 3 * kPage - 4, 8}};
  result = process_vm_writev(pid, parts, 2, places, 2, 0);
  say("two %ld\n", result);
  result = process_vm_writev(pid, parts + 2, 1, places + 2, 1, 0);
  say("into read-only %s\n", result == 4 || result == -1 ? "stops" : "goes on");
  remote = (struct iovec){there + 5 * kPage - 8, 16};
  say("to nothing %ld\n", (long)process_vm_readv(pid, &local, 1, &remote, 1, 0));
}

static void memory_file(pid_t pid) {
  char path[64], got[64] = "";
  snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
  int memory = open(path, O_RDWR);
  CHECK(memory >= 0);
  const off_t at = (off_t)there;
  say("pread %ld", (long)pread(memory, got, 12, at + kPage - 6));
  say(" %.12s\n", got);
  struct iovec parts[2] = {{"mnopq", 5}, {"rstuv", 5}};
  say("pwritev %ld\n", (long)pwritev(memory, parts, 2, at + 2 * kPage - 5));
  lseek(memory, at + kPage - 2, SEEK_SET);
  say("write %ld", (long)write(memory, "WXYZ", 4));
  say(" moves to %ld\n", (long)(lseek(memory, 0, SEEK_CUR) - at));
  struct iovec places[2] = {{got, 3}, {got + 3, 8}};
  say("readv %ld", (long)readv(memory, places, 2));
  say(" %.11s, now at %ld\n", got, (long)(lseek(memory, 0, SEEK_CUR) - at));
  errno = 0;
  long result = pread(memory, got, 16, at + 5 * kPage - 8);
  say("at the end %ld\n", result);
  result = pread(memory, got, 16, at + 5 * kPage);
  say("behind it %ld errno %d\n", result, errno);
  CHECK_ERRNO(pread(memory, got, 16, -5), EINVAL);
  CHECK_ERRNO(preadv(memory, places, 2, -1), EINVAL);
  lseek(memory, at + kPage, SEEK_SET);
  say("current %ld", (long)preadv2(memory, places, 2, -1, 0));
  say(" %.4s, now at %ld\n", got, (long)(lseek(memory, 0, SEEK_CUR) - at));
  close(memory);
}

static void words(pid_t pid) {
  CHECK(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
  int status;
  CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
  long word;
  memcpy(&word, "pokedata", 8);
  const long poked = ptrace(PTRACE_POKEDATA, pid, there + 2 * kPage, word);
  errno = 0;
  word = ptrace(PTRACE_PEEKDATA, pid, there + 2 * kPage, 0);
  say("poke %ld, peek %.8s errno %d\n", poked, (char*)&word, errno);
  CHECK(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
}

int main(void) {
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
  there = lay_out();
  pid_t pid = child(serve, NULL);
  hear(to_parent[0]);
  vectors(pid);
  memory_file(pid);
  CHECK_EQ(write(to_child[1], "x", 1), 1);
  hear(to_parent[0]);
  words(pid);
  CHECK_EQ(write(to_child[1], "x", 1), 1);
  hear(to_parent[0]);
  show_borders("parent");
  kill(pid, SIGKILL);
  CHECK(wait_status(pid) == SIGKILL);
}
