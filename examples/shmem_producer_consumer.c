/* A producer and a consumer share an array of numbers in [0, 100), and once in a while the consumer
 * finds a number that is not. Which process wrote it, and where?
 *
 *   shmrec run -- ./shmem_producer_consumer
 *
 * The consumer says at which address it found the number; `shmrec blame` says where it came from:
 *
 *   shmrec blame shmem_producer_consumer-*.shmrec.tar.zst --recording consumer ADDRESS
 *
 * The parent is the producer, its child the consumer. They do not wait for each other: the consumer
 * looks at whatever is there, as readers of statistics, positions or prices do.
 *
 * The bug is in here to be found; the tests look for its line.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_ELEMENTS 100

/* About half a minute. The first bad number is met after some hundred rounds, which is well under a
 * second. */
#define N_ROUNDS 200000

/* In anonymous memory that parent and child share. */
static int* shmem_data_array;

/* The name by which `ps`, `top` and `shmrec ls` show this process. */
static void set_name(const char* name) {
  if (prctl(PR_SET_NAME, name) != 0) {
    perror("prctl");
    exit(2);
  }
}

/* The processes have to differ, so each has its own sequence. */
static void seed_random(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  srand((unsigned)(now.tv_nsec ^ getpid()));
}

/* A random number between min and max. */
static int random_in_range(int min, int max) { return min + rand() % (max - min + 1); }

/* Stands for the work that a real program does between two numbers. */
static void work_a_little(void) {
  const struct timespec pause = {.tv_sec = 0, .tv_nsec = 50 * 1000};
  nanosleep(&pause, NULL);
}

/* What to do next, for whoever runs this without having read the comment above. */
static void explain(int index, int value) {
  const void* address = &shmem_data_array[index];
  fprintf(stderr,
          "consumer: shmem_data_array[%d] at %p held %d. Who wrote that?\n"
          "  If this runs under `shmrec run`:\n"
          "    shmrec blame BUNDLE --recording consumer %p\n"
          "  If not:\n"
          "    shmrec run -- ./shmem_producer_consumer\n",
          index, address, value, address);
}

/* Takes numbers from anywhere in the array and uses them.
 *
 * Runs in the child. */
static void consumer_run(void) {
  set_name("consumer");
  seed_random();

  for (int round = 0; round < N_ROUNDS; round++) {
    int index = random_in_range(0, N_ELEMENTS - 1);
    int value = shmem_data_array[index];
    if (value < 0 || value >= 100) explain(index, value);
    assert(value >= 0 && value < 100);
    work_a_little();
  }
}

/* True if the child is gone, with its wait status in *status. */
static bool consumer_has_ended(pid_t consumer, int* status) {
  return waitpid(consumer, status, WNOHANG) == consumer;
}

/* Puts new numbers anywhere into the array until the consumer has seen enough.
 *
 * Runs in the parent. Returns the consumer's wait status. */
static int producer_run(pid_t consumer) {
  int status;
  set_name("producer");
  seed_random();
  while (!consumer_has_ended(consumer, &status)) {
    int index = random_in_range(0, N_ELEMENTS - 1);
    int new_value = random_in_range(0, 100);
    shmem_data_array[index] = new_value;
    work_a_little();
  }
  return status;
}

int main(void) {
  shmem_data_array = mmap(NULL, sizeof(*shmem_data_array) * N_ELEMENTS, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shmem_data_array == MAP_FAILED) {
    perror("mmap");
    return 2;
  }

  pid_t consumer = fork();
  if (consumer < 0) {
    perror("fork");
    return 2;
  }
  if (consumer == 0) {
    consumer_run();
    return 0;
  }

  int status = producer_run(consumer);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "Child process failed.\n");
    return 1;
  }
  return 0;
}
