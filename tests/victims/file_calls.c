// A mapped file that is changed and read through descriptors, in every way the kernel has, and
// another process's mapping that is reached through its memory: what the mapping then shows, what
// the calls return, and where they leave the descriptor.
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "victim.h"

enum { kSize = 16384 };

static int fd, other, ends[2];
static char* view;

static void report(const char* what, long result) {
  char shown[49];
  for (int i = 0; i < 48; ++i) shown[i] = view[i] >= ' ' && view[i] <= '~' ? view[i] : '.';
  shown[48] = 0;
  printf("%-22s %5ld at %5ld %s\n", what, result, (long)lseek(fd, 0, SEEK_CUR), shown);
}

static void write_forms(void) {
  struct iovec parts[2] = {{"abc", 3}, {"defgh", 5}};
  lseek(fd, 2, SEEK_SET);
  report("write", write(fd, "WRITE", 5));
  report("pwrite", pwrite(fd, "PWRITE", 6, 8));
  report("writev", writev(fd, parts, 2));
  report("pwritev", pwritev(fd, parts, 2, 24));
  report("pwritev2", pwritev2(fd, parts, 2, 40, RWF_DSYNC));
  report("pwritev2 current", pwritev2(fd, parts, 2, -1, 0));
  int appending = open("mapped", O_WRONLY | O_APPEND);
  report("append", write(appending, "tail", 4));
  struct stat status;
  fstat(fd, &status);
  printf("size %ld\n", (long)status.st_size);
  char* more = mmap(0, kSize + 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  printf("appended %.4s\n", more + kSize);
  munmap(more, kSize + 4096);
  close(appending);
  CHECK(ftruncate(fd, kSize) == 0);
}

static void large(void) {
  char* bytes = malloc(kSize);
  for (int i = 0; i < kSize; ++i) bytes[i] = (char)('a' + i % 26);
  report("large", pwrite(fd, bytes, kSize - 100, 50));
  CHECK(memcmp(view + 50, bytes, kSize - 100) == 0);
  memset(bytes, 0, kSize);
  report("large read", pread(fd, bytes, kSize, 0));
  CHECK(memcmp(view, bytes, kSize) == 0);
  free(bytes);
}

static void read_forms(void) {
  char a[8] = {0}, b[8] = {0};
  struct iovec parts[2] = {{a, 3}, {b, 5}};
  lseek(fd, 8, SEEK_SET);
  report("read", read(fd, a, 6));
  printf("  %.6s\n", a);
  report("readv", readv(fd, parts, 2));
  report("preadv", preadv(fd, parts, 2, 24));
  printf("  %.3s %.5s\n", a, b);
  report("preadv2", preadv2(fd, parts, 2, 40, 0));
  report("into itself", pread(fd, view + 100, 20, 0));
  report("from itself", pwrite(fd, view + 8, 6, 30));
  report("at the end", pread(fd, a, 8, kSize - 3));
  report("behind the end", pread(fd, a, 8, kSize + 100));
}

static void copies(void) {
  off_t from = 8, to = 2;
  report("sendfile out", sendfile(ends[1], fd, &from, 6));
  loff_t at = 16;
  report("splice in", splice(ends[0], 0, fd, &at, 6, 0));
  lseek(other, 0, SEEK_SET);
  lseek(fd, 26, SEEK_SET);
  report("sendfile in", sendfile(fd, other, 0, 10));
  from = 3;
  report("copy_file_range in", copy_file_range(other, &from, fd, &to, 9, 0));
  from = 0, to = 20;
  report("copy_file_range own", copy_file_range(fd, &from, fd, &to, 12, 0));
  at = 4;
  report("splice out", splice(fd, &at, ends[1], 0, 5, 0));
  char got[6] = {0};
  CHECK(read(ends[0], got, 5) == 5);
  printf("  %s\n", got);
  struct file_clone_range clone = {.src_fd = other, .src_length = 4096};
  errno = 0;
  int cloned = ioctl(fd, FICLONERANGE, &clone);
  report("clone", cloned == 0 || errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL);
}

static void sizes(void) {
  memset(view, 'x', kSize);
  report("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4, 8));
  int zeroed = fallocate(fd, FALLOC_FL_ZERO_RANGE, 20, 8);
  report("zero", zeroed == 0 || errno == EOPNOTSUPP);
  memset(view, 'y', kSize);
  report("shrink", ftruncate(fd, 10));
  report("grow", ftruncate(fd, kSize));
  report("truncate", truncate("mapped", 6));
  report("truncate back", truncate("mapped", kSize));
  memset(view, 'z', 16);
  int again = open("mapped", O_RDWR | O_TRUNC);
  CHECK(again >= 0 && ftruncate(again, kSize) == 0);
  close(again);
  report("open with O_TRUNC", 0);
}

static void* volatile nowhere = (void*)8;

static void errors(void) {
  struct rlimit limit = {kSize + 4, kSize + 4};
  int reading = open("mapped", O_RDONLY);
  errno = 0;
  long result = write(reading, "x", 1);
  printf("not for writing %ld %d\n", result, errno);
  result = pwrite(fd, nowhere, 4, 0);
  printf("bad memory %ld %d\n", result, errno);
  char* edge = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(edge, 'e', 4096);
  munmap(edge + 4096, 4096);
  report("half of it bad", pwrite(fd, edge + 4090, 12, 0) > 0);
  setrlimit(RLIMIT_FSIZE, &limit);
  report("limit", pwrite(fd, "0123456789", 10, kSize));
  CHECK(ftruncate(fd, kSize) == 0);
  close(reading);
}

static void memory_of_another(void) {
  int go[2], done[2];
  char byte = 0, seen[6] = {0};
  CHECK(pipe(go) == 0 && pipe(done) == 0);
  pid_t child = fork();
  if (child == 0) {
    CHECK(read(go[0], &byte, 1) == 1);
    printf("child %.5s %.5s %.5s\n", view + 200, view + 210, view + 220);
    CHECK(write(done[1], &byte, 1) == 1);
    pause();
  }
  struct iovec local = {"vm_wr", 5}, remote = {view + 200, 5}, into = {seen, 5};
  printf("vm_writev %ld\n", (long)process_vm_writev(child, &local, 1, &remote, 1, 0));
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", (int)child);
  int memory = open(path, O_RDWR);
  CHECK(memory >= 0);
  printf("mem pwrite %ld\n", (long)pwrite(memory, "pmemw", 5, (off_t)(view + 210)));
  lseek(memory, (off_t)(view + 220), SEEK_SET);
  printf("mem write %ld", (long)write(memory, "memwr", 5));
  printf(" moves %ld\n", (long)(lseek(memory, 0, SEEK_CUR) - (off_t)(view + 220)));
  CHECK(write(go[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1);
  printf("vm_readv %ld", (long)process_vm_readv(child, &into, 1, &remote, 1, 0));
  printf(" %s\n", seen);
  printf("mem pread %ld", (long)pread(memory, seen, 5, (off_t)(view + 210)));
  printf(" %s\n", seen);
  kill(child, SIGKILL);
  waitpid(child, 0, 0);
  close(memory);
}

int main(void) {
  setvbuf(stdout, 0, _IONBF, 0);  // fork copies nothing
  signal(SIGXFSZ, SIG_IGN);
  CHECK(pipe(ends) == 0);
  fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
  other = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(ftruncate(fd, kSize) == 0 && write(other, "the other file", 14) == 14);
  view = mmap(0, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(view != MAP_FAILED);
  memset(view, '-', kSize);
  write_forms();
  read_forms();
  copies();
  large();
  memory_of_another();
  sizes();
  errors();
  return 0;
}
