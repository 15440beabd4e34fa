// clone3: what its structure may say, and the children that come of it. Two uses are libc's own
// (threads, posix_spawn); the others are made here.
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>

#include "victim.h"

extern char** environ;

static long clone3(struct clone_args* args, size_t bytes) {
  return syscall(SYS_clone3, args, bytes);
}
static struct clone_args plain(void) { return (struct clone_args){.exit_signal = SIGCHLD}; }

static volatile int* shared;

// ---- Children -----------------------------------------------------------------------------------

static void like_fork(void) {
  struct clone_args args = plain();
  const long pid = clone3(&args, sizeof args);
  if (pid == 0) {
    ++*shared;
    _exit(7);
  }
  CHECK_EQ(wait_status(pid), 7 << 8);
}

// The structure and all that is written lie in shared memory.
static void from_shared_memory(void) {
  struct {
    struct clone_args args;
    int pidfd, parent_tid, child_tid;
  }* all = map_shared(kPage);
  all->args = plain();
  all->args.flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID;
  all->args.pidfd = (unsigned long)&all->pidfd;
  all->args.parent_tid = (unsigned long)&all->parent_tid;
  all->args.child_tid = (unsigned long)&all->child_tid;
  const long pid = clone3(&all->args, sizeof all->args);
  if (pid == 0) _exit(all->child_tid == getpid() ? 0 : 1);
  CHECK_EQ(all->parent_tid, pid);
  struct pollfd ends = {.fd = all->pidfd, .events = POLLIN};
  CHECK_EQ(poll(&ends, 1, -1), 1);
  wait_ok(pid);
  CHECK_EQ(all->child_tid, pid);
  close(all->pidfd);
  munmap(all, kPage);
}

static char stack[64 * 1024] __attribute__((aligned(16)));

// A child that shares the memory and starts on a stack of its own, as libc makes them.
static long on_stack(struct clone_args* args) {
  long result;
  register long r8 __asm__("r8") = (long)shared;
  __asm__ volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "addl $10, (%%r8)\n\t"
      "mov $60, %%eax\n\t"
      "mov $5, %%edi\n\t"
      "syscall\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(r8)
      : "rcx", "r11", "memory");
  return result;
}
static void like_vfork(void) {
  struct clone_args args = plain();
  args.flags = CLONE_VM | CLONE_VFORK;
  args.stack = (unsigned long)stack;
  args.stack_size = sizeof stack;
  const int before = *shared;
  const long pid = on_stack(&args);
  CHECK(pid > 0);
  CHECK_EQ(*shared, before + 10);
  CHECK_EQ(wait_status(pid), 5 << 8);
}

static void no_exit_signal(void) {
  struct clone_args args = {0};
  const long pid = clone3(&args, sizeof args);
  if (pid == 0) _exit(0);
  CHECK(pid > 0);
  CHECK_ERRNO(waitpid(pid, 0, 0), ECHILD);
  int status;
  CHECK_EQ(waitpid(pid, &status, __WALL), pid);
  CHECK_EQ(status, 0);
}

// ---- Handlers -----------------------------------------------------------------------------------

static void handler(int signal) { (void)signal; }

// The child has no handlers, but what is ignored stays ignored; its parent keeps them.
static void clears_handlers(void) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, now;
  CHECK(sigaction(SIGUSR1, &action, 0) == 0 && sigaction(SIGSEGV, &action, 0) == 0);
  action.sa_handler = SIG_IGN;
  CHECK(sigaction(SIGUSR2, &action, 0) == 0);
  for (int death = 0; death < 2; ++death) {
    struct clone_args args = plain();
    args.flags = CLONE_CLEAR_SIGHAND;
    const long pid = clone3(&args, sizeof args);
    if (pid == 0) {
      for (int signal = 1; signal < 32; ++signal) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        CHECK(sigaction(signal, 0, &now) == 0);
        CHECK(now.sa_handler == (signal == SIGUSR2 ? SIG_IGN : SIG_DFL) && !now.sa_flags);
      }
      ++*shared;  // still recorded
      raise(death ? SIGUSR1 : SIGUSR2);
      _exit(0);
    }
    CHECK_EQ(wait_status(pid), death ? SIGUSR1 : 0);
  }
  CHECK(sigaction(SIGUSR1, 0, &now) == 0 && now.sa_handler == handler);
  CHECK(raise(SIGUSR1) == 0);
}

// ---- What is refused ----------------------------------------------------------------------------

#define REFUSED(expected, ...)                                      \
  do {                                                              \
    struct clone_args args = {.exit_signal = SIGCHLD, __VA_ARGS__}; \
    CHECK_ERRNO(clone3(&args, sizeof args), expected);              \
  } while (0)

static void refusals(void) {
  struct clone_args args = plain();
  CHECK_ERRNO(clone3(&args, 63), EINVAL);
  CHECK_ERRNO(clone3(&args, kPage + 1), E2BIG);
  CHECK_ERRNO(clone3(0, sizeof args), EFAULT);
  char longer[sizeof args + 64] = {0};
  memcpy(longer, &args, sizeof args);
  longer[sizeof longer - 1] = 1;
  CHECK_ERRNO(syscall(SYS_clone3, longer, sizeof longer), E2BIG);
  longer[sizeof longer - 1] = 0;
  const long pid = syscall(SYS_clone3, longer, sizeof longer);
  if (pid == 0) _exit(0);
  wait_ok(pid);
  REFUSED(EINVAL, .stack = (unsigned long)stack);
  REFUSED(EINVAL, .stack_size = sizeof stack);
  REFUSED(EINVAL, .flags = 1ull << 40);
  REFUSED(EINVAL, .flags = SIGCHLD);
  REFUSED(EINVAL, .flags = CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM);
  REFUSED(EINVAL, .flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM);
  REFUSED(EINVAL, .set_tid_size = 1);
  REFUSED(EINVAL, .set_tid_size = 33, .set_tid = (unsigned long)stack);
  REFUSED(EFAULT, .set_tid_size = 1, .set_tid = 8);
  int taken = getpid();
  args.set_tid = (unsigned long)&taken;
  args.set_tid_size = 1;
  const long other = clone3(&args, sizeof args);
  CHECK(other < 0 && (errno == EEXIST || errno == EPERM));
  args = plain();
  args.exit_signal = 65;
  CHECK_ERRNO(clone3(&args, sizeof args), EINVAL);
}

static void* add(void* unused) {
  (void)unused;
  __atomic_fetch_add(shared, 100, __ATOMIC_SEQ_CST);
  return 0;
}

int main(int argc, char** argv) {
  if (argc > 1) return 3;
  shared = map_shared(kPage);
  struct clone_args args = plain();
  const long pid = clone3(&args, sizeof args);
  if (pid == 0) _exit(0);
  if (pid < 0) {  // as some runtimes' profiles have it
    say("errno %d\n", errno);
    return 0;
  }
  wait_ok(pid);
  like_fork();
  from_shared_memory();
  like_vfork();
  no_exit_signal();
  clears_handlers();
  refusals();
  pthread_t thread[2];
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&thread[i], 0, add, 0) == 0);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(thread[i], 0) == 0);
  pid_t spawned;
  char* again[] = {argv[0], "again", 0};
  CHECK(posix_spawn(&spawned, argv[0], 0, 0, again, environ) == 0);
  CHECK_EQ(wait_status(spawned), 3 << 8);
  say("%d\n", *shared);
  return 0;
}
