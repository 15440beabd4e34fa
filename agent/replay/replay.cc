#include "agent/replay/replay.h"

#include <linux/prctl.h>

#include "agent/agent_abi.h"
#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/gs.h"
#include "agent/kernel/robust.h"
#include "agent/memory/identity.h"
#include "agent/memory/used_pages.h"
#include "agent/patches/arena.h"
#include "agent/patches/patch.h"
#include "agent/patches/text.h"
#include "agent/process/event.h"
#include "agent/replay/accesses.h"
#include "agent/replay/child.h"
#include "agent/replay/memory.h"
#include "agent/replay/outcome.h"
#include "agent/replay/reader.h"
#include "agent/replay/stops.h"
#include "agent/replay/threads.h"
#include "agent/signals/delivery.h"
#include "agent/signals/signal_sets.h"
#include "agent/signals/syscall_entry.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/state.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {

using namespace stream;

uint32_t replay_runs = 0;

namespace {

const Siginfo* delivering = nullptr;  // a signal of the stream
const char* ends_because = "";        // the last kEnd

template <typename T>
const T* need(const RecordHeader* record) {
  const T* what = payload<T>(record);
  if (!what) refuse("the recording is damaged: a record is too short");
  return what;
}

Type type_of(const RecordHeader* record) { return static_cast<Type>(record->type); }

// The event has the number that it had, whatever the ways on which it comes here count.
void meet(Thread* thread, const RecordHeader* record) {
  store(&thread->process->entry->events, record->event);
  thread->call.event = outcome().event = record->event;
  if (!in_child()) accesses_skip(record->event);  // a child's are in no recording
}

// ---- Records that no event waits for
// ---------------------------------------------------------------

void put_memory(const RecordHeader* record) {
  const MemoryRecord* memory = need<MemoryRecord>(record);
  if (memory->bytes > record->bytes - sizeof *record - sizeof *memory)
    refuse("the recording is damaged: memory reaches behind its record");
  put_bytes(memory->address, memory + 1, memory->bytes);
}

// What the check that comes leaves out.
struct LeftOut {
  uint32_t count;
  Range ranges[kMaxRanges];
};
LeftOut left_out = {};

void leave_out(const RecordHeader* record) {
  const uint64_t count = (record->bytes - sizeof *record) / sizeof(Range);
  left_out.count = static_cast<uint32_t>(min<uint64_t>(count, kMaxRanges));
  memcpy(left_out.ranges, record + 1, left_out.count * sizeof(Range));
}

NotHashed not_hashed(const Thread* thread) {
  return {thread->regs.rsp, left_out.ranges, left_out.count};
}

void compare_page(const Thread* thread, const RecordHeader* record) {
  const PageRecord* page = need<PageRecord>(record);
  const uint64_t hash = page_hash(page->address, not_hashed(thread));
  if (hash != page->hash) diverge_at("the hash of the page at", page->address, page->hash, hash);
}

void compare_check(const Thread* thread, const RecordHeader* record) {
  const CheckRecord* check = need<CheckRecord>(record);
  Regs regs = thread->regs;
  regs.rip = thread->call.pc;
  const uint64_t registers = registers_hash(regs);
  if (registers != check->registers)
    diverge("the hash of the registers", check->registers, registers);
  ++outcome().checks;
  if (!check->memory) return;
  MemoryHash memory;
  memory_hash(not_hashed(thread), &memory);
  left_out.count = 0;
  outcome().memory_pages = memory.pages;
  if (memory.pages != check->pages)
    diverge("how many pages are not all zero", check->pages, memory.pages);
  if (memory.hash != check->memory) diverge("the hash of memory", check->memory, memory.hash);
}

[[noreturn]] void finish_unreplayable(const RecordHeader* record) {
  const EndRecord* end = need<EndRecord>(record);
  const uint64_t room = record->bytes - sizeof *record - sizeof *end;
  char text[sizeof(ReplayReport::text)] = {};
  memcpy(text, end + 1, min(min(end->text_bytes, room), sizeof text - 1));
  Text{outcome().text, sizeof outcome().text}.add(text);
  finish(ReplayEnd::kUnreplayable);
}

// The next record that an event is, or null. Those between are followed.
const RecordHeader* next_of_event(const Thread* thread) {
  for (const RecordHeader* record; (record = reader_peek()); reader_advance()) {
    switch (type_of(record)) {
      case Type::kCall:
      case Type::kSignal:
      case Type::kValue:
      case Type::kChild:
      case Type::kTurn:
        ends_because = "";
        return record;
      case Type::kFile:
        break;
      case Type::kStop:
        diverge("an event comes before a stop", need<StopRecord>(record)->regs[kInstructionPointer],
                thread->call.pc);
      case Type::kMapping:
        attach_recorded(*need<MappingRecord>(record));
        break;
      case Type::kMemory:
        put_memory(record);
        break;
      case Type::kLeftOut:
        leave_out(record);
        break;
      case Type::kPage:
        compare_page(thread, record);
        break;
      case Type::kCheck:
        compare_check(thread, record);
        break;
      case Type::kEnd:
        if (static_cast<EndKind>(record->detail) == EndKind::kUnreplayable)
          finish_unreplayable(record);
        ends_because = "exec";
        break;
      default:
        refuse("the recording is damaged: a record in a place where it cannot be");
    }
  }
  return nullptr;
}

[[noreturn]] void at_end() { finish(ends_because[0] ? ReplayEnd::kExec : ReplayEnd::kLogEnds); }

// ---- Syscalls
// --------------------------------------------------------------------------------------

// The agent's own record of the program's signals and threads needs these, as while recording.
constexpr uint32_t kMadeByAgent[] = {
    __NR_rt_sigaction, __NR_rt_sigprocmask,  __NR_sigaltstack,     __NR_rt_sigreturn,
    __NR_arch_prctl,   __NR_set_robust_list, __NR_set_tid_address,
};

bool made_by_agent(uint64_t number) {
  for (const uint32_t each : kMadeByAgent)
    if (each == number) return true;
  return false;
}

bool made_by_agent(const PendingSyscall& call) {
  return made_by_agent(call.number) || (call.number == __NR_prctl && call.given[0] == PR_SET_TSC);
}

void compare_call(const Thread* thread, const CallRecord& record, const uint64_t* words) {
  const PendingSyscall& call = thread->call;
  if (min<uint64_t>(call.number, UINT16_MAX) != record.number)
    diverge("the number of a syscall", record.number, call.number);
  if (call.state != record.state)
    diverge_at("the hash of the registers at a syscall at", call.pc, record.state, call.state);
  for (uint32_t i = 0; i < record.arguments; ++i)
    if (words[i] != call.given[i]) diverge("an argument of a syscall", words[i], call.given[i]);
}

const uint8_t* put_output(const uint8_t* at, const uint8_t* end) {
  const Output* output = reinterpret_cast<const Output*>(at);
  if (static_cast<uint64_t>(end - at) < sizeof *output ||
      aligned(output->bytes) > static_cast<uint64_t>(end - at) - sizeof *output)
    refuse("the recording is damaged: an output reaches behind its record");
  put_bytes(output->address, output + 1, output->bytes);
  return at + sizeof *output + aligned(output->bytes);
}

bool forks(uint64_t number) {
  return number == __NR_fork || number == __NR_clone || number == __NR_clone3;
}

// The recording that is followed was forked here.
Answer become_child(Thread* thread) {
  if (!reader_next_stage()) refuse("the recording of the forked child is missing");
  accesses_start();
  const RecordHeader* record = reader_peek();
  if (!record || type_of(record) != Type::kStart) refuse("the recording has no start");
  const StartRecord& start = *need<StartRecord>(record);
  memcpy(&thread->regs, start.regs, sizeof start.regs);
  threads_start(start.tid);
  store(&thread->process->entry->events, uint64_t{1});
  reader_advance();
  for (; (record = reader_peek()) && type_of(record) == Type::kMemory; reader_advance())
    put_memory(record);
  return Answer::kDone;
}

Answer follow(Thread* thread, Context* context);
Answer follow_call(Thread* thread, Context* context, const RecordHeader* record);

// Another thread goes on, and so does the call that it is in, if it is in one.
Answer take_turn(Thread* thread, Context* context, const RecordHeader* record) {
  meet(thread, record);
  const int32_t tid = need<TurnRecord>(record)->tid;
  const TurnKind kind = static_cast<TurnKind>(record->detail);
  reader_advance();
  return threads_turn(thread, context, tid, kind) ? follow(thread, context) : Answer::kResume;
}

// The thread's last call has been. Of its robust mutexes the agent has taken those in traced memory
// off its list.
Answer leave_thread(Thread* thread, Context* context) {
  robust_walk_at_exit(thread);
  reader_advance();
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (type_of(record) != Type::kTurn)
    diverge("the kind of an event", record->type, static_cast<uint64_t>(Type::kTurn));
  return take_turn(thread, context, record);
}

// The thread has been a child, and its parent's call returns now.
Answer return_to_parent(Thread* thread, Context* context) {
  child_ends(thread, context);
  reader_advance();
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (type_of(record) != Type::kCall) refuse("the recording is damaged: no call after a child");
  return follow_call(thread, context, record);
}

// The child's last event has been.
Answer leave_child(Thread* thread, Context* context) {
  reader_advance();
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (type_of(record) != Type::kChild) diverge("the kind of an event", record->type, 11);
  return return_to_parent(thread, context);
}

Answer follow_child(Thread* thread, Context* context, const RecordHeader* record) {
  const ChildKind kind = static_cast<ChildKind>(record->detail);
  if (kind == ChildKind::kEnds) return return_to_parent(thread, context);
  if (kind == ChildKind::kThread) {
    thread_begins(thread, *context, *need<ChildRecord>(record));
    reader_advance();
    return follow(thread, context);
  }
  child_begins(thread, *context, *need<ChildRecord>(record));
  reader_advance();
  return Answer::kDone;
}

Answer follow_call(Thread* thread, Context* context, const RecordHeader* record) {
  const CallRecord& call = *need<CallRecord>(record);
  const uint64_t* words = reinterpret_cast<const uint64_t*>(&call + 1);
  const uint8_t* end = reinterpret_cast<const uint8_t*>(record) + record->bytes;
  const uint8_t* at = reinterpret_cast<const uint8_t*>(words + call.arguments);
  if (call.arguments > 6 || at > end) refuse("the recording is damaged: a syscall");
  compare_call(thread, call, words);
  meet(thread, record);
  const uint64_t number = thread->call.number, result = call.result, event = record->event;
  const bool ends = number == __NR_exit_group || number == __NR_exit;
  if (ends && in_child()) return leave_child(thread, context);
  if (number == __NR_exit && others_there()) {
    for (uint32_t i = 0; i < call.outputs; ++i) at = put_output(at, end);
    return leave_thread(thread, context);
  }
  if (ends) finish(ReplayEnd::kExit, thread->call.given[0]);
  if (number == __NR_rt_sigreturn) {  // it may meet a signal, which is the next record
    reader_advance();
    return dispatch_unrecorded(thread, context);
  }
  const bool of_memory = memory_call(thread, call), own = !of_memory && made_by_agent(thread->call);
  // What the agent itself answers, it answers first: it may not know all that the kernel did.
  const Answer answer = own ? dispatch_unrecorded(thread, context) : Answer::kDone;
  for (uint32_t i = 0; i < call.outputs; ++i) at = put_output(at, end);
  reader_advance();
  thread_made(static_cast<int64_t>(result));
  if (event == reader_stage().until_event && forks(number) && !in_child())
    return become_child(thread);
  if (answer == Answer::kDone) thread->regs.rax = result;
  if (call.flags & kCallRepeats) thread->call_behind = thread->call.pc;
  return answer;
}

// ---- Signals
// ---------------------------------------------------------------------------------------

// A signal ends the child, and its parent's call returns.
void child_dies(Thread* thread, Context* context) {
  leave_child(thread, context);
  context->regs = thread->regs;
  context->regs.rip = thread->exit_ip = thread->call_behind;
}

// Its frame shows the numbers of the last fault, which may have been another one here.
void show_fault(Thread* thread, const SignalRecord& signal) {
  thread->shown_fault.trap = signal.trap;
  thread->shown_fault.error = signal.error;
}

void take_signal(Thread* thread, Context* context, const RecordHeader* record) {
  const SignalRecord& signal = *need<SignalRecord>(record);
  show_fault(thread, signal);
  Siginfo info;
  memcpy(&info, signal.info, sizeof info);
  memcpy(&context->regs, signal.regs, sizeof signal.regs);
  const bool death = static_cast<SignalKind>(record->detail) == SignalKind::kDeath;
  if (death && in_child()) return child_dies(thread, context);
  meet(thread, record);
  reader_advance();
  if (death) finish(ReplayEnd::kDeath, static_cast<uint64_t>(info.signo));
  // A call may have let it through that has set a mask of its own (sigsuspend, ppoll).
  thread->call.mask = signal.blocked;
  thread->left_swapped = 1;
  delivering = &info;
  deliver(thread, context, info);
  delivering = nullptr;
}

bool is_last(const RecordHeader* record) {
  return type_of(record) == Type::kEnd &&
         static_cast<EndKind>(record->detail) == EndKind::kUnreplayable;
}

SignalPlace place_of(const RecordHeader* record) {
  return static_cast<SignalPlace>(need<SignalRecord>(record)->place);
}

void compare_place(const RecordHeader* record, uint64_t pc, uint64_t stack) {
  const SignalRecord& signal = *need<SignalRecord>(record);
  if (signal.regs[kInstructionPointer] != pc)
    diverge("where a signal is taken", signal.regs[kInstructionPointer], pc);
  if (signal.regs[kStackPointer] != stack)
    diverge("the stack where a signal is taken", signal.regs[kStackPointer], stack);
}

// What comes of the call that the thread is in.
Answer follow(Thread* thread, Context* context) {
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (type_of(record) == Type::kCall) return follow_call(thread, context, record);
  if (type_of(record) == Type::kChild) return follow_child(thread, context, record);
  if (type_of(record) == Type::kTurn) return take_turn(thread, context, record);
  if (type_of(record) != Type::kSignal) diverge("the kind of an event", record->type, 5);
  // A call that the program's own filter refused has a signal behind its instruction.
  const bool refused = place_of(record) == SignalPlace::kFault;
  compare_place(record, thread->call.pc + (refused ? kSyscallBytes : 0), thread->regs.rsp);
  take_signal(thread, context, record);
  return Answer::kResume;
}

bool gives_turn(const RecordHeader* record, TurnKind kind) {
  return type_of(record) == Type::kTurn && static_cast<TurnKind>(record->detail) == kind;
}

// The program has been stopped. What happens there?
void take_stop(Thread* thread, Context* context) {
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (gives_turn(record, TurnKind::kAtStop)) {
    go_behind_call(thread, context, take_turn(thread, context, record));
  } else if (type_of(record) == Type::kSignal && place_of(record) == SignalPlace::kAtStop) {
    take_signal(thread, context, record);
  } else {
    refuse("the recording is damaged: nothing happens at a stop");
  }
  replay_settle(thread, context);
}

// ---- The start
// -------------------------------------------------------------------------------------

void begin(Thread* thread, const StartRecord& start) {
  heap_recorded(start.heap_begin, start.heap_end);
  threads_start(start.tid);
  Process* process = thread->process;
  thread->virtual_mask = start.blocked & kNeeded;
  for (int signal = 1; signal <= kLastSignal; ++signal)
    process->actions[signal] = {start.ignored & bit(signal) ? kIgnore : kDefault, 0, 0, 0};
  store(&process->entry->events, uint64_t{0});
}

}  // namespace

