#include "agent/stream/sketch.h"

#include "agent/kernel/bounce.h"
#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
#include "agent/patches/patch.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

using namespace stream;

namespace {

constexpr uint32_t kBlocks = 1024, kWords = 32, kBuckets = 4096;
constexpr uint64_t kWord = sizeof(uint64_t), kBlockBytes = kWords * kWord;

struct Sketch {
  uint32_t count;
  uint64_t at[kBlocks];
  uint64_t words[kBlocks][kWords];
  uint64_t seen[kBuckets];  // addresses that were asked for, hashed, open; 0: none
  uint32_t seen_count;
};
Sketch sketch;

// ---- Which memory counts ------------------------------------------------------------------------

// Those with a higher address than there is room for do not.
constexpr uint32_t kMaxSpans = 2048;
struct Span {
  uint64_t begin, end;
};
struct Spans {
  uint32_t count;
  Span items[kMaxSpans];

  void add(uint64_t begin, uint64_t end) {
    if (count && items[count - 1].end == begin)
      items[count - 1].end = end;
    else if (count < kMaxSpans)
      items[count++] = {begin, end};
  }
  // The first that ends behind the address.
  uint32_t behind(uint64_t address) const {
    uint32_t low = 0, high = count;
    while (low < high) {
      const uint32_t middle = (low + high) / 2;
      if (items[middle].end <= address)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  uint64_t lowest() const { return count ? items[0].begin : UINT64_MAX; }
  bool have(uint64_t address, uint64_t bytes) const {
    const uint32_t number = behind(address);
    return number < count && items[number].begin <= address && address + bytes <= items[number].end;
  }
};
Spans data, code;  // what counts, and what may be executed
bool maps_known = false;

bool add_span(const MapLine& line, void*) {
  AgentsPart part;
  if (line.shared || !line.readable || next_agents_part(line.begin, line.end, &part)) return true;
  if (line.writable) data.add(line.begin, line.end);
  if (line.executable) code.add(line.begin, line.end);
  return true;
}

void learn_spans() {
  if (maps_known) return;
  data.count = code.count = 0;
  for_each_map(add_span, nullptr);
  maps_known = true;
}

bool overlaps(uint64_t begin, uint64_t bytes, uint64_t other, uint64_t other_bytes) {
  return begin < other + other_bytes && other < begin + bytes;
}

// Of the stack: what a function may use below its pointer counts.
bool is_left(uint64_t address, uint64_t bytes, uint64_t stack) {
  constexpr uint64_t kRedZone = 128, kMostLeft = 8 << 20;
  return overlaps(address, bytes, stack - kMostLeft, kMostLeft - kRedZone);
}

bool is_in_reach(uint64_t address, uint64_t bytes, const SketchLimits& limits) {
  if (!data.have(address, bytes) || is_left(address, bytes, limits.stack) ||
      overlaps(address, bytes, limits.stop, kMaxInstruction))
    return false;
  for (uint32_t i = 0; i < limits.count; ++i)
    if (overlaps(address, bytes, limits.left_out[i].address, limits.left_out[i].bytes))
      return false;
  return true;
}

// ---- The sketch ---------------------------------------------------------------------------------

// Notes that it has been seen. False: it had been.
bool see(uint64_t block) {
  uint32_t at = static_cast<uint32_t>(block * kMix >> 40) % kBuckets;
  for (; sketch.seen[at]; at = (at + 1) % kBuckets)
    if (sketch.seen[at] == block) return false;
  sketch.seen[at] = block;
  ++sketch.seen_count;
  return true;
}

void add(uint64_t pointer, const SketchLimits& limits) {
  const uint64_t block = pointer & ~(kBlockBytes - 1);
  if (sketch.count == kBlocks || sketch.seen_count + 1 == kBuckets ||
      !is_in_reach(block, kBlockBytes, limits) || !see(block))
    return;
  if (peek(sketch.words[sketch.count], block, kBlockBytes) == kBlockBytes)
    sketch.at[sketch.count++] = block;
}

// ---- What code names ----------------------------------------------------------------------------

constexpr uint64_t kWindow = 512;  // bytes of code, on either side
constexpr uint32_t kMostCallers = 8;

// Where an instruction would name a place relative to itself, if one had its ModR/M byte there;
// what is none names some other place, always the same.
bool names_place(uint8_t byte) { return (byte & 0xC7) == 0x05; }

void add_named(uint64_t ip, const SketchLimits& limits) {
  uint8_t bytes[2 * kWindow];
  const uint32_t number = code.behind(ip);
  if (number == code.count || code.items[number].begin > ip) return;
  const uint64_t begin = max(ip - min(ip, kWindow), code.items[number].begin),
                 count = min(ip + kWindow, code.items[number].end) - begin;
  if (peek(bytes, begin, count) != count) return;
  patch_original(begin, bytes, count);
  for (uint64_t i = 0; i + 1 + sizeof(int32_t) <= count; ++i) {
    int32_t distance;
    memcpy(&distance, bytes + i + 1, sizeof distance);
    if (names_place(bytes[i]))
      add(begin + i + 1 + sizeof distance + static_cast<uint64_t>(int64_t{distance}), limits);
    else if (static_cast<uint32_t>(distance) >= data.lowest())  // of a program that lies low
      add(static_cast<uint32_t>(distance), limits);
  }
}

// What lies on the stack and points to code is where a caller goes on, mostly.
void add_named_by_callers(uint64_t stack, const SketchLimits& limits) {
  constexpr uint32_t kStackWords = 256;
  uint64_t words[kStackWords];
  const uint64_t count = peek(words, stack, sizeof words) / kWord;
  uint32_t callers = 0;
  for (uint64_t i = 0; i < count && callers < kMostCallers; ++i) {
    if (!code.have(words[i], 1)) continue;
    add_named(words[i], limits);
    ++callers;
  }
}

// What a program has for itself, which nothing needs to point to: the first memory behind its code.
void add_span_behind(uint64_t ip, const SketchLimits& limits) {
  constexpr uint64_t kMostBytes = 32 << 10;
  const uint32_t number = data.behind(ip);
  if (number == data.count) return;
  const Span& span = data.items[number];
  for (uint64_t at = span.begin; at < min(span.end, span.begin + kMostBytes); at += kBlockBytes)
    add(at, limits);
}

}  // namespace

void sketch_forget_maps() { maps_known = false; }
void sketch_learn_maps() { learn_spans(); }

bool sketch_compares(uint64_t address, const SketchLimits& limits) {
  learn_spans();
  return is_in_reach(address, kWord, limits);
}

void sketch_draw(const Regs& regs, const SketchLimits& limits) {
  constexpr uint32_t kStackBlocks = 8;
  const uint64_t* values = reinterpret_cast<const uint64_t*>(&regs);
  learn_spans();
  sketch.count = sketch.seen_count = 0;
  memset(sketch.seen, 0, sizeof sketch.seen);
  for (uint32_t i = 0; i < kStackPointer; ++i) add(values[i], limits);
  for (uint32_t i = 0; i < kStackBlocks; ++i) add(regs.rsp + i * kBlockBytes, limits);
  add_named(regs.rip, limits);
  add_named_by_callers(regs.rsp, limits);
  add_span_behind(regs.rip, limits);
  add_span_behind(0, limits);
  for (uint32_t i = 0; i < sketch.count; ++i)
    for (uint32_t j = 0; j < kWords; ++j) add(sketch.words[i][j], limits);
}

uint64_t sketch_hash() {
  uint64_t hash = 0;
  for (uint32_t i = 0; i < sketch.count; ++i) {
    hash = mix(hash, sketch.at[i]);
    for (uint32_t j = 0; j < kWords; ++j) hash = mix(hash, sketch.words[i][j]);
  }
  return hash;
}

uint32_t sketch_changes(StopWord* words, uint32_t room) {
  constexpr uint64_t kMostCounted = 1 << 24;
  uint32_t count = 0, counted = 0;
  for (uint32_t i = 0; i < sketch.count; ++i) {
    uint64_t now[kWords];
    if (peek(now, sketch.at[i], kBlockBytes) != kBlockBytes) continue;
    for (uint32_t j = 0; j < kWords; ++j) {
      const uint64_t before = sketch.words[i][j];
      if (now[j] == before) continue;
      const StopWord word = {sketch.at[i] + j * kWord, now[j]};
      if (now[j] - before < kMostCounted && counted < room) {
        if (count < room) words[count++] = words[counted];
        words[counted++] = word;
      } else if (count < room) {
        words[count++] = word;
      }
    }
  }
  return count;
}

}  // namespace shmrec::agent
