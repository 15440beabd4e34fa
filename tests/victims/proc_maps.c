// What a program reads about its mappings in /proc, by every way to the file: its own protection,
// and nothing that it has not mapped.
#include <pthread.h>

#include "victim.h"

static char *shared, *halves;

struct seen {
  int shared_lines, stack, heap, foreign;
  char protection[8], first[8], second[8];
};

static void look(FILE* text, struct seen* seen) {
  char line[8192];
  memset(seen, 0, sizeof *seen);
  while (fgets(line, sizeof line, text)) {
    unsigned long begin, end, offset, inode;
    unsigned major, minor;
    char protection[8], path[4200] = "";
    if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %4199[^\n]", &begin, &end, protection, &offset,
               &major, &minor, &inode, path) < 7)
      continue;
    seen->stack += strcmp(path, "[stack]") == 0;
    seen->heap += strcmp(path, "[heap]") == 0;
    seen->shared_lines += protection[3] == 's';
    seen->foreign += strstr(path, "shmlog") != NULL || strcmp(protection, "---s") == 0;
    const unsigned long at = (unsigned long)shared, half = (unsigned long)halves;
    if (begin <= at && at < end) strcpy(seen->protection, protection);
    if (begin <= half && half < end) strcpy(seen->first, protection);
    if (begin <= half + kPage && half + kPage < end) strcpy(seen->second, protection);
  }
}

static void show(const char* how, int fd) {
  struct seen seen;
  CHECK(fd >= 0);
  FILE* text = fdopen(fd, "r");
  CHECK(text != NULL);
  look(text, &seen);
  say("%s: %s, %s and %s, %d shared, %d stack, %d heap, %d foreign\n", how, seen.protection,
      seen.first, seen.second, seen.shared_lines, seen.stack, seen.heap, seen.foreign);
  fclose(text);
}

static void show_path(const char* how, const char* path) { show(how, open(path, O_RDONLY)); }

static void in_thread(char* path, const char* name) {
  snprintf(path, 64, "/proc/%d/task/%ld/%s", getpid(), syscall(SYS_gettid), name);
}

static void* thread_body(void* unused) {
  (void)unused;
  char path[64];
  in_thread(path, "maps");
  show_path("task of a thread", path);
  snprintf(path, sizeof path, "/proc/%ld/maps", syscall(SYS_gettid));
  show_path("number of a thread", path);
  show_path("thread-self", "/proc/thread-self/maps");
  return NULL;
}

static void other_process(void* unused) {
  (void)unused;
  char path[64];
  CHECK(mprotect(shared, kPage, PROT_READ) == 0);  // of the child only
  snprintf(path, sizeof path, "/proc/%d/maps", getppid());
  show_path("parent", path);
  show_path("child", "/proc/self/maps");
}

static void as_a_file(void) {
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  char first[64], again[64];
  CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
  CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  CHECK_EQ(read(fd, first, sizeof first), sizeof first);
  CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
  CHECK_EQ(read(fd, again, sizeof again), sizeof again);
  CHECK(memcmp(first, again, sizeof first) == 0);
  CHECK_EQ(pread(fd, again, 10, 5), 10);
  CHECK(memcmp(first + 5, again, 10) == 0);
  CHECK_ERRNO(write(fd, "x", 1), EBADF);
  CHECK_EQ(close(fd), 0);
}

static void details(void) {
  char line[8192], flags[64] = "", size[64] = "";
  unsigned long begin, end;
  int inside = 0, lines = 0;
  FILE* text = fopen("/proc/self/smaps", "r");
  while (fgets(line, sizeof line, text)) {
    if (sscanf(line, "%lx-%lx ", &begin, &end) == 2 && strchr(line, '-') < line + 17)
      inside = begin <= (unsigned long)shared && (unsigned long)shared < end;
    else if (inside && !strncmp(line, "VmFlags:", 8))
      snprintf(flags, sizeof flags, "%.14s", line);
    else if (inside && !strncmp(line, "Size:", 5))
      snprintf(size, sizeof size, "%.60s", line);
    lines += inside;
  }
  fclose(text);
  say("smaps: %s, %s %d\n", flags, size, lines > 10);
  text = fopen("/proc/self/smaps_rollup", "r");
  CHECK(text != NULL && fgets(line, sizeof line, text) && strstr(line, "[rollup]"));
  CHECK(fgets(line, sizeof line, text) && !strncmp(line, "Rss:", 4));
  say("rollup below 32 MB: %d\n", atol(line + 4) < 32 * 1024);
  fclose(text);
}

int main(void) {
  char* volatile heap = malloc(100);
  CHECK(heap != NULL);
  shared = map_shared(kPage);
  halves = map_shared(2 * kPage);
  CHECK(mprotect(halves + kPage, kPage, PROT_READ) == 0);
  shared[0] = halves[0] = 1;
  show_path("open", "/proc/self/maps");
  show("openat", openat(open("/proc/self", O_DIRECTORY | O_PATH), "maps", O_RDONLY));
  unsigned long how[3] = {O_RDONLY, 0, 0};
  show("openat2", syscall(SYS_openat2, AT_FDCWD, "/proc/self/maps", how, sizeof how));
  CHECK(symlink("/proc/self/maps", "link") == 0);
  show_path("link", "link");
  CHECK(unlink("link") == 0);
  CHECK(chdir("/proc/self") == 0);
  show_path("relative", "../self/maps");
  show_path("smaps", "smaps");
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/maps", getpid());
  show_path("number", path);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, thread_body, NULL) == 0 && pthread_join(thread, NULL) == 0);
  wait_ok(child(other_process, NULL));
  as_a_file();
  details();
  pthread_attr_t attributes;
  void* stack;
  size_t bytes;
  CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
  CHECK(pthread_attr_getstack(&attributes, &stack, &bytes) == 0);
  CHECK((char*)stack <= path && path < (char*)stack + bytes);
}
