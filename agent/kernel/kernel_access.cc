// Syscalls that read or write memory of the program: every pointer into traced memory is replaced
// before the call, by a stand-in (bounce.h) as the syscall's row in the table says, and what the
// kernel wrote is copied back after it. A call that touches no traced memory runs as it is.
//
//     read(fd, traced, 100)  ->  read(fd, stand-in, 100) = 60  ->  traced_write(traced, stand-in,
//     60)
//
// The table says which arguments are pointers, how far they reach, and what of that is written.
// Here are the few shapes that point further: io vectors, messages, and structures that hold a
// pointer.
#include "agent/kernel/kernel_access.h"

#include "agent/kernel/aio.h"
#include "agent/kernel/bounce.h"
#include "agent/kernel/descriptors.h"
#include "agent/kernel/names.h"
#include "agent/kernel/remote.h"
#include "agent/kernel/syscalls.h"
#include "agent/memory/native.h"

namespace shmrec::agent {

using namespace syscalls;
namespace {

constexpr uint64_t kMaxVectors = 1024;  // the kernel takes no more in one call
constexpr int kArguments = 6;
constexpr uint64_t kGetxattrat = 464;  // newer than some kernel headers

struct Iovec {
  uint64_t base, bytes;
};

struct Message {  // struct msghdr
  uint64_t name;
  uint32_t name_bytes, pad0;
  Iovec* vectors;
  uint64_t vector_count;
  uint64_t control, control_bytes;
  uint32_t flags, pad1;
};
static_assert(sizeof(Message) == 56);

struct MessageEntry {  // struct mmsghdr
  Message message;
  uint32_t bytes, pad;
};
static_assert(sizeof(MessageEntry) == 64);

CopyBack back_for(const PointerRule& rule) {
  CopyBack back;
  back.written = rule.written;
  back.field = rule.field;
  back.field_bytes = rule.field_bytes;
  back.base = rule.base;
  back.unit = rule.unit;
  back.least_result = rule.written == Written::kPositive ? 1 : 0;
  return back;
}

// Which bytes of a field the kernel sets when it succeeds, for the message of number `index`.
CopyBack back_field(int64_t index) {
  CopyBack back;
  back.written = Written::kAll;
  back.least_result = index;
  return back;
}

// ---- How far a pointer reaches ------------------------------------------------------------------

uint32_t peek_word(uint64_t address) {
  uint32_t word = 0;
  return peek(&word, address, sizeof word) == sizeof word ? word : 0;
}

// A number of `bytes` bytes, 0 if it cannot be read. A lie is no danger: what it reaches is looked
// at before it is used.
uint64_t number_at(uint64_t address, uint8_t bytes) {
  uint64_t number = 0;
  return peek(&number, address, bytes) == bytes ? number : 0;
}

uint64_t bit_set_bytes(int32_t bits) {
  return bits > 0 ? (static_cast<uint64_t>(bits) + 63) / 64 * 8 : 0;
}

uint64_t self_sized_bytes(uint64_t address, const PointerRule& rule) {
  const uint64_t size = min<uint64_t>(peek_word(address + rule.field), 64 * 1024);
  // A size of 0 stands for the structure's first version.
  return size + rule.base ? size + rule.base : 64;
}

// Up to and with the NUL, or as far as the program can read.
uint64_t string_bytes(uint64_t address, uint64_t limit) {
  if (!region_overlaps(address, limit)) return 0;
  char chunk[64];
  for (uint64_t done = 0; done < limit;) {
    const uint64_t size = min(limit - done, sizeof chunk - (address + done) % sizeof chunk);
    const uint64_t got = peek(chunk, address + done, size);
    for (uint64_t i = 0; i < got; ++i)
      if (!chunk[i]) return done + i + 1;
    if (got < size) break;
    done += size;
  }
  return limit;
}

uint64_t semaphore_bytes(const Thread* thread) {
  struct {
    uint64_t words[10];
    uint64_t count;
    uint64_t unused[2];
  } set;
  const int64_t result = sys(__NR_semctl, arg(thread, 0), 0, 2 /* IPC_STAT */, &set);
  return failed(result) ? 0 : set.count * 2;
}

uint64_t extent_bytes(const Thread* thread, const PointerRule& rule, uint64_t address) {
  const uint64_t count = arg(thread, rule.count);
  switch (rule.extent) {
    case Extent::kFixed:
    case Extent::kIoctl:
      return rule.base;
    case Extent::kArgument:
      return static_cast<int64_t>(count) < 0 ? 0 : rule.base + count * rule.unit;
    case Extent::kPages:
      return count / kPage + (count % kPage != 0);
    case Extent::kBits:
      return bit_set_bytes(static_cast<int32_t>(count));
    case Extent::kString:
      return string_bytes(address, rule.base);
    case Extent::kLengthAt:
      return max<int32_t>(static_cast<int32_t>(peek_word(count + rule.field)), 0) *
             max<uint64_t>(rule.unit, 1);
    case Extent::kSelfSized:
      return self_sized_bytes(address, rule);
    case Extent::kCounted:
      return rule.base + number_at(address + rule.field, rule.field_bytes) * rule.unit;
    case Extent::kSemaphores:
      return semaphore_bytes(thread);
    default:
      return 0;
  }
}

// ---- Vectors ------------------------------------------------------------------------------------

bool vectors_traced(Thread* thread, uint64_t array, uint64_t count) {
  if (region_overlaps(array, count * sizeof(Iovec))) return true;
  for (uint64_t i = 0; i < count; ++i) {
    Iovec vector;
    if (peek(&vector, array + i * sizeof vector, sizeof vector) < sizeof vector) return false;
    if (region_overlaps(vector.base, vector.bytes)) return true;
    if (native_overlaps(vector.base, vector.bytes)) thread->call.wants_native = 1;
  }
  return false;
}

uint64_t translate_vectors(Thread* thread, Direction direction, uint64_t array, uint64_t count,
                           const uint32_t* result_at, int64_t least_result) {
  if (!count || count > kMaxVectors || !vectors_traced(thread, array, count)) return array;
  Iovec* copy = static_cast<Iovec*>(copy_in(thread, array, count * sizeof(Iovec)));
  if (!copy) return array;
  CopyBack back;
  back.written = Written::kResult;
  back.unit = 1;
  back.result_at = result_at;
  back.least_result = least_result;
  for (uint64_t i = 0; i < count; ++i) {
    copy[i].base = stand_in(thread, direction, copy[i].base, copy[i].bytes, back);
    back.position += copy[i].bytes;
  }
  return reinterpret_cast<uint64_t>(copy);
}

// Vectors that describe another process's memory, split where it is traced and where not: *count
// becomes how many there are.
uint64_t translate_remote(Thread* thread, uint64_t array, uint64_t* count) {
  const RemoteMemory memory(static_cast<int32_t>(arg(thread, 0)));
  const bool write = thread->call.number == __NR_process_vm_writev;
  if (!*count || *count > kMaxVectors) return array;
  Iovec* copy = static_cast<Iovec*>(copy_in(thread, array, *count * sizeof(Iovec)));
  if (!copy) return array;
  bool traced = false;
  for (uint64_t i = 0; i < *count; ++i)
    traced = traced || memory.any_traced(copy[i].base, copy[i].bytes, write);
  if (!traced)
    return region_overlaps(array, *count * sizeof(Iovec)) ? reinterpret_cast<uint64_t>(copy)
                                                          : array;
  Iovec* split = static_cast<Iovec*>(bounce_memory(thread, kMaxVectors * sizeof(Iovec)));
  uint64_t pieces = 0;
  for (uint64_t i = 0; split && i < *count; ++i) {
    for (uint64_t done = 0; done < copy[i].bytes;) {
      if (pieces == kMaxVectors) return array;
      const RemotePiece piece = memory.piece(copy[i].base + done, copy[i].bytes - done, write);
      split[pieces++] = {piece.address, piece.bytes};
      done += piece.bytes;
    }
  }
  if (!split) return array;
  *count = pieces;
  return reinterpret_cast<uint64_t>(split);
}

// ---- Messages -----------------------------------------------------------------------------------

uint64_t name_bytes(const Message& message) {
  return max<int32_t>(static_cast<int32_t>(message.name_bytes), 0);
}

bool message_traced(Thread* thread, uint64_t address) {
  Message message;
  if (region_overlaps(address, sizeof message)) return true;
  if (peek(&message, address, sizeof message) < sizeof message) return false;
  return region_overlaps(message.name, name_bytes(message)) ||
         region_overlaps(message.control, message.control_bytes) ||
         (message.vector_count <= kMaxVectors &&
          vectors_traced(thread, reinterpret_cast<uint64_t>(message.vectors),
                         message.vector_count));
}

// The kernel sets these three when it receives a message.
void message_results(Thread* thread, uint64_t address, Message* copy, int64_t index) {
  const CopyBack back = back_field(index);
  copy_back(thread, address + offsetof(Message, name_bytes), &copy->name_bytes, 4, back);
  copy_back(thread, address + offsetof(Message, flags), &copy->flags, 4, back);
  copy_back(thread, address + offsetof(Message, control_bytes), &copy->control_bytes, 8, back);
}

// Translates what *copy points to. `address` is where the program has the message; `index` is its
// number among those of the call, whose result counts messages if result_at is given.
void translate_message(Thread* thread, Direction direction, uint64_t address, Message* copy,
                       const uint32_t* result_at, int64_t index) {
  CopyBack back;
  back.written = Written::kLength;
  back.least_result = index;
  copy->vectors = reinterpret_cast<Iovec*>(
      translate_vectors(thread, direction, reinterpret_cast<uint64_t>(copy->vectors),
                        copy->vector_count, result_at, index));
  back.length_at = reinterpret_cast<uint64_t>(&copy->name_bytes);
  back.length_bytes = 4;
  copy->name = stand_in(thread, direction, copy->name, name_bytes(*copy), back);
  back.length_at = reinterpret_cast<uint64_t>(&copy->control_bytes);
  back.length_bytes = 8;
  copy->control = stand_in(thread, direction, copy->control, copy->control_bytes, back);
  if (direction == Direction::kOut) message_results(thread, address, copy, index);
}

uint64_t translate_one_message(Thread* thread, Direction direction, uint64_t address) {
  if (!message_traced(thread, address)) return address;
  Message* copy = static_cast<Message*>(copy_in(thread, address, sizeof(Message)));
  if (!copy) return address;
  translate_message(thread, direction, address, copy, nullptr, 0);
  return reinterpret_cast<uint64_t>(copy);
}

uint64_t translate_messages(Thread* thread, Direction direction, uint64_t address, uint64_t count) {
  count = min(count, kMaxVectors);
  bool traced = false;
  for (uint64_t i = 0; i < count && !traced; ++i)
    traced = message_traced(thread, address + i * sizeof(MessageEntry));
  if (!traced) return address;
  MessageEntry* copy =
      static_cast<MessageEntry*>(copy_in(thread, address, count * sizeof(MessageEntry)));
  if (!copy) return address;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = address + i * sizeof(MessageEntry);
    const int64_t least = static_cast<int64_t>(i) + 1;
    translate_message(thread, direction, at, &copy[i].message, &copy[i].bytes, least);
    copy_back(thread, at + offsetof(MessageEntry, bytes), &copy[i].bytes, 4, back_field(least));
  }
  return reinterpret_cast<uint64_t>(copy);
}

// ---- Structures that hold one pointer -----------------------------------------------------------

uint64_t translate_pair(Thread* thread, Direction direction, uint64_t address,
                        bool kernel_sets_length) {
  Iovec pair;
  if (peek(&pair, address, sizeof pair) < sizeof pair) return address;
  if (!region_overlaps(address, sizeof pair) && !region_overlaps(pair.base, pair.bytes))
    return address;
  Iovec* copy = static_cast<Iovec*>(copy_in(thread, address, sizeof pair));
  if (!copy) return address;
  CopyBack back;
  back.written = Written::kLength;
  back.length_at = reinterpret_cast<uint64_t>(&copy->bytes);
  back.length_bytes = 8;
  copy->base = stand_in(thread, direction, copy->base, copy->bytes, back);
  if (kernel_sets_length)
    copy_back(thread, address + offsetof(Iovec, bytes), &copy->bytes, 8, back_field(0));
  return reinterpret_cast<uint64_t>(copy);
}

// The program's structure gets back what the kernel has put there, but for the pointers.
void copy_structure_back(Thread* thread, const PointerRule& rule, uint64_t address, uint8_t* copy) {
  constexpr uint64_t kPointer = 8;
  if (rule.direction == Direction::kIn) return;
  uint64_t begin = 0;
  for (uint32_t i = 0; i <= rule.inner_count; ++i) {
    const uint64_t end = i < rule.inner_count ? rule.inner[i].offset : rule.base;
    if (end > begin) copy_back(thread, address + begin, copy + begin, end - begin, back_for(rule));
    begin = end + kPointer;
  }
}

uint64_t translate_structure(Thread* thread, const PointerRule& rule, uint64_t address) {
  uint64_t pointers[syscalls::kMaxInner], bytes[syscalls::kMaxInner];
  bool traced = region_overlaps(address, rule.base);
  for (uint32_t i = 0; i < rule.inner_count; ++i) {
    const syscalls::InnerRule& inner = rule.inner[i];
    pointers[i] = number_at(address + inner.offset, 8);
    bytes[i] = number_at(address + inner.length_offset, inner.length_bytes) * inner.unit;
    traced = traced || region_overlaps(pointers[i], bytes[i]);
  }
  if (!traced) return address;
  uint8_t* copy = static_cast<uint8_t*>(copy_in(thread, address, rule.base));
  if (!copy) return address;
  for (uint32_t i = 0; i < rule.inner_count; ++i) {
    if (!pointers[i]) continue;
    CopyBack back;
    back.written = rule.inner[i].direction == Direction::kIn ? Written::kNothing : Written::kAll;
    const uint64_t value = stand_in(thread, rule.inner[i].direction, pointers[i], bytes[i], back);
    memcpy(copy + rule.inner[i].offset, &value, sizeof value);
  }
  copy_structure_back(thread, rule, address, copy);
  return reinterpret_cast<uint64_t>(copy);
}

// Addresses that the kernel takes for names of pages, without going there.
uint64_t translate_addresses(Thread* thread, uint64_t array, uint64_t count) {
  constexpr uint64_t kMaxAddresses = 1 << 20;
  const int32_t pid = static_cast<int32_t>(arg(thread, 0));
  const bool own = pid == 0 || pid == thread->process->pid;
  if (!count || count > kMaxAddresses || (own && regions_empty())) return array;
  uint64_t* copy = static_cast<uint64_t*>(copy_in(thread, array, count * 8));
  if (!copy) return array;
  const RemoteMemory memory(own ? thread->process->pid : pid);
  bool changed = region_overlaps(array, count * 8);
  for (uint64_t i = 0; i < count; ++i) {
    const RemotePiece page = memory.piece(copy[i], 1, false);
    changed = changed || page.traced;
    copy[i] = page.address;
  }
  return changed ? reinterpret_cast<uint64_t>(copy) : array;
}

struct XattrArguments {  // struct xattr_args
  uint64_t value;
  uint32_t bytes, flags;
};

// What setxattrat reads, getxattrat writes.
uint64_t translate_xattr(Thread* thread, uint64_t address, uint64_t bytes) {
  XattrArguments arguments;
  if (bytes != sizeof arguments || peek(&arguments, address, sizeof arguments) < sizeof arguments)
    return address;
  if (!region_overlaps(address, bytes) && !region_overlaps(arguments.value, arguments.bytes))
    return address;
  XattrArguments* copy = static_cast<XattrArguments*>(copy_in(thread, address, bytes));
  if (!copy) return address;
  const bool reads = thread->call.number == kGetxattrat;
  CopyBack back;
  back.written = reads ? Written::kResult : Written::kNothing;
  back.unit = 1;
  copy->value =
      stand_in(thread, reads ? Direction::kOut : Direction::kIn, copy->value, copy->bytes, back);
  return reinterpret_cast<uint64_t>(copy);
}

// ---- What is not described ----------------------------------------------------------------------

// Says which call was given traced memory without a description of what it does with it.
void note_unknown(const Thread* thread, const SyscallRule* rule) {
  const uint64_t number = thread->call.number;
  const uint64_t command =
      rule && rule->command_argument != kNoArgument ? arg(thread, rule->command_argument) : 0;
  TextBuffer<64> text;
  if (rule)
    text.add(rule->name);
  else
    text.add("syscall ").add_decimal(number);
  if (command) text.add(" ").add_hex(command);
  text.add(" on traced memory: not recorded");
  coverage_text(thread->process, text.data);
}

uint64_t pass_unknown(Thread* thread, const SyscallRule* rule, uint64_t address) {
  const uint64_t alias = alias_of(address, 1);
  if (!alias) return address;
  note_unknown(thread, rule);
  return alias;
}

// ---- One pointer, one call ----------------------------------------------------------------------

uint64_t translate(Thread* thread, const SyscallRule* call, const PointerRule& rule) {
  const uint64_t address = arg(thread, rule.argument);
  const uint64_t count = arg(thread, rule.count);
  switch (rule.extent) {
    case Extent::kIovec:
      return translate_vectors(thread, rule.direction, address, count, nullptr, 0);
    case Extent::kMessage:
      return translate_one_message(thread, rule.direction, address);
    case Extent::kMessages:
      return translate_messages(thread, rule.direction, address, static_cast<uint32_t>(count));
    case Extent::kRemote: {
      uint64_t pieces = count;
      const uint64_t vectors = translate_remote(thread, address, &pieces);
      set_arg(thread, rule.count, pieces);
      return vectors;
    }
    case Extent::kSigset:
      return translate_pair(thread, rule.direction, address, false);
    case Extent::kOneIovec:
      return translate_pair(thread, rule.direction, address, true);
    case Extent::kStructure:
      return translate_structure(thread, rule, address);
    case Extent::kAddresses:
      return translate_addresses(thread, address, count);
    case Extent::kXattr:
      return translate_xattr(thread, address, count);
    case Extent::kUnknown:
      return pass_unknown(thread, call, address);
    default:
      break;
  }
  CopyBack back = back_for(rule);
  if (rule.written == Written::kLength) {
    back.length_at = count;
    back.length_bytes = 4;
  }
  return stand_in(thread, rule.direction, address, extent_bytes(thread, rule, address), back);
}

struct Translation {
  Thread* thread;
  const SyscallRule* call;
  bool changed = false;

