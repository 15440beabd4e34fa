// A program that needs a good part of its container's memory: touches so many MiB of its own, keeps
// them, has a child count in shared memory meanwhile, and ends with 7 if all is as it wrote it.
// usage: use_memory MIB [ROUNDS]
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20000;
  const size_t bytes = strtoul(argv[1], NULL, 10) << 20;
  volatile unsigned* shared =
      mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  unsigned char* own = malloc(bytes);
  if (shared == MAP_FAILED || own == NULL) return 3;
  memset(own, 0xA5, bytes);
  const pid_t child = fork();
  if (child == 0) {
    for (unsigned i = 0; i < rounds; ++i) shared[i % 1024] = shared[i % 1024] + 1;
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) return 4;
  unsigned sum = 0;
  for (unsigned i = 0; i < 1024; ++i) sum += shared[i];
  for (size_t i = 0; i < bytes; i += 4096)
    if (own[i] != 0xA5) return 5;
  return sum == rounds ? 7 : 6;
}
