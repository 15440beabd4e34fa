#include "agent/stream/stream.h"

#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "agent/agent_abi.h"
#include "agent/kernel/bounce.h"
#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/memory/native.h"
#include "agent/process/event.h"
#include "agent/signals/delivery.h"
#include "agent/signals/places.h"
#include "agent/signals/signal_sets.h"
#include "agent/stream/outputs.h"
#include "agent/stream/processor_reads.h"
#include "agent/stream/sketch.h"
#include "agent/stream/start_state.h"
#include "agent/stream/state.h"
#include "agent/stream/stops.h"
#include "agent/stream/turns.h"
#include "agent/stream/writer.h"
#include "syscalls/replay_rule.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {

using namespace stream;
using namespace syscalls;

uint32_t stream_is_open = 0;

namespace {

bool checksums() { return shmrec_boot_info.checksums; }

void write_end(const Process* process, EndKind kind, const char* text) {
  const uint64_t bytes = strlen(text) + 1;
  const uint64_t now = load(&process->entry->events),
                 event = turns_are_over() ? turns_last_event() : now;
  EndRecord* record = static_cast<EndRecord*>(
      writer_begin(Type::kEnd, static_cast<uint16_t>(kind), event, sizeof(EndRecord) + bytes));
  if (!record) return;
  record->text_bytes = bytes;
  memcpy(record + 1, text, bytes);
  writer_commit();
}

// What the kernel gives to be called without a syscall would be seen by nobody.
void hide_vdso(uint64_t stack) {
  constexpr uint64_t kSysinfoHeader = 33, kIgnored = 1;  // AT_SYSINFO_EHDR, AT_IGNORE
  uint64_t* at = reinterpret_cast<uint64_t*>(stack);
  at += 1 + *at + 1;  // argc, argv
  while (*at++) {     // envp
  }
  for (; *at; at += 2)
    if (*at == kSysinfoHeader) at[0] = kIgnored, at[1] = 0;
}

// Who writes has the turn. When the turns are over, the one who had it last ends the stream.
bool may_write(Thread* thread) {
  if (!streaming() || !turn_take(thread)) return false;
  if (!turns_are_over()) return true;
  stream_end(thread->process, kOutOfPatience);
  return false;
}

bool open(Thread* thread) {
  const int64_t error = writer_open(*thread->process->entry);
  if (failed(error)) {
    stream_say_ended(thread->process, load(&thread->process->entry->events),
                     "its stream cannot be written");
    return false;
  }
  return true;
}

}  // namespace

void stream_say_ended(const Process* process, uint64_t event, const char* why) {
  TextBuffer<240> text;
  text.add("replay ends at event ").add_decimal(event).add(": ").add(why);
  coverage(process, text.data);
}

void stream_start(Thread* thread, const Regs& regs) {
  const BootInfo& boot = shmrec_boot_info;
  if (boot.level != static_cast<uint32_t>(Level::kReplay) || !thread->process->index) return;
  if (!open(thread)) return;
  hide_vdso(regs.rsp);
  note_processor();
  let_reads_trap(thread, true);
  const uint32_t processor = stay_on_processor();
  store(&stream_is_open, 1u);
  if (const char* why = write_start_state(thread, regs, processor))
    stream_end(thread->process, why);
}

void stream_fork_begins(Thread* thread) {
  if (may_write(thread)) note_pending_at_fork(thread);
}

void stream_after_fork(Thread* thread, uint32_t parent, uint64_t event, uint64_t child_tid_at) {
  turns_after_fork(thread);
  if (!streaming()) return;
  store(&stream_is_open, 0u);
  const shmlog::ProcessEntry* entry = process_entry(parent);
  if (!entry || !thread->process->index || !open(thread)) return;
  store(&stream_is_open, 1u);
  if (const char* why = write_fork_state(thread, *entry, event, child_tid_at))
    stream_end(thread->process, why);
}