  void apply(const PointerRule& rule) {
    if (!arg(thread, rule.argument)) return;
    const uint64_t value = translate(thread, call, rule);
    if (value == arg(thread, rule.argument)) return;
    set_arg(thread, rule.argument, value);
    changed = true;
  }
};

void apply_command(Translation& translation) {
  const SyscallRule& call = *translation.call;
  Thread* thread = translation.thread;
  const uint32_t command = static_cast<uint32_t>(arg(thread, call.command_argument));
  const CommandRule* row = command_rule(call.number, command);
  if (row) {
    for (uint8_t i = 0; i < row->pointer_count; ++i) translation.apply(row->pointers[i]);
    return;
  }
  PointerRule rule;
  if (call.number != __NR_ioctl || !ioctl_rule(command, &rule))
    rule = {.argument = call.pointer_argument,
            .direction = Direction::kKeep,
            .extent = Extent::kUnknown};
  translation.apply(rule);
}

void apply_unknown(Translation& translation) {
  for (uint8_t i = 0; i < kArguments; ++i)
    translation.apply({.argument = i, .direction = Direction::kKeep, .extent = Extent::kUnknown});
}

const CommandRule* command_of(const Thread* thread, const SyscallRule& call) {
  if (call.selector == kNoArgument) return nullptr;
  uint64_t args[kArguments];
  for (int i = 0; i < kArguments; ++i) args[i] = arg(thread, i);
  return selected_rule(call, args);
}

void apply_rules(Translation& translation) {
  const SyscallRule* call = translation.call;
  if (!call || call->knowledge == Knowledge::kUnknown) return apply_unknown(translation);
  if (call->knowledge == Knowledge::kCommand) return apply_command(translation);
  for_each_pointer(*call, command_of(translation.thread, *call),
                   [&](const PointerRule& rule, uint32_t) { translation.apply(rule); });
}

// ---- Nothing to do ------------------------------------------------------------------------------

bool pointer_concerned(Thread* thread, const PointerRule& rule) {
  const uint64_t address = arg(thread, rule.argument), count = arg(thread, rule.count);
  if (!address) return false;
  switch (rule.extent) {
    case Extent::kFixed:
    case Extent::kIoctl:
    case Extent::kArgument:
    case Extent::kPages:
    case Extent::kBits:
    case Extent::kString:
    case Extent::kLengthAt:
    case Extent::kSelfSized:
    case Extent::kCounted:
      return region_overlaps(address, extent_bytes(thread, rule, address));
    case Extent::kIovec:
      return count > kMaxVectors || vectors_traced(thread, address, count);
    case Extent::kMessage:
      return message_traced(thread, address);
    default:
      return true;
  }
}

bool any_concerned(Thread* thread, const SyscallRule& row, const CommandRule* command) {
  bool concerned = false;
  for_each_pointer(row, command, [&](const PointerRule& rule, uint32_t) {
    concerned = concerned || pointer_concerned(thread, rule);
  });
  return concerned;
}

}  // namespace

