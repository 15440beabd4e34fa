// Code in shared memory: written, made executable, called, changed, by this process and by another,
// through one mapping or two; and the data beside it.
//
// usage: code_shared [counted]
//   counted  nothing but accesses whose numbers e2e/executable.py knows
#include <setjmp.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "victim.h"

typedef int (*Code)(void);

// mov eax, value; ret
static void write_code(char* at, int value) {
  unsigned char code[6] = {0xB8, 0, 0, 0, 0, 0xC3};
  memcpy(code + 1, &value, 4);
  memcpy(at, code, sizeof code);
}
static int call(const char* at) { return ((Code)at)(); }

static sigjmp_buf back;
static volatile uintptr_t fault_at;
static volatile int fault_code;
static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal, (void)context;
  fault_at = (uintptr_t)info->si_addr;
  fault_code = info->si_code;
  siglongjmp(back, 1);
}
static int faults_at(volatile char* at, int write, int execute) {
  fault_at = 0;
  if (sigsetjmp(back, 1) == 0) {
    if (execute)
      call((const char*)at);
    else if (write)
      *at = 1;
    else
      (void)*at;
    return 0;
  }
  return fault_at == (uintptr_t)at ? fault_code : -1;
}

static void protect(void* at, size_t bytes, int protection) {
  CHECK(mprotect(at, bytes, protection) == 0);
}

static void own_code(void) {
  char* page = map_shared(3 * kPage);
  for (int round = 0; round < 10; ++round) {
    protect(page + kPage, kPage, PROT_READ | PROT_WRITE);
    write_code(page + kPage, round);
    CHECK_EQ(faults_at(page + kPage, 0, 1), SEGV_ACCERR);
    protect(page + kPage, kPage, PROT_READ | PROT_EXEC);
    CHECK_EQ(call(page + kPage), round);
    CHECK_EQ(faults_at(page + kPage + 7, 1, 0), SEGV_ACCERR);
    CHECK_EQ(page[kPage + 1], round);
    page[0] += 1;
    page[2 * kPage] = page[0];
  }
  CHECK_EQ(page[2 * kPage], 10);
  // Written where it is executed, back and forth, with plain and locked stores.
  protect(page, 3 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  for (int round = 0; round < 200; ++round) {
    write_code(page + 16, round);
    CHECK_EQ(call(page + 16), round);
    __atomic_fetch_add((int*)(page + 17), 3, __ATOMIC_SEQ_CST);
    CHECK_EQ(call(page + 16), round + 3);
    ++*(volatile int*)(page + 17);
    CHECK_EQ(call(page + 16), round + 4);
  }
  // Execution alone: whether it can be read is the processor's.
  char* private = map_private(kPage);
  write_code(private, 5);
  protect(private, kPage, PROT_EXEC);
  protect(page + kPage, kPage, PROT_EXEC);
  CHECK_EQ(call(page + kPage), 9);
  CHECK_EQ(faults_at(page + kPage, 0, 0), faults_at(private, 0, 0));
  protect(page, 3 * kPage, PROT_READ);
  CHECK_EQ(faults_at(page + 16, 0, 1), SEGV_ACCERR);
  CHECK_EQ(faults_at(page + 16, 1, 0), SEGV_ACCERR);
  protect(page, 3 * kPage, PROT_NONE);
  CHECK_EQ(faults_at(page + 16, 0, 0), SEGV_ACCERR);
  protect(page, 3 * kPage, PROT_READ | PROT_EXEC);
  CHECK_EQ(call(page + 16), 203);
  char* moved = mremap(page, 3 * kPage, 5 * kPage, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED);
  CHECK_EQ(call(moved + 16), 203);
  CHECK_EQ(faults_at(moved + 16, 1, 0), SEGV_ACCERR);
  CHECK(munmap(moved, 5 * kPage) == 0);
}

// Code that touches shared memory itself, its own page included.
static void busy_code(void) {
  char* page =
      mmap(NULL, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  volatile int* other = map_shared(kPage);
  // lock inc dword [rip+0x39]; lock inc dword [rdi]; mov eax, [rip+0x2f]; mov [rdi+4], eax; ret
  static const unsigned char code[] = {0xF0, 0xFF, 0x05, 0x39, 0, 0, 0,    0xF0, 0xFF, 0x07,
                                       0x8B, 0x05, 0x30, 0,    0, 0, 0x89, 0x47, 0x04, 0xC3};
  memcpy(page, code, sizeof code);
  for (int i = 1; i <= 100; ++i) {
    CHECK_EQ(((int (*)(volatile int*))page)(other), i);
    CHECK_EQ(other[0], i);
    CHECK_EQ(other[1], i);
    CHECK_EQ(*(int*)(page + 0x40), i);
  }
}

static char *writable, *executable;
static volatile int* turn;
static void rewrites(void* unused) {
  (void)unused;
  for (int i = 1; i <= 50; ++i) {
    await_value(turn, 2 * i - 1);
    write_code(writable, 1000 + i);
    __atomic_store_n(turn, 2 * i, __ATOMIC_RELEASE);
  }
}

// Two mappings: written through one, by another process, executed through the other.
static void others_code(void) {
  turn = map_shared(kPage);
  int fd = memfd_create("code", 0);
  CHECK(ftruncate(fd, 2 * kPage) == 0);
  writable = map_fd(fd, 2 * kPage, PROT_READ | PROT_WRITE);
  executable = map_fd(fd, 2 * kPage, PROT_READ | PROT_EXEC);
  pid_t pid = child(rewrites, NULL);
  for (int i = 1; i <= 50; ++i) {
    __atomic_store_n(turn, 2 * i - 1, __ATOMIC_RELEASE);
    await_value(turn, 2 * i);
    CHECK_EQ(call(executable), 1000 + i);
  }
  wait_ok(pid);
  CHECK(mprotect(executable, kPage, PROT_READ | PROT_WRITE) == 0);
  executable[1] = 7;
  CHECK_EQ(writable[1], 7);
  // In System V memory.
  int id = shmget(IPC_PRIVATE, kPage, 0700 | IPC_CREAT);
  CHECK(id >= 0);
  char* attached = shmat(id, NULL, SHM_EXEC);
  CHECK(attached != (void*)-1);
  CHECK(shmctl(id, IPC_RMID, NULL) == 0);
  write_code(attached, 77);
  CHECK_EQ(call(attached), 77);
  CHECK(shmdt(attached) == 0);
}

static void counted(void) {
  volatile int* words = map_shared(2 * kPage);
  int sum = 0;
  for (int i = 0; i < 10; ++i) words[i] = i;
  protect((void*)words, kPage, PROT_READ | PROT_EXEC);
  for (int i = 0; i < 7; ++i) sum += words[i];
  for (int i = 0; i < 3; ++i) words[kPage / 4 + i] = sum;
  protect((void*)words, kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  for (int i = 0; i < 4; ++i) words[i] = words[i] + 1;
  protect((void*)words, kPage, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 5; ++i) sum += words[i];
  words[0] = sum;
  CHECK_EQ(words[0], 35);
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "counted") == 0) {
    counted();
    return 0;
  }
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  own_code();
  busy_code();
  others_code();
  say("code in shared memory runs\n");
  return 5;
}
