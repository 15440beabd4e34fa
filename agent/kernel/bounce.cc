#include "agent/kernel/bounce.h"

#include <linux/mman.h>

#include "agent/memory/native.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kBlockBytes = 256 * 1024;
constexpr uint64_t kMaxStandIn = 0x7FFFF000;  // the kernel transfers no more in one call
constexpr uint64_t kMaxCopy = 64 << 20;       // what is longer is not copied
constexpr uint64_t kScratchBytes = 64 * 1024;

// ---- The arena ----------------------------------------------------------------------------------

struct Block {  // at the start of each mapping
  Block* next;
  uint64_t bytes;
};

struct Item {
  Item* next;
  uint64_t address;
  uint8_t* memory;
  uint64_t bytes;
  CopyBack back;
};

struct Plan {  // at the start of thread->bounce
  uint8_t* at;
  uint8_t* end;
  Block* blocks;
  Item* first;
  Item* last;
};

Plan* plan_of(Thread* thread) {
  Plan* plan = reinterpret_cast<Plan*>(thread->bounce);
  if (thread->call.bounce) return plan;
  *plan = {thread->bounce + sizeof(Plan), thread->bounce + sizeof thread->bounce, nullptr, nullptr,
           nullptr};
  thread->call.bounce = plan;
  return plan;
}

// A mapping for this call alone: a forked child has no use for it.
Block* block_map(Plan* plan, uint64_t bytes) {
  const int64_t at = sys(__NR_mmap, 0, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(at)) return nullptr;
  sys(__NR_madvise, at, bytes, MADV_DONTFORK);
  Block* block = reinterpret_cast<Block*>(at);
  block->bytes = bytes;
  block->next = plan->blocks;
  plan->blocks = block;
  return block;
}

// Direct I/O asks for the alignment of the program's buffer, and for the same pages' borders in it;
// everything else for the alignment of its type.
uint8_t* aligned_like(uint8_t* at, uint64_t address, uint64_t bytes) {
  const uint64_t unit = bytes >= 512 ? kPage : 64;
  const uint64_t value = reinterpret_cast<uint64_t>(at);
  return at + ((address - value) & (unit - 1));
}

uint8_t* take(Thread* thread, uint64_t address, uint64_t bytes) {
  Plan* plan = plan_of(thread);
  uint8_t* memory = aligned_like(plan->at, address, bytes);
  if (memory > plan->end || static_cast<uint64_t>(plan->end - memory) < bytes) {
    const uint64_t size = max(kBlockBytes, page_up(bytes + 2 * kPage));
    Block* block = block_map(plan, size);
    if (!block) return nullptr;
    memory = aligned_like(reinterpret_cast<uint8_t*>(block + 1), address, bytes);
    plan->end = reinterpret_cast<uint8_t*>(block) + size;
  }
  plan->at = memory + bytes;
  return memory;
}

// Memory after whose last byte the kernel faults. REQUIRES: address + bytes is page aligned.
uint8_t* take_guarded(Thread* thread, uint64_t address, uint64_t bytes) {
  const uint64_t offset = address % kPage;
  const uint64_t data = page_up(offset + bytes);
  Block* block = block_map(plan_of(thread), kPage + data + kPage);
  if (!block) return nullptr;
  const uint64_t begin = reinterpret_cast<uint64_t>(block) + kPage;
  sys(__NR_mprotect, begin + data, kPage, PROT_NONE);
  return reinterpret_cast<uint8_t*>(begin + offset);
}

// ---- The program's rights -----------------------------------------------------------------------

// How much of [at, end), which is not traced, can be read.
uint64_t private_readable(uint64_t at, uint64_t end) {
  const uint64_t begin = at;
  for (uint8_t byte; at < end; at = page_down(at) + kPage)
    if (!safe_copy(&byte, reinterpret_cast<const void*>(at), 1)) return at - begin;
  return end - begin;
}

// On this processor memory that may be written or executed may be read.
bool permits(const Region& region, bool write) {
  return write ? region.protection & PROT_WRITE : region.protection != PROT_NONE;
}

// Can all that is traced of these bytes be read where it is, without anybody having to know? Not
// where the brake may be released while the kernel reads.
bool read_in_place(uint64_t address, uint64_t bytes) {
  const uint64_t end = address + bytes < address ? ~0ull : address + bytes;
  Region region;
  for (uint64_t at = address; region_next(at, &region) && region.begin < end; at = region.end)
    if (!region.writes_only || region.braked != Braked::kNo) return false;
  return true;
}

// How many bytes from `address` on the program could access without a fault. Of memory that is not
// traced only readability is tested.
uint64_t accessible(uint64_t address, uint64_t bytes, bool write) {
  const uint64_t end = address + bytes;
  for (uint64_t at = address; at < end;) {
    Region region;
    const bool found = region_next(at, &region) && region.begin < end;
    const uint64_t gap_end = found ? max(at, region.begin) : end;
    const uint64_t readable = private_readable(at, gap_end);
    if (readable < gap_end - at) return at + readable - address;
    if (!found) break;
    if (!permits(region, write)) return gap_end - address;
    at = region.end;
  }
  return bytes;
}

