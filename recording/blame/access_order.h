// Sorts accesses of which only some pairs have an exact order: those to one line (by versions), and
// those of one recording (by event numbers). The others are placed by the coarse clock.
//
//     line 0:  write A (version 4)  ->  read B (version 5)         B's clock is a little behind A's
//     line 1:  write C (version 9)                                 C's clock lies between B and A
//     sorted:  C A B      as C had nothing to wait for, and A is what B waits for
//
// A topological sort: of the accesses that wait for nothing any more, the one with the earliest
// clock is next. Where the chains contradict each other (threads of one process, a damaged log),
// nothing is free; then the earliest by clock goes first, so that every access has its place.
//
// Owner: copies what it is given. Threads: one at a time.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "recording/blame/access_index.h"

namespace shmrec::recording {

class AccessOrder {
 public:
  // A place in a chain, and the number of the access that has it.
  using Member = std::pair<Position, size_t>;

  // Returns its number, which counts from 0. REQUIRES: `id` was not added before.
  size_t add(RecordId id, uint64_t tsc);
  // Each of these comes after those with smaller positions. Reorders `members`.
  void chain(std::vector<Member>& members);

  // All that were added. REQUIRES: called once, nothing after it.
  std::vector<RecordId> sorted();

 private:
  struct Node {
    RecordId id;
    uint64_t tsc = 0;
    size_t waits_for = 0;  // how many must come before it
    std::vector<size_t> followers;
  };
  std::vector<Node> nodes_;
};

}  // namespace shmrec::recording
