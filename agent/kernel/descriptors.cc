#include "agent/kernel/descriptors.h"

#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>

#include "agent/kernel/bounce.h"
#include "agent/kernel/plain_descriptors.h"
#include "agent/kernel/remote.h"
#include "agent/kernel/transfer.h"
#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "agent/memory/native.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using namespace shmlog;
using syscalls::file_rule;
using syscalls::FileRule;
using syscalls::FileUse;

namespace {

constexpr uint64_t kMaxEmptied = 1 << 20;  // bytes of zeros that one call is logged to have made
constexpr uint64_t kMaxTransfer = 0x7FFFF000;  // the kernel transfers no more in one call

Transfer* transfer_of(const Thread* thread) {
  return static_cast<Transfer*>(thread->call.transfer);
}

// ---- Which segment ------------------------------------------------------------------------------

struct Status {
  uint64_t bytes, device, inode;
  bool known, regular;
};

// A file of /proc, as far as is told by its size and its file system.
bool maybe_memory(const Status& status) {
  return status.regular && !status.bytes && !(status.device >> 20);
}

bool status_of(int fd, const char* path, uint64_t flags, Status* status) {
  struct statx found;
  const int64_t result =
      sys(__NR_statx, fd, path, flags, STATX_TYPE | STATX_INO | STATX_SIZE, &found);
  if (result == -EPERM)  // by nobody else
    coverage(current_thread()->process,
             "accesses to files by descriptor are not seen: the program's filter refuses statx");
  if (failed(result)) return false;
  status->known = true;
  status->device = static_cast<uint64_t>(found.stx_dev_major) << 20 | found.stx_dev_minor;
  status->inode = found.stx_ino;
  status->bytes = found.stx_size;
  status->regular = (found.stx_mode & S_IFMT) == S_IFREG;
  return status->regular;
}

// The traced segment that a descriptor leads to; 0: none.
uint32_t segment_of(Thread* thread, int fd, bool write, Status* status) {
  const DescriptorLook look = plain_descriptor_look(thread, fd);
  const uint32_t next = load(&log_header().next_segment);
  if (!status_of(fd, "", AT_EMPTY_PATH, status)) {
    if (status->known) plain_descriptor_found(thread, look);
    return 0;
  }
  if (!segment_maybe(status->device, status->inode)) {
    if (!maybe_memory(*status)) plain_descriptor_found(thread, look, next);
    return 0;
  }
  SegmentIdentity identity;
  if (!identify_descriptor(fd, &identity)) return 0;
  const uint32_t segment = segment_find(identity);
  if (!segment || segment_entry(segment).mode != static_cast<uint32_t>(SegmentMode::kTrace))
    return 0;
  if (!write) return segment_native(segment) ? 0 : segment;
  if (segment_native(segment)) {
    segment_promote(segment);
    native_look(thread);
  }
  return segment;
}

uint64_t current_position(int fd) {
  const int64_t at = sys(__NR_lseek, fd, 0, 1 /* SEEK_CUR */);
  return failed(at) ? 0 : static_cast<uint64_t>(at);
}

bool opened_to_append(int fd) {
  const int64_t flags = sys(__NR_fcntl, fd, 3 /* F_GETFL */);
  return !failed(flags) && (flags & O_APPEND);
}

bool appends(const Thread* thread, const FileRule& rule, int fd) {
  constexpr uint64_t kRwfAppend = 0x10, kRwfNoAppend = 0x20;
  const uint64_t flags = rule.flags_argument ? thread->call.args[rule.flags_argument] : 0;
  if (flags & kRwfAppend) return true;
  return !(flags & kRwfNoAppend) && opened_to_append(fd);
}

uint64_t vectors_bytes(const Vector* vectors, uint64_t count) {
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < count; ++i) bytes += min(vectors[i].bytes, kMaxTransfer);
  return min(bytes, kMaxTransfer);
}

uint64_t register_of(const Thread* thread, int n) {
  const Regs& regs = thread->regs;
  const uint64_t values[] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
  return values[n];
}