// ---- Making a stand-in --------------------------------------------------------------------------

Item* item_add(Thread* thread, uint64_t address, void* memory, uint64_t bytes,
               const CopyBack& back) {
  Item* item = reinterpret_cast<Item*>(take(thread, 0, sizeof(Item)));
  if (!item) return nullptr;
  *item = {nullptr, address, static_cast<uint8_t*>(memory), bytes, back};
  Plan* plan = plan_of(thread);
  if (plan->last)
    plan->last->next = item;
  else
    plan->first = item;
  plan->last = item;
  return item;
}

uint8_t* take_like(Thread* thread, uint64_t address, uint64_t bytes, uint64_t usable) {
  return usable == bytes ? take(thread, address, bytes) : take_guarded(thread, address, usable);
}

// Fills a stand-in with what the kernel will read. Null: nothing can be read, or memory is out.
uint8_t* take_filled(Thread* thread, uint64_t address, uint64_t bytes, uint64_t* usable) {
  uint8_t* memory = take_like(thread, address, bytes, *usable);
  uint64_t done = 0;
  Fault fault;
  if (!memory || traced_read(thread, call_origin(thread), memory, address, *usable, &fault, &done))
    return memory;
  // A page without backing, behind the end of its file: the kernel shall fault there too.
  const uint64_t end = page_down(address + done);
  if (end <= address) return nullptr;
  done = end - address;
  uint8_t* guarded = take_guarded(thread, address, done);
  if (guarded) memcpy(guarded, memory, done);
  *usable = done;
  return guarded;
}

// The kernel gets the real memory: nothing it does there is logged. Said once for each call.
uint64_t pass_alias(Thread* thread, uint64_t address, uint64_t bytes) {
  const uint64_t alias = alias_of(address, bytes);
  const auto* rule = syscalls::syscall_rule(static_cast<uint32_t>(thread->call.number));
  TextBuffer<96> text;
  text.add(rule ? rule->name : "a system call");
  text.add(" was given traced memory itself: what it does there is not recorded");
  coverage_text(thread->process, text.data);
  return alias ? alias : address;
}

// Logs what the kernel is going to read, without keeping it.
void log_read(Thread* thread, uint64_t address, uint64_t bytes) {
  uint64_t room = kScratchBytes;
  uint8_t* scratch = take(thread, 0, room);
  if (!scratch) scratch = take(thread, 0, room = kPage);  // of what every thread has
  Fault fault;
  for (uint64_t at = 0; scratch && at < bytes; at += room)
    if (!traced_read(thread, call_origin(thread), scratch, address + at, min(bytes - at, room),
                     &fault))
      return;
}

// A transfer too long to be copied, or for which there is no memory, goes to and from the alias:
// its bytes are logged just before or after, not as the kernel moves them.
uint64_t pass_logged(Thread* thread, Direction direction, uint64_t address, uint64_t bytes,
                     const CopyBack& back) {
  const uint64_t alias = alias_of(address, bytes);
  if (direction != Direction::kOut) log_read(thread, address, bytes);
  if (direction != Direction::kIn)
    item_add(thread, address, reinterpret_cast<void*>(alias), bytes, back);
  return alias;
}

}  // namespace

uint64_t peek(void* to, uint64_t address, uint64_t bytes) {
  uint8_t* out = static_cast<uint8_t*>(to);
  uint64_t done = 0;
  while (done < bytes) {
    const uint64_t at = address + done;
    Region region;
    uint64_t from = at, size = min(bytes - done, kPage - at % kPage);
    if (region_find(at, &region)) {
      if (!permits(region, false)) break;
      from = region.alias + (at - region.begin);
    }
    if (!safe_copy(out + done, reinterpret_cast<const void*>(from), size)) {
      Region now;  // another thread may have replaced what was found
      if (regions_unused() || !region_find(at, &now) || now.alias + (at - now.begin) == from) break;
      continue;
    }
    done += size;
  }
  return done;
}

uint64_t stand_in(Thread* thread, Direction direction, uint64_t address, uint64_t bytes,
                  const CopyBack& back) {
  bytes = min(bytes, kMaxStandIn);
  if (native_overlaps(address, bytes)) thread->call.wants_native = 1;
  if (!region_overlaps(address, bytes)) return address;
  if (direction == Direction::kIn && read_in_place(address, bytes)) return address;
  if (direction == Direction::kKeep) return pass_alias(thread, address, bytes);
  uint64_t usable = accessible(address, bytes, direction != Direction::kIn);
  if (!usable) return address;  // the kernel finds the fault itself
  if (bytes > kMaxCopy && usable == bytes && alias_of(address, bytes))
    return pass_logged(thread, direction, address, bytes, back);
  uint8_t* memory;
  if (direction != Direction::kOut) {
    memory = take_filled(thread, address, bytes, &usable);
  } else {
    memory = take_like(thread, address, bytes, usable);
    // What the kernel leaves alone in a structure stays as it was.
    if (memory && back.written != Written::kResult) peek(memory, address, usable);
  }
  if (!memory && usable == bytes && alias_of(address, bytes))
    return pass_logged(thread, direction, address, bytes, back);
  if (!memory) return pass_alias(thread, address, bytes);
  if (direction != Direction::kIn && !item_add(thread, address, memory, usable, back))
    return pass_alias(thread, address, bytes);
  return reinterpret_cast<uint64_t>(memory);
}

