// The index of a bundle: the same answers as without, and none from a damaged one.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "recording/bundle/bundle_parts.h"
#include "recording/index/index_writer.h"
#include "recording/index/stored_index.h"
#include "tests/unit/indexed_copy.h"
#include "tests/unit/shmlog_builder.h"

namespace shmrec::recording {
namespace {

using testing::AnswerByIndex;
using testing::ask_bundle;
using testing::IndexedCopy;
using testing::le32;
using testing::ShmlogBuilder;

std::string slurp(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void spew(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string hex_of(const std::string& bytes) {
  std::string text;
  char two[4];
  for (const char c : bytes) {
    std::snprintf(two, sizeof(two), "%02x ", static_cast<uint8_t>(c));
    text += two;
  }
  return text;
}

bool equal(const StoredPosting& a, const StoredPosting& b) {
  return a.segment == b.segment && a.chunk_writes == b.chunk_writes && a.line == b.line &&
         a.first_version == b.first_version && a.last_version == b.last_version;
}

// Four processes that read and write 64 lines at random, in small chunks that wrap. An even seed:
// by short records.
std::vector<uint8_t> random_log(uint32_t seed, uint32_t chunks, int accesses) {
  std::mt19937 random(seed);
  ShmlogBuilder builder(chunks);
  builder.set_short(seed % 2 == 0);
  const uint32_t segment = builder.add_segment(shmlog::SegmentKind::kAnonymous, "", 4096);
  for (uint32_t i = 1; i <= 4; ++i) {
    const uint32_t process = builder.add_process(
        {.id_high = i, .id_low = i, .pid = static_cast<int32_t>(100 + i), .name = "p"});
    builder.map_segment(process, segment, 0x7f0000000000 + i * 0x100000);
  }
  for (int i = 0; i < accesses; ++i) {
    const uint32_t lane = 1 + random() % 4;
    const uint64_t offset = random() % 4000;
    const auto value = le32(static_cast<uint32_t>(i));
    switch (random() % 6) {
      case 0:
        builder.read(lane, segment, offset, 4);
        break;
      case 1:
        builder.read_write(lane, segment, offset, value);
        break;
      case 2:
        builder.write_between(lane, segment, offset, value, 2);
        break;
      case 3:
        builder.clock(lane);
        break;
      default:
        builder.write(lane, segment, offset, value);
    }
    if (random() % 150 == 0) builder.end_chunk(lane);
  }
  return builder.build();
}

std::vector<BlameQuery> questions() {
  std::vector<BlameQuery> list;
  for (const char* where : {"1+0", "1+0x40", "1+0x7fe", "1+0xf80"}) {
    for (const char* recording : {"", "101", "104"}) {
      BlameQuery query;
      query.where = where;
      query.recording = recording;
      query.length = 64;
      query.history = 3;
      list.push_back(query);
      query.forward = true;
      list.push_back(query);
      query.forward = false;
      query.all = true;
      list.push_back(query);
    }
  }
  return list;
}

TEST(PostingBlock, AnyPostingsComeOutAsTheyWentIn) {
  std::vector<StoredPosting> postings = {
      {0, 0, 0, 0, 0},
      {0, 7, 0, 5, UINT64_MAX},
      {1, 2, UINT64_MAX / 64, UINT64_MAX, UINT64_MAX},
      {1, 3, UINT64_MAX / 64, 1, 2},
      {UINT32_MAX, UINT32_MAX, 0, 3, 4},
  };
  const auto decoded = decode_block(encode_block(postings));
  ASSERT_TRUE(decoded);
  ASSERT_EQ(decoded->size(), postings.size());
  for (size_t i = 0; i < postings.size(); ++i) EXPECT_TRUE(equal((*decoded)[i], postings[i])) << i;
}

// docs/index_format.md
TEST(PostingBlock, TheExampleOfTheDocument) {
  const std::vector<StoredPosting> postings = {
      {1, 6, 4, 2, 9},    // segment 1, line 4 (offset 0x100), chunk 3, reads, versions 2 to 9
      {1, 7, 4, 1, 300},  // the same line and chunk, writes, versions 1 to 300
      {2, 1, 0, 1, 1},    // segment 2, line 0, chunk 0, writes, version 1
  };
  EXPECT_EQ(hex_of(encode_block(postings)), "01 04 06 02 07 00 00 01 01 ab 02 01 00 01 01 00 ");
}

TEST(PostingBlock, DamageIsAnErrorOrOtherPostings) {
  std::string raw = encode_block(std::vector<StoredPosting>{{1, 6, 4, 2, 9}, {1, 7, 4, 1, 300}});
  EXPECT_FALSE(decode_block(raw.substr(0, raw.size() - 1)));
  EXPECT_FALSE(decode_block(std::string(20, '\xff')));
  EXPECT_FALSE(decode_block(std::string(index::kPostingsPerBlock * 5 + 5, '\0')));
  // A chunk of more bits than there are.
  EXPECT_FALSE(decode_block(std::string("\1\0\xff\xff\xff\xff\x7f\0\0", 9)));
}

TEST(Index, AnswersAsWithoutIt) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    const IndexedCopy copy(random_log(seed, 12, 3000));
    for (const BlameQuery& query : questions()) {
      const AnswerByIndex indexed = ask_bundle(copy.bundle(), query);
      const AnswerByIndex whole = ask_bundle(copy.bundle(), query, RunFiles::Read::kWhole);
      EXPECT_EQ(indexed.trouble, "");
      EXPECT_FALSE(indexed.whole);
      EXPECT_TRUE(whole.whole);
      ASSERT_EQ(indexed.text, whole.text) << query.where << " " << query.recording;
    }
  }
}

TEST(Index, OfShortRecordsAnswersAsOfLongOnes) {
  const std::vector<uint8_t> log = random_log(1, 12, 3000);
  const IndexedCopy copy(log), short_copy(testing::with_short_records(log));
  for (const BlameQuery& query : questions()) {
    const AnswerByIndex found = ask_bundle(short_copy.bundle(), query);
    EXPECT_EQ(found.trouble, "");
    EXPECT_FALSE(found.whole);
    ASSERT_EQ(found.text, ask_bundle(copy.bundle(), query).text) << query.where;
  }
}

TEST(Index, TheNewestOfAllAreThoseAtTheEnd) {
  const std::vector<uint8_t> log = random_log(4, 40, 5000);
  const auto reader = ShmlogReader::from_memory(log, "log");
  ASSERT_TRUE(reader);
  const auto index = AccessIndex::build(**reader);
  for (uint64_t line = 0; line < 4000; line += 64) {
    LineQuery query{.segment = 1, .begin = line, .end = line + 64};
    const std::vector<RecordId> all = index->all(query);
    ASSERT_GT(all.size(), 20u);
    for (const size_t most : {size_t{0}, size_t{1}, size_t{7}, all.size(), all.size() + 1}) {
      query.most = most;
      const size_t kept = std::min(most, all.size());
      EXPECT_EQ(index->all(query), std::vector<RecordId>(all.end() - kept, all.end())) << most;
    }
  }
}

TEST(Index, OfEqualLogsIsEqual) {
  const std::vector<uint8_t> log = random_log(7, 8, 1000);
  EXPECT_EQ(slurp(IndexedCopy(log).bundle()), slurp(IndexedCopy(log).bundle()));
}

TEST(Index, NoneIsMadeForASmallLog) {
  const std::filesystem::path root = ::testing::TempDir() + "/small-index";
  std::filesystem::create_directories(root / "run-1");
  const std::vector<uint8_t> log = random_log(7, 8, 1000);
  spew(root / "run-1" / "run.shmlog", std::string(log.begin(), log.end()));
  CreateBundleOptions options;
  options.output = root / "it.shmrec.tar.zst";
  ASSERT_TRUE(create_bundle(root / "run-1", options));
  const auto parts = BundleParts::open(options.output);
  ASSERT_TRUE(parts);
  EXPECT_EQ(*parts, nullptr);
  const AnswerByIndex answer = ask_bundle(options.output, questions()[0]);
  EXPECT_TRUE(answer.whole);
  EXPECT_EQ(answer.trouble, "");
  std::filesystem::remove_all(root);
}

// ---- Damage -------------------------------------------------------------------------------------

class DamagedIndex : public ::testing::Test {
 protected:
  IndexedCopy copy_{random_log(5, 8, 600)};
  std::string good_ = slurp(copy_.bundle());
  BlameQuery query_ = questions()[2];  // all accesses
  std::string answer_ = ask_bundle(copy_.bundle(), query_).text;