void replay_start(Thread* thread) {
  if (!outcome_start()) refuse("there is no report");
  keep_maps(shmrec_boot_info.replay.maps_fd);
  keep_page_map(shmrec_boot_info.replay.page_map_fd);
  if (!reader_start()) refuse("the recording has no stream");
  accesses_start();
  const RecordHeader* record = reader_peek();
  if (!record || type_of(record) != Type::kStart) refuse("the recording has no start");
  const bool cpuid_traps = need<StartRecord>(record)->traps & kTrapsCpuid;
  begin(thread, *need<StartRecord>(record));
  reader_advance();
  for (; (record = reader_peek()); reader_advance()) {
    if (record->event) break;
    if (type_of(record) == Type::kMapping)
      map_recorded(thread, *need<MappingRecord>(record));
    else if (type_of(record) == Type::kMemory)
      put_memory(record);
    else if (type_of(record) != Type::kFile)
      break;
  }
  if (record && is_last(record)) finish_unreplayable(record);
  let_reads_trap(thread, cpuid_traps);
  replay_runs = 1;
  text_know_protection(protection_at);
  arenas_in_replay();
  thread->call_entry = reinterpret_cast<uint64_t>(shmrec_call_replayed);
  thread->jump_entry = reinterpret_cast<uint64_t>(shmrec_access_replayed);
  stops_look(thread, nullptr);
}

