// Accesses that use regions, and the change that waits for them; the idea is at the top of
// regions.h.
#include "agent/memory/regions.h"

namespace shmrec::agent {
namespace {

uint32_t changing = 0;   // 1: mappings and regions may differ
uint64_t use_epoch = 1;  // rises with each change that waits

}  // namespace

// The announcement is seen before the lookup is made: a change then waits for it, or is over.
void region_use_begin(Thread* thread) {
  __atomic_exchange_n(&thread->region_use, load(&use_epoch), __ATOMIC_SEQ_CST);
}

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
