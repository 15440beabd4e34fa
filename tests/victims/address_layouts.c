// Where the kernel puts a program's mappings depends on its limits and its personality: an
// unlimited or huge stack turns the search for free addresses round or moves its start. Whatever
// the layout, the program starts, shares memory with a child and maps more.
#include <sys/personality.h>
#include <sys/resource.h>

#include "victim.h"

static const struct {
  const char* name;
  rlim_t stack;
  unsigned long persona;
} layouts[] = {
    {"ordinary", 8 << 20, 0},
    {"unlimited stack", RLIM_INFINITY, 0},
    {"compatible", 8 << 20, ADDR_COMPAT_LAYOUT},
    {"stack of 16 TiB", (rlim_t)1 << 44, 0},
    {"not random, unlimited stack", RLIM_INFINITY, ADDR_NO_RANDOMIZE},
    {"not random", 8 << 20, ADDR_NO_RANDOMIZE},
};

static void add_one(void* word) { ++*(volatile int*)word; }

static void share(const char* name) {
  volatile int* word = map_shared(kPage);
  *word = 41;
  wait_ok(child(add_one, (void*)word));
  void* more =
      mmap(NULL, (size_t)1 << 34, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(more != MAP_FAILED);
  say("%s: %d\n", name, *word);
}

// Docker's and podman's profiles refuse ADDR_NO_RANDOMIZE: the layout then is the ordinary one.
static void become(void* which) {
  const size_t i = (size_t)which;
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
  if (limit.rlim_max != RLIM_INFINITY && layouts[i].stack > limit.rlim_max)
    limit.rlim_cur = limit.rlim_max;
  else
    limit.rlim_cur = layouts[i].stack;
  CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
  personality(layouts[i].persona);
  char number[2] = {(char)('0' + i), 0};
  execl("/proc/self/exe", "address_layouts", number, (char*)NULL);
  _exit(9);
}

int main(int argc, char** argv) {
  if (argc > 1) {
    share(layouts[argv[1][0] - '0'].name);
    return 0;
  }
  for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; ++i) wait_ok(child(become, (void*)i));
}
