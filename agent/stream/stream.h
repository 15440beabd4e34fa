// Writing the stream of the process: what it needs to be executed again (level replay,
// recording/stream/stream_format.h).
//
// A process has a stream from its start (exec, fork) up to its end or to the first thing that
// cannot be recorded, which the stream and the coverage list then name; recording at level accesses
// goes on.
//
// Ownership: one stream per address space. The launcher makes its files when the agent asks for
// them; the agent has the newest one mapped in its zone.
// Threads: any; they take turns (turns.h). What is called waits for the thread's, where it is not
// its own.
#pragma once

#include "agent/signals/signals.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Is a stream being written?
extern uint32_t stream_is_open;
inline bool streaming() { return __builtin_expect(load(&stream_is_open), 0); }

// Begins the stream of an image that has just been executed, if the level asks for it: `regs` are
// those that the program starts with. Hides the vDSO, and makes the time stamp counter trap.
void stream_start(Thread* thread, const Regs& regs);
// A fork is about to be made.
void stream_fork_begins(Thread* thread);
// In a forked child: its own stream, which goes on where the parent was. `parent`: its number.
void stream_after_fork(Thread* thread, uint32_t parent, uint64_t event, uint64_t child_tid_at);
// What follows cannot be replayed.
void stream_end(const Process* process, const char* why);

// The coverage list gets to know of it.
void stream_say_ended(const Process* process, uint64_t event, const char* why);

// ---- Events
// --------------------------------------------------------------------------------------

// A syscall begins: what has to be known of it before it is made.
void stream_call_begins(Thread* thread);
// What `answer` means for the stream: a call that is over is written down, one that is to be made
// comes to stream_call_ends. Returns the answer to go on with.
Answer stream_call(Thread* thread, Answer answer);
// It has returned, regs.rax is its result: before and behind what else the agent does with that.
void stream_call_returns(Thread* thread);
void stream_call_ends(Thread* thread);

// A child that lives in this memory (vfork) begins with `regs`, its parent waits in a call; it has
// ended, or lives elsewhere.
void stream_child_begins(Thread* thread, const Regs& regs, uint64_t fs_base);
void stream_child_ends(Thread* thread);
// A thread is about to be made, which begins with `regs`. It runs, on itself.
void stream_thread_begins(Thread* thread, const Regs& regs, uint64_t fs_base);
void stream_thread_runs(Thread* thread, const Regs& regs);

// The process becomes another image, if the exec that follows succeeds.
void stream_exec(Thread* thread);
// A signal has met a load of traced memory that is in the log, as the last event, before the
// program got its value: it is made again, and what the log has of it does not count.
void stream_load_again(Thread* thread);
// The program goes on with these registers after an event.
void stream_settles(Thread* thread, const Regs& regs);
// The handler ends in which it has done so. Behind rt_sigreturn the program may come to the same
// registers again, in a loop that changes none of them: what has settled there holds for signals
// alone that come at once.
void stream_leaves_handler(Thread* thread, const Context& context);
// Is `context` where replay finds it: at a syscall instruction, or behind a call that has just
// returned?
bool stream_finds(const Thread* thread, const Context& context);
// The program takes a signal. `context`: the program where it does. `forced`: its instruction
// cannot go on.
void stream_signal(Thread* thread, const Context& context, const Siginfo& info, bool forced,
                   stream::SignalKind kind);
// An instruction has read `values` from the processor.
void stream_value(Thread* thread, const Regs& regs, stream::ValueKind kind,
                  const uint32_t values[4]);

}  // namespace shmrec::agent
