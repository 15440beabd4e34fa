// Code generated at run time that uses shared memory, rewritten in place with other instructions at
// the same address, moved, unmapped and mapped again; also code that lies in shared memory itself.
#include "victim.h"

typedef uint64_t (*Code)(void* memory, uint64_t value);

struct Template {
  const char* bytes;
  int size;
};
// rdi = memory, rsi = value
static const struct Template kTemplates[] = {
    {"\x48\x8b\x07\xc3", 4},                      // mov rax,[rdi]; ret
    {"\x48\x89\x37\x48\x89\xf0\xc3", 7},          // mov [rdi],rsi; mov rax,rsi; ret
    {"\x48\x01\x37\x31\xc0\xc3", 6},              // add [rdi],rsi; xor eax,eax; ret
    {"\x8b\x47\x04\xc3", 4},                      // mov eax,[rdi+4]; ret
    {"\xf0\x48\x0f\xc1\x37\x48\x89\xf0\xc3", 9},  // lock xadd [rdi],rsi; mov rax,rsi; ret
    {"\x0f\xb6\x07\xc3", 4},                      // movzx eax,byte [rdi]; ret
    {"\x48\x33\x37\x48\x89\xf0\xc3", 7},          // xor rsi,[rdi]; mov rax,rsi; ret
    {"\x66\x89\x77\x02\x31\xc0\xc3", 7},          // mov [rdi+2],si; xor eax,eax; ret
};
enum { kTemplateCount = sizeof(kTemplates) / sizeof(kTemplates[0]) };

static uint64_t run_all(char* code, char* writable, volatile uint64_t* memory, int rounds) {
  uint64_t sum = 0, random = 77;
  for (int i = 0; i < rounds; ++i) {
    const struct Template* t = &kTemplates[next_random(&random) % kTemplateCount];
    memcpy(writable, t->bytes, t->size);
    sum = mix(sum, ((Code)code)((void*)memory, next_random(&random)));
    sum = mix(sum, memory[0]);
  }
  return sum;
}

static char* map_code(void* at) {
  char* code = mmap(at, kPage, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);
  CHECK(code != MAP_FAILED);
  return code;
}

int main(void) {
  volatile uint64_t* memory = map_shared(kPage);
  uint64_t own = 0;
  char* code = map_code(NULL);
  uint64_t expected = run_all(code, code, &own, 200);
  CHECK_EQ(run_all(code, code, memory, 200), expected);
  // The same through protection changes, as careful compilers do.
  uint64_t first = ((Code)code)((void*)memory, 1);
  (void)first;
  memory[0] = 0x1122334455667788;
  for (int i = 0; i < 20; ++i) {
    CHECK(mprotect(code, kPage, PROT_READ | PROT_WRITE) == 0);
    const struct Template* t = &kTemplates[i % 2 == 0 ? 0 : 3];
    memcpy(code, t->bytes, t->size);
    CHECK(mprotect(code, kPage, PROT_READ | PROT_EXEC) == 0);
    CHECK_EQ(((Code)code)((void*)memory, 0), i % 2 == 0 ? 0x1122334455667788 : 0x11223344);
  }
  // Unmapped, mapped again with other code.
  CHECK(munmap(code, kPage) == 0);
  code = map_code(code);
  memcpy(code, kTemplates[5].bytes, kTemplates[5].size);
  CHECK_EQ(((Code)code)((void*)memory, 0), 0x88);
  // One page of code under two addresses: written here, executed there. The page is shared memory.
  int fd = memfd_create("code", 0);
  CHECK(ftruncate(fd, kPage) == 0);
  char* writable = map_fd(fd, kPage, PROT_READ | PROT_WRITE);
  char* executable = map_fd(fd, kPage, PROT_READ | PROT_EXEC);
  memory[0] = 0;
  own = 0;
  CHECK_EQ(run_all(executable, writable, memory, 100), run_all(code, code, &own, 100));
  say("jit %016llx\n", (unsigned long long)expected);
}
