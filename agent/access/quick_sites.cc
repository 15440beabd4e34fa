#include "agent/access/quick_sites.h"

#include "agent/arch/x86_64/entry.h"
#include "agent/arch/x86_64/guarded.h"
#include "agent/log/records.h"
#include "agent/memory/callers.h"
#include "agent/memory/regions.h"
#include "agent/sites/table.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

// quick.S writes places and records, too.
static_assert(kFlagRelaxed == 1 && kCallersShift == 8);
static_assert(static_cast<int>(RecordKind::kPlace) == 8 && kPlaceShift == 48);
static_assert(static_cast<int>(RecordKind::kShortReadThenWrite) == 12);

constexpr uint64_t kHashFactor = -0x61C8864Full;
constexpr uint32_t kNumberFactor = 0x27D4EB2F;
// Where records of a place are: offsets from its own have 32 bits.
constexpr uint64_t kPlaceReach = uint64_t{1} << 32;

uint32_t hash_of(const Access& access) {
  const uint32_t stack = static_cast<uint32_t>(access.stack >> 4);
  const uint32_t sum = stack + site_number(access.site) * kNumberFactor;
  return sum * static_cast<uint32_t>(kHashFactor) >> (32 - kQuickSitesBits);
}

// The thread's for the access; or the one of the two at its hash that is to be given up for it.
QuickSite& quick_of(const Access& access) {
  const Thread* thread = access.thread;
  const uint32_t hash = hash_of(access);
  QuickSite* const pair = &thread->quick_sites[hash & ~1u];
  for (QuickSite* quick = pair; quick < pair + 2; ++quick)
    if (quick->key == thread->fast_key && quick->stack == access.stack) return *quick;
  // What has no place in the current chunk is older.
  if (pair[0].stamp != pair[1].stamp) return pair[pair[0].stamp > pair[1].stamp];
  return pair[hash % 2];
}

// The table of places lies behind that of sites.
constexpr uint64_t kSitesBytes = (uint64_t{1} << kQuickSitesBits) * sizeof(QuickSite);

