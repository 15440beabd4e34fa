// A program that confines itself by seccomp, in the ways that programs do, while it shares memory.
// Each mode prints what it could do before and after; what it prints and how it ends is the same
// in every run.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <ucontext.h>

#include "victim.h"

static struct sock_filter program[256];
static int length;

static void add(struct sock_filter instruction) { program[length++] = instruction; }
static void begin(void) {
  length = 0;
  add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
}
static void on(int number, unsigned verdict) {
  add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
  add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}
static void allow(const int* numbers, int count) {
  for (int i = 0; i < count; ++i) on(numbers[i], SECCOMP_RET_ALLOW);
}
#define ALLOW(...) \
  allow((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
static void otherwise(unsigned verdict) {
  add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

static void install(unsigned flags) {
  struct sock_fprog filter = {length, program};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0);
}

static volatile int* shared;
static int outside;  // the mode that this place gives every program

static void quit(const char* text) {
  size_t bytes = strlen(text);
  if (write(1, text, bytes) == (ssize_t)bytes) syscall(SYS_exit_group, 0);
  syscall(SYS_exit_group, 9);
}

// ---- Allowlists ---------------------------------------------------------------------------------

// No way back from a handler is in the list.
static void nothing_but_write(void) {
  begin();
  ALLOW(SYS_write, SYS_exit_group);
  otherwise(SECCOMP_RET_KILL_PROCESS);
  install(0);
  ++*shared;
  quit(*shared == 8 ? "8\n" : "wrong\n");
}

// Two processes meet at one line, and may not give up the processor for each other.
static void contended(void) {
  for (int i = 0; i < 2; ++i) {
    if (fork() != 0) continue;
    begin();
    ALLOW(SYS_write, SYS_exit_group, SYS_rt_sigreturn);
    otherwise(SECCOMP_RET_KILL_PROCESS);
    install(0);
    for (int n = 0; n < 20000; ++n) __atomic_fetch_add(shared, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_exit_group, 0);
  }
  for (int i = 0; i < 2; ++i) {
    int status;
    CHECK(wait(&status) > 0);
    CHECK_EQ(status, 0);
  }
  say("%d\n", *shared);
}

// Maps memory when nothing may be looked up any more.
static void maps(unsigned verdict) {
  const int fd = memfd_create("late", 0);
  CHECK(fd >= 0 && ftruncate(fd, kPage) == 0);
  begin();
  ALLOW(SYS_write, SYS_exit_group, SYS_rt_sigreturn, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_fstat);
  otherwise(verdict);
  install(0);
  volatile int* late = mmap(0, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  volatile int* nameless =
      mmap(0, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *late = 5, *nameless = 6;
  ++*shared;
  const int sum = *late + *nameless + *shared;
  munmap((void*)late, kPage);
  quit(sum == 19 ? "19\n" : "wrong\n");
}

// Anonymous memory that comes when /proc may not be read: shared by the child that is made next.
static void anonymous(void) {
  begin();
  on(SYS_open, SECCOMP_RET_KILL_PROCESS);
  on(SYS_readlink, SECCOMP_RET_KILL_PROCESS);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  volatile int *one = map_shared(kPage), *two = map_shared(kPage);
  const pid_t pid = fork();
  if (pid == 0) {
    *one = 40;
    *two = 2;
    _exit(0);
  }
  wait_ok(pid);
  say("%d\n", *one + *two);
}

// Writes more shared memory than any buffer holds, with no memory to be had.
static void long_write(void) {
  const size_t bytes = 1 << 20;
  char* text = map_shared(bytes);
  memset(text, 'x', bytes);
  const int fd = open("long", O_CREAT | O_RDWR | O_TRUNC, 0600);
  CHECK(fd >= 0);
  begin();
  ALLOW(SYS_write, SYS_exit_group, SYS_rt_sigreturn);
  otherwise(SECCOMP_RET_KILL_PROCESS);
  install(0);
  quit(write(fd, text, bytes) == (ssize_t)bytes ? "1 MiB\n" : "wrong\n");
}

// ---- What a filter says to a call that the agent answers itself ---------------------------------

static void errnos(void) {
  begin();
  on(SYS_rt_sigprocmask, SECCOMP_RET_ERRNO | EXDEV);
  on(SYS_sigaltstack, SECCOMP_RET_ERRNO | EISDIR);
  on(SYS_mprotect, SECCOMP_RET_ERRNO | ENOTTY);
  on(SYS_getppid, SECCOMP_RET_ERRNO | 0);
  on(SYS_uname, SECCOMP_RET_LOG);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  long set = 0, buffer[100];
  CHECK_ERRNO(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, 0, 8), EXDEV);
  CHECK_ERRNO(syscall(SYS_sigaltstack, 0, buffer), EISDIR);
  CHECK_ERRNO(mprotect((void*)shared, kPage, PROT_READ), ENOTTY);
  CHECK_EQ(syscall(SYS_getppid), 0);
  CHECK_EQ(syscall(SYS_uname, buffer), 0);
  *shared = 3;
  say("%d\n", *shared);
}

static volatile long trapped[4];
static void on_trap(int signal, siginfo_t* info, void* raw) {
  const ucontext_t* context = raw;
  trapped[0] = signal == SIGSYS && info->si_code == 1 /* SYS_SECCOMP */;
  trapped[1] = (long)info->si_call_addr == context->uc_mcontext.gregs[REG_RIP];
  trapped[2] = info->si_syscall * 10 + (info->si_arch == AUDIT_ARCH_X86_64);
  trapped[3] = info->si_errno;
  ++*shared;
}

// Traps, with the handler on a stack of its own.
static void traps(void) {
  static char stack[64 * 1024];
  const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
  const struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  CHECK(sigaltstack(&other, 0) == 0 && sigaction(SIGSYS, &action, 0) == 0);
  begin();
  on(SYS_uname, SECCOMP_RET_TRAP | 77);
  on(SYS_rt_sigprocmask, SECCOMP_RET_TRAP | 78);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  char buffer[400];
  syscall(SYS_uname, buffer);
  say("%ld %ld %ld %ld\n", trapped[0], trapped[1], trapped[2], trapped[3]);
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, buffer, 0, 8);
  say("%ld %ld %ld %ld, %d\n", trapped[0], trapped[1], trapped[2], trapped[3], *shared);
}

// Traps that nobody handles, where the agent may not even send a signal.
static void trapped_to_death(void) {
  begin();
  ALLOW(SYS_write, SYS_exit_group, SYS_rt_sigreturn);
  otherwise(SECCOMP_RET_TRAP);
  install(0);
  ++*shared;
  syscall(SYS_getppid);
  quit("survived\n");
}

static void killed(void) {
  begin();
  on(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  ++*shared;
  syscall(SYS_getppid);
}

// ---- Modes --------------------------------------------------------------------------------------

static void strict(const char* how) {
  if (outside) {
    CHECK_ERRNO(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0), EINVAL);
    return;
  }
  CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0) == 0);
  ++*shared;
  const char text[] = {'0' + *shared, '\n'};
  if (write(1, text, sizeof text) != sizeof text) syscall(SYS_exit, 8);
  if (!strcmp(how, "dies")) getppid();
  syscall(SYS_exit, 0);
}

