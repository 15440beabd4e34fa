#include "agent/stream/outputs.h"

#include "agent/kernel/bounce.h"
#include "agent/stream/turns.h"
#include "syscalls/written.h"

namespace shmrec::agent {

using namespace syscalls;

namespace {

uint64_t read_memory(void*, void* to, uint64_t address, uint64_t bytes) {
  return peek(to, address, bytes);
}

uint64_t count_semaphores(void*, int64_t set) {
  struct {
    uint64_t words[10];
    uint64_t count;
    uint64_t unused[2];
  } status;
  const int64_t result = sys(__NR_semctl, set, 0, 2 /* IPC_STAT */, &status);
  return failed(result) ? 0 : status.count;
}

bool is_own(void*, int64_t tid) {
  return !failed(sys(__NR_tgkill, current_thread()->process->pid, tid, 0));
}

constexpr ProgramMemory kMemory = {nullptr, read_memory, count_semaphores, is_own};

void add(void* raw, uint64_t address, uint64_t bytes) {
  OutputList& outputs = *static_cast<OutputList*>(raw);
  if (!address || !bytes) return;
  if (outputs.count == kMaxOutputs)
    outputs.unknown = "a call that writes to more places than are kept";
  else
    outputs.item[outputs.count++] = {address, bytes};
}

}  // namespace

void outputs_prepare(Thread* thread) {
  PendingSyscall& call = thread->call;
  call.written = {static_cast<uint32_t>(call.number), {}};
  memcpy(call.written.args, call.given, sizeof call.given);
  written_prepare(&call.written, kMemory);
}

void find_outputs(Thread* thread, uint64_t result, OutputList* outputs) {
  outputs->unknown = nullptr;
  outputs->count = 0;
  if (thread->call.cleared_tid) add(outputs, thread->call.cleared_tid, sizeof(int32_t));
  written_ranges(thread->call.written, static_cast<int64_t>(result), kMemory, {outputs, add});
}

namespace {

// How much a call writes, its result says. A count is mostly the third argument.
void add_pending(Thread* other, void* raw) {
  constexpr uint64_t kUnknownCount = 1 << 16, kMostCount = 1 << 30;
  if (other->turn != Turn::kInCall) return;
  const uint64_t count = other->call.given[2];
  const auto result = static_cast<int64_t>(count && count < kMostCount ? count : kUnknownCount);
  written_ranges(other->call.written, result, kMemory, {raw, add});
}

}  // namespace

bool find_pending_outputs(Thread* thread, stream::Range ranges[stream::kMaxRanges],
                          uint32_t* count) {
  OutputList& outputs = *reinterpret_cast<OutputList*>(thread->bounce2);
  static_assert(sizeof outputs <= sizeof thread->bounce2);
  outputs.unknown = nullptr;
  outputs.count = *count = 0;
  if (turns_taken()) for_each_thread(thread->process, add_pending, &outputs);
  if (outputs.unknown || outputs.count > stream::kMaxRanges) return false;
  for (; *count < outputs.count; ++*count)
    ranges[*count] = {outputs.item[*count].address, outputs.item[*count].bytes};
  return true;
}

}  // namespace shmrec::agent
