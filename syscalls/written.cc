#include "syscalls/written.h"

#include <asm/errno.h>

namespace shmrec::syscalls {
namespace {

constexpr uint32_t kIoctl = 16, kProcessVmWritev = 311;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kMaxVectors = 1024;  // the kernel takes no more in one call
constexpr uint64_t kMaxSelfSized = 65536;
constexpr uint64_t kMaxCount = 1ull << 40;
constexpr uint64_t kEverything = ~0ull;  // of vectors: as far as they reach

struct Iovec {
  uint64_t base, bytes;
};

struct Message {  // struct msghdr
  uint64_t name;
  uint32_t name_bytes, pad0;
  uint64_t vectors, vector_count;
  uint64_t control, control_bytes;
  uint32_t flags, pad1;
};
static_assert(sizeof(Message) == 56);

struct MessageEntry {  // struct mmsghdr
  Message message;
  uint32_t bytes, pad;
};
static_assert(sizeof(MessageEntry) == 64);

struct XattrArguments {  // struct xattr_args
  uint64_t value;
  uint32_t bytes, flags;
};

uint64_t min(uint64_t a, uint64_t b) { return a < b ? a : b; }

bool failed(int64_t result) { return result < 0 && result >= -4095; }

// ---- The rules of one call ----------------------------------------------------------------------

// What an ioctl's number says. Not all of those that claim to read keep to it.
template <typename Visit>
void visit_encoded(const WrittenCall& call, const Visit& visit) {
  PointerRule rule;
  if (!ioctl_rule(static_cast<uint32_t>(call.args[1]), &rule)) return;
  rule.written = Written::kAll;
  visit(rule, 0u);
}

// Calls visit(rule, index) for those of the call's rules that may write.
template <typename Visit>
void for_each_rule(const WrittenCall& call, const Visit& visit) {
  const SyscallRule* row = syscall_rule(call.number);
  if (!row) return;
  const CommandRule* command = selected_rule(*row, call.args);
  for_each_pointer(*row, command, [&visit](const PointerRule& rule, uint32_t index) {
    if (writes(rule)) visit(rule, index);
  });
  if (call.number == kIoctl && !command) visit_encoded(call, visit);
}

// ---- How far a pointer reaches ------------------------------------------------------------------

uint64_t number_at(const ProgramMemory& memory, uint64_t address, uint32_t bytes) {
  uint64_t number = 0;
  return memory.read(memory.context, &number, address, bytes) == bytes ? number : 0;
}

int32_t word_at(const ProgramMemory& memory, uint64_t address) {
  return static_cast<int32_t>(number_at(memory, address, sizeof(int32_t)));
}

uint64_t at_least_one(uint64_t unit) { return unit ? unit : 1; }

uint64_t length_at(const PointerRule& rule, uint64_t length_address, const ProgramMemory& memory) {
  const int32_t length = word_at(memory, length_address + rule.field);
  return length > 0 ? static_cast<uint64_t>(length) * at_least_one(rule.unit) : 0;
}

uint64_t memory_extent(const WrittenCall& call, const PointerRule& rule,
                       const ProgramMemory& memory) {
  const uint64_t address = call.args[rule.argument];
  switch (rule.extent) {
    case Extent::kLengthAt:
      return length_at(rule, call.args[rule.count], memory);
    case Extent::kSelfSized:
      return rule.base + min(number_at(memory, address + rule.field, 4), kMaxSelfSized);
    case Extent::kCounted:
      return rule.base + rule.unit * number_at(memory, address + rule.field, rule.field_bytes);
    default:
      return 0;
  }
}

uint64_t bit_set_bytes(int32_t bits) {
  return bits > 0 ? (static_cast<uint64_t>(bits) + 63) / 64 * 8 : 0;
}

uint64_t extent_of(const WrittenCall& call, const PointerRule& rule, uint32_t index,
                   const ProgramMemory& memory) {
  const uint64_t count = call.args[rule.count];
  switch (rule.extent) {
    case Extent::kArgument:
      return static_cast<int64_t>(count) < 0 ? 0 : rule.base + min(count, kMaxCount) * rule.unit;
    case Extent::kPages:
      return count / kPage + (count % kPage != 0);
    case Extent::kBits:
      return bit_set_bytes(static_cast<int32_t>(count));
    case Extent::kSemaphores:
      return 2 * memory.semaphores(memory.context, static_cast<int32_t>(call.args[0]));
    case Extent::kLengthAt:
    case Extent::kSelfSized:
    case Extent::kCounted:
      return call.extents[index];
    default:
      return rule.base;
  }
}

// ---- How much of it is written ------------------------------------------------------------------

// May the call have done a part of its work before it failed so?
bool part_done(const WrittenCall& call, int64_t result) {
  if (call.number == kIoctl) return failed(result) && result != -ENOTTY && result != -EBADF;
  return result == -EFAULT || result == -EINVAL || result == -EIO;
}

uint64_t result_bytes(const PointerRule& rule, int64_t result) {
  return rule.base + static_cast<uint64_t>(result) * at_least_one(rule.unit);
}

// A call that succeeds with less than it was asked for may have met memory that it could not write,
// and does not say what it wrote of the piece in which that lay.
bool met_a_fault(uint64_t address, uint64_t extent, uint64_t done, const ProgramMemory& memory) {
  uint8_t last;
  return done < extent && memory.read(memory.context, &last, address + extent - 1, 1) != 1;
}

uint64_t written_by_result(const WrittenCall& call, const PointerRule& rule, uint64_t extent,
                           int64_t result, const ProgramMemory& memory) {
  const uint64_t done = min(extent, result_bytes(rule, result));
  return met_a_fault(call.args[rule.argument], extent, done, memory) ? extent : done;
}

uint64_t written_if_done(const WrittenCall& call, const PointerRule& rule, uint64_t extent,
                         int64_t result, const ProgramMemory& memory) {
  switch (rule.written) {
    case Written::kPositive:
      return result > 0 ? extent : 0;
    case Written::kResult:
      return written_by_result(call, rule, extent, result, memory);
    case Written::kLength:
      return min(extent, length_at(rule, call.args[rule.count], memory));
    default:
      return extent;
  }
}

uint64_t written_bytes(const WrittenCall& call, const PointerRule& rule, uint64_t extent,
                       int64_t result, const ProgramMemory& memory) {
  switch (rule.written) {
    case Written::kNothing:
    case Written::kOnError:
      return 0;
    case Written::kAlways:
    case Written::kFields:
      return extent;
    // A sleep that a signal without a handler interrupted goes on, and may then end as it should.
    case Written::kInterrupted:
      return extent;
    case Written::kFlagged:
      return call.args[rule.count] & rule.unit ? extent : 0;
    default:
      break;
  }
  if (part_done(call, result)) return extent;
  return failed(result) ? 0 : written_if_done(call, rule, extent, result, memory);
}

// ---- Shapes -------------------------------------------------------------------------------------

struct Walk {
  const WrittenCall& call;
  const int64_t result;
  const ProgramMemory& memory;
  const WrittenRanges& ranges;

