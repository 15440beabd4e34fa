// cpuid: which processor the program runs on decides what it tells, so the program moves about; in
// a thread, a child, a handler of a signal; with all leaves and their parts; turned off by the
// program itself (arch_prctl), where the processor can, and on again, with what a child and a new
// image have then. What it told goes to memory that is compared.
#include <asm/prctl.h>
#include <cpuid.h>
#include <sched.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "victim.h"

static volatile int trapped;
static unsigned told[4096];
static int count;

static void ask(unsigned leaf, unsigned part) {
  unsigned* four = told + 4 * (count++ % 1024);
  four[0] = leaf, four[2] = part;
  __asm__ volatile("cpuid" : "+a"(four[0]), "=b"(four[1]), "+c"(four[2]), "=d"(four[3]));
}

static void ask_all(void) {
  const unsigned last = __get_cpuid_max(0, NULL), last_extended = __get_cpuid_max(0x80000000, NULL);
  for (unsigned leaf = 0; leaf <= last; ++leaf)
    for (unsigned part = 0; part < 3; ++part) ask(leaf, part);
  for (unsigned leaf = 0x80000000; leaf <= last_extended; ++leaf) ask(leaf, 0);
}

// On each processor that there is, so that its number is in what is told.
static void ask_everywhere(void) {
  cpu_set_t all, one;
  CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    ask(1, 0);
    ask(0xB, 0);
  }
  CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
  say("may run on %d processors\n", CPU_COUNT(&all));
}

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)info;
  ++trapped;
  ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] += 2;
}

static void in_handler(int signal) {
  (void)signal;
  ask(1, 0);
}

static int allowed(void) { return (int)syscall(SYS_arch_prctl, ARCH_GET_CPUID, 0); }

static void in_child(void* unused) {
  (void)unused;
  const int before = trapped;
  ask(0, 0);
  say("child: allowed %d, trapped %d\n", allowed(), trapped - before);
}

static void in_new_image(void* unused) {
  (void)unused;
  execl("/proc/self/exe", "image", "image", NULL);
  _exit(9);
}

static void turned_off(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
    CHECK_EQ(errno, ENODEV);
    return;
  }
  ask(0, 0);
  say("allowed %d, trapped %d\n", allowed(), trapped);
  wait_ok(child(in_child, NULL));
  wait_ok(child(in_new_image, NULL));
  CHECK(syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1) == 0);
  ask(0, 0);
  say("allowed %d, trapped %d\n", allowed(), trapped);
}

int main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    in_child(NULL);
    return 0;
  }
  volatile int* shared = map_shared(kPage);
  ask_all();
  ask_everywhere();
  signal(SIGUSR1, in_handler);
  raise(SIGUSR1);
  wait_ok(child(in_child, NULL));
  turned_off();
  for (int i = 0; i < count; ++i) *shared += told[4 * (i % 1024)] != 0;
  say("asked\n");
}