bool kernel_access_concerned(Thread* thread) {
  const SyscallRule* call = syscall_rule(static_cast<uint32_t>(thread->call.number));
  if (!call || call->knowledge == Knowledge::kUnknown) return true;
  const CommandRule* command = command_of(thread, *call);
  if (!command && call->knowledge == Knowledge::kCommand) return true;
  return any_concerned(thread, *call, command);
}

namespace {

// Does the kernel send from the caller's pages after the call?
bool sends_later(const Thread* thread) {
  constexpr uint64_t kZeroCopy = 0x4000000;  // MSG_ZEROCOPY
  const uint64_t number = thread->call.number;
  if (number == __NR_sendmsg) return arg(thread, 2) & kZeroCopy;
  return (number == __NR_sendto || number == __NR_sendmmsg) && (arg(thread, 3) & kZeroCopy);
}

}  // namespace

void restore_arguments(Thread* thread) {
  for (int i = 0; i < kArguments; ++i) set_arg(thread, i, thread->call.args[i]);
}

void kernel_access_post(Thread* thread) {
  native_used(thread);
  if (thread->call.number == __NR_io_getevents || thread->call.number == __NR_io_pgetevents)
    aio_fetched(thread);
  descriptors_end(thread);
  names_end(thread);
  bounce_finish(thread);
  restore_arguments(thread);
}

