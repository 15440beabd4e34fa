// Built with a sanitizer, whose shadow memory takes large fixed parts of the address space and
// which refuses to start where something lies there: threads and a child share memory.
#include <pthread.h>

#include "victim.h"

static int* words;

static void* count(void* unused) {
  (void)unused;
  for (int i = 0; i < 50; ++i) __atomic_fetch_add(&words[0], 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static void in_child(void* unused) {
  (void)unused;
  __atomic_fetch_add(&words[0], 7, __ATOMIC_SEQ_CST);
}

int main(void) {
  pthread_t threads[2];
  words = map_shared(kPage);
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  wait_ok(child(in_child, NULL));
  CHECK_EQ(__atomic_load_n(&words[0], __ATOMIC_SEQ_CST), 107);
  char* heap = malloc(1000);
  memset(heap, 1, 1000);
  say("sanitized %d\n", words[0] + heap[999]);
  free(heap);
}
