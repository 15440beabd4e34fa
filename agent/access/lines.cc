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

// The words of neighbouring stripes, all of them unlocked.
void wait_lines(Thread* thread, uint32_t first, uint32_t lines, uint64_t* words) {
  const uint64_t* const now = stripe_words() + first;
  uint64_t any = 0;
  for (uint32_t i = 0; i < lines; ++i) any |= words[i] = load(&now[i]);
  if (!stripe_locked(any)) return;
  for (uint32_t i = 0; i < lines; ++i)
    if (stripe_locked(words[i])) words[i] = stripe_wait(thread, first + i);
}

// Makes versions of the words from before. Are they what they were?
bool unchanged(uint32_t first, uint32_t lines, uint64_t* words) {
  const uint64_t* const now = stripe_words() + first;
  uint64_t changed = 0;
  for (uint32_t i = 0; i < lines; ++i) {
    changed |= load(&now[i]) ^ words[i];
    words[i] = stripe_version(words[i]) + 1;
  }
  return !changed;
}

// Reads lines again that were written meanwhile.
bool read_changed(Thread* thread, uint32_t stripe, Bytes bytes, uint8_t* to, uint64_t* versions,
                  Fault* fault) {
  while (bytes.count) {
    const Bytes line = in_line(bytes);
    if (stripe_peek(stripe) != stripe_word(*versions - 1) &&
        !read_line(thread, stripe, line, to, versions, fault))
      return false;
    to += line.count, ++versions, ++stripe;
    skip(&bytes, line.count);
  }
  return true;
}

// Of which the stripes are neighbours.
bool read_neighbours(Thread* thread, uint32_t stripe, const Bytes& bytes, uint8_t* to,
                     uint64_t* versions, Fault* fault) {
  const uint32_t lines = lines_touched(bytes.offset, static_cast<uint32_t>(bytes.count));
  wait_lines(thread, stripe, lines, versions);
  compiler_fence();
  if (!range_copy(to, at(bytes.alias), bytes.count, fault)) return false;
  compiler_fence();
  return unchanged(stripe, lines, versions) ||
         read_changed(thread, stripe, bytes, to, versions, fault);
}

// How many of the bytes lie in lines whose stripes come before the end of the table.
uint64_t before_end(const Bytes& bytes, uint32_t stripe) {
  const uint64_t lines = log_header().stripes.count - stripe;
  return min(bytes.count, lines * kLineBytes - bytes.offset % kLineBytes);
}

bool read_lines(Thread* thread, const Region& region, Bytes bytes, uint8_t* to, uint64_t* versions,
                Fault* fault) {
  while (bytes.count) {
    const uint32_t stripe = stripe_index(region.segment, bytes.offset);
    const Bytes part = {bytes.alias, bytes.offset, before_end(bytes, stripe)};
    if (!read_neighbours(thread, stripe, part, to, versions, fault)) return false;
    to += part.count;
    versions += lines_touched(part.offset, static_cast<uint32_t>(part.count));
    skip(&bytes, part.count);
  }
  return true;
}

// What is left of a range that is being written.
struct Writing {
  Bytes bytes;
  const uint8_t* from;
  uint64_t* versions;
  uint32_t stripe;

  void done(uint64_t count, uint32_t lines, uint32_t mask) {
    skip(&bytes, count);
    from += count, versions += lines, stripe = (stripe + lines) & mask;
  }
};

bool write_line(Thread* thread, uint64_t count, const Writing& next, Fault* fault) {
  const uint64_t locked = stripe_lock(thread, 0, next.stripe);
  __atomic_store_n(next.versions, locked, __ATOMIC_RELEASE);
  const bool ok = safe_copy(reinterpret_cast<void*>(next.bytes.alias), next.from, count, fault);
  stripe_unlock(thread, 0, ok);
  return ok;
}

// Two lines of one page, all or nothing of which faults. One after the other: who settles what a
// dead thread left expects that what is stored first of a line lies in it alone.
bool write_two_lines(StripePairs& pairs, uint64_t first, uint64_t second, const Writing& next,
                     Fault* fault) {
  const uint64_t to = next.bytes.alias;
  pairs.lock(next.stripe, next.versions);
  const bool ok = safe_copy(reinterpret_cast<void*>(to), next.from, first, fault) &&
                  safe_copy(reinterpret_cast<void*>(to + first), next.from + first, second, fault);
  pairs.unlock(ok);
  return ok;
}

// Pairs of whole lines, as many as follow each other. One that faults is still to be done: it says
// then what the fault is.
void write_whole_pairs(StripePairs& pairs, uint32_t mask, Writing* left) {
  constexpr uint64_t kPair = 2 * kLineBytes;
  if (left->bytes.offset % kLineBytes || !pairs.has(left->stripe)) return;
  Writing next = *left;
  bool ok = true;
  while (ok && next.bytes.count >= kPair) {
    pairs.lock(next.stripe, next.versions);
    ok = guarded_store_lines(next.bytes.alias, next.from);
    pairs.unlock(ok);
    if (ok) next.done(kPair, 2, mask);
  }
  *left = next;
}

// The next line, or two.
bool write_next(Thread* thread, StripePairs& pairs, uint32_t mask, Writing* left, Fault* fault) {
  const uint64_t first = in_line(left->bytes).count;
  const uint64_t second = min(left->bytes.count - first, uint64_t{kLineBytes});
  const bool two = second && (left->bytes.alias + first) % kPage && pairs.has(left->stripe);
  const bool ok = two ? write_two_lines(pairs, first, second, *left, fault)
                      : write_line(thread, first, *left, fault);
  if (ok) left->done(first + (two ? second : 0), 1 + two, mask);
  return ok;
}

bool write_lines(Thread* thread, const Region& region, const Bytes& bytes, const uint8_t* from,
                 uint64_t* versions, Fault* fault) {
  const uint32_t mask = log_header().stripes.count - 1;
  StripePairs pairs(thread);
  Writing left = {bytes, from, versions, stripe_index(region.segment, bytes.offset)};
  while (left.bytes.count) {
    write_whole_pairs(pairs, mask, &left);
    if (left.bytes.count && !write_next(thread, pairs, mask, &left, fault)) return false;
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