void* copy_in(Thread* thread, uint64_t address, uint64_t bytes) {
  uint8_t* memory = take(thread, address, bytes);
  Fault fault;
  if (!memory || accessible(address, bytes, false) < bytes) return nullptr;
  const bool read = region_overlaps(address, bytes)
                        ? traced_read(thread, call_origin(thread), memory, address, bytes, &fault)
                        : peek(memory, address, bytes) == bytes;
  return read ? memory : nullptr;
}

void copy_back(Thread* thread, uint64_t address, void* from, uint64_t bytes, const CopyBack& back) {
  item_add(thread, address, from, bytes, back);
}

void* bounce_memory(Thread* thread, uint64_t bytes) {
  constexpr uint64_t kLine = 64;  // the alignment
  return take(thread, kLine, bytes);
}

void bounce_own_pages(Thread* thread) {
  Plan* plan = plan_of(thread);
  plan->at = plan->end;
}

// ---- After the call -----------------------------------------------------------------------------

namespace {

uint64_t word_at(uint64_t address, uint8_t bytes) {
  uint64_t value = 0;
  return peek(&value, address, bytes) == bytes ? value : 0;
}

// How many bytes of the item the kernel has written.
uint64_t written_bytes(const Item& item, int64_t result) {
  const CopyBack& back = item.back;
  if (back.written == Written::kAlways) return result == -EFAULT ? 0 : item.bytes;
  if (back.written == Written::kInterrupted) return result == -EINTR ? item.bytes : 0;
  if (back.written == Written::kFields && result == -EINTR) return item.bytes;
  if (result < back.least_result) return 0;
  if (back.written == Written::kLength)
    return min(item.bytes,
               word_at(back.length_at, back.length_bytes) * max<uint32_t>(back.unit, 1));
  if (back.written != Written::kResult) return item.bytes;
  const uint64_t units = back.result_at ? *back.result_at : static_cast<uint64_t>(result);
  const uint64_t total = back.base + units * back.unit;
  return total <= back.position ? 0 : min(item.bytes, total - back.position);
}

bool write_fields(Thread* thread, const Item& item) {
  const CopyBack& back = item.back;
  Fault fault;
  for (uint64_t at = back.field; at + back.field_bytes <= item.bytes; at += back.unit)
    if (!traced_write(thread, call_origin(thread), item.address + at, item.memory + at,
                      back.field_bytes, &fault))
      return false;
  return true;
}

// The memory went away while the kernel worked. What was transferred before the fault counts, as it
// would natively.
void fault_after_call(Thread* thread, const CopyBack& back, uint64_t done) {
  const bool partial = back.written == Written::kResult && back.unit == 1 && !back.result_at;
  const uint64_t total = back.position + done;
  thread->regs.rax =
      partial && total > back.base ? total - back.base : static_cast<uint64_t>(-EFAULT);
}

// Is there still what the program has there? A call that failed has then not written.
bool left_alone(const Item& item) {
  uint8_t now[64];
  for (uint64_t at = 0, size; at < item.bytes; at += size) {
    size = min(item.bytes - at, sizeof now);
    if (peek(now, item.address + at, size) != size) return false;
    for (uint64_t i = 0; i < size; ++i)
      if (now[i] != item.memory[at + i]) return false;
  }
  return true;
}

bool write_back(Thread* thread, const Item& item, int64_t result) {
  const uint64_t bytes = written_bytes(item, result);
  if (!bytes) return true;
  if (failed(result) && item.back.written == Written::kAlways && left_alone(item)) return true;
  if (item.back.written == Written::kFields) {
    if (write_fields(thread, item)) return true;
    thread->regs.rax = static_cast<uint64_t>(-EFAULT);
    return false;
  }
  Fault fault;
  uint64_t done = 0;
  if (traced_write(thread, call_origin(thread), item.address, item.memory, bytes, &fault, &done))
    return true;
  fault_after_call(thread, item.back, done);
  return false;
}

}  // namespace

void bounce_finish(Thread* thread) {
  if (!thread->call.bounce) return;
  const int64_t result = static_cast<int64_t>(thread->regs.rax);
  for (const Item* item = plan_of(thread)->first; item; item = item->next)
    if (!write_back(thread, *item, result)) break;
  bounce_free(thread);
}

void bounce_free(Thread* thread) {
  if (!thread->call.bounce) return;
  Block* block = plan_of(thread)->blocks;
  thread->call.bounce = nullptr;
  while (block) {
    Block* next = block->next;
    sys(__NR_munmap, block, block->bytes);
    block = next;
  }
}

}  // namespace shmrec::agent
