#include "agent/memory/brake.h"

#include "agent/kernel/robust.h"
#include "agent/log/brake_rule.h"
#include "agent/log/log.h"
#include "agent/patches/patch.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint64_t kNever = ~0ull;
constexpr uint8_t kMostPutBacks = 3;  // of a site that is used with other memory, too

uint32_t followed = 0;  // Header::promotions when the regions were last made to follow
uint64_t next_look =
    kNever;  // TSC: a release or a new sample may be due; kNever: nothing is braked
uint64_t sampled_second = 0;   // whose sample is in force
uint32_t sample_is_spent = 0;  // 1: the faults have had their share of this second
uint64_t faults = 0;           // in the sample, in this second
uint64_t faults_allowed = 0;
uint64_t cpu_before = 0;       // processor time of the process when the second began
uint64_t fault_ns = kFaultNs;  // what an access costs that faults: the least between two of them

uint64_t cpu_ns(int clock) {
  uint64_t time[2] = {};
  sys(__NR_clock_gettime, clock, time);
  return time[0] * 1000000000 + time[1];
}
constexpr int kProcessCpu = 2, kThreadCpu = 3;  // CLOCK_*_CPUTIME_ID

uint32_t max_slowdown() { return log_header().max_slowdown; }
uint64_t second_of(uint64_t tsc) { return tsc / log_header().tsc_hz; }

bool writes_by_policy(const SegmentEntry& entry) {
  return load(&entry.accesses) == static_cast<uint16_t>(Accesses::kWrites);
}

BrakeLevel level_of(Braked braked) {
  return braked == Braked::kNo       ? BrakeLevel::kOff
         : braked == Braked::kWrites ? BrakeLevel::kWrites
                                     : BrakeLevel::kSampled;
}

// ---- Deciding -----------------------------------------------------------------------------------

void tell(const Process* process, uint32_t segment, BrakeLevel level, BrakeReason reason,
          uint64_t slowdown = 0) {
  JournalValues values;
  values.segment = segment;
  values.a = static_cast<uint64_t>(level);
  values.b = slowdown;
  values.c = static_cast<uint64_t>(reason);
  values.d = load(&segment_entry(segment).braked);
  journal(process, JournalType::kBrake, values);
}

// What this process has said that it does with each segment, by its number; another's says no more.
constexpr uint32_t kTold = 8192;
uint8_t told[kTold];

void tell_followed(const Process* process, uint32_t segment, BrakeLevel level) {
  uint8_t& last = told[segment % kTold];
  if (last == static_cast<uint8_t>(level)) return;
  last = static_cast<uint8_t>(level);
  tell(process, segment, level, BrakeReason::kFollowed);
}

// The entry is written before it is told: who dies in between leaves a brake that releases itself.
bool decide(SegmentEntry& entry, uint64_t from, uint64_t to) {
  if (from == to || !compare_exchange(&entry.brake, from, to)) return false;
  return brake_level(from) != brake_level(to);
}

void tighten(const Process* process, uint32_t segment, uint32_t slowdown) {
  SegmentEntry& entry = segment_entry(segment);
  if (!segment_known(segment)) return;
  const uint64_t word = load(&entry.brake);
  const uint64_t next =
      brake_tightened(word, rdtsc(), log_header().tsc_hz, writes_by_policy(entry));
  if (!decide(entry, word, next)) return;
  if (load(&entry.braked) != UINT16_MAX) store(&entry.braked, uint16_t(entry.braked + 1));
  tell(process, segment, brake_level(next), BrakeReason::kMeasured, slowdown);
  fetch_add(&log_header().promotions, 1u);
}

void note_busy(uint32_t segment) {
  SegmentEntry& entry = segment_entry(segment);
  const uint64_t word = load(&entry.brake);
  decide(entry, word, brake_busy(word, rdtsc()));
}

void release_if_due(const Process* process, uint32_t segment) {
  SegmentEntry& entry = segment_entry(segment);
  const uint64_t word = load(&entry.brake), now = rdtsc();
  if (!brake_releasable(word, now, log_header().tsc_hz)) return;
  const uint64_t next = brake_released(word, now, writes_by_policy(entry));
  if (!decide(entry, word, next)) return;
  tell(process, segment, brake_level(next), BrakeReason::kCalm);
  fetch_add(&log_header().promotions, 1u);
}

