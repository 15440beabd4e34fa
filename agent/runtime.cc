#include "agent/runtime.h"

#include "agent/process/thread.h"

extern "C" {

int shmrec_safe_copy(void* to, const void* from, size_t bytes);
int shmrec_safe_touch(void* at);

__attribute__((visibility("default"))) void* memcpy(void* to, const void* from, size_t bytes) {
  void* result = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
  return result;
}

__attribute__((visibility("default"))) void* memset(void* to, int value, size_t bytes) {
  void* result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

__attribute__((visibility("default"))) void* memmove(void* to, const void* from, size_t bytes) {
  if (to <= from || static_cast<char*>(to) >= static_cast<const char*>(from) + bytes)
    return memcpy(to, from, bytes);
  char* out = static_cast<char*>(to) + bytes;
  const char* in = static_cast<const char*>(from) + bytes;
  while (bytes--) *--out = *--in;
  return to;
}

__attribute__((visibility("default"))) int memcmp(const void* a, const void* b, size_t bytes) {
  const unsigned char* x = static_cast<const unsigned char*>(a);
  const unsigned char* y = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < bytes; ++i)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

__attribute__((visibility("default"))) size_t strlen(const char* text) {
  size_t size = 0;
  while (text[size]) ++size;
  return size;
}

// Zydis is built with the stack protector and assertions. Neither fires on valid use; if one does,
// trapping inside the agent is turned into a degraded recording by the signal handler.
__attribute__((visibility("default"), noreturn)) void __stack_chk_fail() { __builtin_trap(); }
__attribute__((visibility("default"), noreturn)) void __assert_fail(const char*, const char*,
                                                                    unsigned, const char*) {
  __builtin_trap();
}

}  // extern "C"

namespace shmrec::agent {

bool safe_copy(void* to, const void* from, size_t bytes, Fault* fault) {
  if (shmrec_safe_copy(to, from, bytes) == 0) return true;
  if (fault) *fault = current_thread()->safe;
  return false;
}

bool safe_writable(uint64_t address, Fault* fault) {
  if (shmrec_safe_touch(reinterpret_cast<void*>(address)) == 0) return true;
  *fault = current_thread()->safe;
  return false;
}

bool safe_string(char* to, uint64_t from, size_t bytes) {
  for (size_t i = 0; i + 1 < bytes; ++i) {
    if (!safe_copy(to + i, reinterpret_cast<const void*>(from + i), 1)) return false;
    if (!to[i]) return true;
  }
  to[bytes - 1] = 0;
  return true;
}

Text& Text::add(const char* text) {
  for (; *text && size + 1 < capacity; ++text) data[size++] = *text;
  data[size] = 0;
  return *this;
}

Text& Text::add_decimal(uint64_t value) {
  char digits[24];
  int at = sizeof digits;
  digits[--at] = 0;
  do digits[--at] = static_cast<char>('0' + value % 10);
  while (value /= 10);
  return add(digits + at);
}

Text& Text::add_hex(uint64_t value) { return add("0x").add_hex_digits(value); }

Text& Text::add_hex_digits(uint64_t value) {
  char digits[24];
  int at = sizeof digits;
  digits[--at] = 0;
  do digits[--at] = "0123456789abcdef"[value % 16];
  while (value /= 16);
  return add(digits + at);
}

}  // namespace shmrec::agent
