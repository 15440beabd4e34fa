#include "agent/stream/sketch.h"

#include "agent/kernel/bounce.h"
#include "agent/memory/identity.h"
#include "agent/memory/maps.h"
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
  bool known;
  Span items[kMaxSpans];
};
Spans spans;

bool add_span(const MapLine& line, void*) {
  AgentsPart part;
  if (line.shared || !line.readable || !line.writable ||
      next_agents_part(line.begin, line.end, &part))
    return true;
  if (spans.count && spans.items[spans.count - 1].end == line.begin)
    spans.items[spans.count - 1].end = line.end;
  else if (spans.count < kMaxSpans)
    spans.items[spans.count++] = {line.begin, line.end};
  return true;
}

void learn_spans() {
  if (spans.known) return;
  spans.count = 0;
  for_each_map(add_span, nullptr);
  spans.known = true;
}

// The first that ends behind the address.
uint32_t span_behind(uint64_t address) {
  uint32_t low = 0, high = spans.count;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (spans.items[middle].end <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool in_spans(uint64_t address, uint64_t bytes) {
  const uint32_t number = span_behind(address);
  return number < spans.count && spans.items[number].begin <= address &&
         address + bytes <= spans.items[number].end;
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
  if (!in_spans(address, bytes) || is_left(address, bytes, limits.stack) ||
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

// What a program has for itself, which nothing needs to point to: the first memory behind its code.
void add_span_behind(uint64_t code, const SketchLimits& limits) {
  constexpr uint64_t kMostBytes = 32 << 10;
  const uint32_t number = span_behind(code);
  if (number == spans.count) return;
  const Span& span = spans.items[number];
  for (uint64_t at = span.begin; at < min(span.end, span.begin + kMostBytes); at += kBlockBytes)
    add(at, limits);
}

}  // namespace

void sketch_forget_maps() { spans.known = false; }

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
