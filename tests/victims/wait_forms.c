// wait4, waitid and waitpid with status, siginfo and rusage in shared memory, in private memory,
// nowhere, and where they cannot be written; children that exit, are killed, stop and continue.
//
// e2e/waits.py knows which children it reaps, in which order.
#include <sys/resource.h>

#include "victim.h"

struct Shared {
  int status, after_status;
  struct rusage usage;
  siginfo_t info;
  char pad[kPage];
};

static struct Shared* s;
static struct Shared own;

static void exits(void* code) {
  for (volatile int i = 0; i < 100000; ++i) {
  }
  _exit((int)(long)code);
}
static void is_killed(void* signal) {
  kill(getpid(), (int)(long)signal);
  pause();
}
static void stops(void* unused) {
  (void)unused;
  raise(SIGSTOP);
  _exit(9);
}
// And lives until it is told, so that its parent can see it continued.
static void stops_and_stays(void* unused) {
  (void)unused;
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGUSR1);
  CHECK(sigprocmask(SIG_BLOCK, &end, NULL) == 0);
  raise(SIGSTOP);
  int signal;
  sigwait(&end, &signal);
  _exit(9);
}

static void check_usage(const struct rusage* usage) {
  CHECK(usage->ru_maxrss > 0 && usage->ru_minflt > 0);
}

static void with_wait4(struct Shared* m) {
  memset(m, 0x5A, sizeof(*m));
  pid_t pid = child(exits, (void*)5l);
  CHECK_EQ(wait4(pid, &m->status, 0, &m->usage), pid);
  say("exited %#x after %#x\n", m->status, m->after_status);
  check_usage(&m->usage);
  pid = child(is_killed, (void*)(long)SIGTERM);
  CHECK_EQ(waitpid(pid, &m->status, 0), pid);
  say("killed %#x\n", m->status);
  pid = child(stops_and_stays, NULL);
  CHECK_EQ(waitpid(pid, &m->status, WUNTRACED), pid);
  say("stopped %#x\n", m->status);
  m->status = 77;
  CHECK_EQ(waitpid(pid, &m->status, WNOHANG | WUNTRACED), 0);
  say("untouched %d\n", m->status);
  CHECK(kill(pid, SIGCONT) == 0);
  CHECK_EQ(waitpid(pid, &m->status, WCONTINUED), pid);
  say("continued %#x\n", m->status);
  CHECK(kill(pid, SIGUSR1) == 0);
  CHECK_EQ(waitpid(-1, &m->status, 0), pid);
  say("exited %#x\n", m->status);
  m->status = 78;
  CHECK_ERRNO(waitpid(-1, &m->status, 0), ECHILD);
  say("untouched %d\n", m->status);
}

static void print_info(const char* when, const siginfo_t* info, pid_t pid) {
  say("%s: signo %d errno %d code %d pid %d uid %d status %d, beyond %#x\n", when, info->si_signo,
      info->si_errno, info->si_code, info->si_pid == pid, info->si_uid == getuid(), info->si_status,
      ((const int*)info)[10]);
}

static void with_waitid(struct Shared* m) {
  memset(m, 0x5A, sizeof(*m));
  pid_t pid = child(exits, (void*)6l);
  CHECK(waitid(P_PID, pid, &m->info, WEXITED | WNOWAIT) == 0);
  print_info("not reaped", &m->info, pid);
  memset(&m->info, 0x5A, sizeof(m->info));
  CHECK(syscall(SYS_waitid, P_PID, pid, &m->info, WEXITED, &m->usage) == 0);
  print_info("reaped", &m->info, pid);
  check_usage(&m->usage);
  pid = child(is_killed, (void*)(long)SIGUSR1);
  CHECK(waitid(P_ALL, 0, &m->info, WEXITED) == 0);
  print_info("killed", &m->info, pid);
  pid = child(stops, NULL);
  CHECK(waitid(P_PID, pid, &m->info, WSTOPPED) == 0);
  print_info("stopped", &m->info, pid);
  memset(&m->info, 0x5A, sizeof(m->info));
  memset(&m->usage, 0x5A, sizeof(m->usage));
  CHECK(syscall(SYS_waitid, P_PID, pid, &m->info, WEXITED | WNOHANG, &m->usage) == 0);
  say("none: signo %d pid %d, usage %#lx\n", m->info.si_signo, m->info.si_pid, m->usage.ru_maxrss);
  CHECK(kill(pid, SIGCONT) == 0);
  CHECK(waitid(P_PID, pid, &m->info, WEXITED) == 0);
  print_info("exited", &m->info, pid);
  memset(&m->info, 0x5A, sizeof(m->info));
  CHECK_ERRNO(waitid(P_PID, pid, &m->info, WEXITED), ECHILD);
  say("failed: signo %d pid %d\n", m->info.si_signo, m->info.si_pid);
}

static void nowhere(char* read_only) {
  pid_t pid = child(exits, (void*)1l);
  CHECK_EQ(waitpid(pid, NULL, 0), pid);
  pid = child(exits, (void*)2l);
  CHECK(waitid(P_PID, pid, NULL, WEXITED) == 0);
  pid = child(exits, (void*)3l);
  // Reaped all the same.
  CHECK_ERRNO(waitpid(pid, (int*)read_only, 0), EFAULT);
  CHECK_ERRNO(waitpid(pid, NULL, 0), ECHILD);
  pid = child(exits, (void*)4l);
  CHECK_ERRNO(waitid(P_PID, pid, (siginfo_t*)read_only, WEXITED), EFAULT);
  CHECK_ERRNO(waitid(P_PID, pid, NULL, WEXITED), ECHILD);
  pid = child(exits, (void*)5l);
  memset(&s->usage, 0x5A, sizeof(s->usage));
  CHECK_ERRNO(wait4(pid, (int*)read_only, 0, &s->usage), EFAULT);
  CHECK_EQ(s->usage.ru_maxrss, 0x5A5A5A5A5A5A5A5A);
  // From here on the kernel tells nobody which child it was.
  pid = child(exits, (void*)6l);
  s->info.si_signo = 99;
  CHECK_ERRNO(syscall(SYS_waitid, P_PID, pid, &s->info, WEXITED, read_only), EFAULT);
  CHECK_EQ(s->info.si_signo, 99);
  pid = child(exits, (void*)7l);
  CHECK_ERRNO(wait4(pid, &s->status, 0, (struct rusage*)read_only), EFAULT);
  CHECK_EQ(s->status, 7 << 8);
}

int main(void) {
  s = map_shared(sizeof(*s));
  char* read_only = map_shared(kPage);
  CHECK(mprotect(read_only, kPage, PROT_READ) == 0);
  with_wait4(&own);
  with_wait4(s);
  with_waitid(&own);
  with_waitid(s);
  nowhere(read_only);
  nowhere((char*)8);
}
