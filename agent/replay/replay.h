// Replay: the agent feeds the program from the stream of a recording instead of the kernel.
//
// The process was made by the supervisor (replay/), which has put the agent into an address space
// with nothing else in it. The agent builds the start of the program from the stream's first
// records and goes on in it. At each event it takes the stream's next record, compares what the
// program does with what it did, and gives it what it got. It ends the process at the end of the
// stream, or where the two differ, and says so in the ReplayReport.
//
// Threads: one.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

extern uint32_t replay_runs;
inline bool replaying() { return __builtin_expect(replay_runs, 0); }

// Makes the start of the recorded program. REQUIRES: the agent has started but for it. Does not
// return where it is not possible.
void replay_start(Thread* thread);

// The program makes a syscall. `context` may be null if it is one that needs no signal.
Answer replay_call(Thread* thread, Context* context);
// Can a call with this number never be followed by a patched site's stub?
bool replay_needs_signal(uint64_t number);
// Is the stream's next event a call with this number, and all that happens at it that it returns
// with what is in its record? Then it needs no signal.
bool replay_is_plain(uint64_t number);
// Ends the replay if nothing of the stream is left but that what follows was not recorded, before
// the event `next` (0: there is none).
void finish_if_over(uint64_t next);
// The program is about to go on with `context` after an event: what else happens there?
void replay_settle(Thread* thread, Context* context);
// It goes on behind whatever has been handled.
void replay_leaves_handler(Thread* thread, Context* context);
// It is about to access traced memory. Is there more to it than the access, which takes a handler?
bool replay_access_needs_signal();
// In that. True: another thread goes on before the access, or it is to be tried again; that is
// `context`.
bool replay_before_access(Thread* thread, Context* context);
// A trap that is not the program's: it has come to where a stop is looked for. Then `context` goes
// on.
bool replay_trapped(Thread* thread, const Siginfo& info, Context* context);
// An instruction of the program faulted, and `info` is what it gets.
void replay_fault(Thread* thread, const Context& context, const Siginfo& info);
// Its frame has been written, maybe to traced memory.
void replay_frame(const Thread* thread);
// A signal ends it. Returns if it was a child in the same memory: then `context` is its parent.
void replay_death(Thread* thread, Context* context, const Siginfo& info);
// An instruction reads from the processor; `values` are what it read then.
void replay_value(Thread* thread, const Regs& regs, stream::ValueKind kind, uint32_t values[4]);

}  // namespace shmrec::agent
