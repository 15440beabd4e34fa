// Accesses that use regions, and the change that waits for them; the idea is at the top of
// regions.h.
#include "agent/memory/regions.h"

namespace shmrec::agent {
namespace {

uint32_t changing = 0;   // 1: mappings and regions may differ
uint64_t use_epoch = 1;  // rises with each change that waits

// The announcement needs no fence of its own where who changes makes one for all threads.
constexpr int kBarrier = 8, kRegister = 16;  // MEMBARRIER_CMD_PRIVATE_EXPEDITED, to register for it
uint32_t asymmetric = 0;

}  // namespace

// The announcement is seen before the lookup is made: a change then waits for it, or is over.
void region_use_begin(Thread* thread) {
  if (load(&asymmetric)) {
    __atomic_store_n(&thread->region_use, load(&use_epoch), __ATOMIC_RELAXED);
    compiler_fence();
  } else {
    __atomic_exchange_n(&thread->region_use, load(&use_epoch), __ATOMIC_SEQ_CST);
  }
}

bool regions_use_is_cheap() { return load(&asymmetric); }

void region_use_start() {
  if (!failed(sys(__NR_membarrier, kRegister, 0, 0))) store(&asymmetric, 1u);
}

namespace {

// All announcements that were made before are seen from here on.
void see_announcements() {
  if (!load(&asymmetric) || !failed(sys(__NR_membarrier, kBarrier, 0, 0))) return;
  region_use_start();  // a forked child may have to
  if (!failed(sys(__NR_membarrier, kBarrier, 0, 0))) return;
  // The program's own filter refuses it. What a processor has stored is seen within microseconds.
  store(&asymmetric, 0u);
  for (int i = 0; i < 100; ++i) sys(__NR_sched_yield);
}

}  // namespace

void region_use_end(Thread* thread) { store(&thread->region_use, uint64_t{0}); }

void regions_await_change() {
  for (uint32_t tries = 0; load(&changing); ++tries) spin(tries);
}

MapsLock::MapsLock() {
  regions_lock.lock();
  store(&changing, 1u);
}

MapsLock::~MapsLock() {
  store(&changing, 0u);
  regions_lock.unlock();
}

void regions_known_change() {
  regions_expect();
  store(&changing, 1u);
}

void regions_settle(const Thread* self) {
  struct Wait {
    const Thread* self;
    uint64_t epoch;
  } wait = {self, fetch_add(&use_epoch, uint64_t{1}) + 1};
  store(&changing, 0u);
  see_announcements();
  for_each_block(
      [](Thread* thread, void* raw) {
        const Wait& until = *static_cast<Wait*>(raw);
        if (thread == until.self) return;
        for (uint32_t tries = 0;; ++tries) {
          const uint64_t since = __atomic_load_n(&thread->region_use, __ATOMIC_SEQ_CST);
          if (!since || since >= until.epoch) return;
          spin(tries);
        }
      },
      &wait);
}

}  // namespace shmrec::agent
