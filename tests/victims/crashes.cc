// Dies in one of many ways, beside threads that do other things, with memory that a core must hold.
// e2e/cores.py compares the core that shmrec leaves with how a debugger sees the program alone.
//
// usage: crashes WAY
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

constexpr int kWords = 1024;

struct Shared {
  pthread_mutex_t mutex;
  volatile int words[kWords];
};
static Shared* shared;
static pthread_barrier_t ready;
static unsigned char alternate[64 * 1024];
int zero_at_first[1024];  // where no file has it

struct Local {
  int number;
  const char* text;
};

// ---- Ways to die; each is reached through fall() with a local that the core must have
// -------------

static void by_abort(Local*) { abort(); }
static void by_exit(Local*) { exit(5); }
static void by_store(Local*) {
  volatile int* const read_only = static_cast<volatile int*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  read_only[7] = 1;
  mprotect(const_cast<int*>(read_only), 4096, PROT_READ);
  read_only[7] = 2;
}
static void by_truncation(Local*) {
  char name[] = "/tmp/shmrec-crashes-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  if (ftruncate(fd, 8192) != 0) _exit(3);
  volatile char* file =
      static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  file[5000] = 1;
  if (ftruncate(fd, 0) != 0) _exit(3);
  file[5000] = 2;
}
static void in_handler(int) {
  volatile int* const nowhere = nullptr;
  *nowhere = 1;
}
static void by_handler(Local*) {
  stack_t stack = {};
  stack.ss_sp = alternate;
  stack.ss_size = sizeof alternate;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_handler = in_handler;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  raise(SIGUSR1);
}
static void by_exception(Local* local) { throw std::runtime_error(local->text); }
static void by_call(Local*) {
  struct rlimit limit = {100, 100};
  setrlimit(RLIMIT_FSIZE, &limit);
  char name[] = "/tmp/shmrec-crashes-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  for (int i = 0; i < 3; ++i)
    if (write(fd, const_cast<int*>(shared->words), 100) < 0) _exit(3);
}
static void by_quit(Local*) {
  kill(getpid(), SIGQUIT);
  for (;;) pause();
}
static void by_division(Local* local) {
  volatile int zero = local->number - 4711;
  local->number = 4711 / zero;
}

static void by_thread(Local*);
constexpr struct {
  const char* name;
  void (*die)(Local*);
} kWays[] = {{"abort", by_abort},     {"store", by_store}, {"truncation", by_truncation},
             {"handler", by_handler}, {"call", by_call},   {"exception", by_exception},
             {"thread", by_thread},   {"quit", by_quit},   {"division", by_division},
             {"exit", by_exit}};

__attribute__((noinline)) static void fall(void (*die)(Local*), int depth) {
  Local local = {4711, "what the core must have"};
  if (depth > 0)
    fall(die, depth - 1);
  else
    die(&local);
  asm volatile("" ::"r"(&local) : "memory");
}

// ---- Other threads ------------------------------------------------------------------------------

static void* holder(void*) {
  pthread_mutex_lock(&shared->mutex);
  pthread_barrier_wait(&ready);
  for (;;) pause();
}
static void* locker(void*) {
  pthread_barrier_wait(&ready);
  pthread_mutex_lock(&shared->mutex);
  return nullptr;
}
static void* counter(void*) {
  pthread_barrier_wait(&ready);
  for (;;) shared->words[100] = shared->words[100] + 1;
}
static void* diver(void*) {
  fall(by_abort, 2);
  return nullptr;
}
static void by_thread(Local*) {
  pthread_t thread;
  pthread_create(&thread, nullptr, diver, nullptr);
  pthread_join(thread, nullptr);
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  shared = static_cast<Shared*>(
      mmap(nullptr, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&shared->mutex, &attributes);
  for (int i = 0; i < kWords; ++i)
    if (i != 100) shared->words[i] = i * 3;
  zero_at_first[1000] = 1000;
  pthread_barrier_init(&ready, nullptr, 4);
  pthread_t threads[3];
  pthread_create(&threads[0], nullptr, holder, nullptr);
  pthread_create(&threads[1], nullptr, locker, nullptr);
  pthread_create(&threads[2], nullptr, counter, nullptr);
  pthread_barrier_wait(&ready);
  usleep(50'000);
  for (const auto& way : kWays)
    if (strcmp(way.name, arguments[1]) == 0) fall(way.die, 2);
  return 4;
}
