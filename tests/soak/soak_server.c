// A pre-forking server that never rests, for a recorder that has to stand it for days: workers
// answer requests over sockets, and of every hundred requests some are answered by a forked child,
// some by a new image; workers end after a while and are replaced. It counts its own accesses to
// shared memory, in private memory, so that none can be lost unseen.
//
//   soak_server SECONDS    prints "requests N forks N execs N accesses N" at the end
//
// Accesses are counted as the log counts them: one for each instruction that touches the segment.
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../victims/victim.h"

enum { kWorkers = 4, kForkEvery = 40, kExecEvery = 100, kRequestsOfAWorker = 3000, kSlots = 64 };

struct shared {
  volatile uint64_t total;  // atomically counted requests
  volatile uint64_t children;
  volatile uint64_t images;
  uint64_t pad[5];
  volatile uint64_t slots[kSlots];
};

struct reply {
  uint64_t accesses, forks, execs;
};

static struct shared* area;
static int area_fd;

static void* map_area(int fd) { return map_fd(fd, kPage, PROT_READ | PROT_WRITE); }

// The accesses of a request: each line is one, and `accesses` says so.
static uint64_t touch(uint64_t number) {
  uint64_t accesses = 0;
  for (uint64_t i = 0; i < 4; ++i) {
    volatile uint64_t* slot = &area->slots[(number + i) % kSlots];
    const uint64_t value = *slot;
    *slot = value + number;
    accesses += 2;
  }
  __atomic_fetch_add(&area->total, 1, __ATOMIC_SEQ_CST);
  return accesses + 1;
}

static void in_child(void* unused) {
  (void)unused;
  __atomic_fetch_add(&area->children, 1, __ATOMIC_SEQ_CST);
}

static void in_new_image(void* unused) {
  (void)unused;
  char fd[12];
  snprintf(fd, sizeof fd, "%d", area_fd);
  execl("/proc/self/exe", "soak_image", "image", fd, (char*)NULL);
  _exit(9);
}

static struct reply answer(uint64_t number) {
  struct reply reply = {touch(number), 0, 0};
  if (number % kForkEvery == 0) {
    wait_ok(child(in_child, NULL));
    reply.accesses += 1;
    reply.forks = 1;
  }
  if (number % kExecEvery == 0) {
    wait_ok(child(in_new_image, NULL));
    reply.accesses += 1;
    reply.execs = 1;
  }
  return reply;
}

static void serve(int socket) {
  uint64_t number;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 0; i < kRequestsOfAWorker; ++i) {
    if (read(socket, &number, sizeof number) != sizeof number) break;
    const struct reply reply = answer(number);
    CHECK(write(socket, &reply, sizeof reply) == sizeof reply);
  }
  _exit(0);
}

struct worker {
  pid_t pid;
  int socket, left;
};

static void start(struct worker* worker, struct worker* all) {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  const pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    for (int i = 0; i < kWorkers; ++i)
      if (all[i].pid) close(all[i].socket);
    close(pair[0]);
    serve(pair[1]);
  }
  close(pair[1]);
  *worker = (struct worker){pid, pair[0], kRequestsOfAWorker};
}

static uint64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void stop(struct worker* worker) {
  close(worker->socket);
  wait_ok(worker->pid);
  worker->pid = 0;
}

int main(int argc, char** argv) {
  if (argc == 3 && !strcmp(argv[1], "image")) {
    area = map_area(atoi(argv[2]));
    __atomic_fetch_add(&area->images, 1, __ATOMIC_SEQ_CST);
    return 0;
  }
  CHECK(argc == 2);
  area_fd = memfd_create("soak", 0);
  CHECK(area_fd >= 0 && ftruncate(area_fd, kPage) == 0);
  area = map_area(area_fd);
  struct worker workers[kWorkers] = {};
  struct reply sum = {};
  uint64_t requests = 0, asked = 0;
  for (int i = 0; i < kWorkers; ++i) start(&workers[i], workers);
  const uint64_t end = now_ms() + (uint64_t)atol(argv[1]) * 1000;
  while (now_ms() < end) {
    for (int i = 0; i < kWorkers; ++i) {
      const uint64_t number = ++asked;
      CHECK(write(workers[i].socket, &number, sizeof number) == sizeof number);
    }
    for (int i = 0; i < kWorkers; ++i) {
      struct reply reply;
      CHECK(read(workers[i].socket, &reply, sizeof reply) == sizeof reply);
      sum.accesses += reply.accesses;
      sum.forks += reply.forks;
      sum.execs += reply.execs;
      ++requests;
      if (--workers[i].left == 0) {
        stop(&workers[i]);
        start(&workers[i], workers);
      }
    }
  }
  for (int i = 0; i < kWorkers; ++i) stop(&workers[i]);
  CHECK_EQ(area->total, requests);
  CHECK_EQ(area->children, sum.forks);
  CHECK_EQ(area->images, sum.execs);
  say("requests %llu forks %llu execs %llu accesses %llu\n", (unsigned long long)requests,
      (unsigned long long)sum.forks, (unsigned long long)sum.execs,
      (unsigned long long)sum.accesses + 3);
}