void stream_end(const Process* process, const char* why) {
  if (!streaming() || !turn_take(current_thread())) return;
  may_move();
  write_end(process, EndKind::kUnreplayable, why);
  store(&stream_is_open, 0u);
  writer_close();
  if (!turns_are_over()) stream_say_ended(process, load(&process->entry->events), why);
  turns_end();
}

// ---- Syscalls
// ------------------------------------------------------------------------------------

namespace {

uint64_t outputs_bytes(const OutputList& outputs) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < outputs.count; ++i)
    bytes += sizeof(Output) + aligned(outputs.item[i].bytes);
  return bytes;
}

// What cannot be read was not written by the kernel either.
uint8_t* copy_output(uint8_t* to, const OutputRange& range) {
  Output* output = reinterpret_cast<Output*>(to);
  uint8_t* data = to + sizeof(Output);
  *output = {range.address, peek(data, range.address, range.bytes)};
  memset(data + output->bytes, 0, aligned(output->bytes) - output->bytes);
  return data + aligned(output->bytes);
}

ReplayRule rule_of(const PendingSyscall& call) {
  return replay_rule(static_cast<uint32_t>(call.number), call.given);
}

// Null, or why the pending call ends what can be replayed before it is made.
const char* not_replayable(const PendingSyscall& call) {
  uint64_t flags = 0;
  if (call.number == __NR_clone) flags = call.given[0];
  if (call.number == __NR_clone3) peek(&flags, call.given[0], sizeof flags);
  const bool goes_beside = (flags & CLONE_VM) && !(flags & (CLONE_VFORK | CLONE_THREAD));
  return goes_beside ? "a child beside it in the same memory" : nullptr;
}

// Others run while it waits. A parent waits for a child that has its turn.
bool gives_turn(const PendingSyscall& call) {
  const bool is_parent =
      call.number == __NR_vfork || call.number == __NR_clone || call.number == __NR_clone3;
  return !is_parent && may_block(static_cast<uint32_t>(call.number), call.given);
}

bool maps_traced_memory(const PendingSyscall& call, uint64_t result) {
  const bool maps = call.number == __NR_mmap || call.number == __NR_shmat;
  return maps && !failed(static_cast<int64_t>(result)) && region_overlaps(result, 1);
}

bool is_private(const PendingSyscall& call) {
  constexpr uint64_t kPrivate = MAP_PRIVATE;
  return (call.given[3] & MAP_TYPE) == kPrivate;
}

// What others write there is seen by nobody. A file that nobody writes is kept instead.
bool maps_untraced_memory(const PendingSyscall& call, uint64_t result) {
  if (failed(static_cast<int64_t>(result)) || region_overlaps(result, 1)) return false;
  const bool shared = call.number == __NR_mmap && !is_private(call);
  return call.number == __NR_shmat || (shared && !native_overlaps(result, 1));
}

void write_attached(const PendingSyscall& call, uint64_t result) {
  Region region;
  MappingRecord* record = static_cast<MappingRecord*>(
      writer_begin(Type::kMapping, 0, call.event, sizeof(MappingRecord)));
  if (!record || !region_find(result, &region)) return;
  *record = {region.begin,
             region.end,
             region.protection,
             kMappingShared | kMappingAttached,
             region.segment_offset,
             0,
             0};
  writer_commit();
}

// Fetching instructions is in no log.
bool executes_traced_memory(const PendingSyscall& call, uint64_t result) {
  constexpr uint64_t kExecute = 4, kAttachExecute = 0100000;  // PROT_EXEC, SHM_EXEC
  if (call.number == __NR_shmat) return call.given[2] & kAttachExecute;
  const bool maps =
      call.number == __NR_mmap || call.number == __NR_mprotect || call.number == __NR_pkey_mprotect;
  const uint64_t at = call.number == __NR_mmap ? result : call.given[0];
  return maps && (call.given[2] & kExecute) && region_overlaps(at, call.given[1]);
}

