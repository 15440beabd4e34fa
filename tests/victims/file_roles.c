// Files by how they are used: reached by several paths, read by those who began before anybody
// wrote, written by descriptor alone, moved by asynchronous requests, never written at all, or by
// descriptors that led elsewhere before.
// usage: file_roles paths | joins | apart | waits | aio | untouched | removes | makers |
// descriptors
//        | killed
// What the log must have of each is in e2e/files.py.
#include <linux/aio_abi.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/rseq.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "victim.h"

static int pipe_to[2], pipe_back[2];

static void tell(int fd) { CHECK_EQ(write(fd, "x", 1), 1); }
static void hear(int fd) {
  char byte;
  CHECK_EQ(read(fd, &byte, 1), 1);
}

// ---- One object by many paths -------------------------------------------------------------------

struct Way {
  const char* path;
  int word;
};

static void store_by(void* raw) {
  const struct Way* way = raw;
  int fd = open(way->path, O_RDWR);
  CHECK(fd >= 0);
  volatile int* words = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
  words[way->word] = 100 + way->word;
}

// Where mounts are not allowed, by the path as it is.
static void store_by_mount(void* raw) {
  struct Way way = *(const struct Way*)raw;
  const char* slash = strrchr(way.path, '/');
  char from[64], mounted[96];
  snprintf(from, sizeof from, "%.*s", (int)(slash - way.path), way.path);
  snprintf(mounted, sizeof mounted, "volume%s", slash);
  if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) == 0 &&
      mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
      mount(from, "volume", NULL, MS_BIND, NULL) == 0)
    way.path = mounted;
  store_by(&way);
}

static void many_paths(const char* path, volatile int* words) {
  struct Way plain = {path, 1}, mounted = {path, 2}, descriptor = {"", 3};
  char link[64];
  int fd = open(path, O_RDWR);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  descriptor.path = link;
  wait_ok(child(store_by, &plain));
  wait_ok(child(store_by_mount, &mounted));
  wait_ok(child(store_by, &descriptor));
  for (int i = 1; i <= 3; ++i) CHECK_EQ(words[i], 100 + i);
  close(fd);
}

static void paths(void) {
  struct Way linked = {"other/link", 4}, symbolic = {"symbolic", 5};
  char name[64];
  CHECK(mkdir("data", 0700) == 0 && mkdir("other", 0700) == 0 && mkdir("volume", 0700) == 0);
  volatile int* words = map_fd(make_file("data/file", kPage), kPage, PROT_READ | PROT_WRITE);
  CHECK(link("data/file", "other/link") == 0 && symlink("other/link", "symbolic") == 0);
  many_paths("data/file", words);
  wait_ok(child(store_by, &linked));
  wait_ok(child(store_by, &symbolic));
  CHECK_EQ(words[4] + words[5], 209);
  snprintf(name, sizeof name, "/dev/shm/paths-%d", (int)getpid());
  words = map_fd(make_file(name, kPage), kPage, PROT_READ | PROT_WRITE);
  many_paths(name, words);
  unlink(name);
  say("all the same\n");
}

// ---- Readers that began before the writer -------------------------------------------------------

enum { kRounds = 5 };

static void read_rounds(void* unused) {
  (void)unused;
  volatile int* words = map_fd(open("shared", O_RDONLY), kPage, PROT_READ);
  int sum = 0;
  for (int i = 0; i < 1000; ++i) sum += words[0];
  CHECK_EQ(sum, 0);
  tell(pipe_back[1]);
  for (int i = 1; i <= kRounds; ++i) {
    hear(pipe_to[0]);
    CHECK_EQ(words[i], 1000 + i);
    tell(pipe_back[1]);
  }
}

static void joins(void) {
  int fd = make_file("shared", kPage);
  pid_t reader = child(read_rounds, NULL);
  hear(pipe_back[0]);
  volatile int* words = NULL;
  for (int i = 1; i <= kRounds; ++i) {
    const int value = 1000 + i;
    // The first by descriptor: nobody maps it to write yet.
    if (i == 1) CHECK_EQ(pwrite(fd, &value, sizeof value, i * sizeof value), sizeof value);
    if (i == 2) words = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
    if (i > 1) words[i] = value;
    tell(pipe_to[1]);
    hear(pipe_back[0]);
  }
  wait_ok(reader);
  say("%d rounds\n", kRounds);
}

