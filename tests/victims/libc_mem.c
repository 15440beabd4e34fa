// libc's memory and string functions on shared memory, many sizes and alignments, against the same
// on private memory.
#include "victim.h"

enum { kBytes = 4 * kPage };
static unsigned char *shared, *model;
static uint64_t random_state = 0xC0FFEE;

static void check_same(const char* what, int size, int to, int from) {
  if (memcmp(shared, model, kBytes) == 0) return;
  for (int i = 0; i < kBytes; ++i)
    if (shared[i] != model[i])
      fail(__FILE__, __LINE__, "%s of %d bytes, offsets %d and %d: byte %d is %d, expected %d",
           what, size, to, from, i, shared[i], model[i]);
}

static int offset_below(int limit) { return next_random(&random_state) % limit; }

static int compare_ints(const void* a, const void* b) { return *(const int*)a - *(const int*)b; }

int main(void) {
  shared = map_shared(kBytes);
  model = map_private(kBytes);
  unsigned char* outside = map_private(kBytes);
  for (int i = 0; i < kBytes; ++i) model[i] = outside[i] = next_random(&random_state) | 1;
  memcpy(shared, model, kBytes);
  check_same("memcpy", kBytes, 0, 0);
  static const int sizes[] = {0,   1,   2,   3,    4,    5,    7,    8,    9,    12,   15,
                              16,  17,  24,  31,   32,   33,   47,   48,   63,   64,   65,
                              95,  96,  127, 128,  129,  160,  192,  255,  256,  257,  384,
                              511, 512, 700, 1000, 1024, 1500, 2047, 2048, 3000, 4096, 5000};
  for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); ++i) {
    int size = sizes[i];
    int to = offset_below(kBytes - size), from = offset_below(kBytes - size);
    memcpy(shared + to, outside + from, size);
    memcpy(model + to, outside + from, size);
    check_same("memcpy in", size, to, from);
    unsigned char result[8192];
    memcpy(result, shared + from, size);
    CHECK(memcmp(result, model + from, size) == 0);
    CHECK(memcmp(shared + to, model + to, size) == 0);
    int near = to + offset_below(64) - 32;
    if (near < 0 || near + size > kBytes) near = from;
    memmove(shared + near, shared + to, size);
    memmove(model + near, model + to, size);
    check_same("memmove", size, near, to);
    memset(shared + from, i, size);
    memset(model + from, i, size);
    check_same("memset", size, from, 0);
    if (size < 1) continue;
    shared[to + size - 1] = model[to + size - 1] = 0;
    CHECK_EQ(strlen((char*)shared + to), strlen((char*)model + to));
    CHECK_EQ(strnlen((char*)shared + to, size), strnlen((char*)model + to, size));
    unsigned char* hit = memchr(shared + to, 0, size);
    unsigned char* model_hit = memchr(model + to, 0, size);
    CHECK_EQ(hit - shared, model_hit - model);
    hit = memrchr(shared + to, 77, size);
    model_hit = memrchr(model + to, 77, size);
    CHECK_EQ(hit ? hit - shared : -1, model_hit ? model_hit - model : -1);
    CHECK_EQ(strcmp((char*)shared + to, (char*)model + to), 0);
    char text[8192];
    CHECK(strcpy(text, (char*)shared + to) == text);
    CHECK_EQ(strcmp(text, (char*)model + to), 0);
    CHECK_EQ(strncmp((char*)shared + to, (char*)model + to, 20), 0);
    char* dot = strchr((char*)shared + to, 'e');
    char* model_dot = strchr((char*)model + to, 'e');
    CHECK_EQ(dot ? dot - (char*)shared : -1, model_dot ? model_dot - (char*)model : -1);
    CHECK_EQ(strspn((char*)shared + to, "abcde"), strspn((char*)model + to, "abcde"));
    strncpy((char*)shared + from, text, size);
    strncpy((char*)model + from, text, size);
    check_same("strncpy", size, from, to);
    memcpy(shared + to, outside + to, size);
    memcpy(model + to, outside + to, size);
  }
  // Text functions that read and write it.
  sprintf((char*)shared, "%s-%d-%.3f", "text", 42, 2.5);
  CHECK(strcmp((char*)shared, "text-42-2.500") == 0);
  int number;
  char word[20];
  CHECK_EQ(sscanf((char*)shared, "%4[a-z]-%d", word, &number), 2);
  CHECK_EQ(number, 42);
  strcat((char*)shared, "-tail");
  CHECK(strstr((char*)shared, "tail") == (char*)shared + 14);
  int* numbers = (int*)(shared + kPage);
  for (int i = 0; i < 200; ++i) numbers[i] = next_random(&random_state) % 1000;
  qsort(numbers, 200, sizeof(int), compare_ints);
  for (int i = 1; i < 200; ++i) CHECK(numbers[i - 1] <= numbers[i]);
  say("libc_mem %016llx\n", (unsigned long long)mix_bytes(0, model, 2000));
}
