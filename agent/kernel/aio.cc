#include "agent/kernel/aio.h"

#include "agent/kernel/bounce.h"
#include "agent/kernel/descriptors.h"
#include "agent/kernel/transfer.h"
#include "agent/log/log.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kMaxRequests = 1024;  // of one call that are looked at
constexpr uint32_t kMaxPending = 4096;
enum Opcode : uint16_t { kPread = 0, kPwrite = 1, kPreadv = 7, kPwritev = 8 };

struct Iocb {  // struct iocb
  uint64_t data;
  uint32_t key, rw_flags;
  uint16_t opcode;
  int16_t priority;
  uint32_t fd;
  uint64_t buffer, bytes;
  int64_t offset;
  uint64_t reserved;
  uint32_t flags, resfd;
};
static_assert(sizeof(Iocb) == 64);

struct Event {  // struct io_event
  uint64_t data, iocb;
  int64_t result, result2;
};

// A read into traced memory that is under way.
struct Pending {
  uint64_t iocb;  // 0: free
  uint64_t buffer, bytes;
};
SpinLock pending_lock;
Pending pending[kMaxPending];

bool reads(const Iocb& iocb) { return iocb.opcode == kPread || iocb.opcode == kPreadv; }
bool by_vectors(const Iocb& iocb) { return iocb.opcode == kPreadv || iocb.opcode == kPwritev; }
bool moves(const Iocb& iocb) {
  return iocb.opcode == kPread || iocb.opcode == kPwrite || by_vectors(iocb);
}

// A request of the call, with what was changed in it.
struct Request {
  uint64_t address;  // of the iocb, as the program knows it
  uint64_t place;    // where it can be written: itself or its alias
  Iocb iocb;
  bool changed;
  Transfer* write;  // of a file that is mapped somewhere, or null
};

void note_pending(Thread* thread, uint64_t iocb, uint64_t buffer, uint64_t bytes) {
  Locked lock(pending_lock);
  for (Pending& slot : pending) {
    if (slot.iocb) continue;
    slot = {iocb, buffer, bytes};
    return;
  }
  coverage(thread->process, "too many asynchronous reads under way: some are not recorded");
}

// The address for the kernel of a buffer that it will use after the call; logs what it will read.
uint64_t buffer_for_kernel(Thread* thread, const Request& request, uint64_t address,
                           uint64_t bytes) {
  if (!region_overlaps(address, bytes)) return address;
  const uint64_t alias = alias_of(address, bytes);
  if (!alias) {
    coverage(thread->process, "an asynchronous transfer across a border of traced memory");
    return address;
  }
  if (reads(request.iocb)) return alias;
  uint8_t scratch[512];
  Fault fault;
  for (uint64_t at = 0; at < bytes; at += sizeof scratch)
    traced_read(thread, call_origin(thread), scratch, address + at,
                min<uint64_t>(bytes - at, sizeof scratch), &fault);
  return alias;
}

void prepare(Thread* thread, Request* request) {
  Iocb& iocb = request->iocb;
  if (!moves(iocb)) return;
  uint64_t buffer = iocb.buffer;
  if (!by_vectors(iocb)) {
    buffer = buffer_for_kernel(thread, *request, iocb.buffer, iocb.bytes);
  } else if (iocb.bytes <= kMaxRequests) {
    Vector* vectors = static_cast<Vector*>(bounce_memory(thread, iocb.bytes * sizeof(Vector)));
    if (!vectors ||
        peek(vectors, iocb.buffer, iocb.bytes * sizeof(Vector)) != iocb.bytes * sizeof(Vector))
      return;
    for (uint64_t i = 0; i < iocb.bytes; ++i)
      vectors[i].base = buffer_for_kernel(thread, *request, vectors[i].base, vectors[i].bytes);
    buffer = reinterpret_cast<uint64_t>(vectors);
  }
  if (buffer == iocb.buffer) return;
  request->changed = safe_copy(reinterpret_cast<void*>(request->place + offsetof(Iocb, buffer)),
                               &buffer, sizeof buffer);
}

void note_reads(Thread* thread, const Request& request) {
  const Iocb& iocb = request.iocb;
  if (!moves(iocb) || !reads(iocb)) return;
  if (!by_vectors(iocb)) {
    if (region_overlaps(iocb.buffer, iocb.bytes))
      note_pending(thread, request.address, iocb.buffer, iocb.bytes);
    return;
  }
  for (uint64_t i = 0; i < min(iocb.bytes, kMaxRequests); ++i) {
    Vector vector;
    if (peek(&vector, iocb.buffer + i * sizeof vector, sizeof vector) == sizeof vector)
      note_pending(thread, request.address, vector.base, vector.bytes);
  }
}