// MADV_FREE leaves open for how long memory keeps its content.
void free_now(const PendingSyscall& call, uint64_t result) {
  if (call.number == __NR_madvise && call.given[2] == MADV_FREE && !result)
    sys(__NR_madvise, call.given[0], call.given[1], MADV_DONTNEED);
}

void write_call(Thread* thread, uint64_t result) {
  const PendingSyscall& call = thread->call;
  const ReplayRule rule = rule_of(call);
  if (ends_replay(rule, static_cast<int64_t>(result)))
    return stream_end(thread->process, end_reason_text(rule.reason));
  if (rule.replay != Replay::kEmulate) sketch_forget_maps();
  const bool traces = maps_traced_memory(call, result);
  if (executes_traced_memory(call, result))
    return stream_end(thread->process, "shared memory that may be executed");
  free_now(call, result);
  if (maps_untraced_memory(call, result))
    return stream_end(thread->process, "shared memory that is not traced");
  if (call.number == __NR_mmap && call.copies_written && !failed(static_cast<int64_t>(result)))
    return stream_end(thread->process,
                      "a private mapping of a file that is written where others map it");
  if (traces && call.number == __NR_shmat) write_attached(call, result);
  OutputList& outputs = *reinterpret_cast<OutputList*>(thread->bounce2);
  static_assert(sizeof outputs <= sizeof thread->bounce2);
  find_outputs(thread, result, &outputs);
  if (outputs.unknown) return stream_end(thread->process, outputs.unknown);
  const uint32_t arguments = argument_count(static_cast<uint32_t>(call.number));
  const uint8_t flags = (traces ? kCallTraces : 0) | (call.repeats ? kCallRepeats : 0);
  const uint64_t bytes = sizeof(CallRecord) + arguments * sizeof(uint64_t) + outputs_bytes(outputs);
  CallRecord* record = static_cast<CallRecord*>(writer_begin(Type::kCall, 0, call.event, bytes));
  if (!record) return stream_end(thread->process, kNoRoom);
  *record = {static_cast<uint16_t>(min<uint64_t>(call.number, UINT16_MAX)),
             static_cast<uint8_t>(arguments),
             flags,
             static_cast<uint16_t>(outputs.count),
             static_cast<uint16_t>(call.mapped_file),
             result,
             call.state};
  uint64_t* words = reinterpret_cast<uint64_t*>(record + 1);
  memcpy(words, call.given, arguments * sizeof(uint64_t));
  uint8_t* at = reinterpret_cast<uint8_t*>(words + arguments);
  for (uint32_t i = 0; i < outputs.count; ++i) at = copy_output(at, outputs.item[i]);
  writer_commit(static_cast<uint64_t>(reinterpret_cast<uint8_t*>(record) + bytes - at));
}

// In a forked child the call is none of its own.
bool is_forked_child(const Thread* thread) {
  const uint64_t number = thread->call.number;
  const bool forks = number == __NR_fork || number == __NR_clone || number == __NR_clone3;
  return forks && !thread->regs.rax;
}

void settle_behind_call(Thread* thread) {
  stream_settles(thread, thread->regs);
  thread->settled.rip = thread->call.repeats ? thread->call.pc : thread->call_behind;
}

bool ends_thread(uint64_t number) { return number == __NR_exit || number == __NR_exit_group; }

void write_page(uint64_t page, uint64_t hash) {
  PageRecord* record = static_cast<PageRecord*>(
      writer_begin(Type::kPage, 0, current_thread()->call.event, sizeof(PageRecord)));
  if (!record) return;
  *record = {page, hash};
  writer_commit();
}

void write_left_out(const Thread* thread, const Range* ranges, uint32_t count) {
  void* to = writer_begin(Type::kLeftOut, 0, thread->call.event, count * sizeof(Range));
  if (!to) return;
  memcpy(to, ranges, count * sizeof(Range));
  writer_commit();
}