// The memory that read and write forms work on, as the kernel will see it.
bool take_memory(Thread* thread, Transfer* transfer, TransferSource* source, uint64_t* bytes) {
  constexpr uint64_t kMaxVectors = 1024;
  const uint64_t address = register_of(thread, 1), count = register_of(thread, 2);
  if (!transfer->rule->vectors) {
    transfer->plain = {address, min(count, kMaxTransfer)};
    *source = {.vectors = &transfer->plain, .vector_count = 1};
    *bytes = transfer->plain.bytes;
    return true;
  }
  if (count > kMaxVectors) return false;
  Vector* copy = static_cast<Vector*>(bounce_memory(thread, count * sizeof(Vector)));
  if (!copy || peek(copy, address, count * sizeof(Vector)) != count * sizeof(Vector)) return false;
  *source = {.vectors = copy, .vector_count = count};
  *bytes = vectors_bytes(copy, count);
  return true;
}

// ---- /proc/PID/mem ------------------------------------------------------------------------------

bool path_of(int fd, char* path, size_t bytes) {
  TextBuffer<40> link;
  link.add("/proc/self/fd/").add_decimal(static_cast<uint64_t>(fd));
  const int64_t size = sys(__NR_readlink, link.data, path, bytes - 1);
  path[failed(size) ? 0 : size] = 0;
  return !failed(size);
}

// The process whose memory `fd` is; 0: it is something else.
int32_t process_of_memory(int fd, const Status& status) {
  char path[64];
  if (!maybe_memory(status) || !path_of(fd, path, sizeof path) || memcmp(path, "/proc/", 6) != 0)
    return 0;
  int32_t pid = 0;
  const char* at = path + 6;
  for (; *at >= '0' && *at <= '9'; ++at) pid = pid * 10 + (*at - '0');
  const size_t size = strlen(at);
  return size >= 4 && memcmp(at + size - 4, "/mem", 5) == 0 ? pid : 0;
}

// Bytes of another process's memory, of which the first is number `index` of those that the call
// moves.
void add_remote(Transfer* transfer, const RemoteMemory& memory, uint64_t at, uint64_t bytes,
                uint64_t index, bool write) {
  for (uint64_t done = 0; done < bytes;) {
    const RemotePiece piece = memory.piece(at + done, bytes - done, write);
    if (piece.traced)
      transfer_add(transfer, piece.segment, write, piece.offset, piece.bytes, index + done);
    done += piece.bytes;
  }
}

void begin_memory_file(Thread* thread, Transfer* transfer, int32_t pid, uint64_t position,
                       uint64_t bytes) {
  const bool write = transfer->rule->use == FileUse::kWrite;
  const uint64_t call[6] = {arg(thread, 0), kPage, kPage, kPage, 0, 0};
  if (!lets_pass(write ? __NR_pwrite64 : __NR_pread64, call))
    return coverage(thread->process,
                    "a memory file is not followed: the program's filter refuses the calls");
  add_remote(transfer, RemoteMemory(pid), position, bytes, 0, write);
  transfer->memory_of = pid;
  transfer->memory_at = position;
}

// One after the other, until one is short.
int64_t move_memory(Thread* thread, const Transfer& transfer, const Vector& vector,
                    uint64_t position) {
  const bool write = transfer.rule->use == FileUse::kWrite;
  const RemoteMemory memory(transfer.memory_of);
  uint64_t done = 0;
  while (done < vector.bytes) {
    const RemotePiece piece = memory.piece(position + done, vector.bytes - done, write);
    const int64_t moved = sys(write ? __NR_pwrite64 : __NR_pread64, arg(thread, 0),
                              vector.base + done, piece.bytes, piece.address);
    if (failed(moved)) return done ? static_cast<int64_t>(done) : moved;
    done += static_cast<uint64_t>(moved);
    if (static_cast<uint64_t>(moved) < piece.bytes) break;
  }
  return static_cast<int64_t>(done);
}

// ---- Calls of each shape ------------------------------------------------------------------------

