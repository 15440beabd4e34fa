// A daemon: double fork, setsid, changed directory, closed descriptors, reparented, to init or to a
// process of the workload that reaps; the first process waits for its answer in shared memory. Then
// a process group and its signals. Where a subreaper outside of the workload adopts (systemd
// --user), recorded programs are shown init all the same, and this differs.
#include <sys/prctl.h>

#include "victim.h"

struct Shared {
  volatile int state;
  volatile pid_t daemon, session, parent, adopter;
  volatile int answers[16];
};

static struct Shared* s;

static void daemon_body(void) {
  CHECK(chdir("/") == 0);
  for (int fd = 3; fd < 20; ++fd) close(fd);
  s->daemon = getpid();
  s->session = getsid(0);
  while (getppid() == s->parent) sched_yield();
  s->adopter = getppid();
  s->state = 1;
  for (int i = 0; i < 16; ++i) s->answers[i] = i * i;
  alarm(20);
  await_value(&s->state, 2);
  s->state = 3;
}

static void first(void* unused) {
  (void)unused;
  CHECK(setsid() == getpid());
  s->parent = getpid();
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    daemon_body();
    _exit(0);
  }
}

static void in_group(void* unused) {
  (void)unused;
  CHECK(setpgid(0, 0) == 0);
  pid_t helper = fork();
  if (helper == 0)
    for (;;) pause();
  s->state = 4;
  for (;;) s->answers[0] = s->answers[0] + 1;
}

static void become_orphan(void* unused) {
  (void)unused;
  s->parent = getpid();
  if (fork() != 0) return;
  while (getppid() == s->parent) sched_yield();
  s->adopter = getppid();
  s->state = 5;
  _exit(0);
}

static void adopt(void) {
  s->state = 0;
  CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  wait_ok(child(become_orphan, NULL));
  await_value(&s->state, 5);
  CHECK_EQ(s->adopter, getpid());
  CHECK(wait(NULL) > 0);
}

int main(void) {
  s = map_shared(kPage);
  wait_ok(child(first, NULL));
  await_value(&s->state, 1);
  for (volatile int wait = 0; s->answers[15] != 225; ++wait) sched_yield();
  CHECK(s->daemon != getpid() && s->session == s->parent);
  CHECK(kill(s->daemon, 0) == 0);
  s->state = 2;
  await_value(&s->state, 3);
  pid_t leader = child(in_group, NULL);
  await_value(&s->state, 4);
  CHECK(kill(-leader, SIGTERM) == 0);
  CHECK_EQ(WTERMSIG(wait_status(leader)), SIGTERM);
  s->state = 0;
  pid_t stopped = child(in_group, NULL);
  await_value(&s->state, 4);
  int status;
  CHECK(kill(stopped, SIGSTOP) == 0);
  CHECK_EQ(waitpid(stopped, &status, WUNTRACED), stopped);
  CHECK(WIFSTOPPED(status));
  int before = s->answers[0];
  sched_yield();
  CHECK_EQ(s->answers[0], before);
  CHECK(kill(stopped, SIGCONT) == 0);
  CHECK_EQ(waitpid(stopped, &status, WCONTINUED), stopped);
  while (s->answers[0] == before) sched_yield();
  CHECK(kill(-stopped, SIGKILL) == 0);
  CHECK_EQ(WTERMSIG(wait_status(stopped)), SIGKILL);
  const pid_t adopter = s->adopter;
  adopt();
  say("daemonize: adopted by %s\n", adopter == 1 ? "init" : "another");
}