struct RangeList {
  Range* ranges;
  uint32_t count;
};

// What handlers have left on an alternate stack depends on which vector registers the processor
// finds to be in use.
void leave_out_altstack(Thread* thread, void* raw) {
  RangeList& list = *static_cast<RangeList*>(raw);
  const AltStack& stack = thread->altstack;
  if (stack.size && list.count < kMaxRanges) list.ranges[list.count++] = {stack.sp, stack.size};
}

void write_check(Thread* thread) {
  Regs regs = thread->regs;
  regs.rip = thread->call.pc;
  MemoryHash memory;
  // In its parent's memory the parent's other threads go on.
  if (checksums() && !thread->process->lives_in_parent) {
    RangeList list = {reinterpret_cast<Range*>(thread->bounce), 0};
    static_assert(kMaxRanges * sizeof(Range) <= sizeof thread->bounce);
    find_pending_outputs(thread, list.ranges, &list.count);
    for_each_thread(thread->process, leave_out_altstack, &list);
    if (list.count) write_left_out(thread, list.ranges, list.count);
    turns_pause(true);
    memory_hash({regs.rsp, list.ranges, list.count}, &memory, write_page);
    turns_pause(false);
  }
  CheckRecord* record = static_cast<CheckRecord*>(
      writer_begin(Type::kCheck, 0, thread->call.event, sizeof(CheckRecord)));
  if (!record) return;
  *record = {registers_hash(regs), memory.hash, memory.pages};
  writer_commit();
}

}  // namespace

namespace {

// Does somebody map the file so that what is written there is traced? A private mapping has it too,
// up to its own first write to the page, and what is read there is in no log.
bool is_written(const SegmentIdentity& identity) {
  const uint32_t segment = segment_find(identity);
  return segment && !segment_native(segment) && segment_mapped(segment);
}

// A file that the call maps. Returns null, or why it cannot be had.
const char* note_mapped_file(Thread* thread) {
  constexpr uint64_t kAnonymous = MAP_ANONYMOUS;
  PendingSyscall& call = thread->call;
  call.mapped_file = call.copies_written = 0;
  if (call.number != __NR_mmap || (call.given[3] & kAnonymous)) return nullptr;
  const int fd = static_cast<int>(call.given[4]);
  SegmentIdentity identity;
  if (!identify_descriptor(fd, &identity)) return nullptr;  // nor can it be mapped, or as what?
  call.copies_written = is_private(call) && is_written(identity);
  call.mapped_file = write_file(call.event, fd, identity.name);
  return call.mapped_file ? nullptr : "a mapped file that cannot be kept";
}

// The kernel would clear the word when the thread is gone, and nobody could say when that was: it
// is cleared now, and who waits for it goes on when the kernel has cleared another one. In traced
// memory do_exit does it.
void clear_tid(Thread* thread) {
  const uint64_t at = thread->clear_tid;
  const uint32_t zero = 0;
  const bool is_alias = at - agent_base() < kZoneBytes;
  if (threads_of(thread->process) < 2 || is_alias || region_overlaps(at, sizeof zero)) return;
  if (!turn_ends_with(thread)) return;
  thread->clear_tid = 0;
  if (at && safe_copy(reinterpret_cast<void*>(at), &zero, sizeof zero))
    thread->call.cleared_tid = at;
}

void end_thread(Thread* thread) {
  if (thread->call.number != __NR_exit || !turns_taken()) return;
  uint64_t first_lock = 0;
  peek(&first_lock, thread->robust_head, sizeof first_lock);
  if (thread->robust_head && first_lock == thread->robust_head)
    sys(__NR_set_robust_list, 0, thread->robust_bytes);
  turn_leave(thread);
  if (const uint64_t at = thread->call.cleared_tid) sys(__NR_futex, at, 1 /* FUTEX_WAKE */, 1);
}

void write_result(Thread* thread) {
  if (!may_write(thread)) return;
  write_call(thread, thread->regs.rax);
  settle_behind_call(thread);
  turn_offer(thread, thread->call.number == __NR_sched_yield);
}

}  // namespace