static void asked(void) {
  say("%d\n", outside);
  begin();
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
  CHECK_ERRNO(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0), EINVAL);
  struct sock_fprog broken = {1, program};
  CHECK_ERRNO(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &broken), EINVAL);
  CHECK_ERRNO(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0), EFAULT);
  CHECK_ERRNO(syscall(SYS_seccomp, 99, 0, 0), EINVAL);
  const pid_t pid = fork();
  if (pid == 0) _exit(prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
  CHECK_EQ(wait_status(pid), 2 << 8);
  say("asked\n");
}

// ---- More threads -------------------------------------------------------------------------------

static int pipes[2];
static volatile int ready, caught;
static pthread_t reader, spinner;
static void* read_one(void* unused) {
  char byte = 0;
  (void)unused;
  __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
  CHECK(read(pipes[0], &byte, 1) == 1);
  __atomic_fetch_add(shared, byte, __ATOMIC_SEQ_CST);
  return 0;
}
static void* spin(void* unused) {
  (void)unused;
  __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&shared[1], __ATOMIC_ACQUIRE))
    __atomic_fetch_add(&shared[2], 1, __ATOMIC_SEQ_CST);
  return 0;
}
static void on_usr1(int signal, siginfo_t* info, void* context) {
  (void)info, (void)context;
  caught = signal;
}

