// Writes made by code that the program has written itself (as a JIT compiler does), and by its own.
#include <string.h>
#include <sys/mman.h>

int* shared;

int main(void) {
  // mov %esi, (%rdi); ret
  static const unsigned char code[] = {0x89, 0x37, 0xC3};
  shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  unsigned char* page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(page, code, sizeof code);
  mprotect(page, 4096, PROT_READ | PROT_EXEC);
  void (*store)(int*, int);
  memcpy(&store, &page, sizeof store);
  shared[0] = 1;
  store(&shared[1], 4711);
  memset(&shared[2], 7, 8);
  return shared[1] != 4711;
}
