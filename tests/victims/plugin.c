// Loaded and unloaded by dlopen_plugin; WHICH makes two libraries that differ.
#include <stdint.h>

long plugin_call(long number);
int plugin_work(volatile uint32_t* words);

long plugin_call(long number) {
  long result;
#if WHICH == 1
  __asm__ volatile("syscall\n\tcmp $-4096, %%rax"
                   : "=a"(result)
                   : "a"(number)
                   : "rcx", "r11", "memory", "cc");
#else
  __asm__ volatile("nop\n\tsyscall\n\ttest %%rax, %%rax\n\tnop"
                   : "=a"(result)
                   : "a"(number)
                   : "rcx", "r11", "memory", "cc");
#endif
  return result;
}

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