void stream_call_begins(Thread* thread) {
  PendingSyscall& call = thread->call;
  call.streamed = 0;
  call.cleared_tid = 0;
  if (!may_write(thread)) return;
  may_move_at(call.number);
  memcpy(call.given, call.args, sizeof call.given);
  call.state = state_hash(thread->regs, call.pc);
  const char* why = not_replayable(call);
  if (!why) why = note_mapped_file(thread);
  if (why) return stream_end(thread->process, why);
  outputs_prepare(thread);
  if (call.number == __NR_rt_sigreturn) write_call(thread, 0);  // it may meet a signal
  if (gives_turn(call)) return turn_give_in_call(thread);
  if (!ends_thread(call.number)) return;
  write_check(thread);
  if (call.number == __NR_exit && turns_taken()) clear_tid(thread);
  write_call(thread, 0);
}

Answer stream_call(Thread* thread, Answer answer) {
  if (!streaming()) return answer;
  if (ends_thread(thread->call.number)) {
    end_thread(thread);
    return answer;
  }
  switch (answer) {
    case Answer::kDone:
      if (!is_forked_child(thread)) write_result(thread);
      return answer;
    case Answer::kResume:
      if (may_write(thread) && thread->call.number == __NR_rt_sigreturn) {
        stream_settles(thread, thread->regs);
        thread->returned = 1;
      }
      return answer;
    case Answer::kNative:
      thread->call.post = [](Thread*) {};
      break;
    case Answer::kPost:
      break;
  }
  thread->call.streamed = 1;
  return Answer::kPost;
}

void stream_call_returns(Thread* thread) {
  if (streaming()) turn_take(thread);
}

void stream_call_ends(Thread* thread) {
  if (!thread->call.streamed) return;
  thread->call.streamed = 0;
  write_result(thread);
}

namespace {

void write_child(Thread* thread, ChildKind kind, const Regs& regs, uint64_t fs_base) {
  ChildRecord* record = static_cast<ChildRecord*>(
      writer_begin(Type::kChild, static_cast<uint16_t>(kind), thread->call.event, sizeof *record));
  if (!record) return stream_end(thread->process, kNoRoom);
  *record = {{}, fs_base, 0};
  memcpy(record->regs, &regs, sizeof record->regs);
  writer_commit();
}

}  // namespace

void stream_child_begins(Thread* thread, const Regs& regs, uint64_t fs_base) {
  if (may_write(thread)) write_child(thread, ChildKind::kBegins, regs, fs_base);
}

void stream_child_ends(Thread* thread) {
  if (may_write(thread)) write_child(thread, ChildKind::kEnds, {}, 0);
}

void stream_thread_begins(Thread* thread, const Regs& regs, uint64_t fs_base) {
  turns_begin(thread);
  if (may_write(thread)) write_child(thread, ChildKind::kThread, regs, fs_base);
}

void stream_thread_runs(Thread* thread, const Regs& regs) {
  if (!streaming()) return;
  turn_take(thread);
  stream_settles(thread, regs);
}

void stream_load_again(Thread* thread) {
  if (!streaming() || !may_write(thread)) return;
  const uint64_t event = load(&thread->process->entry->events);
  if (!writer_begin(Type::kAgain, 0, event, 0)) return stream_end(thread->process, kNoRoom);
  writer_commit();
}

void stream_exec(Thread* thread) {
  if (!may_write(thread)) return;
  write_end(thread->process, EndKind::kExec, "another program is executed");
}

// ---- Signals and instructions
// --------------------------------------------------------------------