  size_t index_begin() const {
    const auto parts = BundleParts::open(copy_.bundle());
    EXPECT_TRUE(parts);
    return (*parts)->index()->blocks()[0].file_at;
  }

  void SetUp() override { ASSERT_NE(answer_.find("\"rows\": [\n"), std::string::npos) << answer_; }

  // With a directory that is damaged in a way that no checksum tells.
  std::string with_directory(const std::function<void(std::string& raw)>& change) const {
    index::Tail tail;
    std::memcpy(&tail, &good_[good_.size() - sizeof(tail)], sizeof(tail));
    const size_t at = good_.size() - sizeof(tail) - tail.file_bytes;
    std::string raw =
        *unpacked(std::string_view(good_).substr(at, tail.file_bytes), tail.raw_bytes);
    change(raw);
    std::string frame = *packed(raw);
    tail.file_bytes = static_cast<uint32_t>(frame.size());
    tail.raw_bytes = static_cast<uint32_t>(raw.size());
    frame.append(reinterpret_cast<const char*>(&tail), sizeof(tail));
    const auto bytes = static_cast<uint32_t>(frame.size());
    std::string bad = good_.substr(0, at - sizeof(bytes));
    bad.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
    return bad + frame;
  }

  // "" or what was found.
  std::string found_in(const std::string& bytes) {
    spew(copy_.bundle(), bytes);
    const AnswerByIndex bad = ask_bundle(copy_.bundle(), query_);
    if (bad.trouble.empty()) {
      EXPECT_EQ(bad.text, answer_);
    }
    if (bad.trouble.empty() || bad.whole) return bad.trouble;
    EXPECT_EQ(ask_bundle(copy_.bundle(), query_, RunFiles::Read::kWhole).text, answer_);
    return bad.trouble;
  }
};

TEST_F(DamagedIndex, NeverAnswersWrongly) {
  size_t found = 0, tried = 0;
  for (size_t at = index_begin(); at < good_.size(); at += 7, ++tried) {
    std::string bad = good_;
    bad[at] = static_cast<char>(bad[at] ^ 1 << at % 8);
    spew(copy_.bundle(), bad);
    const AnswerByIndex answer = ask_bundle(copy_.bundle(), query_);
    // A changed head of a block makes the whole file one that does not open.
    if (answer.text.starts_with("cannot be opened")) continue;
    found += !answer.trouble.empty();
    if (answer.trouble.empty()) {
      ASSERT_EQ(answer.text, answer_) << at;
    }
  }
  EXPECT_GT(found, tried / 2);
}

TEST_F(DamagedIndex, OfAnotherChunkIsFound) {
  const auto swapped = with_directory([](std::string& raw) {
    index::DirectoryHeader header;
    std::memcpy(&header, raw.data(), sizeof(header));
    char* chunks = raw.data() + sizeof(header) + header.entry_count * 8 +
                   header.frame_count * sizeof(index::Frame);
    for (uint32_t i = 0; i < header.chunk_count; ++i)
      chunks[i * sizeof(index::Chunk) + offsetof(index::Chunk, header.start_tsc)] ^= 1;
  });
  const std::string found = found_in(swapped);
  EXPECT_NE(found.find("not the one that it describes"), std::string::npos) << found;
}

// Nobody but who reads all of the log can tell that a posting is missing, as by a hostile sender.
TEST_F(DamagedIndex, IsFoundByVerify) {
  EXPECT_TRUE(verify_bundle(copy_.bundle()));
  size_t tried = 0;
  for (size_t at = index_begin(); at < good_.size(); at += 37, ++tried) {
    std::string bad = good_;
    bad[at] = static_cast<char>(bad[at] ^ 1 << at % 8);
    spew(copy_.bundle(), bad);
    EXPECT_FALSE(verify_bundle(copy_.bundle())) << at - index_begin();
  }
  EXPECT_GT(tried, 10u);
  spew(copy_.bundle(), with_directory([](std::string& raw) {
         raw.resize(raw.size() - sizeof(index::Block));
         --raw[offsetof(index::DirectoryHeader, block_count)];
       }));
  const auto verified = verify_bundle(copy_.bundle());
  ASSERT_FALSE(verified);
  EXPECT_NE(verified.error().message.find("index is not that of its log"), std::string::npos);
}

TEST_F(DamagedIndex, OfAnotherVersionIsNamed) {
  EXPECT_NE(found_in(with_directory([](std::string& raw) { raw[8] = 2; })).find("version 2"),
            std::string::npos);
}

TEST_F(DamagedIndex, WithCountsThatLieIsRefused) {
  for (size_t at = 16; at < sizeof(index::DirectoryHeader); ++at) {
    const std::string found = found_in(
        with_directory([&](std::string& raw) { raw[at] = static_cast<char>(raw[at] ^ 0x41); }));
    EXPECT_NE(found, "") << at;
  }
}

TEST_F(DamagedIndex, CutOffIsNoBundle) {
  spew(copy_.bundle(), good_.substr(0, good_.size() - 5));
  const AnswerByIndex answer = ask_bundle(copy_.bundle(), query_);
  EXPECT_NE(answer.text.find("the copy is incomplete"), std::string::npos) << answer.text;
}

}  // namespace
}  // namespace shmrec::recording