// read, write and their forms.
void begin_memory(Thread* thread, Transfer* transfer) {
  const FileRule& rule = *transfer->rule;
  const int fd = static_cast<int>(arg(thread, 0));
  const bool write = rule.use == FileUse::kWrite;
  Status status = {};
  const uint32_t segment = segment_of(thread, fd, write, &status);
  const int32_t pid = segment ? 0 : process_of_memory(fd, status);
  uint64_t bytes;
  TransferSource memory;
  if ((!segment && !pid) || !take_memory(thread, transfer, &memory, &bytes)) return;
  (write ? transfer->source : transfer->after) = memory;
  const int64_t given =
      rule.position_argument ? static_cast<int64_t>(arg(thread, rule.position_argument)) : -1;
  const uint64_t position = given >= 0 ? static_cast<uint64_t>(given) : current_position(fd);
  if (rule.position_argument && given < 0 && !(rule.flags_argument && given == -1))
    return;  // EINVAL
  if (pid) return begin_memory_file(thread, transfer, pid, position, bytes);
  if (given < 0) transfer->moved = fd;
  const bool at_end = write && appends(thread, rule, fd);
  if (!write) bytes = min(bytes, status.bytes > position ? status.bytes - position : 0);
  transfer_add(transfer, segment, write, at_end ? status.bytes : position, bytes, 0);
}

uint64_t position_at(uint64_t pointer, int fd, bool* moves) {
  uint64_t position = 0;
  *moves = !pointer;
  if (pointer && peek(&position, pointer, sizeof position) == sizeof position) return position;
  return current_position(fd);
}

// sendfile, splice, copy_file_range.
void begin_copy(Thread* thread, Transfer* transfer) {
  const FileRule& rule = *transfer->rule;
  const int in = static_cast<int>(arg(thread, rule.in_argument));
  const int out = static_cast<int>(arg(thread, rule.out_argument));
  const uint64_t count = min(arg(thread, rule.count_argument), kMaxTransfer);
  Status in_status = {}, out_status = {};
  const uint32_t from = segment_of(thread, in, false, &in_status);
  const uint32_t to = segment_of(thread, out, true, &out_status);
  if (!from && !to) return;
  bool in_moves, out_moves = true;
  const uint64_t in_at = position_at(register_of(thread, rule.in_position), in, &in_moves);
  uint64_t out_at = 0;
  if (out_status.regular)
    out_at = rule.out_position
                 ? position_at(register_of(thread, rule.out_position), out, &out_moves)
                 : current_position(out);
  uint64_t bytes = count;
  if (in_status.regular) {
    bytes = min(bytes, in_status.bytes > in_at ? in_status.bytes - in_at : 0);
    transfer->source = {.fd = in, .position = in_at};
  }
  transfer->after = {.fd = out, .position = out_at};
  if (from) transfer_add(transfer, from, false, in_at, bytes, 0);
  if (to) {
    if (out_moves) transfer->moved = out, transfer->moved_range = transfer->range_count;
    transfer_add(transfer, to, true, out_at, bytes, 0);
  }
}

// Bytes that the call makes zero, as far as anybody has them mapped.
void begin_zeros(Thread* thread, Transfer* transfer, uint32_t segment, uint64_t begin,
                 uint64_t end) {
  end = min(end, segment_entry(segment).extent_bytes);
  transfer->all = true;
  transfer->source = {.zeros = true};
  if (begin >= end) return;
  if (end - begin > kMaxEmptied)
    coverage(thread->process,
             "of a file that was emptied or enlarged only the first MiB is logged as zeros");
  transfer_add(transfer, segment, true, begin, min(end - begin, kMaxEmptied), 0);
}

void begin_size(Thread* thread, Transfer* transfer) {
  Status status = {};
  uint32_t segment = 0;
  if (thread->call.number == __NR_ftruncate) {
    segment = segment_of(thread, static_cast<int>(arg(thread, 0)), true, &status);
  } else {
    const int64_t fd = sys(__NR_open, register_of(thread, 0), O_PATH | O_CLOEXEC, 0);
    if (failed(fd)) return;
    segment = segment_of(thread, static_cast<int>(fd), true, &status);
    sys(__NR_close, fd);
  }
  const uint64_t bytes = arg(thread, 1);
  if (segment)
    begin_zeros(thread, transfer, segment, min(bytes, status.bytes), max(bytes, status.bytes));
}

