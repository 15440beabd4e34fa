// C++ threads that fill, sort and add up shared memory in parallel, with exceptions, thread-local
// variables and a mutex, against the same on private memory.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "victim.h"

namespace {

constexpr int kThreads = 4;
constexpr int kWords = 512;

struct Shared {
  std::atomic<uint64_t> total;
  std::mutex mutex;
  uint64_t ordered;
  int thrown;
  uint64_t words[kThreads][kWords];
};

thread_local uint64_t own_sum;

void work(Shared& shared, int index) {
  uint64_t random = index + 1;
  uint64_t* words = shared.words[index];
  for (int i = 0; i < kWords; ++i) words[i] = next_random(&random);
  std::sort(words, words + kWords);
  own_sum = 0;
  for (int i = 0; i < kWords; ++i) own_sum += words[i] * (i + 1);
  shared.total += own_sum;
  for (int i = 0; i < 10; ++i) {
    try {
      std::lock_guard<std::mutex> lock(shared.mutex);
      shared.ordered += own_sum % (i + 7);
      if (i % 3 == 0) throw std::runtime_error("thrown with the lock held");
    } catch (const std::runtime_error&) {
      std::lock_guard<std::mutex> lock(shared.mutex);
      ++shared.thrown;
    }
  }
}

uint64_t run(void* memory) {
  Shared& shared = *new (memory) Shared();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, std::ref(shared), i);
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(shared.thrown, kThreads * 4);
  uint64_t sum = mix(shared.total, shared.ordered);
  for (int i = 0; i < kThreads; ++i)
    for (int j = 0; j < kWords; j += 7) sum = mix(sum, shared.words[i][j]);
  return sum;
}

}  // namespace

int main() {
  uint64_t expected = run(map_private(sizeof(Shared)));
  uint64_t actual = run(map_shared(sizeof(Shared)));
  CHECK_EQ(actual, expected);
  say("threads_parallel %016llx\n", static_cast<unsigned long long>(actual));
}
