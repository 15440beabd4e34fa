#include "agent/stream/outputs.h"

#include "agent/kernel/bounce.h"
#include "agent/kernel/syscalls.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using namespace syscalls;

namespace {

struct Iovec {
  uint64_t base, bytes;
};

void add(OutputList* outputs, uint64_t address, uint64_t bytes) {
  if (!address || !bytes) return;
  if (outputs->count == kMaxOutputs) {
    outputs->unknown = "a call that writes to too many places";
    return;
  }
  outputs->item[outputs->count++] = {address, bytes};
}

uint32_t word_at(uint64_t address) {
  uint32_t word = 0;
  peek(&word, address, sizeof word);
  return word;
}

uint64_t extent(const Thread* thread, const PointerRule& rule, uint64_t address) {
  const uint64_t count = thread->call.given[rule.count];
  switch (rule.extent) {
    case Extent::kFixed:
    case Extent::kIoctl:
      return rule.base;
    case Extent::kArgument:
      return static_cast<int64_t>(count) < 0 ? 0 : rule.base + count * rule.unit;
    case Extent::kPages:
      return count / kPage + (count % kPage != 0);
    case Extent::kBits:
      return static_cast<int32_t>(count) > 0 ? (count + 63) / 64 * 8 : 0;
    case Extent::kLengthAt:
      return thread->call.length_before;
    case Extent::kSelfSized:
      return word_at(address + rule.field) + rule.base;
    default:
      return 0;
  }
}

bool happened(Written written, int64_t result) {
  switch (written) {
    case Written::kNothing:
      return false;
    case Written::kAlways:
      return true;
    case Written::kInterrupted:
      return result == -EINTR;
    case Written::kPositive:
      return result > 0;
    default:
      return !failed(result);
  }
}

void add_vectors(uint64_t array, uint64_t count, uint64_t bytes, OutputList* outputs) {
  for (uint64_t i = 0; i < count && bytes; ++i) {
    Iovec vector;
    if (peek(&vector, array + i * sizeof vector, sizeof vector) != sizeof vector) return;
    const uint64_t part = min(vector.bytes, bytes);
    add(outputs, vector.base, part);
    bytes -= part;
  }
}

void add_fields(const PointerRule& rule, uint64_t address, uint64_t bytes, OutputList* outputs) {
  for (uint64_t at = 0; at + rule.unit <= bytes; at += rule.unit)
    add(outputs, address + at + rule.field, rule.field_bytes);
}

void add_rule(const Thread* thread, const PointerRule& rule, int64_t result, OutputList* outputs) {
  const uint64_t address = thread->call.given[rule.argument];
  if (rule.direction == Direction::kIn || rule.direction == Direction::kKeep) return;
  if (!address || !happened(rule.written, result)) return;
  if (rule.extent == Extent::kIovec)
    return add_vectors(address, thread->call.given[rule.count], static_cast<uint64_t>(result),
                       outputs);
  if (rule.extent > Extent::kIoctl) {
    outputs->unknown = "a call whose outputs are not described";
    return;
  }
  const uint64_t bytes = extent(thread, rule, address);
  if (rule.written == Written::kFields) return add_fields(rule, address, bytes, outputs);
  uint64_t written = bytes;
  if (rule.written == Written::kResult)
    written = min(bytes, rule.base + static_cast<uint64_t>(result) * max(rule.unit, 1u));
  if (rule.written == Written::kLength)
    written = min<uint64_t>(bytes, word_at(thread->call.given[rule.count]));
  add(outputs, address, written);
}

template <typename Visit>
bool for_each_rule(const PendingSyscall& call, Visit visit) {
  const SyscallRule* rule = syscall_rule(static_cast<uint32_t>(call.number));
  if (!rule) return true;
  if (rule->knowledge == Knowledge::kUnknown) return false;
  for (uint32_t i = 0; i < rule->pointer_count; ++i) visit(rule->pointers[i]);
  if (rule->knowledge != Knowledge::kCommand) return true;
  const uint32_t command = static_cast<uint32_t>(call.given[rule->command_argument]);
  if (const CommandRule* row = command_rule(rule->number, command)) {
    for (uint32_t i = 0; i < row->pointer_count; ++i) visit(row->pointers[i]);
    return true;
  }
  PointerRule encoded;
  if (call.number != __NR_ioctl || !ioctl_rule(command, &encoded)) return false;
  visit(encoded);
  return true;
}

}  // namespace

uint32_t argument_count(uint64_t) { return 6; }

const char* not_replayable(const Thread* thread) {
  const uint64_t number = thread->call.number;
  const bool shares = number == __NR_vfork ||
                      (number == __NR_clone && (thread->call.given[0] & 0x100 /* CLONE_VM */));
  if (shares || number == __NR_clone3) return "a thread, or a child in the same memory";
  if (!for_each_rule(thread->call, [](const PointerRule&) {}))
    return "a call whose memory is not described";
  return nullptr;
}

void outputs_prepare(Thread* thread) {
  PendingSyscall& call = thread->call;
  call.length_before = 0;
  for_each_rule(call, [&](const PointerRule& rule) {
    if (rule.extent == Extent::kLengthAt && rule.direction != Direction::kIn)
      call.length_before = word_at(call.given[rule.count] + rule.field);
  });
}

void find_outputs(const Thread* thread, uint64_t result, OutputList* outputs) {
  outputs->unknown = nullptr;
  outputs->count = 0;
  for_each_rule(thread->call, [&](const PointerRule& rule) {
    add_rule(thread, rule, static_cast<int64_t>(result), outputs);
  });
}

}  // namespace shmrec::agent