void kernel_access_cancel(Thread* thread) {
  native_used(thread);
  descriptors_cancel(thread);
  names_cancel(thread);
  bounce_free(thread);
}

Answer kernel_access(Thread* thread, void* context) {
  kernel_access_cancel(thread);  // left by a call that never came back
  const uint32_t joins = native_joins();
  thread->call.wants_native = 0;
  const uint64_t number = thread->call.number;
  const bool remote = number == __NR_process_vm_readv || number == __NR_process_vm_writev;
  const bool files = descriptors_concerned(thread), names = names_concerned(thread);
  if (regions_empty() && native_empty() && !remote && !files && !names) return Answer::kNative;
  const SyscallRule* call = syscall_rule(static_cast<uint32_t>(number));
  if (call && call->knowledge == Knowledge::kNoPointers && !files && !names) return Answer::kNative;
  if (sends_later(thread)) bounce_own_pages(thread);
  Translation translation = {thread, call};
  apply_rules(translation);
  const bool moves = files && descriptors_begin(thread);
  const bool tells = names && names_begin(thread);
  if (thread->call.wants_native && !native_use(thread, joins)) {
    restore_arguments(thread);
    return kernel_access(thread, context);  // traced meanwhile
  }
  if (moves && descriptors_make(thread)) {
    kernel_access_post(thread);
    return Answer::kDone;
  }
  const bool fetches = number == __NR_io_getevents || number == __NR_io_pgetevents;
  if (!translation.changed && !moves && !tells && !fetches && !thread->call.wants_native) {
    bounce_free(thread);
    return Answer::kNative;
  }
  thread->call.post = kernel_access_post;
  return Answer::kPost;
}

}  // namespace shmrec::agent