// Others wait in the kernel and work on shared memory while the filter comes. It refuses what the
// agent needs for the thread that is made afterwards; signals go on as before.
static void threads(unsigned flags) {
  const struct sigaction action = {.sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO};
  CHECK(pipe(pipes) == 0 && sigaction(SIGUSR1, &action, 0) == 0);
  CHECK(pthread_create(&reader, 0, read_one, 0) == 0);
  CHECK(pthread_create(&spinner, 0, spin, 0) == 0);
  await_value(&ready, 2);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigaddset(&set, SIGSYS);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, 0) == 0 && raise(SIGSYS) == 0);
  begin();
  add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3));
  add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)));
  add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 59, 0, 1));
  add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  otherwise(SECCOMP_RET_ALLOW);
  install(flags);
  CHECK(raise(SIGUSR1) == 0 && caught == SIGUSR1);
  sigset_t now, waiting;
  CHECK(pthread_sigmask(SIG_BLOCK, 0, &now) == 0 && sigpending(&waiting) == 0);
  CHECK(sigismember(&now, SIGUSR2) && sigismember(&now, SIGSYS) && !sigismember(&now, SIGUSR1));
  CHECK(sigismember(&waiting, SIGSYS));
  CHECK(write(pipes[1], "\7", 1) == 1 && pthread_join(reader, 0) == 0);
  shared[1] = 1;
  CHECK(pthread_join(spinner, 0) == 0);
  shared[1] = 0;
  CHECK(pthread_create(&spinner, 0, spin, 0) == 0);
  await_value(&ready, 3);
  shared[1] = 1;
  CHECK(pthread_join(spinner, 0) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    ++*shared;
    _exit(3);
  }
  CHECK_EQ(wait_status(pid), 3 << 8);
  say("%d\n", *shared);
}

static int mode_of_filters(void) { return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) - outside; }

static int attach_and_count(void) {
  const int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
  CHECK(id >= 0);
  volatile int* attached = shmat(id, 0, 0);
  const int refused = attached == (void*)-1;
  CHECK(!refused || errno == EPERM);
  CHECK(shmctl(id, IPC_RMID, 0) == 0);
  if (refused) return 0;
  const int counted = ++*attached;
  CHECK(shmdt((const void*)attached) == 0);
  return counted;
}

static volatile int stage;
static void* is_confined(void* yes) {
  CHECK_EQ(mode_of_filters(), yes ? SECCOMP_MODE_FILTER : 0);
  CHECK_EQ(attach_and_count(), !yes);
  if (!yes) CHECK(getppid() >= 0);
  return 0;
}
static void* confines_itself(void* unused) {
  begin();
  on(SYS_getppid, SECCOMP_RET_KILL_PROCESS);
  on(SYS_shmat, SECCOMP_RET_ERRNO | EPERM);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  is_confined(program);
  pthread_t heir;
  CHECK(pthread_create(&heir, 0, is_confined, program) == 0 && pthread_join(heir, 0) == 0);
  stage = 1;
  await_value(&stage, 2);
  return unused;
}
static void* sees_it_come(void* unused) {
  is_confined(0);
  ready = 1;
  await_value(&stage, 3);
  CHECK_EQ(mode_of_filters(), SECCOMP_MODE_FILTER);
  CHECK(syscall(SYS_getuid) == -1 && errno == EACCES);
  return unused;
}

static void* begins_meanwhile(void* unused) {
  await_value(&stage, 3);
  CHECK_EQ(mode_of_filters(), SECCOMP_MODE_FILTER);
  return unused;
}

// One thread's filter is that of what it makes; the others' calls are judged when all are given
// one, which the kernel refuses as long as one has a filter of its own.
static void one_of_many(void) {
  pthread_t confined, bystander, free;
  CHECK(pthread_create(&bystander, 0, sees_it_come, 0) == 0);
  await_value(&ready, 1);
  CHECK(pthread_create(&confined, 0, confines_itself, 0) == 0);
  await_value(&stage, 1);
  is_confined(0);
  CHECK(pthread_create(&free, 0, is_confined, 0) == 0 && pthread_join(free, 0) == 0);
  begin();
  on(SYS_getuid, SECCOMP_RET_ERRNO | EACCES);
  otherwise(SECCOMP_RET_ALLOW);
  const struct sock_fprog filter = {length, program};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) > 0);
  is_confined(0);
  CHECK(syscall(SYS_getuid) >= 0);
  stage = 2;
  CHECK(pthread_join(confined, 0) == 0);
  CHECK(pthread_create(&free, 0, begins_meanwhile, 0) == 0);
  install(SECCOMP_FILTER_FLAG_TSYNC);
  CHECK_EQ(mode_of_filters(), SECCOMP_MODE_FILTER);
  CHECK(syscall(SYS_getuid) == -1 && errno == EACCES);
  stage = 3;
  CHECK(pthread_join(bystander, 0) == 0 && pthread_join(free, 0) == 0);
  say("%d\n", ++*shared);
}

