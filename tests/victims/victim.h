// What every victim needs: checks that end the program with exit status 1 and say where, output
// that is not duplicated by fork, and short names for shared memory and child processes.
//
// A victim exercises one thing, verifies its own results, and prints a result that is the same in
// every run. It fails if a result is wrong, so it is a test by itself; equality.py compares the run
// on its own with the recorded one.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096 };

// Writes at once: nothing stays in a buffer that fork would copy.
__attribute__((format(printf, 1, 2), unused)) static void say(const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (length > (int)sizeof(text) - 1) length = sizeof(text) - 1;
  if (write(1, text, length) != length) _exit(3);
}

__attribute__((format(printf, 3, 4), noreturn, unused)) static void fail(const char* file, int line,
                                                                         const char* format, ...) {
  char text[1024];
  int length = snprintf(text, sizeof(text),
                        "%s:%d: ", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
  va_list arguments;
  va_start(arguments, format);
  length += vsnprintf(text + length, sizeof(text) - length - 2, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof(text) - 2) length = sizeof(text) - 2;
  text[length++] = '\n';
  if (write(2, text, length) != length) _exit(3);
  _exit(1);
}

#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) fail(__FILE__, __LINE__, "%s is false, errno %d", #condition, errno); \
  } while (0)

#define CHECK_EQ(actual, expected)                                                             \
  do {                                                                                         \
    long long actual_ = (long long)(actual), expected_ = (long long)(expected);                \
    if (actual_ != expected_)                                                                  \
      fail(__FILE__, __LINE__, "%s is %lld (%#llx), expected %lld (%#llx), errno %d", #actual, \
           actual_, actual_, expected_, expected_, errno);                                     \
  } while (0)

// The call must fail (-1, or MAP_FAILED, which is the same bits) with this errno.
#define CHECK_ERRNO(call, expected)                                                         \
  do {                                                                                      \
    errno = 0;                                                                              \
    long result_ = (long)(call);                                                            \
    if (result_ != -1 || errno != (expected))                                               \
      fail(__FILE__, __LINE__, "%s gave %ld, errno %d (%s), expected errno %d (%s)", #call, \
           result_, errno, strerrorname_np(errno), (expected), strerrorname_np(expected));  \
  } while (0)

__attribute__((unused)) static void* map_shared(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

__attribute__((unused)) static void* map_private(size_t bytes) {
  void* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

__attribute__((unused)) static void* map_fd(int fd, size_t bytes, int protection) {
  void* memory = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

// A file of this size in the working directory, open for reading and writing.
__attribute__((unused)) static int make_file(const char* name, size_t bytes) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  CHECK(ftruncate(fd, bytes) == 0);
  return fd;
}

// Runs `body(argument)` in a child that then exits with 0.
__attribute__((unused)) static pid_t child(void (*body)(void*), void* argument) {
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    body(argument);
    _exit(0);
  }
  return pid;
}

__attribute__((unused)) static int wait_status(pid_t pid) {
  int status;
  pid_t got;
  do {
    got = waitpid(pid, &status, 0);
  } while (got < 0 && errno == EINTR);
  CHECK_EQ(got, pid);
  return status;
}

__attribute__((unused)) static void wait_ok(pid_t pid) { CHECK_EQ(wait_status(pid), 0); }

// xorshift: the same numbers in every run.
__attribute__((unused)) static uint64_t next_random(uint64_t* state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  *state = x;
  return x * 0x2545F4914F6CDD1DULL;
}

// Mixes words into a checksum; order matters.
__attribute__((unused)) static uint64_t mix(uint64_t sum, uint64_t value) {
  sum ^= value;
  sum *= 0x9E3779B97F4A7C15ULL;
  return sum ^ (sum >> 29);
}

__attribute__((unused)) static uint64_t mix_bytes(uint64_t sum, const void* bytes, size_t length) {
  for (size_t i = 0; i < length; ++i) sum = mix(sum, ((const unsigned char*)bytes)[i]);
  return sum;
}

__attribute__((unused)) static void sleep_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

// Waits until *word has the value, without giving up the processor more than needed.
__attribute__((unused)) static void await_value(volatile int* word, int value) {
  while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) sched_yield();
}
