// Loaded and unloaded by dlopen_plugin; WHICH makes two libraries that differ.
#include <stdint.h>

int plugin_work(volatile uint32_t* words);

int plugin_work(volatile uint32_t* words) {
  for (int i = 0; i < 20; ++i) {
#if WHICH == 1
    words[i] += i;
#else
    words[i] = words[i] * 3 - 1;
    __asm__ volatile("lock orl $0x100, %0" : "+m"(words[i]));
#endif
  }
  return WHICH;
}
