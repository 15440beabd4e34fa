#include "agent/process/event.h"

namespace shmrec::agent {

uint64_t next_event(Thread* thread) {
  return fetch_add(&thread->process->entry->events, uint64_t{1}) + 1;
}

}  // namespace shmrec::agent