// ---- A file that is read while another mapping is given up
// ---------------------------------------

static void write_word(void* unused) {
  (void)unused;
  const int word = 1234;
  CHECK_EQ(pwrite(open("shared", O_RDWR), &word, sizeof word, 8), sizeof word);
}

// A thread's area for restartable sequences ends the tracing of the memory that it lies in.
static void give_up_another_mapping(void) {
  void* own = (char*)__builtin_thread_pointer() + __rseq_offset;
  void* area = map_shared(kPage);
  if (__rseq_size) CHECK(syscall(SYS_rseq, own, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0);
  CHECK(syscall(SYS_rseq, area, 32, 0, RSEQ_SIG) == 0);
  CHECK(syscall(SYS_rseq, area, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0);
}

static void apart(void) {
  close(make_file("shared", kPage));
  volatile int* words = map_fd(open("shared", O_RDONLY), kPage, PROT_READ);
  CHECK_EQ(words[2], 0);
  give_up_another_mapping();
  wait_ok(child(write_word, NULL));
  CHECK_EQ(words[2], 1234);
  say("read what was written\n");
}

// ---- A call that is looking at memory when its file is written ----------------------------------

static void send_words(void* unused) {
  (void)unused;
  const char* bytes = map_fd(open("shared", O_RDONLY), 4 * kPage, PROT_READ);
  int size = fcntl(pipe_back[1], F_SETPIPE_SZ, kPage);
  CHECK_EQ(size, kPage);
  tell(pipe_to[1]);
  CHECK_EQ(write(pipe_back[1], bytes, 4 * kPage), 4 * kPage);
  CHECK_EQ(bytes[3 * kPage + 5], 'z');
}

static void await_blocked_call(pid_t pid) {
  char path[64], text[64] = "";
  snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
  while (strncmp(text, "1 ", 2) != 0) {  // write
    sched_yield();
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    close(fd);
  }
}

static void waits(void) {
  int fd = make_file("shared", 4 * kPage);
  pid_t sender = child(send_words, NULL);
  hear(pipe_to[0]);
  await_blocked_call(sender);
  char* bytes = map_fd(fd, 4 * kPage, PROT_READ | PROT_WRITE);
  bytes[3 * kPage + 5] = 'z';
  static char got[4 * kPage];
  for (size_t at = 0; at < sizeof got;) {
    ssize_t more = read(pipe_back[0], got + at, sizeof got - at);
    CHECK(more > 0);
    at += (size_t)more;
  }
  wait_ok(sender);
  say("sent %c\n", got[3 * kPage + 5]);
}

// ---- Asynchronous requests ----------------------------------------------------------------------

static aio_context_t queue;

static void request(struct iocb* iocb, int fd, int opcode, const void* buffer, size_t bytes,
                    long offset) {
  memset(iocb, 0, sizeof *iocb);
  iocb->aio_fildes = (uint32_t)fd;
  iocb->aio_lio_opcode = (uint16_t)opcode;
  iocb->aio_buf = (uintptr_t)buffer;
  iocb->aio_nbytes = bytes;
  iocb->aio_offset = offset;
  iocb->aio_data = (uintptr_t)iocb + 1;
}

static void make(struct iocb* iocb, long expected) {
  struct iocb* list[] = {iocb};
  struct io_event event = {0};
  const struct iocb before = *iocb;
  CHECK_EQ(syscall(SYS_io_submit, queue, 1, list), 1);
  CHECK(memcmp(&before, iocb, sizeof before) == 0);
  CHECK_EQ(syscall(SYS_io_getevents, queue, 1, 1, &event, NULL), 1);
  CHECK_EQ(event.res, expected);
  CHECK(event.obj == (uintptr_t)iocb && event.data == before.aio_data);
}

static void aio(void) {
  CHECK(syscall(SYS_io_setup, 8, &queue) == 0);
  int source = make_file("source", kPage), shared = make_file("shared", kPage);
  CHECK_EQ(pwrite(source, "abcdefgh", 8, 0), 8);
  char* memory = map_shared(2 * kPage);
  char* view = map_fd(shared, kPage, PROT_READ | PROT_WRITE);
  struct iocb own, *there = (struct iocb*)(memory + kPage);
  request(&own, source, IOCB_CMD_PREAD, memory, 8, 0);
  make(&own, 8);
  CHECK(memcmp(memory, "abcdefgh", 8) == 0);
  // The request itself in shared memory.
  request(there, source, IOCB_CMD_PREAD, memory + 16, 4, 4);
  make(there, 4);
  CHECK(memcmp(memory + 16, "efgh", 4) == 0);
  struct iovec parts[] = {{memory + 32, 3}, {memory + 48, 5}};
  request(&own, source, IOCB_CMD_PREADV, parts, 2, 0);
  make(&own, 8);
  CHECK(memcmp(memory + 32, "abc", 3) == 0 && memcmp(memory + 48, "defgh", 5) == 0);
  request(&own, shared, IOCB_CMD_PWRITE, memory, 8, 64);
  make(&own, 8);
  CHECK(memcmp(view + 64, "abcdefgh", 8) == 0);
  request(&own, shared, IOCB_CMD_PWRITEV, parts, 2, 128);
  make(&own, 8);
  CHECK(memcmp(view + 128, "abcdefgh", 8) == 0);
  struct iocb* bad[] = {(struct iocb*)8};
  CHECK_ERRNO(syscall(SYS_io_submit, queue, 1, bad), EFAULT);
  request(&own, 99, IOCB_CMD_PREAD, memory, 8, 0);
  bad[0] = &own;
  CHECK_ERRNO(syscall(SYS_io_submit, queue, 1, bad), EBADF);
  CHECK_EQ(syscall(SYS_io_submit, queue, 0L, bad), 0);
  CHECK(syscall(SYS_io_destroy, queue) == 0);
  say("%.8s %.4s %.3s%.5s\n", memory, memory + 16, memory + 32, memory + 48);
}

enum { kManyRequests = 1500 };

static void get(int count) {
  static struct io_event events[kManyRequests];
  CHECK_EQ(syscall(SYS_io_getevents, queue, (long)count, (long)count, events, NULL), count);
}

// More at once than are looked at in one go, a list that ends in the middle of memory, and one with
// a request that fails: what stands before it has been handed in.
static void aio_lists(void) {
  CHECK(syscall(SYS_io_setup, kManyRequests, &queue) == 0);
  int source = make_file("source", kPage);
  CHECK_EQ(pwrite(source, "abcdefgh", 8, 0), 8);
  char* memory = map_shared(kPage);
  static struct iocb iocbs[kManyRequests];
  static struct iocb* list[kManyRequests];
  for (int i = 0; i < kManyRequests; ++i) {
    request(&iocbs[i], source, IOCB_CMD_PREAD, memory + i, 1, i % 8);
    list[i] = &iocbs[i];
  }
  CHECK_EQ(syscall(SYS_io_submit, queue, (long)kManyRequests, list), kManyRequests);
  get(kManyRequests);
  for (int i = 0; i < kManyRequests; ++i) CHECK_EQ(memory[i], 'a' + i % 8);
  char* two = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(two != MAP_FAILED && munmap(two + kPage, kPage) == 0);
  struct iocb** edge = (struct iocb**)(two + kPage);
  edge[-2] = &iocbs[0], edge[-1] = &iocbs[1];
  CHECK_EQ(syscall(SYS_io_submit, queue, 5L, edge - 2), 2);
  get(2);
  CHECK_ERRNO(syscall(SYS_io_submit, queue, 5L, edge), EFAULT);
  CHECK_ERRNO(syscall(SYS_io_submit, queue, -1L, list), EINVAL);
  iocbs[2].aio_fildes = 99;
  CHECK_EQ(syscall(SYS_io_submit, queue, 4L, list), 2);
  get(2);
  CHECK(syscall(SYS_io_destroy, queue) == 0);
  say("%.16s\n", memory);
}

// ---- What nobody writes -------------------------------------------------------------------------

static void untouched(void) {
  int fd = make_file("data", 16 * kPage);
  CHECK_EQ(pwrite(fd, "said before", 11, 5 * kPage), 11);
  close(fd);
  fd = open("data", O_RDONLY);
  const volatile char* bytes = map_fd(fd, 16 * kPage, PROT_READ);
  unsigned sum = 0;
  for (int i = 0; i < 16 * kPage; ++i) sum += (unsigned char)bytes[i];
  CHECK_EQ(write(open("copy", O_CREAT | O_WRONLY, 0600), (const char*)bytes, kPage), kPage);
  CHECK(mprotect((void*)bytes, kPage, PROT_NONE) == 0 && munmap((void*)bytes, 2 * kPage) == 0);
  say("sum %u, %.11s\n", sum, (const char*)bytes + 5 * kPage);
}

// ---- Pages that are given back ------------------------------------------------------------------

static void give_back(void* memory) { CHECK(madvise(memory, kPage, MADV_REMOVE) == 0); }

static void removes(void) {
  volatile int* words = map_shared(2 * kPage);
  words[5] = 55;
  words[kPage / sizeof(int)] = 66;
  wait_ok(child(give_back, (void*)words));
  say("left %d %d\n", words[5], words[kPage / sizeof(int)]);
}

// ---- Objects that only their makers tell apart --------------------------------------------------

__attribute__((noinline)) static int* make_ring(int* fd) {
  *fd = memfd_create("buffer", 0);
  CHECK(ftruncate(*fd, kPage) == 0);
  int* memory = map_fd(*fd, kPage, PROT_READ | PROT_WRITE);
  memory[0] = 1;
  return memory;
}

__attribute__((noinline)) static int* make_table(int* fd) {
  *fd = memfd_create("buffer", 0);
  CHECK(ftruncate(*fd, kPage) == 0);
  int* memory = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  memory[0] = 2;
  return memory;
}

__attribute__((noinline)) static int* make_counter(int* id) {
  *id = shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600);
  int* memory = shmat(*id, NULL, 0);
  CHECK(memory != (void*)-1);
  memory[0] = 3;
  return memory;
}

static int objects[4];

static void use_objects(void* unused) {
  (void)unused;
  for (int i = 0; i < 2; ++i) ++*(volatile int*)map_fd(objects[i], kPage, PROT_READ | PROT_WRITE);
  ++*(volatile int*)shmat(objects[2], NULL, 0);
  *(volatile int*)shmat(objects[3], NULL, 0) = 5;
}

static void makers(void) {
  volatile int* ring = make_ring(&objects[0]);
  volatile int* table = make_table(&objects[1]);
  volatile int* counter = make_counter(&objects[2]);
  objects[3] = shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600);  // for the child alone
  wait_ok(child(use_objects, NULL));
  shmctl(objects[3], IPC_RMID, NULL);
  shmctl(objects[2], IPC_RMID, NULL);
  say("made %d %d %d\n", *ring, *table, *counter);
}