// Says ahead of the call what will be written to a file that is mapped somewhere.
void note_write(Thread* thread, Request* request) {
  const Iocb& iocb = request->iocb;
  if (!moves(iocb) || reads(iocb)) return;
  const uint64_t count = by_vectors(iocb) ? iocb.bytes : 1;
  if (count > kMaxRequests) return;
  Vector* vectors = static_cast<Vector*>(bounce_memory(thread, (count + 1) * sizeof(Vector)));
  if (!vectors) return;
  vectors[0] = {iocb.buffer, iocb.bytes};
  const uint64_t bytes = count * sizeof(Vector);
  if (by_vectors(iocb) && peek(vectors, iocb.buffer, bytes) != bytes) return;
  request->write = descriptors_write_begins(thread, static_cast<int>(iocb.fd),
                                            static_cast<uint64_t>(iocb.offset), vectors, count);
}

uint64_t real_place(uint64_t address) {
  const uint64_t alias = alias_of(address, sizeof(Iocb));
  return alias ? alias : address;
}

// Submits requests of the array up to one whose place in it cannot be read. Returns how many that
// were, with the kernel's result; 0: none, and nothing was called.
uint64_t submit(Thread* thread, uint64_t array, uint64_t count, int64_t* result) {
  bounce_free(thread);
  Request* requests =
      static_cast<Request*>(bounce_memory(thread, count * (sizeof(Request) + 8) + 8));
  if (!requests) return 0;
  uint64_t* pointers = reinterpret_cast<uint64_t*>(requests + count);
  count = peek(pointers, array, count * 8) / 8;
  if (!count) return 0;
  for (uint64_t i = 0; i < count; ++i) {
    Request& request = requests[i];
    request.address = pointers[i];
    request.place = pointers[i] = real_place(pointers[i]);
    request.changed = false;
    request.write = nullptr;
    if (peek(&request.iocb, request.address, sizeof request.iocb) != sizeof request.iocb)
      memset(&request.iocb, 0xFF, sizeof request.iocb);
    prepare(thread, &request);
    note_write(thread, &request);
  }
  *result = sys(__NR_io_submit, arg(thread, 0), count, pointers);
  for (uint64_t i = 0; i < count; ++i) {
    const Request& request = requests[i];
    if (request.changed)
      safe_copy(reinterpret_cast<void*>(request.place + offsetof(Iocb, buffer)),
                &request.iocb.buffer, sizeof request.iocb.buffer);
    const bool handed_in = static_cast<int64_t>(i) < *result;
    if (request.write) descriptors_write_ends(thread, request.write, handed_in);
    if (handed_in) note_reads(thread, request);
  }
  return count;
}

}  // namespace

Answer do_io_submit(Thread* thread, void* context) {
  const int64_t wanted = static_cast<int64_t>(arg(thread, 1));
  int64_t submitted = 0;
  while (submitted < wanted) {
    const uint64_t piece = min<uint64_t>(static_cast<uint64_t>(wanted - submitted), kMaxRequests);
    int64_t result;
    const uint64_t asked =
        submit(thread, arg(thread, 2) + 8 * static_cast<uint64_t>(submitted), piece, &result);
    bounce_free(thread);
    if (!asked) break;
    if (failed(result)) return done(thread, submitted ? submitted : result);
    submitted += result;
    if (static_cast<uint64_t>(result) < piece) break;
  }
  return submitted ? done(thread, submitted) : kernel_access(thread, context);
}

void aio_fetched(Thread* thread) {
  const int64_t events = static_cast<int64_t>(thread->regs.rax);
  for (int64_t i = 0; i < events; ++i) {
    const uint64_t at = thread->regs.r10 + static_cast<uint64_t>(i) * sizeof(Event);
    Event event;
    if (peek(&event, at, sizeof event) != sizeof event) return;
    const uint64_t place = event.iocb;
    uint64_t left = event.result > 0 ? static_cast<uint64_t>(event.result) : 0;
    for (uint32_t slot = 0; slot < kMaxPending; ++slot) {
      pending_lock.lock();
      const Pending found = pending[slot];
      const bool mine = found.iocb && (found.iocb == place || real_place(found.iocb) == place);
      if (mine) pending[slot].iocb = 0;
      pending_lock.unlock();
      if (!mine) continue;
      const uint64_t bytes = min(left, found.bytes);
      descriptors_log_arrived(thread, found.buffer, bytes);
      left -= bytes;
      if (found.iocb == place) continue;
      safe_copy(reinterpret_cast<void*>(at + offsetof(Event, iocb)), &found.iocb, 8);
    }
  }
}

}  // namespace shmrec::agent