// ---- Measuring ----------------------------------------------------------------------------------

// The segment of most records of the chunk, if one has more than half of them.
uint32_t main_segment(const uint8_t* chunk, uint64_t bytes) {
  uint32_t candidate = 0, votes = 0;
  for (uint64_t at = sizeof(ChunkHeader); at + 8 <= bytes;) {
    const uint32_t commit = *reinterpret_cast<const uint32_t*>(chunk + at);
    const uint32_t size = (commit & 0xFFFF) * 8;
    const RecordKind kind = static_cast<RecordKind>(commit >> 16 & 0xFF);
    if (!size || size > bytes - at) break;
    const uint8_t* header = chunk + at;
    if (kind_is_short(kind)) {
      const uint32_t place =
          short_place(reinterpret_cast<const ShortRecord*>(chunk + at)->event_place);
      header = place + sizeof(RecordHeader) <= at ? chunk + place : nullptr;
    }
    at += size;
    if (!kind_is_access(kind) || !header) continue;
    const uint32_t segment = reinterpret_cast<const RecordHeader*>(header)->segment;
    if (!votes) candidate = segment;
    votes += segment == candidate ? 1 : ~0u;
  }
  return candidate;
}

}  // namespace

void brake_meter(Thread* thread, const uint8_t* chunk, uint64_t bytes) {
  if (!max_slowdown()) return;
  BrakeMeter& meter = thread->brake_meter;
  const uint64_t now = cpu_ns(kThreadCpu);
  const bool known = meter.thread_cpu && now >= meter.thread_cpu;  // not of the block's last thread
  if (known) {
    meter.spent += now - meter.thread_cpu;
    // Others may have used the chunk before.
    const bool fresh = thread->chunk_stamp <= log_header().chunks.count;
    meter.cost +=
        BrakeCost{thread->chunk_records, meter.slow, meter.faults, bytes, fresh ? bytes / kPage : 0}
            .ns(load(&fault_ns));
  } else {
    meter.spent = meter.cost = 0;
  }
  meter.thread_cpu = now;
  meter.slow = meter.faults = 0;
  if (meter.spent < kBrakeWindow) return;
  const uint32_t slowdown = brake_slowdown(meter.spent, meter.cost);
  meter.spent = meter.cost = 0;
  if (slowdown <= brake_calm(max_slowdown())) return;
  const uint32_t segment = main_segment(chunk, bytes);
  if (!segment) return;
  if (slowdown > max_slowdown())
    tighten(thread->process, segment, slowdown);
  else
    note_busy(segment);
}

void brake_fault(Thread* thread, const Region& region) {
  if (!max_slowdown()) return;
  BrakeMeter& meter = thread->brake_meter;
  const uint64_t now = rdtsc(), passed = now - meter.last_fault;
  const uint64_t passed_ns =
      passed < log_header().tsc_hz ? passed * 1000000000 / log_header().tsc_hz : ~0ull;
  if (passed_ns < load(&fault_ns)) store(&fault_ns, max(passed_ns, kLeastFaultNs));
  meter.last_fault = now;
  ++meter.faults;
  if (region.braked != Braked::kSampled || load(&sample_is_spent)) return;
  if (fetch_add(&faults, uint64_t{1}) < load(&faults_allowed)) return;
  store(&sample_is_spent, 1u);
  note_busy(region.segment);
  store(&next_look, uint64_t{0});
}

// ---- Following ----------------------------------------------------------------------------------

