// Libraries that use shared memory and make system calls, loaded, unloaded and replaced by others
// at the same addresses.
#include <dlfcn.h>

#include "victim.h"

typedef int (*Work)(volatile uint32_t*);
typedef long (*Call)(long number);

static int run(const char* directory, int which, volatile uint32_t* words) {
  char path[5000];
  snprintf(path, sizeof(path), "%s/libplugin%d.so", directory, which);
  void* library = dlopen(path, RTLD_NOW);
  if (!library) fail(__FILE__, __LINE__, "%s", dlerror());
  Work work = (Work)dlsym(library, "plugin_work");
  Call call = (Call)dlsym(library, "plugin_call");
  CHECK(work && call);
  for (int i = 0; i < 50; ++i)
    CHECK_EQ(call(i % 2 ? SYS_getpid : SYS_getppid), i % 2 ? getpid() : getppid());
  int result = work(words);
  CHECK(dlclose(library) == 0);
  return result;
}

int main(void) {
  char self[4096] = {0};
  CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
  *strrchr(self, '/') = 0;
  volatile uint32_t* words = map_shared(kPage);
  uint32_t model[20] = {0};
  for (int round = 0; round < 10; ++round) {
    CHECK_EQ(run(self, 1, words), 1);
    CHECK_EQ(run(self, 2, words), 2);
    for (int i = 0; i < 20; ++i) {
      model[i] = ((model[i] + i) * 3 - 1) | 0x100;
      CHECK_EQ(words[i], model[i]);
    }
  }
  say("dlopen_plugin %u\n", words[19]);
}