namespace {

bool at_syscall(const Thread* thread, uint64_t ip) {
  uint8_t code[kSyscallBytes];
  if (ip == thread->call.pc) return true;
  return safe_copy(code, reinterpret_cast<void*>(ip), sizeof code) && code[0] == 0x0F &&
         code[1] == 0x05;
}

SignalPlace signal_place(const Thread* thread, const Regs& regs, bool forced) {
  if (forced) return SignalPlace::kFault;
  if (memcmp(&thread->settled, &regs, sizeof regs) == 0) return SignalPlace::kAfterEvent;
  return at_syscall(thread, regs.rip) ? SignalPlace::kBeforeCall : SignalPlace::kAtStop;
}

}  // namespace

namespace {

// A sleep that is interrupted writes how much of it is left, into what may be its own argument, and
// returns nothing that would be written down where the signal comes before it is made again.
bool write_rest_of_sleep(Thread* thread, uint64_t event) {
  constexpr uint64_t kTimeBytes = 16;
  const PendingSyscall& call = thread->call;
  const uint64_t at = call.number == __NR_nanosleep         ? call.given[1]
                      : call.number == __NR_clock_nanosleep ? call.given[3]
                                                            : 0;
  uint8_t time[kTimeBytes];
  if (!at || region_overlaps(at, kTimeBytes) || peek(time, at, kTimeBytes) != kTimeBytes)
    return true;
  MemoryRecord* record = static_cast<MemoryRecord*>(
      writer_begin(Type::kMemory, 0, event, sizeof *record + kTimeBytes));
  if (!record) return false;
  *record = {at, kTimeBytes};
  memcpy(record + 1, time, kTimeBytes);
  writer_commit();
  return true;
}

}  // namespace

void stream_settles(Thread* thread, const Regs& regs) {
  thread->settled = regs;
  thread->returned = 0;
}

void stream_leaves_handler(Thread* thread, const Context& context) {
  if (!thread->returned) return;
  uint64_t pending = 0;
  thread->returned = 0;
  sys(__NR_rt_sigpending, &pending, kSetBytes);
  if (!(pending & ~context.mask)) thread->settled = {};
}

bool stream_finds(const Thread* thread, const Context& context) {
  return signal_place(thread, context.regs, false) != SignalPlace::kAtStop;
}

void stream_signal(Thread* thread, const Context& context, const Siginfo& info, bool forced,
                   SignalKind kind) {
  if (!may_write(thread)) return;
  const SignalPlace place = signal_place(thread, context.regs, forced);
  if (place == SignalPlace::kAtStop) {
    if (!stop_is_possible(thread, context))
      return stream_end(thread->process, "a signal that came between two events");
    if (!stop_write(thread, context)) return stream_end(thread->process, kNoRoom);
  }
  const uint64_t event = load(&thread->process->entry->events);
  if (place == SignalPlace::kBeforeCall && !write_rest_of_sleep(thread, event))
    return stream_end(thread->process, kNoRoom);
  SignalRecord* record = static_cast<SignalRecord*>(
      writer_begin(Type::kSignal, static_cast<uint16_t>(kind), event, sizeof(SignalRecord)));
  if (!record) return stream_end(thread->process, kNoRoom);
  memcpy(record->regs, &context.regs, sizeof record->regs);
  record->place = static_cast<uint64_t>(place);
  record->blocked = blocked_now(thread, &context);
  record->trap = thread->shown_fault.trap;
  record->error = thread->shown_fault.error;
  memcpy(record->info, &info, sizeof record->info);
  writer_commit();
}

void stream_value(Thread* thread, const Regs& regs, ValueKind kind, const uint32_t values[4]) {
  if (!may_write(thread)) return;
  ValueRecord* record = static_cast<ValueRecord*>(writer_begin(
      Type::kValue, static_cast<uint16_t>(kind), next_event(thread), sizeof(ValueRecord)));
  if (!record) return stream_end(thread->process, kNoRoom);
  record->pc = regs.rip;
  record->state = state_hash(regs, regs.rip);
  memcpy(record->values, values, sizeof record->values);
  writer_commit();
}

}  // namespace shmrec::agent