namespace {

// Does a thread here hold a robust mutex in the range, or is about to?
bool holds_robust(uint64_t begin, uint64_t end) {
  struct Search {
    uint64_t begin, end;
    bool found;
  } search = {begin, end, false};
  for_each_thread_here(
      [](Thread* thread, void* raw) {
        Search& wanted = *static_cast<Search*>(raw);
        if (robust_holds(thread, wanted.begin, wanted.end)) wanted.found = true;
      },
      &search);
  return search.found;
}

void put(const Region& region, uint64_t begin, uint64_t end) {
  region_update(
      begin, end,
      [](Region& piece, void* raw) {
        const Region& wanted = *static_cast<const Region*>(raw);
        piece.braked = wanted.braked;
        piece.writes_only = wanted.writes_only;
      },
      const_cast<Region*>(&region));
}

bool protect(const Region& region, uint64_t begin, uint64_t end) {
  return !failed(sys(__NR_mprotect, begin, end - begin, view_of(region)));
}

// Makes [begin, end) of the region what `braked` says. False: it stays as it is.
bool brake(const Region& region, uint64_t begin, uint64_t end, Braked braked) {
  Region wanted = region;
  wanted.braked = braked;
  wanted.writes_only =
      braked != Braked::kNo || writes_by_policy(segment_entry(region.segment)) ? 1 : 0;
  const bool same_view = view_of(wanted) == view_of(region);
  if (!same_view && !protect(wanted, begin, end)) return false;
  if (region.braked == Braked::kOpen && holds_robust(begin, end)) {
    protect(region, begin, end);
    return false;
  }
  put(wanted, begin, end);
  return true;
}

// How the regions of this process are made to follow. What it says of that it says when no access
// is under way any more that began before: what is recorded from then on is recorded whole.
class Follow {
 public:
  explicit Follow(const Thread* thread) : thread_(thread) {}
  const Process* process() const { return thread_->process; }

  void changed(const Region& region, Braked braked) {
    changed_ = true;
    const Note note = {region.segment, level_of(braked)};
    if (note.level == level_of(region.braked)) return;
    for (uint32_t i = 0; i < count_; ++i)
      if (notes_[i].segment == note.segment && notes_[i].level == note.level) return;
    if (count_ == kNotes) finish();
    notes_[count_++] = note;
  }
  void finish() {
    if (changed_) regions_settle(thread_);
    changed_ = false;
    for (uint32_t i = 0; i < count_; ++i)
      tell_followed(process(), notes_[i].segment, notes_[i].level);
    count_ = 0;
  }

  uint64_t next = kNever;  // when to look again

 private:
  static constexpr uint32_t kNotes = 32;
  struct Note {
    uint32_t segment;
    BrakeLevel level;
  };
  const Thread* thread_;
  Note notes_[kNotes];
  uint32_t count_ = 0;
  bool changed_ = false;
};

// All of [begin, end) that is not so yet.
void brake_range(Follow& follow, uint64_t begin, uint64_t end, Braked braked) {
  Region region;
  for (uint64_t at = begin; region_next(at, &region) && region.begin < end; at = region.end) {
    const uint64_t first = max(begin, region.begin), last = min(end, region.end);
    const bool executed = region.protection & PROT_EXEC;  // is readable anyway
    if (region.braked == braked || (executed && braked > region.braked)) continue;
    if (brake(region, first, last, braked))
      follow.changed(region, braked);
    else
      follow.next = min(follow.next, rdtsc() + log_header().tsc_hz / 10);
  }
}

void sample(Follow& follow, const Region& region, const SegmentEntry& entry) {
  const uint64_t pages = page_up(load(&entry.extent_bytes)) / kPage;
  const uint64_t group_bytes = sample_group_pages(pages) * kPage;
  const uint64_t to_begin = region.begin - region.segment_offset;  // may wrap, as sums do
  for (uint64_t at = region.begin; at < region.end;) {
    const uint64_t group = (at - to_begin) / group_bytes;
    uint64_t last = group + 1;
    const auto in = [&](uint64_t which) {
      return !load(&sample_is_spent) && sample_has(which, pages, region.segment, sampled_second);
    };
    const bool wanted = in(group);
    while (to_begin + last * group_bytes < region.end && in(last) == wanted) ++last;
    const uint64_t stop = min(region.end, to_begin + last * group_bytes);
    brake_range(follow, at, stop, wanted ? Braked::kSampled : Braked::kOpen);
    at = stop;
  }
}

// A new second: how many faults may it take?
void new_second(uint64_t second) {
  constexpr uint64_t kLeast = 64, kMost = 20000;
  const uint64_t now = cpu_ns(kProcessCpu);
  const uint64_t spent = now > cpu_before ? now - cpu_before : 0;
  const uint64_t share = spent / 1000 * (brake_calm(max_slowdown()) - 1000) / load(&fault_ns);
  cpu_before = now;
  sampled_second = second;
  store(&faults, uint64_t{0});
  store(&faults_allowed, max(kLeast, min(kMost, share)));
  store(&sample_is_spent, 0u);
}

void follow_one(Follow& follow, const Region& region) {
  const SegmentEntry& entry = segment_entry(region.segment);
  release_if_due(follow.process(), region.segment);
  const Brake brake = brake_of(load(&entry.brake));
  const uint64_t hz = log_header().tsc_hz;
  if (brake.level != BrakeLevel::kOff)
    follow.next = min(follow.next, brake.since + brake_holds(brake, hz) + hz / 64);
  if (brake.level == BrakeLevel::kSampled) {
    follow.next = min(follow.next, (sampled_second + 1) * hz);
    return sample(follow, region, entry);
  }
  const bool to_writes = brake.level == BrakeLevel::kWrites && !writes_by_policy(entry);
  brake_range(follow, region.begin, region.end, to_writes ? Braked::kWrites : Braked::kNo);
}

}  // namespace