namespace {

bool asked_to_stop(uint64_t event) {
  const uint64_t until = shmrec_boot_info.replay.until_event;
  return until && reader_last_stage() && event >= until;
}

}  // namespace

Answer replay_call(Thread* thread, Context* context) {
  PendingSyscall& call = thread->call;
  memcpy(call.given, call.args, sizeof call.given);
  call.state = state_hash(thread->regs, call.pc);
  if (asked_to_stop(call.event)) finish(ReplayEnd::kAsked);
  return follow(thread, context);
}

bool replay_needs_signal(uint64_t number) {
  return forks(number) || made_by_agent(number) || number == __NR_prctl || number == __NR_exit ||
         number == __NR_exit_group;
}

namespace {

// Does something happen where the event before this record has left the program?
bool comes_behind_event(const RecordHeader* record) {
  switch (type_of(record)) {
    case Type::kEnd:
    case Type::kStop:
      return true;
    case Type::kTurn:
      return static_cast<TurnKind>(record->detail) == TurnKind::kBehindEvent;
    case Type::kSignal:
      return place_of(record) == SignalPlace::kAfterEvent;
    default:
      return false;
  }
}

}  // namespace

bool replay_is_plain(uint64_t number) {
  const RecordHeader* record = reader_peek();
  if (!record || type_of(record) != Type::kCall) return false;
  const CallRecord* call = payload<CallRecord>(record);
  if (!call || call->number != number || call->flags || replay_needs_signal(number)) return false;
  const uint64_t* words = reinterpret_cast<const uint64_t*>(call + 1);
  if (record->bytes < sizeof *record + sizeof *call + call->arguments * sizeof *words) return false;
  if (makes_memory(number) && !leaves_stubs(*call, words)) return false;
  const RecordHeader* behind = reader_behind();
  return behind && !comes_behind_event(behind);
}