  void add(uint64_t address, uint64_t bytes) const {
    if (address && bytes) ranges.add(ranges.context, address, bytes);
  }
  template <typename T>
  bool read(T* to, uint64_t address) const {
    return memory.read(memory.context, to, address, sizeof(T)) == sizeof(T);
  }

  // The first `bytes` of what the vectors describe.
  void add_vectors(uint64_t array, uint64_t count, uint64_t bytes) const {
    for (uint64_t i = 0; i < min(count, kMaxVectors) && bytes; ++i) {
      Iovec vector;
      if (!read(&vector, array + i * sizeof vector)) return;
      const uint64_t part = min(bytes, vector.bytes);
      const bool fault = met_a_fault(vector.base, vector.bytes, part, memory);
      add(vector.base, fault ? vector.bytes : part);
      bytes -= part;
    }
  }

  uint64_t moved() const {
    if (part_done(call, result)) return kEverything;
    return failed(result) ? 0 : static_cast<uint64_t>(result);
  }

  // A message that was received: the header's lengths are those that the kernel has left there.
  void add_message(const Message& message, uint64_t bytes) const {
    add(message.name, message.name_bytes);
    add_vectors(message.vectors, message.vector_count, bytes);
    add(message.control, message.control_bytes);
  }

  void message(uint64_t address) const {
    Message message;
    if (!moved() && failed(result)) return;
    if (!read(&message, address)) return;
    add_message(message, moved());
    add(address, sizeof message);
  }

