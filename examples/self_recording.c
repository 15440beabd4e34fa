/* Two processes record themselves, without `shmrec run`, and share one log.
 *
 *   ./self_recording example.shmlog
 *   shmrec ls example.shmlog
 *   shmrec blame example.shmlog ADDRESS          (the program prints it)
 *
 * Link with -lshmrec.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shmrec.h"

enum { N_ELEMENTS = 100 };

/* Ends the program if a call of libshmrec failed. */
static void check(int result, const char* what) {
  if (result == 0) return;
  perror(what);
  exit(2);
}

/* From here on the calling process is recorded. */
static void record_me(const char* process_name) {
  char id[SHMREC_RECORDING_ID_SIZE];
  check(shmrec_start(), "shmrec_start");
  check(shmrec_recording_id(id), "shmrec_recording_id");
  printf("%s: process %d is recording %s\n", process_name, (int)getpid(), id);
  fflush(stdout);
}

int main(int argc, char** argv) {
  /* Before the fork, so that both processes mean the same run. */
  check(shmrec_shmem_log_filename_set(argc > 1 ? argv[1] : "example.shmlog"),
        "shmrec_shmem_log_filename_set");
  check(shmrec_shmem_log_size_set(16 << 20), "shmrec_shmem_log_size_set");

  int* shmem_data = mmap(NULL, sizeof(*shmem_data) * N_ELEMENTS, PROT_READ | PROT_WRITE,
                         MAP_ANONYMOUS | MAP_SHARED, -1, 0);
  if (shmem_data == MAP_FAILED) {
    perror("mmap");
    return 2;
  }

  pid_t pid = fork();
  if (pid == 0) {
    record_me("child");
    check(shmrec_event("child starts to work"), "shmrec_event");
    shmem_data[0] = 42;
    shmem_data[1] = 123;
    return 0;
  }

  record_me("parent");
  waitpid(pid, NULL, 0);
  check(shmrec_event("child has ended"), "shmrec_event");
  shmem_data[0] = 100;

  printf("Who wrote shmem_data[0]?  shmrec blame %s %p\n", shmrec_shmem_log_filename_get(),
         (void*)&shmem_data[0]);
  return 0;
}
