// Says whether the agent is in this process, and does to the launcher what programs do:
//   victim                          prints "recorded" or "native"
//   victim exec PROGRAM ARG...      replaces itself
//   victim thread-exec PROGRAM...   the same from another thread than the first
//   victim vfork|spawn PROGRAM...   starts it, waits, returns its exit code
//   victim bad-exec                 three execs that fail, prints their errnos, then "recorded" or
//   "native" victim state                    prints what a program inherits: mask, dispositions,
//   descriptors... victim orphans N                N grandchildren that outlive their parents;
//   waits for none victim storm N PROGRAM          N threads, each execing in forked children
//   victim kill-storm N             N children killed at random moments around their exec
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/agent_abi.h"

extern char** environ;

namespace {

bool agent_is_here() {
  FILE* maps = fopen("/proc/self/maps", "re");
  char line[512];
  bool found = false;
  while (maps && fgets(line, sizeof line, maps))
    for (uint64_t base : shmrec::agent::kBases) found |= strtoull(line, nullptr, 16) == base;
  if (maps) fclose(maps);
  return found;
}

bool log_is_here() {
  bool found = false;
  for (int fd = 0; fd < 64; ++fd) {
    char path[32], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const ssize_t bytes = readlink(path, target, sizeof target - 1);
    if (bytes <= 0) continue;
    target[bytes] = 0;
    found |= strstr(target, "/run.shmlog") != nullptr;
  }
  return found;
}

int say() {
  puts(!agent_is_here() ? "native" : log_is_here() ? "recorded" : "agent without log");
  return 0;
}

void* exec_it(void* argv) {
  execv(static_cast<char**>(argv)[0], static_cast<char**>(argv));
  _exit(99);
}

int thread_exec(char** argv) {
  pthread_t thread;
  pthread_create(&thread, nullptr, exec_it, argv);
  pthread_join(thread, nullptr);
  return 98;
}

int wait_for(pid_t pid) {
  int status;
  if (waitpid(pid, &status, 0) != pid) return 97;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int vfork_exec(char** argv) {
  const pid_t pid = vfork();
  if (pid == 0) {
    execv(argv[0], argv);
    _exit(99);
  }
  return wait_for(pid);
}

int spawn(char** argv) {
  pid_t pid;
  if (posix_spawn(&pid, argv[0], nullptr, nullptr, argv, environ) != 0) return 99;
  return wait_for(pid);
}

int bad_exec() {
  const char* programs[] = {"/nonexistent", "/tmp", "/etc/passwd"};
  for (const char* program : programs) {
    char* argv[] = {const_cast<char*>(program), nullptr};
    execv(program, argv);
    printf("%s ", strerrorname_np(errno));
  }
  char* none[] = {const_cast<char*>("x"), nullptr};
  execve(reinterpret_cast<const char*>(1), none, environ);
  printf("%s ", strerrorname_np(errno));
  return say();
}

int state() {
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  for (int signal = 1; signal < 65; ++signal) {
    struct sigaction action;
    if (sigismember(&mask, signal) == 1) printf("blocked %d\n", signal);
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
      printf("ignored %d\n", signal);
  }
  DIR* directory = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(directory)) {
    const int fd = atoi(entry->d_name);
    // A recorded process has the log too; that is said by `victim`.
    char target[PATH_MAX] = "";
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (entry->d_name[0] == '.' || fd == dirfd(directory)) continue;
    if (readlink(path, target, sizeof target - 1) < 0 || strstr(target, "/run.shmlog")) continue;
    printf("fd %d flags %x\n", fd, fcntl(fd, F_GETFD));
  }
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit limit;
    getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
    printf("limit %d %lu %lu\n", resource, limit.rlim_cur, limit.rlim_max);
  }
  const mode_t mask_of_files = umask(0);
  char cwd[PATH_MAX];
  printf("umask %o\ncwd %s\nnice %d\n", mask_of_files, getcwd(cwd, sizeof cwd), nice(0));
  int death = 0;
  prctl(PR_GET_PDEATHSIG, &death);
  printf("session %d group %d death %d subreaper %d\n", getsid(0) == getsid(getppid()),
         getpgrp() == getpgid(getppid()), death,
         prctl(PR_GET_CHILD_SUBREAPER, &death) == 0 ? death : -1);
  FILE* status = fopen("/proc/self/status", "re");
  for (char line[256]; fgets(line, sizeof line, status);)
    if (!strncmp(line, "Cap", 3) || !strncmp(line, "Uid", 3) || !strncmp(line, "Gid", 3) ||
        !strncmp(line, "Groups", 6) || !strncmp(line, "TracerPid", 9))
      fputs(line, stdout);
  for (char** variable = environ; *variable; ++variable) puts(*variable);
  return 0;
}

int orphans(int count) {
  for (int i = 0; i < count; ++i) {
    if (fork() != 0) continue;
    if (fork() != 0) _exit(0);
    usleep(20000);
    _exit(i & 127);
  }
  while (wait(nullptr) > 0) {
  }
  usleep(100000);
  return 0;
}

char* storm_program;

void* storm_thread(void*) {
  for (int i = 0; i < 20; ++i) {
    char* argv[] = {storm_program, const_cast<char*>("quiet"), nullptr};
    pid_t pid;
    if (posix_spawn(&pid, storm_program, nullptr, nullptr, argv, environ) != 0)
      return storm_program;
    if (wait_for(pid) != 0) return storm_program;
  }
  return nullptr;
}

int storm(int count, char* program) {
  storm_program = program;
  pthread_t threads[64];
  for (int i = 0; i < count; ++i) pthread_create(&threads[i], nullptr, storm_thread, nullptr);
  int failures = 0;
  for (int i = 0; i < count; ++i) {
    void* result;
    pthread_join(threads[i], &result);
    failures += result != nullptr;
  }
  printf("%d failures\n", failures);
  return failures != 0;
}

// Every child ends by SIGKILL or with 0. Any other end was caused by the injection.
int kill_storm(int count, char* self) {
  int killed = 0, ended = 0, wrong = 0;
  unsigned seed = 1;
  for (int i = 0; i < count; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      execl(self, self, "quiet", nullptr);
      _exit(99);
    }
    usleep(static_cast<unsigned>(rand_r(&seed)) % 1500);
    kill(pid, SIGKILL);
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      ++killed;
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
      ++ended;
    else
      printf("status %x\n", status), ++wrong;
  }
  fprintf(stderr, "%d killed, %d ended\n", killed, ended);
  printf("%d wrong\n", wrong);
  return wrong != 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (!strcmp(what, "quiet")) return !agent_is_here();
  if (!strcmp(what, "exec")) exec_it(argv + 2);
  if (!strcmp(what, "thread-exec")) return thread_exec(argv + 2);
  if (!strcmp(what, "vfork")) return vfork_exec(argv + 2);
  if (!strcmp(what, "spawn")) return spawn(argv + 2);
  if (!strcmp(what, "bad-exec")) return bad_exec();
  if (!strcmp(what, "state")) return state();
  if (!strcmp(what, "orphans")) return orphans(atoi(argv[2]));
  if (!strcmp(what, "storm")) return storm(atoi(argv[2]), argv[3]);
  if (!strcmp(what, "kill-storm")) return kill_storm(atoi(argv[2]), argv[0]);
  return say();
}