void begin_allocate(Thread* thread, Transfer* transfer) {
  Status status = {};
  const int fd = static_cast<int>(arg(thread, 0));
  const uint64_t mode = arg(thread, 1), begin = arg(thread, 2), bytes = arg(thread, 3);
  const uint32_t segment = segment_of(thread, fd, true, &status);
  if (!segment || static_cast<int64_t>(begin) < 0 || static_cast<int64_t>(bytes) <= 0) return;
  if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
    return begin_zeros(thread, transfer, segment, begin, begin + bytes);
  if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
    const uint64_t end = min(status.bytes + bytes, segment_entry(segment).extent_bytes);
    transfer->all = true;
    transfer->after = {.fd = fd, .position = begin};
    if (begin < end) transfer_add(transfer, segment, true, begin, end - begin, 0);
    return;
  }
  if (!(mode & FALLOC_FL_KEEP_SIZE))
    begin_zeros(thread, transfer, segment, status.bytes, begin + bytes);
}

// FICLONE, FICLONERANGE.
void begin_clone(Thread* thread, Transfer* transfer) {
  const uint64_t command = arg(thread, 1);
  file_clone_range range = {};
  if (command == FICLONERANGE) {
    if (peek(&range, register_of(thread, 2), sizeof range) != sizeof range) return;
  } else if (command == FICLONE) {
    range.src_fd = static_cast<int32_t>(arg(thread, 2));
  } else {
    return;
  }
  Status status = {}, source = {};
  const int fd = static_cast<int>(arg(thread, 0));
  const uint32_t segment = segment_of(thread, fd, true, &status);
  if (!segment || !status_of(static_cast<int>(range.src_fd), "", AT_EMPTY_PATH, &source)) return;
  const uint64_t rest = source.bytes > range.src_offset ? source.bytes - range.src_offset : 0;
  transfer->all = true;
  transfer->source = {.fd = static_cast<int>(range.src_fd), .position = range.src_offset};
  transfer_add(transfer, segment, true, range.dest_offset,
               range.src_length ? min<uint64_t>(range.src_length, rest) : rest, 0);
}

// Memory of another process: it was looked at when the vectors were translated, and is once more
// for what is logged.
void begin_remote(Thread* thread, Transfer* transfer) {
  constexpr uint64_t kMaxVectors = 1024;
  const RemoteMemory memory(static_cast<int32_t>(arg(thread, 0)));
  const bool write = transfer->rule->use == FileUse::kRemoteWrite;
  uint64_t bytes;
  TransferSource local;
  if (!memory.recorded() || !take_memory(thread, transfer, &local, &bytes)) return;
  (write ? transfer->source : transfer->after) = local;
  uint64_t index = 0;
  for (uint64_t i = 0, count = min(arg(thread, 4), kMaxVectors); i < count && index < bytes; ++i) {
    Vector vector;
    if (peek(&vector, arg(thread, 3) + i * sizeof vector, sizeof vector) != sizeof vector) return;
    add_remote(transfer, memory, vector.base, min(vector.bytes, bytes - index), index, write);
    index += vector.bytes;
  }
}

// PTRACE_PEEKDATA and POKEDATA: a word of the tracee's.
void begin_word(Thread* thread, Transfer* transfer) {
  constexpr uint64_t kPeekText = 1, kPeekData = 2, kPokeText = 4, kPokeData = 5, kWord = 8;
  const uint64_t request = arg(thread, 0);
  const bool read = request == kPeekText || request == kPeekData;
  const bool write = request == kPokeText || request == kPokeData;
  if (!read && !write) return;
  const RemoteMemory memory(static_cast<int32_t>(arg(thread, 1)));
  const RemotePiece piece = memory.piece(arg(thread, 2), kWord, write);
  if (!piece.traced || piece.bytes < kWord) return;
  transfer->all = true;
  transfer->plain = {write ? reinterpret_cast<uint64_t>(&thread->call.args[3]) : arg(thread, 3),
                     kWord};
  (write ? transfer->source : transfer->after) = {.vectors = &transfer->plain, .vector_count = 1};
  transfer_add(transfer, piece.segment, write, piece.offset, kWord, 0);
  set_arg(thread, 2, piece.address);
}