void finish_if_over(uint64_t next) {
  const RecordHeader* record = reader_peek();
  if (record && is_last(record) && (!next || next > record->event)) finish_unreplayable(record);
}

void replay_settle(Thread* thread, Context* context) {
  const RecordHeader* record = reader_peek();
  // Nobody knows how far the program went on from here, and it may go on for ever.
  if (!record || is_last(record)) next_of_event(thread), at_end();
  for (; record; record = reader_peek()) {
    if (gives_turn(record, TurnKind::kBehindEvent)) {
      go_behind_call(thread, context, take_turn(thread, context, record));
    } else if (type_of(record) == Type::kSignal && place_of(record) == SignalPlace::kAfterEvent) {
      patch_leave_stub(thread, &context->regs);
      compare_place(record, context->regs.rip, context->regs.rsp);
      take_signal(thread, context, record);
    } else {
      return stops_look(thread, context);
    }
  }
}

void replay_leaves_handler(Thread* thread, Context* context) { stops_look(thread, context); }

bool replay_trapped(Thread* thread, const Siginfo& info, Context* context) {
  if (stop_code_changes(thread, info, context)) return true;
  const StopVisit visit = stop_visit(info, context);
  if (visit == StopVisit::kReached) take_stop(thread, context);
  return visit != StopVisit::kNone;
}

