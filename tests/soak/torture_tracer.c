// Steps a thread of a recorded program through code that is not the program's, and sends it a
// signal at each of its instructions: first where none was sent yet, then where the fewest were.
//
//   torture_tracer FILE SECONDS    FILE: "PID TID", see torture.c
//
// It is no part of the workload: what it steps through is what is there, stubs and the agent. What
// the signals' handlers find is the program's to judge. Prints how many instructions it has met and
// how many signals it has sent there. Exit status: 0; 1: the program has gone before its time; 77:
// it may not trace.
#include <sys/ptrace.h>
#include <sys/user.h>

#include "../victims/victim.h"

enum { kPlaces = 1 << 18, kMaxRanges = 4096, kStepsInARow = 4000 };

struct Place {
  uint64_t ip;
  uint32_t sent;
};
static struct Place places[kPlaces];  // open hashing by address
static uint32_t place_count, least = 1;
static uint64_t sent, steps;

static struct Place* place_at(uint64_t ip) {
  uint32_t at = (uint32_t)(ip * 0x9E3779B97F4A7C15 >> 40) % kPlaces;
  while (places[at].ip && places[at].ip != ip) at = (at + 1) % kPlaces;
  if (!places[at].ip) {
    CHECK(++place_count < kPlaces / 2);
    places[at].ip = ip;
  }
  return &places[at];
}

// Code of files, which is the program's.
static struct { uint64_t begin, end; } ranges[kMaxRanges];
static int range_count;

static void read_maps(pid_t pid) {
  char path[64], line[4400];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE* maps = fopen(path, "re");
  range_count = 0;
  while (maps && fgets(line, sizeof line, maps) && range_count < kMaxRanges) {
    unsigned long begin, end;
    char access[8];
    if (sscanf(line, "%lx-%lx %7s", &begin, &end, access) != 3 || access[2] != 'x') continue;
    if (!strchr(line, '/') && !strchr(line, '[')) continue;
    ranges[range_count].begin = begin, ranges[range_count++].end = end;
  }
  if (maps) fclose(maps);
}

static int of_program(uint64_t ip) {
  for (int i = 0; i < range_count; ++i)
    if (ip >= ranges[i].begin && ip < ranges[i].end) return 1;
  return 0;
}

static pid_t pid, tid;

// Waits for the next stop. 0: the thread has gone.
static int wait_for_stop(int* status) {
  return waitpid(tid, status, __WALL) == tid && WIFSTOPPED(*status);
}

static int is_step(int status) {
  siginfo_t info;
  return status >> 8 == SIGTRAP && !ptrace(PTRACE_GETSIGINFO, tid, 0, &info) &&
         (info.si_code == TRAP_TRACE || info.si_code == TRAP_BRKPT);
}

// A step is seen in the flags that pushf stores, and in the program's when they are loaded again.
static void hide_step(uint64_t from, const struct user_regs_struct* now) {
  enum { kPushf = 0x9C };
  if (now->rip != from + 1 || (ptrace(PTRACE_PEEKTEXT, tid, from, 0) & 0xFF) != kPushf) return;
  const long word = ptrace(PTRACE_PEEKDATA, tid, now->rsp, 0);
  ptrace(PTRACE_POKEDATA, tid, now->rsp, word & ~0x100L);
}

// Does the next instruction load the flags (popf, iret)? The kernel takes a step there for the
// program's own, and leaves it in the frame of a signal that is delivered instead.
static int loads_flags(uint64_t ip) {
  const long code = ptrace(PTRACE_PEEKTEXT, tid, ip, 0);
  return (code & 0xFF) == 0x9D || (code & 0xFF) == 0xCF || (code & 0xFFFF) == 0xCF48;
}

// The registers, without the flag of a step that the kernel takes for the program's, which has
// none.
static int read_registers(struct user_regs_struct* registers) {
  if (ptrace(PTRACE_GETREGS, tid, 0, registers)) return 0;
  if (!(registers->eflags & 0x100)) return 1;
  registers->eflags &= ~0x100ul;
  return !ptrace(PTRACE_SETREGS, tid, 0, registers);
}

static int signal_to_send(uint64_t* random) {
  static const int kSignals[] = {SIGUSR1, SIGUSR1, SIGUSR1, SIGUSR2, SIGFPE, SIGILL};
  return kSignals[next_random(random) % (sizeof kSignals / sizeof *kSignals)];
}

// Steps to the next instruction that a signal is due at, or so many steps that there seems to be
// none. Takes and returns the signal to go on with; -1: the thread has gone.
static int step_on(int signal, uint64_t* random) {
  struct user_regs_struct registers;
  if (!read_registers(&registers)) return -1;
  for (int rest = kStepsInARow; rest; --rest) {
    const uint64_t from = registers.rip;
    int status;
    if (signal && loads_flags(from)) return signal;
    if (ptrace(PTRACE_SINGLESTEP, tid, 0, signal) || !wait_for_stop(&status) ||
        !read_registers(&registers))
      return -1;
    signal = 0;
    if (!is_step(status)) {  // the agent's, or an event
      if (status >> 16 == 0) signal = WSTOPSIG(status);
      continue;
    }
    ++steps;
    hide_step(from, &registers);
    if (of_program(registers.rip)) continue;
    struct Place* place = place_at(registers.rip);
    if (place->sent >= least && next_random(random) % 256) continue;
    ++place->sent, ++sent;
    return signal_to_send(random);
  }
  ++least;
  return signal;
}

// The thread stops of itself. 0: it has gone.
static int stop(void) {
  int status;
  if (ptrace(PTRACE_INTERRUPT, tid, 0, 0)) return 0;
  while (wait_for_stop(&status)) {
    struct user_regs_struct registers;
    if (!read_registers(&registers)) return 0;
    if (status >> 16 == PTRACE_EVENT_STOP) return 1;
    if (ptrace(PTRACE_CONT, tid, 0, is_step(status) ? 0 : WSTOPSIG(status))) return 0;
  }
  return 0;
}

// Lets it run for a moment.
static int let_run(int* signal, uint64_t* random) {
  if (ptrace(PTRACE_CONT, tid, 0, *signal)) return 0;
  *signal = 0;
  const struct timespec pause = {0, (long)(next_random(random) % 300000)};
  nanosleep(&pause, NULL);
  return stop();
}

// A step takes two switches: quicker by far on one processor.
static void share_processor(void) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
  sched_setaffinity(tid, sizeof one, &one);
}

static uint64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

int main(int argc, char** argv) {
  CHECK(argc == 3);
  const uint64_t end = now_ms() + (uint64_t)atol(argv[2]) * 1000;
  FILE* file = fopen(argv[1], "re");
  CHECK(file && fscanf(file, "%d %d", &pid, &tid) == 2);
  if (ptrace(PTRACE_SEIZE, tid, 0, 0)) return 77;
  share_processor();
  uint64_t random = 99;
  int signal = stop() ? 0 : -1;
  while (now_ms() < end && signal >= 0) {
    read_maps(pid);
    // Now and then into the handler, too.
    struct user_regs_struct registers;
    if (!read_registers(&registers)) return 1;
    const int lets_run = next_random(&random) % 4 || loads_flags(registers.rip);
    if (lets_run && !let_run(&signal, &random)) return 1;
    signal = step_on(signal, &random);
  }
  say("instructions %u signals %llu steps %llu least %u\n", place_count, (unsigned long long)sent,
      (unsigned long long)steps, least - 1);
  if (signal >= 0) ptrace(PTRACE_DETACH, tid, 0, signal);
  return signal < 0;
}
