// What is left of an access whose thread died in it: the agent's own code, on a log with one chunk
// and two lanes, of which lane 1 is dead.
#include <gtest/gtest.h>

#include <cstring>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/access/stripes.h"
// clang-format on

namespace shmrec::agent {

bool filtered = false;  // no seccomp filter is there
bool lets_pass(int64_t, const uint64_t*) { return true; }

using shmlog::RecordKind;
using shmlog::RecordState;

namespace {

constexpr uint32_t kStripes = 64, kSegment = 3, kDead = 1, kHeir = 2;
constexpr uint64_t kVersion = 9;  // of the words; a record that writes has 10

struct Log {
  shmlog::Header header;
  shmlog::LaneEntry lanes[3];
  alignas(64) uint64_t stripes[kStripes];
  alignas(64) uint8_t chunk[1024];
};
Log log_memory;
alignas(4096) uint8_t segment_memory[4096];

}  // namespace

// ---- What stands below --------------------------------------------------------------------------

shmlog::Header& log_header() { return log_memory.header; }
shmlog::LaneEntry& lane_at(uint32_t lane) { return log_memory.lanes[lane]; }
bool lane_dead(const shmlog::LaneEntry& lane) { return &lane == &log_memory.lanes[kDead]; }
bool lane_take(Thread*) { return false; }
bool has_wide_exchange() { return true; }
void count_loss(shmlog::Loss loss, uint64_t by) {
  log_memory.header.losses[static_cast<uint32_t>(loss)] += by;
}
bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  std::memcpy(to, from, bytes);
  return true;
}

namespace {

struct Access {
  RecordKind kind = RecordKind::kWrite;
  uint64_t offset = 256;
  uint32_t length = 8;
  std::vector<uint64_t> versions{kVersion + 1};
  std::vector<uint8_t> values;
};

class Stripes : public testing::Test {
 protected:
  void SetUp() override {
    std::memset(&log_memory, 0, sizeof log_memory);
    std::memset(segment_memory, 0x11, sizeof segment_memory);
    log_memory.header.stripes = {offsetof(Log, stripes), kStripes, 8};
    log_memory.header.lanes = {offsetof(Log, lanes), 3, sizeof(shmlog::LaneEntry)};
    // The area's end is that of whole chunks; the test's record lies at its start.
    log_memory.header.chunks = {offsetof(Log, chunk), 1, shmlog::kChunkBytes};
    heir_ = std::make_unique<Thread>();
    heir_->lane = kHeir;
    heir_->lane_entry = &log_memory.lanes[kHeir];
  }
  void TearDown() override {
    region_remove(kView, kView + sizeof segment_memory, nullptr, nullptr);
  }

  void map() {
    Region region = {};
    region.begin = kView;
    region.end = kView + sizeof segment_memory;
    region.alias = reinterpret_cast<uint64_t>(segment_memory);
    region.segment = kSegment;
    ASSERT_TRUE(region_insert(region));
  }

  // Lane 1 died in this access, holding the stripes of these lines of it.
  void die(const Access& access, std::initializer_list<uint32_t> held) {
    auto* record = reinterpret_cast<shmlog::RecordHeader*>(log_memory.chunk);
    record->segment = kSegment;
    record->offset = access.offset;
    record->length = access.length;
    record->commit =
        shmlog::commit_word(shmlog::record_bytes(access.kind, access.offset, access.length),
                            access.kind, RecordState::kBegun);
    std::memcpy(record + 1, access.versions.data(), access.versions.size() * 8);
    std::memcpy(reinterpret_cast<uint64_t*>(record + 1) + access.versions.size(),
                access.values.data(), access.values.size());
    lane_at(kDead).record = offsetof(Log, chunk);
    for (uint32_t line : held) hold(access.offset + line * 64);
  }
  void hold(uint64_t offset) {
    word(offset) = shmlog::stripe_word_locked(kVersion, kDead);
    uint32_t* slots = lane_at(kDead).held;
    slots[slots[0] != 0] = stripe_index(kSegment, offset) + 1;
  }

