// A child writes shared memory through the C library and through functions of its own, each from a
// function that callers.py expects to be named; then the parent looks at it and aborts.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_INLINED __attribute__((noinline))

struct table {
  long limit;
  char name[56];
  char filled[448];
  char from_file[512];
  char from_call[512];
};
static struct table* table;

NOT_INLINED static void reset_table(int byte, size_t bytes) {
  memset(table->filled, byte, bytes);  // fills
  __asm__ volatile("" ::: "memory");
}
NOT_INLINED static void name_table(const char* name) {
  strcpy(table->name, name);  // names
  __asm__ volatile("" ::: "memory");
}
NOT_INLINED static void load_table(FILE* file) {
  if (fread(table->from_file, 1, 100, file) != 100) _exit(9);  // loads
}
NOT_INLINED static void ask_kernel(int fd) {
  if (read(fd, table->from_call, 64) != 64) _exit(9);  // asks
}
NOT_INLINED static void set(long* place, long value) {
  *place = value;  // sets
  __asm__ volatile("" ::: "memory");
}
NOT_INLINED static void fail_over(void) {
  set(&table->limit, -1);  // fails over
  __asm__ volatile("" ::: "memory");
}

int main(int argc, char** argv) {
  table = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (fork() == 0) {
    reset_table(argc + 6, 300);
    name_table(argv[0]);
    FILE* file = fopen(argv[0], "r");
    load_table(file);
    fclose(file);
    ask_kernel(open(argv[0], O_RDONLY));
    fail_over();
    _exit(0);
  }
  wait(NULL);
  if (table->filled[10] == 7 && table->name[0] && table->from_file[1] == 'E' &&
      table->from_call[1] == 'E' && table->limit == -1)
    abort();
  return 0;
}