// ---- A writer that is killed in its calls -------------------------------------------------------

// ---- Descriptors that led elsewhere -------------------------------------------------------------

enum { kTurns = 100, kRaces = 200 };
static int moving, leads_to_shared, race_over;

static void write_word_at(int fd, int value, off_t at) {
  CHECK_EQ(pwrite(fd, &value, sizeof value, at), sizeof value);
}

static void* close_it(void* raw) {
  CHECK_EQ(close((int)(intptr_t)raw), 0);
  return NULL;
}

// `fd`, which leads to /dev/null, leads to the file then.
static void lead_to_file(int fd, int shared, int way) {
  pthread_t id;
  if (way == 1) CHECK_EQ(dup2(shared, fd), fd);
  if (way == 2) CHECK_EQ(dup3(shared, fd, O_CLOEXEC), fd);
  if (way == 1 || way == 2) return;
  if (way == 0) CHECK_EQ(close(fd), 0);
  if (way == 3) CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0);
  if (way == 4) {
    CHECK_EQ(pthread_create(&id, NULL, close_it, (void*)(intptr_t)fd), 0);
    CHECK_EQ(pthread_join(id, NULL), 0);
  }
  CHECK_EQ(open("shared", O_RDWR), fd);
}

// Odd values are written after the descriptor was moved; of others nobody can know where they go.
static void* write_to_moving(void* unused) {
  (void)unused;
  for (int i = 1; !__atomic_load_n(&race_over, __ATOMIC_ACQUIRE); ++i)
    write_word_at(moving, 2 * i + __atomic_load_n(&leads_to_shared, __ATOMIC_ACQUIRE),
                  kPage + 4 * (i % 1024));
  return NULL;
}

