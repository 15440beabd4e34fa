// Calls about processes, time, signals, memory and devices (written_areas.h).
#include <asm/ldt.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/elf.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <thread>

#include "tests/unit/written_areas.h"

namespace shmrec::syscalls {
namespace {

// A child that exits with 7, not yet reaped.
pid_t ended_child() {
  const pid_t child = fork();
  if (!child) _exit(7);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  return child;
}

pid_t waiting_child() {
  const pid_t child = fork();
  if (!child)
    for (;;) pause();
  return child;
}

void end_child(pid_t child) {
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

void identity(WrittenOracle& o) {
  o.done(SYS_uname, o.room(390));
  o.done(SYS_sysinfo, o.room(112));
  o.done(SYS_getrlimit, RLIMIT_NOFILE, o.room(16));
  o.fails(EINVAL, SYS_getrlimit, 999, o.room(16));
  rlimit limit;
  getrlimit(RLIMIT_CORE, &limit);
  o.done(SYS_prlimit64, 0, RLIMIT_CORE, o.put(limit), o.room(16));
  o.done(SYS_setrlimit, RLIMIT_CORE, o.put(limit));
  o.done(SYS_getrusage, RUSAGE_SELF, o.room(144));
  o.done(SYS_getgroups, 0, o.room(16));
  o.done(SYS_getgroups, 60, o.room(240));
  o.done(SYS_getresuid, o.room(4), o.room(4), o.room(4));
  o.done(SYS_getresgid, o.room(4), o.room(4), o.room(4));
  o.done(SYS_getcpu, o.room(4), o.room(4), 0);
  o.done(SYS_getrandom, o.room(33), 33, 0);
  o.done(SYS_getrandom, o.room(33), 33, GRND_NONBLOCK);
  o.fails(EINVAL, SYS_getrandom, o.room(33), 33, 0x80);
  o.any(SYS_get_robust_list, 0, o.room(8), o.room(8));
  o.any(SYS_syslog, 10, o.room(100), 100);
  o.any(SYS_syslog, 3, o.room(100), 100);
  for (uint32_t call :
       {SYS_getpid, SYS_getppid, SYS_gettid, SYS_getuid, SYS_getpgrp, SYS_sched_yield})
    o.done(call);
}

void capabilities(WrittenOracle& o) {
  for (uint32_t version : {_LINUX_CAPABILITY_VERSION_1, _LINUX_CAPABILITY_VERSION_3}) {
    o.done(SYS_capget, o.put(__user_cap_header_struct{version, 0}), o.room(24));
    o.done(SYS_capget, o.put(__user_cap_header_struct{version, 0}), 0);
  }
  // An unknown version is answered with the one that the kernel has.
  o.fails(EINVAL, SYS_capget, o.put(__user_cap_header_struct{1, 0}), o.room(24));
  o.done(SYS_capget, o.put(__user_cap_header_struct{1, 0}), 0);
  o.fails(EINVAL, SYS_capset, o.put(__user_cap_header_struct{1, 0}), o.room(24));
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> own = {};
  syscall(SYS_capget, &header, own.data());
  o.done(SYS_capset, o.put(header), o.put(own));
}

void scheduling(WrittenOracle& o) {
  for (size_t bytes : {8, 64, 256}) o.any(SYS_sched_getaffinity, 0, bytes, o.room(bytes));
  o.done(SYS_sched_getparam, 0, o.room(4));
  o.done(SYS_sched_rr_get_interval, 0, o.room(16));
  for (uint32_t bytes : {48u, 56u, 100u}) o.done(SYS_sched_getattr, 0, o.room(bytes), bytes, 0);
  o.fails(EINVAL, SYS_sched_getattr, 0, o.room(20), 20, 0);
  std::array<uint32_t, 40> attributes = {160};
  attributes[30] = 1;  // unknown to the kernel: it answers with its size
  o.fails(E2BIG, SYS_sched_setattr, 0, o.put(attributes), 0);
  attributes = {48};
  o.any(SYS_sched_setattr, 0, o.put(attributes), 0);
}

void prctls(WrittenOracle& o) {
  o.done(SYS_prctl, PR_GET_NAME, o.room(16), 0, 0, 0);
  o.done(SYS_prctl, PR_SET_NAME, o.text("written"), 0, 0, 0);
  o.done(SYS_prctl, PR_GET_PDEATHSIG, o.room(4), 0, 0, 0);
  o.done(SYS_prctl, PR_GET_TSC, o.room(4), 0, 0, 0);
  o.done(SYS_prctl, PR_GET_CHILD_SUBREAPER, o.room(4), 0, 0, 0);
  o.any(SYS_prctl, PR_GET_TID_ADDRESS, o.room(8), 0, 0, 0);
  o.any(SYS_prctl, 0x41555856 /* PR_GET_AUXV */, o.room(40), 40, 0, 0);
  o.any(SYS_prctl, 0x41555856, o.room(1000), 1000, 0, 0);
  o.any(SYS_prctl, PR_SCHED_CORE, 0, 0, 0, o.room(8));
  o.any(SYS_prctl, PR_SET_MM, 15 /* PR_SET_MM_MAP_SIZE */, o.room(4), 0, 0);
  o.done(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
  for (uint32_t command : {0x1003, 0x1004, 0x1021, 0x1022, 0x1024, 0x4001, 0x4003, 0x5005})
    o.any(SYS_arch_prctl, command, o.room(8));
  o.done(SYS_modify_ldt, 0, o.room(64), 64);
  o.done(SYS_modify_ldt, 2, o.room(64), 64);
  o.any(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, o.room(6));
  o.any(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, o.put(uint32_t{SECCOMP_RET_ALLOW}));
}

void waits(WrittenOracle& o) {
  o.done(SYS_wait4, ended_child(), o.room(4), 0, o.room(144));
  o.fails(ECHILD, SYS_wait4, -1, o.room(4), 0, o.room(144));
  o.fails(ECHILD, SYS_waitid, P_ALL, 0, o.room(128), WEXITED, o.room(144));
  const pid_t child = waiting_child();
  o.done(SYS_wait4, child, o.room(4), WNOHANG, o.room(144));
  o.done(SYS_waitid, P_PID, child, o.room(128), WEXITED | WNOHANG, o.room(144));
  o.interrupted(SYS_wait4, child, o.room(4), 0, o.room(144));
  o.interrupted(SYS_waitid, P_PID, child, o.room(128), WEXITED, o.room(144));
  end_child(child);
  o.done(SYS_waitid, P_PID, ended_child(), o.room(128), WEXITED, o.room(144));
}

void clones(WrittenOracle& o) {
  int32_t* tid = o.put(int32_t{0});
  const int64_t child = o.done(SYS_clone, CLONE_PARENT_SETTID | SIGCHLD, 0, tid, 0, 0);
  if (!child) _exit(0);
  EXPECT_EQ(*tid, child);
  int32_t* fd = o.put(int32_t{0});
  const int64_t with_fd = o.done(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, fd, 0, 0);
  if (!with_fd) _exit(0);
  close(*fd);
  clone_args both = {};
  both.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, both.exit_signal = SIGCHLD;
  both.pidfd = reinterpret_cast<uint64_t>(o.put(int32_t{0}));
  both.parent_tid = reinterpret_cast<uint64_t>(o.put(int32_t{0}));
  const int64_t third = o.any(SYS_clone3, o.put(both), sizeof both);
  if (!third) _exit(0);
  if (third > 0) close(*reinterpret_cast<int32_t*>(both.pidfd));
  while (wait(nullptr) > 0) continue;
}

void tracing(WrittenOracle& o) {
  const pid_t child = waiting_child();
  const auto ask = [&](uint32_t command, uint64_t address, uint8_t* data) {
    o.any(SYS_ptrace, command, child, address, data);
  };
  if (ptrace(PTRACE_ATTACH, child, 0, 0)) return end_child(child);
  waitpid(child, nullptr, 0);
  static long word = 0x1122334455667788;
  ask(PTRACE_PEEKDATA, reinterpret_cast<uint64_t>(&word), o.room(8));
  ask(PTRACE_PEEKUSER, 0, o.room(8));
  ask(PTRACE_GETREGS, 0, o.room(sizeof(user_regs_struct)));
  ask(PTRACE_GETFPREGS, 0, o.room(512));
  ask(PTRACE_GETSIGINFO, 0, o.room(128));
  ask(PTRACE_GETEVENTMSG, 0, o.room(8));
  ask(0x420A /* GETSIGMASK */, 8, o.room(8));
  ask(0x420E /* GET_SYSCALL_INFO */, 88, o.room(88));
  ask(0x420E, 10, o.room(10));
  ask(0x420F /* GET_RSEQ_CONFIGURATION */, 24, o.room(24));
  ask(0x4211 /* GET_SYSCALL_USER_DISPATCH_CONFIG */, 32, o.room(32));
  for (size_t bytes : {24, 1000}) {
    const iovec registers = {o.room(bytes), bytes};
    o.done(SYS_ptrace, PTRACE_GETREGSET, child, NT_PRSTATUS, o.put(registers));
  }
  end_child(child);
}

void remote_memory(WrittenOracle& o) {
  static uint8_t bytes[40] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const iovec out = {bytes, sizeof bytes};
  o.done(SYS_process_vm_readv, getpid(), o.vectors({{o.room(10), 10}, {o.room(50), 50}}), 2,
         o.put(out), 1, 0);
  o.done(SYS_process_vm_writev, getpid(), o.put(out), 1,
         o.vectors({{o.room(10), 10}, {o.room(50), 50}}), 2, 0);
}

void keys(WrittenOracle& o) {
  const int64_t key = o.any(SYS_add_key, o.text("user"), o.text("shmrec"), o.text("payload"), 7,
                            KEY_SPEC_PROCESS_KEYRING);
  if (key < 0) return;
  for (size_t bytes : {2, 100}) {
    o.done(SYS_keyctl, KEYCTL_DESCRIBE, key, o.room(bytes), bytes, 0);
    o.done(SYS_keyctl, KEYCTL_READ, key, o.room(bytes), bytes, 0);
    o.any(SYS_keyctl, KEYCTL_GET_SECURITY, key, o.room(bytes), bytes, 0);
    o.done(SYS_keyctl, KEYCTL_CAPABILITIES, o.room(bytes), bytes, 0, 0);
  }
  o.done(SYS_keyctl, KEYCTL_REVOKE, key, 0, 0, 0);
}

void security(WrittenOracle& o) {
  for (uint32_t bytes : {4u, 200u}) {
    o.any(461, o.room(bytes), o.put(bytes), 0);       // lsm_list_modules
    o.any(459, 100, o.room(bytes), o.put(bytes), 0);  // lsm_get_self_attr
  }
  o.any(444, 0, 0, 1);  // landlock_create_ruleset: its version
}

void programs(WrittenOracle& o) {
  perf_event_attr event = {};
  event.type = PERF_TYPE_SOFTWARE, event.size = 4000;
  std::array<uint8_t, 4096> large = {};
  memcpy(large.data(), &event, sizeof event);
  large[3000] = 1;
  o.any(SYS_perf_event_open, o.put(large), 0, -1, -1, 0);
  bpf_attr map = {};
  map.map_type = BPF_MAP_TYPE_ARRAY, map.key_size = 4, map.value_size = 8, map.max_entries = 1;
  const int64_t fd = o.any(SYS_bpf, BPF_MAP_CREATE, o.put(map), sizeof map);
  if (fd >= 0) close(static_cast<int>(fd));
  bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  for (int wrong : {0, 1}) {
    bpf_attr load = {};
    load.prog_type = BPF_PROG_TYPE_SOCKET_FILTER, load.insn_cnt = 2;
    code[0].dst_reg = wrong ? 5 : 0;
    load.insns = reinterpret_cast<uint64_t>(code);
    load.license = reinterpret_cast<uint64_t>("GPL");
    load.log_level = 1, load.log_size = 1000;
    load.log_buf = reinterpret_cast<uint64_t>(o.room(1000));
    const int64_t program = o.any(SYS_bpf, BPF_PROG_LOAD, o.put(load), sizeof load);
    if (program >= 0) close(static_cast<int>(program));
  }
}

// ---- Time and signals ---------------------------------------------------------------------------

void clocks(WrittenOracle& o) {
  o.done(SYS_clock_gettime, CLOCK_MONOTONIC, o.room(16));
  o.fails(EINVAL, SYS_clock_gettime, 999, o.room(16));
  o.done(SYS_clock_getres, CLOCK_MONOTONIC, o.room(16));
  o.done(SYS_gettimeofday, o.room(16), o.room(8));
  o.done(SYS_time, o.room(8));
  o.done(SYS_times, o.room(32));
  o.any(SYS_adjtimex, o.put(timex{}));
  o.any(SYS_clock_adjtime, CLOCK_REALTIME, o.put(timex{}));
}

// A stop that a shell does not see.
[[noreturn]] void stop_for_a_moment(pid_t process) {
  usleep(50000);
  if (ptrace(PTRACE_SEIZE, process, 0, 0) || ptrace(PTRACE_INTERRUPT, process, 0, 0)) _exit(1);
  waitpid(process, nullptr, 0);
  usleep(20000);
  _exit(ptrace(PTRACE_DETACH, process, 0, 0) ? 1 : 0);
}

void sleeps(WrittenOracle& o) {
  o.done(SYS_nanosleep, o.put(timespec{0, 1000}), o.room(16));
  o.interrupted(SYS_nanosleep, o.put(timespec{10, 0}), o.room(16));
  o.fails(EINVAL, SYS_nanosleep, o.put(timespec{0, -1}), o.room(16));
  o.done(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, o.put(timespec{0, 1000}), o.room(16));
  o.interrupted(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, o.put(timespec{10, 0}), o.room(16));
  o.interrupted(SYS_pause);
  // Stopped and continued it sleeps on, but has written what was left.
  const pid_t self = getpid(), child = fork();
  if (!child) stop_for_a_moment(self);
  prctl(PR_SET_PTRACER, child);
  o.done(SYS_nanosleep, o.put(timespec{0, 200000000}), o.room(16));
  waitpid(child, nullptr, 0);
}

void timers(WrittenOracle& o) {
  const itimerval never = {{0, 0}, {0, 0}};
  o.done(SYS_getitimer, ITIMER_REAL, o.room(32));
  o.done(SYS_setitimer, ITIMER_VIRTUAL, o.put(never), o.room(32));
  o.done(SYS_alarm, 0);
  sigevent quiet = {};
  quiet.sigev_notify = SIGEV_NONE;
  int32_t* id = o.put(int32_t{-1});
  o.done(SYS_timer_create, CLOCK_MONOTONIC, o.put(quiet), id);
  const int timer = *id;
  const itimerspec later = {{0, 0}, {100, 0}};
  o.done(SYS_timer_settime, timer, 0, o.put(later), o.room(32));
  o.done(SYS_timer_gettime, timer, o.room(32));
  o.done(SYS_timer_delete, timer);
  o.fails(EINVAL, SYS_timer_create, 999, o.put(quiet), o.room(4));
  constexpr int kNoProcess = ~0x3FFFFFF << 3 | 2;  // the processor time of nobody
  o.any(SYS_timer_create, kNoProcess, o.put(quiet), o.room(4));
  o.any(SYS_timer_create, CLOCK_REALTIME_ALARM, o.put(quiet), o.room(4));
}

void signals(WrittenOracle& o) {
  const uint64_t user2 = 1ull << (SIGUSR2 - 1);
  o.done(SYS_rt_sigaction, SIGUSR2, 0, o.room(32), 8);
  o.done(SYS_rt_sigprocmask, SIG_BLOCK, o.put(user2), o.room(8), 8);
  o.fails(EINVAL, SYS_rt_sigprocmask, SIG_BLOCK, o.put(user2), o.room(16), 16);
  raise(SIGUSR2);
  o.done(SYS_rt_sigpending, o.room(8), 8);
  o.done(SYS_rt_sigtimedwait, o.put(user2), o.room(128), o.put(timespec{1, 0}), 8);
  o.fails(EAGAIN, SYS_rt_sigtimedwait, o.put(user2), o.room(128), o.put(timespec{0, 1000}), 8);
  o.interrupted(SYS_rt_sigtimedwait, o.put(user2), o.room(128), 0, 8);
  o.interrupted(SYS_rt_sigsuspend, o.put(user2), 8);
  siginfo_t info = {};
  info.si_signo = SIGUSR2, info.si_code = SI_QUEUE;
  o.done(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, o.put(info));
  o.done(SYS_rt_sigtimedwait, o.put(user2), o.room(128), o.put(timespec{1, 0}), 8);
  o.done(SYS_rt_sigprocmask, SIG_UNBLOCK, o.put(user2), 0, 8);
  o.done(SYS_sigaltstack, 0, o.room(24));
}

// ---- Memory -------------------------------------------------------------------------------------

void pages(WrittenOracle& o) {
  char* memory = static_cast<char*>(
      mmap(nullptr, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memory[0] = memory[4096] = 1;
  o.done(SYS_mincore, memory, 4 * 4096, o.room(4));
  munmap(memory + 2 * 4096, 4096);
  o.fails(ENOMEM, SYS_mincore, memory, 4 * 4096, o.room(4));
  o.any(SYS_move_pages, 0, 2, o.put(std::array<char*, 2>{memory, memory + 4096}), 0, o.room(8), 0);
  o.any(SYS_move_pages, 0, 2, o.put(std::array<char*, 2>{memory, memory + 4096}),
        o.put(std::array<int32_t, 2>{0, 77}), o.room(8), 0);
  o.any(SYS_get_mempolicy, o.room(4), o.room(128), 1024, 0, 0);
  o.any(SYS_get_mempolicy, o.room(4), 0, 0, 0, 0);
  munmap(memory, 4 * 4096);
}

void futexes(WrittenOracle& o) {
  const uint32_t tid = static_cast<uint32_t>(gettid());
  o.done(SYS_futex, o.put(1), FUTEX_WAKE, 1, 0, 0, 0);
  o.fails(EAGAIN, SYS_futex, o.put(1), FUTEX_WAIT, 2, 0, 0, 0);
  o.fails(ETIMEDOUT, SYS_futex, o.put(1), FUTEX_WAIT, 1, o.put(timespec{0, 1000}), 0, 0);
  o.interrupted(SYS_futex, o.put(1), FUTEX_WAIT, 1, 0, 0, 0);
  o.done(SYS_futex, o.put(1), FUTEX_WAKE_OP, 1, 1, o.put(5),
         FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5));
  o.done(SYS_futex, o.put(1), FUTEX_CMP_REQUEUE, 1, 1, o.put(5), 1);
  o.done(SYS_futex, o.put(0), FUTEX_LOCK_PI, 0, 0, 0, 0);
  o.done(SYS_futex, o.put(0), FUTEX_TRYLOCK_PI, 0, 0, 0, 0);
  o.any(SYS_futex, o.put(0), 13 /* FUTEX_LOCK_PI2 */, 0, 0, 0, 0);
  o.done(SYS_futex, o.put(tid), FUTEX_UNLOCK_PI, 0, 0, 0, 0);
  o.fails(EDEADLK, SYS_futex, o.put(tid), FUTEX_LOCK_PI, 0, 0, 0, 0);
  // Held by another: the word says that there is a waiter, also after it has given up.
  const pid_t owner = waiting_child();
  const timespec now = {1, 0};
  o.fails(ETIMEDOUT, SYS_futex, o.put(static_cast<uint32_t>(owner)), FUTEX_LOCK_PI, 0, o.put(now),
          0, 0);
  end_child(owner);
}

// The kernel gives the second word to the waiter.
void requeued(WrittenOracle& o) {
  uint32_t* first = o.put(uint32_t{0});
  uint32_t* second = o.put(uint32_t{0});
  const auto word = [](uint32_t* at) { return reinterpret_cast<uint64_t>(at); };
  std::thread waiter([=] {
    const uint64_t wait[6] = {word(first), FUTEX_WAIT_REQUEUE_PI, 0, 0, word(second), 0};
    EXPECT_EQ(raw_syscall(SYS_futex, wait), 0);
    const uint64_t unlock[6] = {word(second), FUTEX_UNLOCK_PI, 0, 0, 0, 0};
    while (*second & FUTEX_TID_MASK) usleep(100), raw_syscall(SYS_futex, unlock);
  });
  while (o.done(SYS_futex, first, FUTEX_CMP_REQUEUE_PI, 1, 1, second, 0) == 0) usleep(100);
  waiter.join();
}

// ---- Devices ------------------------------------------------------------------------------------

void terminals(WrittenOracle& o) {
  const int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0) return;
  o.done(SYS_ioctl, master, TCGETS, o.room(36));
  o.done(SYS_ioctl, master, TCGETA, o.room(18));
  o.done(SYS_ioctl, master, 0x802C542A /* TCGETS2 */, o.room(44));
  o.done(SYS_ioctl, master, TIOCGWINSZ, o.room(8));
  o.done(SYS_ioctl, master, TIOCSWINSZ, o.put(winsize{10, 20, 0, 0}));
  o.done(SYS_ioctl, master, TIOCGPTN, o.room(4));
  o.done(SYS_ioctl, master, TIOCSPTLCK, o.put(0));
  for (uint64_t command : std::initializer_list<uint64_t>{
           TIOCGPGRP, TIOCGSID, TIOCOUTQ, FIONREAD, TIOCGETD, TIOCGSERIAL, TIOCGICOUNT, TIOCMGET,
           TIOCGSOFTCAR, TIOCGLCKTRMIOS, TIOCGPTLCK, TIOCGPKT, TIOCGEXCL, TIOCGDEV})
    o.any(SYS_ioctl, master, command, o.room(80));
  std::array<uint8_t, 36> settings;
  uint8_t* told = o.room(settings.size());
  o.done(SYS_ioctl, master, TCGETS, told);
  memcpy(settings.data(), told, settings.size());
  for (uint32_t command : {TCSETS, TCSETSW, TCSETSF})
    o.done(SYS_ioctl, master, command, o.put(settings));
  close(master);
}

void disks(WrittenOracle& o) {
  const int disk = open("/dev/loop0", O_RDONLY | O_NONBLOCK);
  if (disk < 0) return;
  for (uint64_t command : std::initializer_list<uint64_t>{
           BLKROGET, BLKGETSIZE, BLKGETSIZE64, BLKRAGET, BLKSECTGET, BLKSSZGET, BLKIOMIN, BLKIOOPT,
           BLKALIGNOFF, BLKPBSZGET, BLKBSZGET, 0x4C03 /* LOOP_GET_STATUS */, 0x4C05})
    o.any(SYS_ioctl, disk, command, o.room(256));
  close(disk);
}

void others(WrittenOracle& o) {
  const int random = open("/dev/urandom", O_RDONLY);
  o.done(SYS_ioctl, random, RNDGETENTCNT, o.room(4));
  o.done(SYS_read, random, o.room(20), 20);
  o.fails(EINVAL, SYS_ioctl, random, TCGETS, o.room(36));
  close(random);
  const int space = open("/proc/self/ns/user", O_RDONLY);
  o.any(SYS_ioctl, space, 0xB703, 0);
  o.any(SYS_ioctl, space, 0xB704, o.room(4));
  o.any(SYS_ioctl, space, 0x8008B70D, o.room(8));
  close(space);
  const int process = static_cast<int>(o.any(SYS_pidfd_open, getpid(), 0));
  o.any(SYS_ioctl, process, 0xC040FF0B /* PIDFD_GET_INFO */, o.put(std::array<uint64_t, 8>{}));
  close(process);
}

}  // namespace

void written_by_processes(WrittenOracle& o) {
  identity(o);
  capabilities(o);
  scheduling(o);
  prctls(o);
  waits(o);
  clones(o);
  tracing(o);
  remote_memory(o);
  keys(o);
  security(o);
  programs(o);
}

void written_by_time_and_signals(WrittenOracle& o) {
  clocks(o);
  sleeps(o);
  timers(o);
  signals(o);
}

void written_by_memory(WrittenOracle& o) {
  pages(o);
  futexes(o);
  requeued(o);
}

void written_by_devices(WrittenOracle& o) {
  terminals(o);
  disks(o);
  others(o);
}

}  // namespace shmrec::syscalls