// A file that is opened to be written anew loses what it has.
void end_open(Thread* thread) {
  const int64_t fd = static_cast<int64_t>(thread->regs.rax);
  if (failed(fd)) return;
  Status status = {};
  const uint32_t segment = segment_of(thread, static_cast<int>(fd), true, &status);
  if (!segment) return;
  segment_lives(thread->process, segment, SegmentEvent::kEmptied, nullptr);
  Transfer* transfer = transfer_of(thread);
  begin_zeros(thread, transfer, segment, 0, segment_entry(segment).extent_bytes);
  if (transfer->range_count) transfer_note_versions(thread, transfer->ranges[0], 0);
}

bool truncates(const Thread* thread) {
  constexpr uint64_t kTrunc = 01000;
  uint64_t flags = kTrunc;  // creat
  if (thread->call.number == __NR_open) flags = arg(thread, 1);
  if (thread->call.number == __NR_openat) flags = arg(thread, 2);
  if (thread->call.number == __NR_openat2) peek(&flags, register_of(thread, 2), sizeof flags);
  return flags & kTrunc;
}

using Begin = void (*)(Thread*, Transfer*);
Begin begin_of(FileUse use) {
  switch (use) {
    case FileUse::kRead:
    case FileUse::kWrite:
      return begin_memory;
    case FileUse::kCopy:
      return begin_copy;
    case FileUse::kSize:
      return begin_size;
    case FileUse::kAllocate:
      return begin_allocate;
    case FileUse::kClone:
      return begin_clone;
    case FileUse::kRemoteRead:
    case FileUse::kRemoteWrite:
      return begin_remote;
    case FileUse::kRemoteWord:
      return begin_word;
    default:
      return nullptr;
  }
}

// ---- After the call -----------------------------------------------------------------------------

// The position that the call had, if it was not the one expected: another thread has moved it, or
// the file has grown.
void correct_position(Thread* thread, Transfer* transfer, uint64_t result) {
  if (transfer->moved == kUnknownFile || transfer->moved_range >= transfer->range_count) return;
  TransferRange& range = transfer->ranges[transfer->moved_range];
  const uint64_t now = current_position(transfer->moved);
  if (now < result || now - result == range.offset) return;
  transfer_abort(thread, range, 0);
  range.ahead_count = 0;
  range.first = nullptr;
  range.offset = now - result;
  range.bytes = result;
  if (transfer->after.fd == transfer->moved) transfer->after.position = range.offset;
}

void finish(Thread* thread, Transfer* transfer) {
  const int64_t result = static_cast<int64_t>(thread->regs.rax);
  const uint64_t moved = result > 0 ? static_cast<uint64_t>(result) : 0;
  if (!failed(result) && !transfer->all && moved) correct_position(thread, transfer, moved);
  for (uint32_t i = 0; i < transfer->range_count; ++i) {
    TransferRange& range = transfer->ranges[i];
    uint64_t done = 0;
    if (!failed(result) && transfer->all) done = range.bytes;
    if (!failed(result) && !transfer->all && moved > range.index)
      done = min(range.bytes, moved - range.index);
    transfer_finish(thread, *transfer, range, done);
  }
}

}  // namespace

namespace {

bool is_plain(const Thread* thread, uint8_t argument) {
  return plain_descriptor(thread, static_cast<int>(arg(thread, argument)));
}

// Is it known that the call reaches no segment?
bool reaches_none(const Thread* thread, const FileRule& rule) {
  switch (rule.use) {
    case FileUse::kRead:
    case FileUse::kWrite:
    case FileUse::kAllocate:
      return is_plain(thread, 0);
    case FileUse::kSize:
      return rule.number == __NR_ftruncate && is_plain(thread, 0);
    case FileUse::kCopy:
      return is_plain(thread, rule.in_argument) && is_plain(thread, rule.out_argument);
    case FileUse::kClone:
      return arg(thread, 1) != FICLONE && arg(thread, 1) != FICLONERANGE;
    default:
      return false;
  }
}

}  // namespace

bool descriptors_concerned(const Thread* thread) {
  if (load(&log_header().next_segment) <= 1) return false;
  const FileRule* rule = file_rule(static_cast<uint32_t>(thread->call.number));
  return rule && !reaches_none(thread, *rule);
}

