// What the table (syscall_table.h) says of one call for a recording that is to be replayed: what
// the replay does with it, whether it ends what can be replayed, how many arguments are compared,
// and whether others must be able to run while it is under way.
//
// `args` are the six argument registers as the program has them.
//
// Context: freestanding and host. No state; any thread, any signal.
#pragma once

#include "syscalls/syscall_table.h"

namespace shmrec::syscalls {

struct ReplayRule {
  Replay replay;
  EndReason reason;  // of kEnds
};

// What a replay does with the call. A syscall that is not in the table, and a command that is
// neither in the table nor an ioctl of a kind whose size says all (FlatIoctls), end it.
ReplayRule replay_rule(uint32_t number, const uint64_t* args);
// The same of the syscall whatever its arguments are; what a command says may differ.
Replay replay_class(uint32_t number);

// Does a call with this rule and result end what can be replayed? Not if it was refused before it
// did anything.
bool ends_replay(const ReplayRule& rule, int64_t result);

// How many of the six registers the syscall looks at; 0 if there is no such syscall.
uint32_t argument_count(uint32_t number);

// What the call can wait for; kOthers if there is no such syscall.
Waits call_waits(uint32_t number, const uint64_t* args);
// Must another thread of the process be able to run meanwhile?
inline bool may_block(uint32_t number, const uint64_t* args) {
  return call_waits(number, args) == Waits::kOthers;
}

// "emulate", "again"...
const char* replay_class_name(Replay replay);
// "maps a device or memory that others write"; "" for kNone.
const char* end_reason_text(EndReason reason);
// "never", "files", "others"
const char* waits_name(Waits waits);

// Ioctls whose number encodes a size, and which write no memory but that: their structures hold no
// pointers and have no open end, and the device does not use the program's memory later. By type
// and first and last number; all others need a row in the table.
struct FlatIoctls {
  uint8_t type, first, last;
  char name[16];
};
struct FlatIoctlRange {
  const FlatIoctls* begin_;
  const FlatIoctls* end_;
  const FlatIoctls* begin() const { return begin_; }
  const FlatIoctls* end() const { return end_; }
};
FlatIoctlRange flat_ioctls();

}  // namespace shmrec::syscalls
