#include "agent/stream/outputs.h"

#include "agent/kernel/bounce.h"
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

}  // namespace shmrec::agent