namespace {

bool gives_turn_at_access() {
  const RecordHeader* record = reader_peek();
  return record && gives_turn(record, TurnKind::kAtAccess) && !access_before(record->event);
}

}  // namespace

bool replay_access_needs_signal() { return gives_turn_at_access() || stop_is_behind_access(); }

bool replay_before_access(Thread* thread, Context* context) {
  if (stops_look_at_access(thread, context)) return true;
  if (!gives_turn_at_access()) return false;
  const RecordHeader* record = reader_peek();
  go_behind_call(thread, context, take_turn(thread, context, record));
  replay_settle(thread, context);
  return true;
}

void replay_fault(Thread* thread, const Context& context, const Siginfo& info) {
  if (delivering && memcmp(delivering, &info, sizeof info) == 0) return;
  const RecordHeader* record = reader_peek();
  if (!record || type_of(record) != Type::kSignal)
    diverge("an instruction faults that did not", 0, context.regs.rip);
  compare_place(record, context.regs.rip, context.regs.rsp);
  if (static_cast<SignalKind>(record->detail) == SignalKind::kDeath)
    diverge("a signal is handled that ended the process", info.fault.addr, context.regs.rip);
  show_fault(thread, *need<SignalRecord>(record));
  meet(thread, record);
  reader_advance();
}