  uint64_t& word(uint64_t offset) { return log_memory.stripes[stripe_index(kSegment, offset)]; }
  // What the next one to need the stripe of this byte finds.
  uint64_t version_after(uint64_t offset) {
    return shmlog::stripe_version(stripe_wait(heir_.get(), stripe_index(kSegment, offset)));
  }
  RecordState state() const {
    return static_cast<RecordState>(reinterpret_cast<const uint32_t*>(log_memory.chunk)[0] >> 24);
  }
  uint64_t version(uint32_t i) const {
    return reinterpret_cast<const uint64_t*>(log_memory.chunk + sizeof(shmlog::RecordHeader))[i];
  }
  uint64_t recovered() const {
    return log_memory.header.losses[static_cast<uint32_t>(shmlog::Loss::kStripesRecovered)];
  }

  static constexpr uint64_t kView = 0x5000'0000'0000;
  std::unique_ptr<Thread> heir_;
};

const std::vector<uint8_t> kNew(8, 0x22);

TEST_F(Stripes, AStoreThatHadNotComeToItsLineDidNotHappen) {
  map();
  die({.versions = {0}, .values = kNew}, {0});
  EXPECT_EQ(version_after(256), kVersion);
  EXPECT_EQ(state(), RecordState::kBegun);
  EXPECT_EQ(version(0), 0u);
  EXPECT_EQ(recovered(), 1u);
}

TEST_F(Stripes, AStoreOfWhichNothingIsInMemoryGivesItsVersionBack) {
  map();
  die({.values = kNew}, {0});
  EXPECT_EQ(version_after(256), kVersion);
  EXPECT_EQ(version(0), 0u);
}

TEST_F(Stripes, AStoreThatIsInMemoryHappened) {
  map();
  std::memset(segment_memory + 256, 0x22, 8);
  die({.values = kNew}, {0});
  EXPECT_EQ(version_after(256), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kBegun);
  EXPECT_EQ(version(0), kVersion + 1);
}

TEST_F(Stripes, AStoreThatIsThereInPartIsInferred) {
  map();
  std::memset(segment_memory + 256, 0x22, 8);
  die({.length = 16, .values = std::vector<uint8_t>(16, 0x22)}, {0});
  EXPECT_EQ(version_after(256), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kInferred);
}

TEST_F(Stripes, AStoreToASegmentThatTheHeirHasNotMappedIsInferred) {
  die({.values = kNew}, {0});
  EXPECT_EQ(version_after(256), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kInferred);
}

TEST_F(Stripes, OfAStoreToTwoLinesEachIsSettledForItself) {
  map();
  std::memset(segment_memory + 316, 0x22, 4);
  die({.offset = 316, .versions = {4, kVersion + 1}, .values = kNew}, {1});
  word(316) = shmlog::stripe_word(4);
  EXPECT_EQ(version_after(320), kVersion);
  EXPECT_EQ(version(0), 4u);
  EXPECT_EQ(version(1), 0u);
}

TEST_F(Stripes, AnAtomicThatChangedNothingIsAborted) {
  map();
  std::vector<uint8_t> values(16, 0x11);
  die({.kind = RecordKind::kReadWrite, .values = values}, {0});
  EXPECT_EQ(version_after(256), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kAborted);
}

TEST_F(Stripes, AnAtomicThatChangedMemoryGetsTheValueThatIsThere) {
  map();
  std::vector<uint8_t> values(8, 0x11);
  values.resize(16);
  std::memset(segment_memory + 256, 0x33, 8);
  die({.kind = RecordKind::kReadWrite, .values = values}, {0});
  EXPECT_EQ(version_after(256), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kInferred);
  EXPECT_EQ(log_memory.chunk[sizeof(shmlog::RecordHeader) + 8 + 8], 0x33);
}

TEST_F(Stripes, AnAtomicThatHadReleasedItsOtherStripeHappened) {
  map();
  std::vector<uint8_t> values(16, 0x11);
  die({.kind = RecordKind::kReadWrite, .offset = 316, .versions = {10, 10}, .values = values}, {0});
  word(320) = shmlog::stripe_word(kVersion + 1);
  EXPECT_EQ(version_after(316), kVersion + 1);
  EXPECT_EQ(state(), RecordState::kInferred);
}

TEST_F(Stripes, WithoutARecordNothingHappened) {
  map();
  hold(256);
  EXPECT_EQ(version_after(256), kVersion);
}

TEST_F(Stripes, AReusedLaneIsSettledToo) {
  map();
  die({.offset = 316, .versions = {kVersion + 1, kVersion + 1}, .values = kNew}, {0, 1});
  std::memset(segment_memory + 316, 0x22, 4);
  stripes_recover(kDead);
  EXPECT_EQ(word(316), shmlog::stripe_word(kVersion + 1));
  EXPECT_EQ(word(320), shmlog::stripe_word(kVersion));
  EXPECT_EQ(recovered(), 2u);
}

// ---- Two at once --------------------------------------------------------------------------------

constexpr uint32_t kFirst = 8, kOdd = 9;

TEST_F(Stripes, TwoAreTakenAndGoOnTogether) {
  uint64_t versions[2] = {};
  uint64_t* words = log_memory.stripes;
  words[kFirst] = shmlog::stripe_word(4);
  words[kFirst + 1] = shmlog::stripe_word(70);
  {
    StripePairs pairs(heir_.get());
    ASSERT_TRUE(pairs.has(kFirst));
    pairs.lock(kFirst, versions);
    EXPECT_EQ(words[kFirst], shmlog::stripe_word_locked(4, kHeir));
    EXPECT_EQ(words[kFirst + 1], shmlog::stripe_word_locked(70, kHeir));
    EXPECT_EQ(lane_at(kHeir).held[0], kFirst + 1);
    EXPECT_EQ(lane_at(kHeir).held[1], kFirst + 2);
    pairs.unlock(true);
  }
  EXPECT_EQ(versions[0], 5u);
  EXPECT_EQ(versions[1], 71u);
  EXPECT_EQ(words[kFirst], shmlog::stripe_word(5));
  EXPECT_EQ(words[kFirst + 1], shmlog::stripe_word(71));
  EXPECT_EQ(lane_at(kHeir).held[0] | lane_at(kHeir).held[1], 0u);
}

TEST_F(Stripes, TwoOfWhichNothingWasWrittenAreAsTheyWere) {
  uint64_t versions[2];
  StripePairs pairs(heir_.get());
  pairs.lock(kFirst, versions);
  pairs.unlock(false);
  EXPECT_EQ(log_memory.stripes[kFirst], 0u);
  EXPECT_EQ(log_memory.stripes[kFirst + 1], 0u);
}

TEST_F(Stripes, OfTwoTheOneThatWasTakenAwayIsLeftAlone) {
  uint64_t versions[2];
  uint64_t* words = log_memory.stripes;
  for (uint32_t taken : {0, 1}) {
    words[kFirst] = words[kFirst + 1] = shmlog::stripe_word(4);
    StripePairs pairs(heir_.get());
    pairs.lock(kFirst, versions);
    words[kFirst + taken] = shmlog::stripe_word_locked(20, kDead);
    pairs.unlock(true);
    EXPECT_EQ(words[kFirst + taken], shmlog::stripe_word_locked(20, kDead));
    EXPECT_EQ(words[kFirst + 1 - taken], shmlog::stripe_word(5));
  }
}

TEST_F(Stripes, TwoOfWhichADeadThreadHasOneAreTakenWhenItIsSettled) {
  uint64_t versions[2];
  map();
  std::memset(segment_memory + 256, 0x22, 8);
  die({.values = kNew}, {0});
  const uint32_t stripe = stripe_index(kSegment, 256) & ~1u;
  StripePairs pairs(heir_.get());
  pairs.lock(stripe, versions);
  EXPECT_EQ(versions[stripe_index(kSegment, 256) & 1], kVersion + 2);
  EXPECT_EQ(recovered(), 1u);
  pairs.unlock(true);
}

TEST_F(Stripes, TheSecondOfTwoAndTheNextAreNoPair) {
  EXPECT_FALSE(StripePairs(heir_.get()).has(kOdd));
}

}  // namespace
}  // namespace shmrec::agent
