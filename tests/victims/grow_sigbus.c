// A mapping longer than its file: SIGBUS beyond the end, gone after ftruncate, back after a cut.
#include <setjmp.h>

#include "victim.h"

static sigjmp_buf out;
static volatile struct {
  int signal, code;
  void* address;
} seen;

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)context;
  seen.signal = signal;
  seen.code = info->si_code;
  seen.address = info->si_addr;
  siglongjmp(out, 1);
}

static void check_bus_error(volatile char* address, int store) {
  if (sigsetjmp(out, 1) == 0) {
    if (store)
      *address = 1;
    else
      (void)*address;
    fail(__FILE__, __LINE__, "no signal at %p", address);
  }
  CHECK_EQ(seen.signal, SIGBUS);
  CHECK_EQ(seen.code, BUS_ADRERR);
  CHECK(seen.address == address);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
  CHECK(sigaction(SIGBUS, &action, NULL) == 0);
  CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
  int fd = make_file("data", kPage + 100);
  volatile char* memory = map_fd(fd, 8 * kPage, PROT_READ | PROT_WRITE);
  memory[0] = 1;
  memory[kPage + 99] = 2;
  memory[kPage + 500] = 3;  // beyond the end, in the file's last page
  check_bus_error(memory + 2 * kPage, 0);
  check_bus_error(memory + 3 * kPage + 17, 1);
  CHECK(ftruncate(fd, 4 * kPage) == 0);
  CHECK_EQ(memory[kPage + 99], 2);
  memory[3 * kPage + 17] = 4;
  CHECK_EQ(memory[2 * kPage], 0);
  check_bus_error(memory + 4 * kPage, 1);
  // write(2) grows it as well.
  CHECK_EQ(pwrite(fd, "grown", 5, 5 * kPage), 5);
  CHECK_EQ(memory[5 * kPage + 4], 'n');
  // An access across the end stores nothing.
  *(volatile uint32_t*)(memory + 6 * kPage - 4) = 0;
  if (sigsetjmp(out, 1) == 0) {
    *(volatile uint64_t*)(memory + 6 * kPage - 4) = ~0ull;
    fail(__FILE__, __LINE__, "no signal across the end");
  }
  CHECK(seen.address == memory + 6 * kPage);
  CHECK_EQ(*(volatile uint32_t*)(memory + 6 * kPage - 4), 0);
  // A system call fails instead.
  CHECK_ERRNO(write(1, (void*)(memory + 6 * kPage), 4), EFAULT);
  CHECK(ftruncate(fd, kPage) == 0);
  check_bus_error(memory + kPage, 0);
  CHECK(ftruncate(fd, 2 * kPage) == 0);
  CHECK_EQ(memory[kPage + 99], 0);
  CHECK_EQ(memory[0], 1);
  int memfd = memfd_create("grows", 0);
  memory = map_fd(memfd, 2 * kPage, PROT_READ | PROT_WRITE);
  check_bus_error(memory, 0);
  CHECK(ftruncate(memfd, 2 * kPage) == 0);
  memory[kPage] = 9;
  say("grow_sigbus %d\n", memory[kPage]);
}