bool descriptors_begin(Thread* thread) {
  const FileRule* rule = file_rule(static_cast<uint32_t>(thread->call.number));
  if (rule->use == FileUse::kOpen && !truncates(thread)) return false;
  Transfer* transfer = transfer_new(thread);
  if (!transfer) return false;
  transfer->rule = rule;
  if (const Begin begin = begin_of(rule->use)) {
    begin(thread, transfer);
    if (!transfer->range_count) return false;
  }
  thread->call.transfer = transfer;
  transfer_ahead(thread, transfer);
  return true;
}

bool descriptors_make(Thread* thread) {
  const Transfer* transfer = transfer_of(thread);
  if (!transfer || !transfer->memory_of) return false;
  const FileRule& rule = *transfer->rule;
  const TransferSource& local =
      rule.use == FileUse::kWrite ? transfer->source : transfer->after;  // as begun
  uint64_t done = 0;
  int64_t moved = 0;
  for (uint64_t i = 0; i < local.vector_count; ++i) {
    moved = move_memory(thread, *transfer, local.vectors[i], transfer->memory_at + done);
    if (failed(moved)) break;
    done += static_cast<uint64_t>(moved);
    if (static_cast<uint64_t>(moved) < local.vectors[i].bytes) break;
  }
  thread->regs.rax = done ? done : static_cast<uint64_t>(moved);
  const bool moves =
      !rule.position_argument || static_cast<int64_t>(arg(thread, rule.position_argument)) == -1;
  if (moves && done) sys(__NR_lseek, arg(thread, 0), transfer->memory_at + done, 0 /* SEEK_SET */);
  return true;
}

void descriptors_end(Thread* thread) {
  Transfer* transfer = transfer_of(thread);
  if (!transfer) return;
  if (transfer->rule->use == FileUse::kOpen) end_open(thread);
  finish(thread, transfer);
  thread->call.transfer = nullptr;
}

Transfer* descriptors_write_begins(Thread* thread, int fd, uint64_t position, const Vector* vectors,
                                   uint64_t count) {
  Status status = {};
  const uint32_t segment = segment_of(thread, fd, true, &status);
  Transfer* transfer = segment ? transfer_new(thread) : nullptr;
  if (!transfer) return nullptr;
  transfer->source = {.vectors = vectors, .vector_count = count};
  const uint64_t begin = opened_to_append(fd) ? status.bytes : position;
  transfer_add(transfer, segment, true, begin, vectors_bytes(vectors, count), 0);
  transfer_ahead(thread, transfer);
  return transfer;
}

Transfer* descriptors_zeros_begin(Thread* thread, uint32_t segment, uint64_t offset,
                                  uint64_t bytes) {
  Transfer* transfer = transfer_new(thread);
  if (!transfer) return nullptr;
  begin_zeros(thread, transfer, segment, offset, offset + bytes);
  transfer_ahead(thread, transfer);
  return transfer;
}

void descriptors_write_ends(Thread* thread, Transfer* transfer, bool handed_in) {
  for (uint32_t i = 0; i < transfer->range_count; ++i)
    transfer_finish(thread, *transfer, transfer->ranges[i],
                    handed_in ? transfer->ranges[i].bytes : 0);
}

void descriptors_log_arrived(Thread* thread, uint64_t address, uint64_t bytes) {
  Region region;
  if (!bytes || !region_find(address, &region)) return;
  Transfer* transfer = transfer_new(thread);
  if (!transfer) return;
  transfer->plain = {address, min(bytes, region.end - address)};
  transfer->source = {.vectors = &transfer->plain, .vector_count = 1};
  TransferRange* range =
      transfer_add(transfer, region.segment, true, region.segment_offset + (address - region.begin),
                   transfer->plain.bytes, 0);
  range->address = address;
  transfer_finish(thread, *transfer, *range, range->bytes);
}

void descriptors_cancel(Thread* thread) {
  Transfer* transfer = transfer_of(thread);
  if (!transfer) return;
  thread->call.transfer = nullptr;
  for (uint32_t i = 0; i < transfer->range_count; ++i)
    transfer_abort(thread, transfer->ranges[i], 0);
}

}  // namespace shmrec::agent