void replay_frame(const Thread* thread) {
  if (!in_child()) accesses_skip(load(&thread->process->entry->events));
}

void replay_death(Thread* thread, Context* context, const Siginfo& info) {
  const RecordHeader* record = reader_peek();
  const bool recorded = record && type_of(record) == Type::kSignal &&
                        static_cast<SignalKind>(record->detail) == SignalKind::kDeath;
  if (!recorded) diverge("an instruction faults that did not", info.fault.addr, context->regs.rip);
  compare_place(record, context->regs.rip, context->regs.rsp);
  if (!in_child()) finish(ReplayEnd::kDeath, static_cast<uint64_t>(info.signo));
  child_dies(thread, context);
}

void replay_value(Thread* thread, const Regs& regs, ValueKind kind, uint32_t values[4]) {
  const RecordHeader* record = next_of_event(thread);
  if (!record) at_end();
  if (type_of(record) != Type::kValue || record->detail != static_cast<uint16_t>(kind))
    diverge("the kind of an event", record->type, static_cast<uint64_t>(Type::kValue));
  if (asked_to_stop(record->event)) finish(ReplayEnd::kAsked);
  const ValueRecord& value = *need<ValueRecord>(record);
  if (value.pc != regs.rip) diverge("where a value is read", value.pc, regs.rip);
  const uint64_t state = state_hash(regs, regs.rip);
  if (value.state != state) diverge("the hash of the registers", value.state, state);
  memcpy(values, value.values, sizeof value.values);
  meet(thread, record);
  reader_advance();
}

}  // namespace shmrec::agent