// ---- Other images -------------------------------------------------------------------------------

// Denies a little, as service managers do, and executes.
static void executes(char* self, int number) {
  begin();
  on(number, SECCOMP_RET_ERRNO | EPERM);
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  execl(self, self, "image", NULL);
  _exit(7);
}
static void image(void) {
  CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
  *shared = 4;
  say("another image %d\n", *shared);
}
// The child of a vfork confines itself; its parent is not confined by that.
static void vforked(char* self) {
  const pid_t pid = vfork();
  if (pid == 0) {
    begin();
    on(SYS_mremap, SECCOMP_RET_ERRNO | EPERM);
    on(SYS_sched_yield, SECCOMP_RET_KILL_PROCESS);
    otherwise(SECCOMP_RET_ALLOW);
    install(0);
    execl(self, self, "image", NULL);
    _exit(7);
  }
  CHECK_EQ(wait_status(pid), 0);
  CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), outside);
  CHECK(sched_yield() == 0);
  volatile int* more = map_shared(kPage);
  *more = 2;
  say("%d\n", *more + *shared);
}

// The same with filters that end recording: the child goes on in its parent's memory.
static void vfork_confined(void) {
  static const int refused[] = {SYS_prctl, SYS_sigaltstack, SYS_rt_sigreturn};
  const struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSYS, &action, 0) == 0);
  for (int i = 0; i < 3; ++i) {
    const pid_t pid = vfork();
    if (pid == 0) {
      begin();
      on(refused[i], SECCOMP_RET_ERRNO | EPERM);
      on(SYS_uname, SECCOMP_RET_TRAP | 3);
      otherwise(SECCOMP_RET_ALLOW);
      install(0);
      if (i < 2) syscall(SYS_uname, 0);
      ++*shared;
      _exit(*shared);
    }
    CHECK_EQ(wait_status(pid), (i < 2 ? 9 + 2 * i : 12) << 8);
    ++trapped[0];
  }
  volatile int* more = map_shared(kPage);
  *more = 2;
  say("%ld %ld %ld, %d\n", trapped[0], trapped[1], trapped[2], *more + *shared);
}

// Allows calls of one place only: where this program makes them.
static void by_address(void) {
  begin();
  add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 4));
  add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                   offsetof(struct seccomp_data, instruction_pointer) + 4));
  const unsigned high = (unsigned long)&syscall >> 32;
  add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 1));
  add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
  otherwise(SECCOMP_RET_ALLOW);
  install(0);
  ++*shared;
  CHECK(syscall(SYS_getppid) > 0);
  say("%d\n", *shared);
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "asked";
  setvbuf(stdout, 0, _IONBF, 0);
  shared = map_shared(kPage);
  *shared = 7;
  outside = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
  if (!strcmp(mode, "nothing-but-write")) nothing_but_write();
  if (!strcmp(mode, "contended")) contended();
  if (!strcmp(mode, "maps-kill")) maps(SECCOMP_RET_KILL_PROCESS);
  if (!strcmp(mode, "maps-errno")) maps(SECCOMP_RET_ERRNO | EPERM);
  if (!strcmp(mode, "anonymous")) anonymous();
  if (!strcmp(mode, "long-write")) long_write();
  if (!strcmp(mode, "errnos")) errnos();
  if (!strcmp(mode, "traps")) traps();
  if (!strcmp(mode, "trapped-to-death")) trapped_to_death();
  if (!strcmp(mode, "killed")) killed();
  if (!strcmp(mode, "strict")) strict("lives");
  if (!strcmp(mode, "strict-dies")) strict("dies");
  if (!strcmp(mode, "asked")) asked();
  if (!strcmp(mode, "threads")) threads(0);
  if (!strcmp(mode, "one-of-many")) one_of_many();
  if (!strcmp(mode, "threads-all")) threads(SECCOMP_FILTER_FLAG_TSYNC);
  if (!strcmp(mode, "executes")) executes(argv[0], SYS_kexec_load);
  if (!strcmp(mode, "executes-blind")) executes(argv[0], SYS_readlink);
  if (!strcmp(mode, "image")) image();
  if (!strcmp(mode, "vforked")) vforked(argv[0]);
  if (!strcmp(mode, "vfork-confined")) vfork_confined();
  if (!strcmp(mode, "by-address")) by_address();
  return 0;
}
