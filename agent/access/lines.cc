#include "agent/access/lines.h"

#include "agent/access/stripes.h"
#include "agent/arch/x86_64/guarded.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// From here on one instruction copies faster than a loop.
constexpr uint64_t kLong = 256;

const void* at(uint64_t alias) { return reinterpret_cast<const void*>(alias); }

// The first of them.
Bytes in_line(const Bytes& bytes) {
  return {bytes.alias, bytes.offset, min(bytes.count, kLineBytes - bytes.offset % kLineBytes)};
}

void skip(Bytes* bytes, uint64_t count) {
  bytes->alias += count, bytes->offset += count, bytes->count -= count;
}

bool all_at(uint64_t* versions, const Bytes& bytes, uint64_t version) {
  for (uint32_t i = 0; i < lines_touched(bytes.offset, static_cast<uint32_t>(bytes.count)); ++i)
    versions[i] = version;
  return true;
}

bool read_line(Thread* thread, uint32_t stripe, const Bytes& bytes, uint8_t* to, uint64_t* version,
               Fault* fault) {
  for (;;) {
    const uint64_t before = stripe_wait(thread, stripe);
    compiler_fence();
    if (!safe_copy(to, at(bytes.alias), bytes.count, fault)) return false;
    compiler_fence();
    if (stripe_peek(stripe) != before) continue;
    *version = stripe_version(before) + 1;
    return true;
  }
}

bool read_lines(Thread* thread, const Region& region, Bytes bytes, uint8_t* to, uint64_t* versions,
                Fault* fault) {
  const uint32_t mask = log_header().stripes.count - 1;
  const uint32_t first = stripe_index(region.segment, bytes.offset);
  const uint32_t lines = lines_touched(bytes.offset, static_cast<uint32_t>(bytes.count));
  const uint64_t* const words = stripe_words();
  for (uint32_t i = 0; i < lines; ++i) {
    versions[i] = load(&words[(first + i) & mask]);
    if (stripe_locked(versions[i])) versions[i] = stripe_wait(thread, (first + i) & mask);
  }
  compiler_fence();
  if (!range_copy(to, at(bytes.alias), bytes.count, fault)) return false;
  compiler_fence();
  for (uint32_t i = 0; i < lines; ++i) {
    const Bytes line = in_line(bytes);
    const uint32_t stripe = (first + i) & mask;
    if (load(&words[stripe]) == versions[i])
      versions[i] = stripe_version(versions[i]) + 1;
    else if (!read_line(thread, stripe, line, to, &versions[i], fault))
      return false;
    to += line.count;
    skip(&bytes, line.count);
  }
  return true;
}

bool write_line(Thread* thread, uint32_t stripe, const Bytes& bytes, const uint8_t* from,
                uint64_t* version, Fault* fault) {
  const uint64_t locked = stripe_lock(thread, 0, stripe);
  __atomic_store_n(version, locked, __ATOMIC_RELEASE);
  const bool ok = safe_copy(reinterpret_cast<void*>(bytes.alias), from, bytes.count, fault);
  stripe_unlock(thread, 0, ok);
  return ok;
}

// Two lines of one page, all or nothing of which faults. One after the other: who settles what a
// dead thread left expects that what is stored first of a line lies in it alone.
bool write_two_lines(Thread* thread, uint32_t stripe, const Bytes& first, const Bytes& second,
                     const uint8_t* from, uint64_t* versions, Fault* fault) {
  uint64_t locked[2];
  stripes_lock_two(thread, stripe, locked);
  __atomic_store_n(&versions[0], locked[0], __ATOMIC_RELEASE);
  __atomic_store_n(&versions[1], locked[1], __ATOMIC_RELEASE);
  const bool ok =
      safe_copy(reinterpret_cast<void*>(first.alias), from, first.count, fault) &&
      safe_copy(reinterpret_cast<void*>(second.alias), from + first.count, second.count, fault);
  stripes_unlock_two(thread, ok);
  return ok;
}

bool write_lines(Thread* thread, const Region& region, Bytes bytes, const uint8_t* from,
                 uint64_t* versions, Fault* fault) {
  const uint32_t mask = log_header().stripes.count - 1;
  uint32_t stripe = stripe_index(region.segment, bytes.offset);
  while (bytes.count) {
    const Bytes first = in_line(bytes);
    skip(&bytes, first.count);
    const Bytes second = in_line(bytes);
    const bool two = second.count && bytes.alias % kPage && stripes_pair(stripe);
    const bool ok = two ? write_two_lines(thread, stripe, first, second, from, versions, fault)
                        : write_line(thread, stripe, first, from, versions, fault);
    if (!ok) return false;
    if (two) skip(&bytes, second.count);
    from += first.count + (two ? second.count : 0);
    versions += 1 + two;
    stripe = (stripe + 1 + two) & mask;
  }
  return true;
}

}  // namespace

bool range_copy(void* to, const void* from, uint64_t bytes, Fault* fault) {
  if (bytes >= kLong && guarded_copy(to, from, bytes)) return true;
  return safe_copy(to, from, bytes, fault);  // which says what the fault is
}

bool lines_read(Thread* thread, const Region& region, const Bytes& bytes, uint8_t* to,
                uint64_t* versions, Fault* fault) {
  if (!region.relaxed) return read_lines(thread, region, bytes, to, versions, fault);
  return all_at(versions, bytes, rdtsc()) && range_copy(to, at(bytes.alias), bytes.count, fault);
}

bool lines_write(Thread* thread, const Region& region, const Bytes& bytes, const uint8_t* from,
                 uint64_t* versions, Fault* fault) {
  if (!region.relaxed) return write_lines(thread, region, bytes, from, versions, fault);
  return all_at(versions, bytes, rdtsc()) &&
         range_copy(reinterpret_cast<void*>(bytes.alias), from, bytes.count, fault);
}

}  // namespace shmrec::agent