bool brake_waits() {
  const Header& header = log_header();
  if (!header.max_slowdown) return false;
  if (load(&header.promotions) != load(&followed)) return true;
  const uint64_t due = load(&next_look);
  return due != kNever && rdtsc() >= due;
}

void brake_look(Thread* thread) {
  if (!brake_waits()) return;
  MapsLock lock;
  Follow follow(thread);
  const uint32_t promotions = load(&log_header().promotions);
  if (const uint64_t second = second_of(rdtsc()); second != sampled_second) new_second(second);
  store(&next_look, kNever);
  const uint32_t spent = load(&sample_is_spent);
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end) follow_one(follow, region);
  store(&followed, promotions);
  const bool spent_since = load(&sample_is_spent) != spent;
  store(&next_look, spent_since ? 0 : min(load(&next_look), follow.next));
  follow.finish();
}

void brake_after_fork(const Process* process) {
  if (load(&next_look) == kNever) return;
  constexpr uint8_t kSaid = 0x80;
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end) {
    uint8_t& last = told[region.segment % kTold];
    if (!last || (last & kSaid)) continue;
    tell(process, region.segment, static_cast<BrakeLevel>(last), BrakeReason::kFollowed);
    last |= kSaid;
  }
  for (uint64_t at = 0; region_next(at, &region); at = region.end)
    told[region.segment % kTold] &= static_cast<uint8_t>(~kSaid);
}

void brake_new(const Process* process, Region* region) {
  if (!max_slowdown()) return;
  const BrakeLevel level = brake_level(load(&segment_entry(region->segment).brake));
  if (level == BrakeLevel::kOff) return;
  store(&next_look, uint64_t{0});
  if (region->writes_only || (region->protection & PROT_EXEC)) return;
  region->braked = Braked::kWrites;
  region->writes_only = 1;
  tell_followed(process, region->segment, level);
}

void brake_unite(uint64_t begin, uint64_t end, Braked least) {
  if (!max_slowdown()) return;
  Region region;
  for (uint64_t at = begin; region_next(at, &region) && region.begin < end; at = region.end) {
    if (region.braked <= least) continue;
    const bool writes = writes_by_policy(segment_entry(region.segment));
    brake(region, max(begin, region.begin), min(end, region.end), writes ? Braked::kNo : least);
    store(&next_look, uint64_t{0});
  }
}

bool brake_frees(const Site& site, Braked braked) {
  const bool needless =
      braked >= Braked::kSampled || (braked == Braked::kWrites && only_reads(site.form));
  return needless && site.patched == kPatched && site.form != Form::kRoutine &&
         (site.put_backs < kMostPutBacks || site.put_back_at != load(&log_header().promotions));
}

void brake_put_back(Thread* thread, Site& site) {
  Region region;
  if (load(&next_look) == kNever || !region_find(effective_address(site, thread->regs), &region) ||
      !brake_frees(site, region.braked))
    return;
  const uint32_t promotions = load(&log_header().promotions);
  if (site.put_back_at != promotions) site.put_backs = 0;
  site.put_back_at = promotions;
  site.put_backs = patch_put_back(thread, site) ? site.put_backs + 1 : kMostPutBacks;
}

}  // namespace shmrec::agent