// False: it cannot have any. They are where they were if the block has had another thread.
bool have_quick_sites(Thread* thread) {
  if (thread->quick_sites) return true;
  constexpr uint64_t kBytes = kSitesBytes + kKnownPlaces * sizeof(KnownPlace);
  const uint64_t block = (reinterpret_cast<uint64_t>(thread) - thread_blocks()) / kThreadBlockBytes;
  const uint64_t at = agent_base() + kQuickOffset + block * kBytes;
  if (at + kBytes > thread_blocks()) return false;  // of so many threads the last ones have none
  const int64_t result =
      sys(__NR_mmap, at, kBytes, PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (failed(result) && result != -EEXIST) return false;
  thread->quick_sites = reinterpret_cast<QuickSite*>(at);
  return true;
}

// Do the thread's stubs go by quick.S? It announces its use of regions by a plain store.
void choose_way(Thread* thread) {
  using Quick = void (*)();
  static constexpr Quick kQuick[2][kQuickSizes] = {
      {shmrec_quick_load1, shmrec_quick_load2, shmrec_quick_load4, shmrec_quick_load8,
       shmrec_quick_load16, shmrec_quick_load32},
      {shmrec_quick_store1, shmrec_quick_store2, shmrec_quick_store4, shmrec_quick_store8,
       shmrec_quick_store16, shmrec_quick_store32}};
  static constexpr Quick kBoth[2][kQuickSizes] = {
      {shmrec_quick_modify1, shmrec_quick_modify2, shmrec_quick_modify4, shmrec_quick_modify8,
       shmrec_fast_begin, shmrec_fast_begin},
      {shmrec_quick_atomic1, shmrec_quick_atomic2, shmrec_quick_atomic4, shmrec_quick_atomic8,
       shmrec_fast_begin, shmrec_fast_begin}};
  const uint32_t quickly = regions_use_is_cheap();
  if (thread->goes_quickly == quickly) return;
  thread->goes_quickly = quickly;
  for (uint32_t i = 0; i < kQuickSizes; ++i)
    for (uint32_t row = 0; row < 2; ++row) {
      const Quick one = quickly ? kQuick[row][i] : shmrec_quick_none;
      const Quick both = quickly ? kBoth[row][i] : shmrec_fast_begin;
      thread->quick[row][i] = reinterpret_cast<uint64_t>(one);
      thread->quick_both[row][i] = reinterpret_cast<uint64_t>(both);
    }
  thread->regions_changed = regions_sequence_at();
  thread->promotions = &log_header().promotions;
  thread->stripes = log_area<uint64_t>(log_header().stripes);
  thread->stripe_mask = log_header().stripes.count - 1;
  thread->log_base = reinterpret_cast<uint64_t>(&log_header());
}

// The callers that are there where the QuickSite has some. False: the stack cannot be read.
bool callers_there(const QuickSite& quick, Callers* callers) {
  callers->count = quick.callers;
  for (uint32_t i = 0; i < quick.callers; ++i) {
    uint64_t word;
    if (!guarded_load(&word, quick.stack + quick.callers_at[i] * 8)) return false;
    callers->words[i] = caller_word(quick.callers_at[i], word);
  }
  return true;
}

// Of the words as they are on the stack: their upper bits are zero, as they are addresses of code.
uint64_t callers_hash(const Callers& callers) {
  constexpr uint32_t kFew = 3;
  uint64_t hash = callers.count;
  const uint32_t words = !callers.count ? 0 : callers.count <= kFew ? kFew : kMaxCallers;
  for (uint32_t i = 0; i < words; ++i)
    hash = (hash ^ caller_address(callers.words[min(i, callers.count - 1)])) * kHashFactor;
  return hash;
}

// Is it of the access, wherever its place is?
bool is_like(const QuickSite& quick, const Access& access) {
  const Thread* thread = access.thread;
  return quick.key == thread->fast_key && quick.stack == access.stack && !quick.plain &&
         quick.sequence == thread->known_region.sequence &&
         access.address - quick.begin <= quick.span;
}

void put_callers(QuickSite& quick, const Callers& callers) {
  quick.callers = static_cast<uint8_t>(callers.count);
  quick.hash = callers_hash(callers);
  for (uint32_t i = 0; i < kMaxCallers && callers.count; ++i)
    quick.callers_at[i] =
        static_cast<uint16_t>(caller_place(callers.words[min(i, callers.count - 1)]));
}

// What the next access that is like this one needs to know.
void put_quick(QuickSite& quick, const Access& access) {
  const Thread* thread = access.thread;
  const KnownRegion& known = thread->known_region;
  const uint64_t from = access.address - access.address % kPlaceReach;
  quick.key = thread->fast_key;
  quick.stack = access.stack;
  quick.sequence = known.sequence;
  quick.promotions = load(&log_header().promotions);
  quick.begin = max(known.begin, from);
  quick.span = min(known.end - 1, from + (kPlaceReach - 1)) - quick.begin - (access.bytes - 1);
  quick.alias = known.alias - known.begin;
  quick.line = known.segment_offset - known.begin + known.segment * kStripeSpread * kLineBytes;
  quick.usage = known.usage;
  quick.segment = known.segment;
  quick.offset = access.offset - (access.address - quick.begin);
  quick.pc = access.site.ip;
  quick.bytes = static_cast<uint8_t>(access.bytes);
  quick.relaxed = static_cast<uint8_t>(known.relaxed);
  quick.aligned = access.bytes > 8 && !access.site.unaligned;
}

// The place goes to the cursor.
void write_place(QuickSite& quick, Thread* thread, const Callers& callers) {
  RecordHeader& header = *reinterpret_cast<RecordHeader*>(thread->cursor);
  const uint32_t bytes = place_record_bytes(callers.count);
  header.segment = quick.segment;
  header.offset = quick.offset;
  header.address = quick.begin;
  header.pc = quick.pc;
  header.event = 0;
  header.length = quick.bytes;
  header.syscall = 0;
  header.flags = quick.relaxed ? kFlagRelaxed : 0;
  put_callers(callers, header, thread->cursor + bytes);
  *reinterpret_cast<uint64_t*>(thread->cursor + bytes) = 0;
  store(&header.commit, commit_word(bytes, RecordKind::kPlace, RecordState::kCommitted));
  quick.place = static_cast<uint64_t>(thread->cursor - thread->chunk_begin) / 8 << kPlaceShift;
  quick.stamp = thread->chunk_stamp;
  thread->cursor += bytes;
}

// A hash of what the access's place says but for the callers, which are in the QuickSite's.
uint64_t hash_of_place(const QuickSite& quick, const Access& access) {
  const uint64_t said[] = {access.site.ip, access.bytes, quick.begin,
                           quick.segment,  quick.stack,  quick.sequence};
  uint64_t hash = quick.hash;
  for (const uint64_t each : said) {
    hash = (hash ^ each) * kHashFactor;
    hash ^= hash >> 32;
  }
  return hash;
}

// The same path has led here before in this chunk, though the QuickSite has been given up since.
void put_place(QuickSite& quick, const Access& access, const Callers& callers) {
  Thread* thread = access.thread;
  const uint64_t hash = hash_of_place(quick, access);
  KnownPlace& known = reinterpret_cast<KnownPlace*>(
      reinterpret_cast<uint8_t*>(thread->quick_sites) + kSitesBytes)[hash % kKnownPlaces];
  if (known.hash == hash && known.stamp == thread->chunk_stamp) {
    quick.place = known.place;
    quick.stamp = known.stamp;
    return;
  }
  write_place(quick, thread, callers);
  known = {hash, quick.stamp, quick.place, 0};
}

constexpr uint32_t kMostBytes = place_record_bytes(kMaxCallers) +
                                short_record_bytes(RecordKind::kShortReadThenWrite, kMaxFastBytes) +
                                8;

}  // namespace

const QuickSite* place_of(const Access& access) {
  Thread* thread = access.thread;
  if (!have_quick_sites(thread)) return nullptr;
  if (!record_has_room(thread, kMostBytes) && !record_keep(thread, kMostBytes)) return nullptr;
  QuickSite& quick = quick_of(access);
  Callers callers;
  const bool same = is_like(quick, access) && callers_there(quick, &callers) &&
                    callers_hash(callers) == quick.hash;
  if (same && quick.stamp == thread->chunk_stamp) return &quick;
  if (!same) {
    callers = callers_of(thread, access.site.ip, access.stack, access.frame);
    put_callers(quick, callers);
    put_quick(quick, access);
    quick.plain = 0;
  }
  put_place(quick, access, callers);
  choose_way(thread);
  return &quick;
}

void read_is_plain(const Access& access) {
  if (!have_quick_sites(access.thread)) return;
  QuickSite& quick = quick_of(access);
  put_quick(quick, access);
  quick.plain = 1;
  choose_way(access.thread);
}

}  // namespace shmrec::agent