  // What is received, and the length of each that was received or sent.
  void messages(const PointerRule& rule, uint64_t address, uint64_t count) const {
    const bool all = part_done(call, result);
    const uint64_t done = all ? min(count, kMaxVectors) : failed(result) ? 0 : moved();
    for (uint64_t i = 0; i < done; ++i) {
      MessageEntry entry;
      const uint64_t at = address + i * sizeof entry;
      if (!read(&entry, at)) return;
      if (rule.direction == Direction::kOut)
        add_message(entry.message, all ? kEverything : entry.bytes);
      add(at, sizeof entry);
    }
  }

  void one_vector(uint64_t address) const {
    Iovec vector;
    if (!moved() && failed(result)) return;
    if (!read(&vector, address)) return;
    add(vector.base, vector.bytes);
    add(address, sizeof vector);
  }

  void xattr(const PointerRule& rule, uint64_t address) const {
    XattrArguments arguments;
    if (rule.written != Written::kResult || !read(&arguments, address)) return;
    add(arguments.value, min(arguments.bytes, moved()));
  }

  void remote(uint64_t array, uint64_t count) const {
    if (call.number == kProcessVmWritev &&
        memory.is_own(memory.context, static_cast<int32_t>(call.args[0])))
      add_vectors(array, count, moved());
  }

  void pointers_within(const PointerRule& rule) const {
    const bool done =
        !failed(result) || part_done(call, result) || rule.written == Written::kAlways;
    for (uint32_t i = 0; i < rule.inner_count && done; ++i) {
      const Direction direction = rule.inner[i].direction;
      if (direction == Direction::kOut || direction == Direction::kInOut)
        add(call.inner_at[i], call.inner_bytes[i]);
    }
  }

  void plain(const PointerRule& rule, uint32_t index, uint64_t address) const {
    if (rule.written == Written::kOnError) {
      if (result == -static_cast<int64_t>(rule.unit)) add(address + rule.field, rule.field_bytes);
      return;
    }
    const uint64_t extent = extent_of(call, rule, index, memory);
    add(address, written_bytes(call, rule, extent, result, memory));
    pointers_within(rule);
  }

  void apply(const PointerRule& rule, uint32_t index) const {
    const uint64_t address = call.args[rule.argument], count = call.args[rule.count];
    if (!address) return;
    switch (rule.extent) {
      case Extent::kIovec:
        return add_vectors(address, count, moved());
      case Extent::kMessage:
        return message(address);
      case Extent::kMessages:
        return messages(rule, address, static_cast<uint32_t>(count));
      case Extent::kOneIovec:
        return one_vector(address);
      case Extent::kXattr:
        return xattr(rule, address);
      case Extent::kRemote:
        return remote(address, count);
      default:
        return plain(rule, index, address);
    }
  }
};

// What the pointers within a structure lead to.
void keep_inner(WrittenCall* call, const PointerRule& rule, const ProgramMemory& memory) {
  const uint64_t address = call->args[rule.argument];
  for (uint32_t i = 0; i < rule.inner_count; ++i) {
    const InnerRule& inner = rule.inner[i];
    const uint64_t length =
        inner.length_bytes ? number_at(memory, address + inner.length_offset, inner.length_bytes)
                           : 1;
    call->inner_at[i] = number_at(memory, address + inner.offset, sizeof(uint64_t));
    call->inner_bytes[i] = length * inner.unit;
  }
}

}  // namespace

void written_prepare(WrittenCall* call, const ProgramMemory& memory) {
  if (!overwrites_lengths(call->number)) return;
  for_each_rule(*call, [call, &memory](const PointerRule& rule, uint32_t index) {
    if (!call->args[rule.argument] || !reach_in_memory(rule)) return;
    call->extents[index] = memory_extent(*call, rule, memory);
    keep_inner(call, rule, memory);
  });
}

void written_ranges(const WrittenCall& call, int64_t result, const ProgramMemory& memory,
                    const WrittenRanges& ranges) {
  if (!may_write(call.number)) return;
  const Walk walk = {call, result, memory, ranges};
  for_each_rule(call,
                [&walk](const PointerRule& rule, uint32_t index) { walk.apply(rule, index); });
}

}  // namespace shmrec::syscalls