static void race(int null, int shared) {
  pthread_t id;
  moving = dup(null);
  CHECK_EQ(pthread_create(&id, NULL, write_to_moving, NULL), 0);
  for (int i = 0; i < kRaces; ++i) {
    CHECK_EQ(dup2(shared, moving), moving);
    __atomic_store_n(&leads_to_shared, 1, __ATOMIC_RELEASE);
    usleep(i % 3 * 50);
    __atomic_store_n(&leads_to_shared, 0, __ATOMIC_RELEASE);
    CHECK_EQ(dup2(null, moving), moving);
    usleep(i % 5 * 50);
  }
  __atomic_store_n(&race_over, 1, __ATOMIC_RELEASE);
  CHECK_EQ(pthread_join(id, NULL), 0);
}

static void map_late(void* unused) {
  (void)unused;
  ((volatile int*)map_fd(open("late", O_RDWR), kPage, PROT_READ | PROT_WRITE))[1] = 1;
}

static void descriptors(void) {
  const int shared = make_file("shared", 2 * kPage), late = make_file("late", kPage);
  const int null = open("/dev/null", O_RDWR);
  CHECK_EQ(((volatile int*)map_fd(shared, kPage, PROT_READ | PROT_WRITE))[1000], 0);
  for (int i = 0; i < kTurns; ++i) {
    const int fd = dup(null);
    for (int k = 0; k < 3; ++k) write_word_at(fd, 1, 0);
    lead_to_file(fd, shared, i % 5);
    write_word_at(fd, 1000 + i, 4 * i);
    CHECK_EQ(close(fd), 0);
  }
  race(null, shared);
  for (int k = 0; k < 3; ++k) write_word_at(late, 1, 0);
  wait_ok(child(map_late, NULL));
  write_word_at(late, 7, 28);
  say("written\n");
}

// Writes the file again and again, each time with the next letter, until it is killed.
static void killed(void) {
  enum { kBytes = 64 * kPage };
  int fd = make_file("shared", kBytes);
  volatile char* bytes = map_fd(fd, kBytes, PROT_READ | PROT_WRITE);
  static char letters[kBytes];
  say("%d %d\n", (int)getpid(), bytes[0]);
  for (unsigned round = 0;; ++round) {
    memset(letters, (int)('a' + round % 26), sizeof letters);
    CHECK_EQ(pwrite(fd, letters, sizeof letters, 0), sizeof letters);
  }
}

int main(int count, char** arguments) {
  static const struct {
    const char* name;
    void (*run)(void);
  } modes[] = {{"paths", paths},
               {"joins", joins},
               {"apart", apart},
               {"waits", waits},
               {"aio", aio},
               {"aio-lists", aio_lists},
               {"untouched", untouched},
               {"removes", removes},
               {"makers", makers},
               {"descriptors", descriptors},
               {"killed", killed}};
  CHECK(count == 2 && pipe(pipe_to) == 0 && pipe(pipe_back) == 0);
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; ++i) {
    if (strcmp(arguments[1], modes[i].name) != 0) continue;
    modes[i].run();
    return 0;
  }
  return 2;
}
