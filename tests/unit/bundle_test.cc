// Bundles: what goes in comes out, the same bytes for the same run, nothing half-written under the
// final name, and a catalogue of archives that must not be opened.
#include "recording/bundle/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "recording/bundle/bundle_reader.h"
#include "recording/bundle/coverage.h"
#include "recording/bundle/elf_id.h"
#include "recording/bundle/kept_binaries.h"
#include "recording/bundle/sha256.h"
#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_reader.h"
#include "tests/unit/journal_bytes.h"

namespace shmrec::recording {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using shmlog::EntryState;
using shmlog::JournalType;

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void spew(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// ---- A run directory as a finished run leaves it ------------------------------------------------

constexpr uint64_t kStartNs = 1'790'000'000'123'456'789;  // 2026-09-21T14:13:20.123456789Z
constexpr uint64_t kTscHz = 1'000'000'000;
constexpr uint64_t kStartTsc = 1'000'000;

class RunDirectory {
 public:
  explicit RunDirectory(const fs::path& spool,
                        const std::string& name = "demo-20260921T141320Z-4711")
      : dir_(spool / name) {
    fs::create_directories(dir_);
    write_texts();
    CreateOptions options;
    options.log_bytes = kMinLogBytes;
    options.run_id = 0x0123456789abcdef;
    options.build = "0.1.0";
    Result<int> fd = create_shmlog((dir_ / "run.shmlog").string(), options);
    EXPECT_TRUE(fd) << fd.error().message;
    fd_ = UniqueFd(*fd);
    EXPECT_EQ(pread(fd_.get(), &header_, sizeof(header_), 0), ssize_t{sizeof(header_)});
    header_.start_realtime_ns = kStartNs;
    header_.start_monotonic_ns = 5'000'000'000;
    header_.start_tsc = kStartTsc;
    header_.tsc_hz = kTscHz;
    header_.closed = 1;
    add_process("producer", 100, 0, 0);
    add_process("consumer", 101, 1, SIGABRT);
    add_chunk(0, 1);
    write_header();
  }

  const fs::path& path() const { return dir_; }
  shmlog::Header& header() { return header_; }
  int fd() const { return fd_.get(); }
  void write_header() { put(&header_, sizeof(header_), 0); }

  // Exit unknown if `status` is negative.
  uint32_t add_process(const std::string& name, int pid, uint32_t parent, int status) {
    const uint32_t index = header_.next_process++;
    shmlog::ProcessEntry entry{};
    entry.state = static_cast<uint32_t>(status < 0 ? EntryState::kLive : EntryState::kEnded);
    entry.number = index;
    entry.id_high = 0x292b1630 + index;
    entry.id_low = 0xc83d;
    entry.pid = pid;
    entry.parent_pid = 99;
    entry.parent = parent;
    entry.start_kind =
        static_cast<uint32_t>(parent == 0 ? shmlog::StartKind::kExec : shmlog::StartKind::kFork);
    entry.exit_known = status >= 0;
    entry.exit_status = std::max(status, 0);
    entry.start_tsc = kStartTsc + index * 1000;
    entry.end_tsc = status < 0 ? 0 : kStartTsc + kTscHz;
    entry.events = 20;
    entry.accesses = 12;
    name.copy(entry.name, sizeof(entry.name) - 1);
    put(&entry, sizeof(entry), header_.processes.offset + index * sizeof(entry));
    write_header();
    return index;
  }

  void add_chunk(uint32_t index, uint64_t ticket) {
    std::vector<char> chunk(shmlog::kChunkBytes);
    shmlog::ChunkHeader head{};
    head.magic = shmlog::kChunkMagic;
    head.state = static_cast<uint32_t>(shmlog::ChunkState::kFull);
    head.ticket = ticket;
    head.process = 1;
    head.lane = 1;
    std::memcpy(chunk.data(), &head, sizeof(head));
    put(chunk.data(), chunk.size(), header_.chunks.offset + uint64_t{index} * chunk.size());
    header_.next_ticket = std::max(header_.next_ticket, ticket + 1);
  }

  // All of so many bytes looks used, and only the last chunk is written.
  void claim_chunks_of(uint64_t bytes) {
    header_.chunks.count = static_cast<uint32_t>(bytes / shmlog::kChunkBytes);
    add_chunk(header_.chunks.count - 1, 2);
    write_header();
  }

  // A journal of so many entries without text, behind all else.
  void fill_journal(JournalType type, uint32_t process, uint32_t count) {
    shmlog::JournalEntry entry{};
    entry.type = static_cast<uint16_t>(type);
    entry.process = process;
    entry.tsc = kStartTsc + 5000;
    std::vector<uint8_t> all;
    for (uint32_t i = 0; i < count; ++i) {
      const std::vector<uint8_t> one = journal_bytes(entry, i * shmlog::kJournalHeadUnits);
      all.insert(all.end(), one.begin(), one.end());
    }
    header_.journal.offset = fs::file_size(path() / "run.shmlog");
    header_.journal_units = count * shmlog::kJournalHeadUnits;
    header_.journal.count = static_cast<uint32_t>(header_.journal_units);
    put(all.data(), all.size(), header_.journal.offset);
    write_header();
  }

  void add_journal(JournalType type, uint32_t process, const std::string& text, uint64_t a = 0,
                   uint64_t b = 0, uint64_t d = 0) {
    shmlog::JournalEntry entry{};
    entry.type = static_cast<uint16_t>(type);
    entry.process = process;
    entry.tsc = kStartTsc + 5000;
    entry.a = a, entry.b = b, entry.d = d;
    const std::vector<uint8_t> bytes = journal_bytes(entry, header_.journal_units, text);
    put(bytes.data(), bytes.size(),
        header_.journal.offset + header_.journal_units * shmlog::kJournalUnitBytes);
    header_.journal_units += bytes.size() / shmlog::kJournalUnitBytes;
    write_header();
  }

  void add_module(const std::string& path, uint64_t inode) {
    add_journal(JournalType::kModule, 1, path, 0x1000, 0x1000, inode);
  }

  // A log of a few bytes makes a bundle small enough to try every byte of it.
  void cut_log(uint64_t bytes) { ASSERT_EQ(ftruncate(fd_.get(), static_cast<off_t>(bytes)), 0); }

  void put(const void* data, size_t bytes, uint64_t at) {
    ASSERT_EQ(pwrite(fd_.get(), data, bytes, static_cast<off_t>(at)), static_cast<ssize_t>(bytes));
  }

  // With the stripe of one of its lines.
  void add_segment(uint64_t line, uint64_t stripe_word) {
    const uint32_t number = header_.next_segment++;
    shmlog::SegmentEntry entry{};
    entry.state = static_cast<uint32_t>(EntryState::kEnded);
    entry.number = number;
    put(&entry, sizeof(entry), header_.segments.offset + number * sizeof(entry));
    const uint32_t stripe =
        shmlog::stripe_of(number, line * shmlog::kLineBytes, header_.stripes.count);
    put(&stripe_word, sizeof(stripe_word), header_.stripes.offset + stripe * sizeof(stripe_word));
    write_header();
  }

 private:
  void write_texts() {
    spew(dir_ / "run.json",
         R"({"format":"shmrec-run/1","runId":"0123456789abcdef","version":"0.1.0",)"
         R"("command":["./demo","--token=<redacted>"],"cwd":"/work",)"
         R"("executable":"/work/demo","hostname":"box","kernel":"Linux 6.1.0",)"
         R"("uid":1000,"gid":1000,"container":{},)"
         R"("startTime":"2026-09-21T14:13:20.123456789Z",)"
         R"("policy":"apiVersion: shmrec/v1\n","launcherPid":4711})"
         "\n");
    spew(dir_ / "events.jsonl",
         R"({"time":"2026-09-21T14:13:20.2Z","type":"exec","pid":100,"exe":"/work/demo","argv":)"
         R"(["./demo","--password","<redacted>","ftp://u:<redacted>@h"],)"
         R"("env":["HOME=/root","DB_PASSWORD=<redacted>"]})"
         "\n"
         R"({"time":"2026-09-21T14:13:21.2Z","type":"exit","pid":100,"status":0})"
         "\n");
    spew(dir_ / "launcher.log", "[info] started\n");
    spew(dir_ / "end.json", R"({"endTime":"2026-09-21T14:13:21.3Z","status":134,"exitCode":134})"
                            "\n");
  }

  fs::path dir_;
  UniqueFd fd_;
  shmlog::Header header_{};
};

template <typename Rows>
std::string bytes_of(const Rows& rows) {
  std::string bytes;
  for (const auto& row : rows) {
    bytes.append(reinterpret_cast<const char*>(&row.index), sizeof(row.index));
    bytes.append(reinterpret_cast<const char*>(&row.entry), sizeof(row.entry));
  }
  return bytes;
}

std::string journal_of(const ShmlogReader& log) {
  std::string bytes;
  for (const JournalItem& item : log.journal()) {
    bytes.append(reinterpret_cast<const char*>(&item.entry), sizeof(item.entry));
    bytes += item.text;
  }
  return bytes;
}

// Wherever their areas are.
void expect_same_to_readers(const fs::path& one_path, const fs::path& other_path) {
  const auto one = ShmlogReader::open(one_path), other = ShmlogReader::open(other_path);
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ((*one)->damage().size(), (*other)->damage().size());
  EXPECT_EQ(bytes_of((*one)->processes()), bytes_of((*other)->processes()));
  EXPECT_EQ(bytes_of((*one)->lanes()), bytes_of((*other)->lanes()));
  EXPECT_EQ(bytes_of((*one)->segments()), bytes_of((*other)->segments()));
  EXPECT_EQ(bytes_of((*one)->usage()), bytes_of((*other)->usage()));
  EXPECT_EQ(journal_of(**one), journal_of(**other));
  ASSERT_EQ((*one)->chunks().size(), (*other)->chunks().size());
  for (size_t i = 0; i < (*one)->chunks().size(); ++i)
    EXPECT_EQ((*one)->chunks()[i].header.ticket, (*other)->chunks()[i].header.ticket);
  const size_t areas = offsetof(shmlog::Header, rules),
               rest = offsetof(shmlog::Header, default_mode);
  const auto* const a = reinterpret_cast<const char*>(&(*one)->header());
  const auto* const b = reinterpret_cast<const char*>(&(*other)->header());
  EXPECT_EQ(std::memcmp(a, b, areas), 0);
  EXPECT_EQ(std::memcmp(a + rest, b + rest, sizeof(shmlog::Header) - rest), 0);
}

class BundleTest : public testing::Test {
 protected:
  BundleTest() {
    std::string name = (fs::temp_directory_path() / "bundle_test-XXXXXX").string();
    root_ = mkdtemp(name.data());
    out_ = root_ / "out";
    fs::create_directories(out_);
  }
  ~BundleTest() override { fs::remove_all(root_); }

  fs::path create(const fs::path& run, CreateBundleOptions options = {}) {
    if (options.output.empty()) options.output = out_;
    Result<fs::path> path = create_bundle(run, options);
    EXPECT_TRUE(path) << path.error().message;
    return path ? *path : fs::path();
  }

  std::set<std::string> names_in(const fs::path& dir) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(dir)) names.insert(entry.path().filename());
    return names;
  }

  json document(const fs::path& bundle, const std::string& name) {
    Result<std::string> text = read_bundle_file(bundle, name);
    EXPECT_TRUE(text) << text.error().message;
    return text ? json::parse(*text) : json();
  }

  fs::path root_;
  fs::path out_;
};

// The coverage items whose `what` contains the text.
std::vector<json> items_about(const json& coverage, const std::string& what) {
  std::vector<json> items;
  for (const json& item : coverage["items"]) {
    if (item["what"].get<std::string>().find(what) != std::string::npos) items.push_back(item);
  }
  return items;
}

// ---- Round trip ---------------------------------------------------------------------------------

TEST_F(BundleTest, WhatGoesInComesOut) {
  RunDirectory run(root_);
  const fs::path path = create(run.path());
  EXPECT_EQ(path.filename(), "demo-20260921T141320Z.shmrec.tar.zst");
  ASSERT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;

  Result<OpenedBundle> opened = open_bundle(path);
  ASSERT_TRUE(opened) << opened.error().message;
  for (const char* name : {"run.json", "end.json", "events.jsonl", "launcher.log"}) {
    EXPECT_EQ(slurp(opened->dir / name), slurp(run.path() / name)) << name;
  }
  expect_same_to_readers(opened->dir / "run.shmlog", run.path() / "run.shmlog");
  struct stat status;
  ASSERT_EQ(stat(opened->dir.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST_F(BundleTest, TemporaryDirectoryGoesWithTheObject) {
  RunDirectory run(root_);
  const fs::path path = create(run.path());
  fs::path dir;
  {
    Result<OpenedBundle> opened = open_bundle(path);
    ASSERT_TRUE(opened);
    OpenedBundle moved = std::move(*opened);
    dir = moved.dir;
    EXPECT_TRUE(fs::exists(dir / "run.shmlog"));
  }
  EXPECT_FALSE(fs::exists(dir));
}

TEST_F(BundleTest, ManifestIsFirstAndSumsAreLast) {
  RunDirectory run(root_);
  const auto files = list_bundle(create(run.path()));
  ASSERT_TRUE(files);
  EXPECT_EQ(files->front().name, "manifest.json");
  EXPECT_EQ(files->back().name, "SHA256SUMS");
}

TEST_F(BundleTest, ExtractsWhatIsAskedForAndReplacesNothing) {
  RunDirectory run(root_);
  const fs::path path = create(run.path());
  const fs::path into = root_ / "x" / "y";
  ASSERT_TRUE(extract_bundle(path, into, {"run.json", "manifest.json"}));
  EXPECT_EQ(names_in(into), (std::set<std::string>{"run.json", "manifest.json"}));
  EXPECT_EQ(slurp(into / "run.json"), slurp(run.path() / "run.json"));

  spew(into / "run.json", "mine");
  const auto again = extract_bundle(path, into, {});
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().message.find("exists"), std::string::npos);
  EXPECT_EQ(slurp(into / "run.json"), "mine");
  EXPECT_FALSE(extract_bundle(path, into, {"nonesuch"}));
  EXPECT_EQ(names_in(into), (std::set<std::string>{"run.json", "manifest.json"}));
}

TEST_F(BundleTest, ExtractedDirectoryOpensLikeARunDirectory) {
  RunDirectory run(root_);
  const fs::path path = create(run.path());
  ASSERT_TRUE(extract_bundle(path, root_ / "x", {}));
  expect_same_to_readers(root_ / "x" / "run.shmlog", run.path() / "run.shmlog");
  Result<OpenedBundle> opened = open_bundle(root_ / "x");
  ASSERT_TRUE(opened);
  EXPECT_TRUE(opened->is_run_directory());
  EXPECT_EQ(*manifest_json(*opened), *read_bundle_file(path, "manifest.json"));
}

TEST_F(BundleTest, RunDirectoryOpensAsItIs) {
  RunDirectory run(root_);
  {
    Result<OpenedBundle> opened = open_bundle(run.path());
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(opened->dir, run.path());
    EXPECT_EQ(*manifest_json(*opened), *read_bundle_file(create(run.path()), "manifest.json"));
  }
  EXPECT_TRUE(fs::exists(run.path() / "run.shmlog"));
}

TEST_F(BundleTest, IdenticalInputGivesIdenticalBytes) {
  RunDirectory run(root_);
  run.add_module("/proc/self/exe", 0);
  const std::string first = slurp(create(run.path()));
  fs::last_write_time(run.path() / "run.json",
                      fs::file_time_type::clock::now() - std::chrono::hours(5));
  fs::create_directories(root_ / "elsewhere");
  fs::copy(run.path(), root_ / "elsewhere" / run.path().filename(), fs::copy_options::recursive);
  const std::string second = slurp(create(root_ / "elsewhere" / run.path().filename()));
  EXPECT_FALSE(first.empty());
  EXPECT_TRUE(first == second);
}

TEST_F(BundleTest, RunDirectoryIsNotChanged) {
  RunDirectory run(root_);
  run.header().closed = 0;
  run.write_header();
  std::map<std::string, std::pair<std::string, fs::file_time_type>> before, after;
  const auto note = [&](auto& into) {
    for (const auto& entry : fs::directory_iterator(run.path())) {
      into[entry.path().filename()] = {slurp(entry.path()), entry.last_write_time()};
    }
  };
  note(before);
  create(run.path());
  note(after);
  EXPECT_TRUE(before == after);
}

TEST_F(BundleTest, DirectoryGetsAFreeNameAndAFileIsReplaced) {
  RunDirectory run(root_);
  EXPECT_EQ(create(run.path()).filename(), "demo-20260921T141320Z.shmrec.tar.zst");
  EXPECT_EQ(create(run.path()).filename(), "demo-20260921T141320Z-2.shmrec.tar.zst");
  CreateBundleOptions options;
  options.output = out_ / "mine";
  spew(options.output, "old");
  EXPECT_EQ(create(run.path(), options), options.output);
  EXPECT_TRUE(verify_bundle(options.output));
}

// ---- The log ------------------------------------------------------------------------------------

TEST_F(BundleTest, ChunksNeverUsedAreNotStored) {
  RunDirectory run(root_);
  run.add_chunk(3, 4);
  run.write_header();
  const json manifest = document(create(run.path()), "manifest.json");
  EXPECT_EQ(manifest["log"]["bytes"], kMinLogBytes);
  // Of the rest a page each: header, processes, lanes, segments, usage, journal.
  EXPECT_EQ(manifest["log"]["storedBytes"], 6 * 4096 + 4 * shmlog::kChunkBytes);
}

TEST_F(BundleTest, TablesAreStoredAsFarAsTheyWereHandedOut) {
  RunDirectory run(root_);
  for (int i = 0; i < 100; ++i) run.add_process("more", 200 + i, 1, 0);
  for (int i = 0; i < 1000; ++i) run.add_journal(JournalType::kMark, 1, "mark", i);
  run.add_segment(7, 0x1234);
  const fs::path path = create(run.path());
  const json manifest = document(path, "manifest.json");
  const shmlog::Header& header = run.header();
  EXPECT_LT(manifest["log"]["storedBytes"], header.chunks.offset);
  EXPECT_GT(manifest["log"]["storedBytes"],
            header.stripes.count * sizeof(uint64_t) + 1000 * sizeof(shmlog::JournalEntry));
  const fs::path into = root_ / "x";
  ASSERT_TRUE(extract_bundle(path, into, {}));
  expect_same_to_readers(into / "run.shmlog", run.path() / "run.shmlog");
  const auto log = ShmlogReader::open(into / "run.shmlog");
  ASSERT_TRUE(log);
  EXPECT_EQ((*log)->stripe_word(1, 7 * shmlog::kLineBytes), 0x1234u);
}

// An entry's place in a table that came round depends on the size of the table.
TEST_F(BundleTest, ATableThatCameRoundIsStoredInWhole) {
  RunDirectory run(root_);
  run.header().next_process = run.header().processes.count + 5;
  run.header().journal_units = run.header().journal.count + 5;
  run.write_header();
  ASSERT_TRUE(extract_bundle(create(run.path()), root_ / "x", {}));
  const auto log = ShmlogReader::open(root_ / "x" / "run.shmlog");
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ((*log)->header().processes.count, run.header().processes.count);
  EXPECT_EQ((*log)->header().journal.count, run.header().journal.count);
  expect_same_to_readers(root_ / "x" / "run.shmlog", run.path() / "run.shmlog");
}

// Its lane says where in the file the record is.
TEST_F(BundleTest, ALogWithAnAccessInFlightIsStoredAsItIs) {
  RunDirectory run(root_);
  run.header().next_lane = 2;
  run.write_header();
  shmlog::LaneEntry lane{};
  lane.state = static_cast<uint32_t>(EntryState::kLive);
  lane.record = run.header().chunks.offset + 64;
  run.put(&lane, sizeof lane, run.header().lanes.offset + sizeof lane);
  ASSERT_TRUE(extract_bundle(create(run.path()), root_ / "x", {}));
  EXPECT_EQ(slurp(root_ / "x" / "run.shmlog"), slurp(run.path() / "run.shmlog"));
}

TEST_F(BundleTest, LogOfALiveRunIsCopiedFirst) {
  RunDirectory run(root_);
  run.header().closed = 0;
  run.write_header();
  const fs::path path = create(run.path());
  ASSERT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;
  Result<OpenedBundle> opened = open_bundle(path);
  ASSERT_TRUE(opened);
  expect_same_to_readers(opened->dir / "run.shmlog", run.path() / "run.shmlog");
  EXPECT_EQ(names_in(out_).size(), 1u);
}

TEST_F(BundleTest, LogThatIsWrittenMeanwhileStillVerifies) {
  RunDirectory run(root_);
  run.header().closed = 0;
  run.write_header();
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (uint64_t ticket = 2; !stop; ++ticket) {
      run.add_chunk(static_cast<uint32_t>(ticket % 64), ticket);
      if (ticket % 16 == 0) run.add_process("late", 200, 1, -1);
    }
  });
  for (int i = 0; i < 10; ++i) {
    const fs::path path = create(run.path());
    EXPECT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;
  }
  stop = true;
  writer.join();
}

TEST_F(BundleTest, TornLogIsBundledAndOpensAsItDidBefore) {
  const uint64_t chunks = RunDirectory(root_, "probe-1").header().chunks.offset;
  for (const uint64_t bytes : {chunks + 3 * shmlog::kChunkBytes + 100, chunks + 1, chunks - 5000,
                               uint64_t{100000}, uint64_t{4096}, uint64_t{500}, uint64_t{0}}) {
    RunDirectory run(root_, "torn" + std::to_string(bytes) + "-1");
    run.cut_log(bytes);
    const fs::path path = create(run.path());
    const auto before = ShmlogReader::open(run.path() / "run.shmlog");
    EXPECT_EQ(before.ok(), verify_bundle(path).ok()) << bytes;
    Result<OpenedBundle> opened = open_bundle(path);
    ASSERT_TRUE(opened) << bytes << ": " << opened.error().message;
    EXPECT_EQ(slurp(opened->dir / "run.shmlog"), slurp(run.path() / "run.shmlog")) << bytes;
    EXPECT_FALSE(document(path, "coverage.json")["complete"].get<bool>()) << bytes;
  }
}

TEST_F(BundleTest, DirectoryWithoutALogIsNoRun) {
  fs::create_directories(root_ / "empty");
  const auto made = create_bundle(root_ / "empty", {.output = out_});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("not a run directory"), std::string::npos);
  EXPECT_TRUE(names_in(out_).empty());
  EXPECT_FALSE(open_bundle(root_ / "empty"));
  EXPECT_FALSE(create_bundle(root_ / "nonesuch", {.output = out_}));
}

TEST_F(BundleTest, IsWrittenIntoAPipeAndThroughALink) {
  RunDirectory run(root_);
  const fs::path pipe = out_ / "pipe", copy = out_ / "copy", link = out_ / "link";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::thread reader([&] { std::ofstream(copy) << std::ifstream(pipe).rdbuf(); });
  create(run.path(), {.output = pipe});
  reader.join();
  EXPECT_TRUE(verify_bundle(copy));
  std::ofstream(root_ / "target") << "old";
  fs::create_symlink("../target", link);
  create(run.path(), {.output = link});
  EXPECT_TRUE(verify_bundle(root_ / "target"));
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(names_in(out_), (std::set<std::string>{"pipe", "copy", "link"}));
}

// ---- What the manifest and the coverage list say ------------------------------------------------

TEST_F(BundleTest, ManifestSaysHowProcessesEnded) {
  RunDirectory run(root_);
  run.add_process("killed", 102, 1, -1);
  run.add_process("reaped", 103, 1, -1);
  run.add_journal(JournalType::kChildExit, 1, "", 103, 3 << 8);
  const json processes = document(create(run.path()), "manifest.json")["processes"];
  ASSERT_EQ(processes.size(), 4u);
  EXPECT_EQ(processes[0]["id"], "292b1631-c83d");
  EXPECT_EQ(processes[0]["exit"], json({{"known", true}, {"by", "process"}, {"code", 0}}));
  EXPECT_EQ(processes[1]["exit"]["name"], "SIGABRT");
  EXPECT_EQ(processes[1]["parent"], "292b1631-c83d");
  EXPECT_EQ(processes[0]["start"], "2026-09-21T14:13:20.123457789Z");
  EXPECT_EQ(processes[2]["exit"]["known"], false);
  EXPECT_EQ(processes[2]["end"], nullptr);
  EXPECT_EQ(processes[3]["exit"], json({{"known", true}, {"by", "parent"}, {"code", 3}}));
}

TEST_F(BundleTest, CompleteRunHasNoGaps) {
  RunDirectory run(root_);
  const fs::path path = create(run.path());
  const json coverage = document(path, "coverage.json");
  EXPECT_TRUE(coverage["complete"].get<bool>()) << coverage.dump(1);
  EXPECT_TRUE(document(path, "manifest.json")["complete"]["processes"]["complete"].get<bool>());
}

TEST_F(BundleTest, ProcessWithoutExitRecordIsAGap) {
  RunDirectory run(root_);
  run.add_process("victim", 102, 1, -1);
  const json coverage = document(create(run.path()), "coverage.json");
  const auto items = items_about(coverage, "end of victim (pid 102)");
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0]["process"], "292b1633-c83d");
  EXPECT_FALSE(coverage["complete"].get<bool>());
}

TEST_F(BundleTest, EveryLossCounterHasItsWords) {
  RunDirectory run(root_);
  for (uint32_t i = 0; i < static_cast<uint32_t>(shmlog::Loss::kCount); ++i) {
    run.header().losses[i] = 1000 + i;
  }
  run.write_header();
  const json coverage = document(create(run.path()), "coverage.json");
  for (uint32_t i = 0; i < static_cast<uint32_t>(shmlog::Loss::kCount); ++i) {
    const auto found =
        std::count_if(coverage["items"].begin(), coverage["items"].end(),
                      [&](const json& item) { return item.value("count", 1) == int(1000 + i); });
    EXPECT_EQ(found, 1) << i;
  }
}

TEST_F(BundleTest, GapsFromJournalAndLauncherAreListed) {
  RunDirectory run(root_);
  run.add_journal(JournalType::kCoverage, 2, "thread 7",
                  static_cast<uint64_t>(shmlog::DegradedReason::kUsesGs));
  std::ofstream(run.path() / "events.jsonl", std::ios::app)
      << R"({"type":"coverage","what":"io_uring_setup","why":"answered with ENOSYS"})"
      << "\n"
      << R"({"type":"coverage","what":"io_uring_setup","why":"answered with ENOSYS"})"
      << "\n"
      << R"({"type":"cov)";
  const json coverage = document(create(run.path()), "coverage.json");
  ASSERT_EQ(items_about(coverage, "thread 7").size(), 1u);
  EXPECT_NE(items_about(coverage, "thread 7")[0]["why"].get<std::string>().find("gs base"),
            std::string::npos);
  ASSERT_EQ(items_about(coverage, "io_uring_setup").size(), 1u);
  EXPECT_EQ(items_about(coverage, "io_uring_setup")[0]["count"], 2);
  ASSERT_EQ(items_about(coverage, "events.jsonl").size(), 1u);
}

TEST_F(BundleTest, MissingFilesAreTolerated) {
  for (const char* name : {"run.json", "end.json", "events.jsonl", "launcher.log"}) {
    RunDirectory run(root_, std::string("no-") + name + "-1");
    fs::remove(run.path() / name);
    const fs::path path = create(run.path());
    EXPECT_TRUE(verify_bundle(path)) << name << ": " << verify_bundle(path).error().message;
    EXPECT_EQ(items_about(document(path, "coverage.json"), name).size(), 1u);
  }
}

TEST_F(BundleTest, DamagedFilesAreTolerated) {
  RunDirectory run(root_);
  spew(run.path() / "run.json", R"({"format":"shmr)");
  spew(run.path() / "end.json", R"({"status":"many"})");
  spew(run.path() / "events.jsonl",
       "[1]\n\xff\xfe\n{\"type\":7}\n{\"type\":\"exit\",\"pid\":\"x\"}\n");
  fs::remove(run.path() / "launcher.log");
  fs::create_symlink("/dev/zero", run.path() / "launcher.log");
  const fs::path path = create(run.path());
  EXPECT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;
  const json coverage = document(path, "coverage.json");
  EXPECT_EQ(items_about(coverage, "run.json").size(), 1u);
  EXPECT_EQ(items_about(coverage, "events.jsonl").size(), 1u);
  EXPECT_EQ(items_about(coverage, "launcher.log").size(), 1u);
}

TEST_F(BundleTest, ManifestNamesWhatWasRedacted) {
  RunDirectory run(root_);
  EXPECT_EQ(document(create(run.path()), "manifest.json")["redacted"],
            json({"--password", "--token", "DB_PASSWORD", "ftp://u:<redacted>@h"}));
}

// ---- Binaries -----------------------------------------------------------------------------------

uint64_t inode_of(const fs::path& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

class BundleBinariesTest : public BundleTest {
 protected:
  BundleBinariesTest() : run_(root_), self_(fs::read_symlink("/proc/self/exe")) {}

  json modules(CreateBundleOptions options = {}) {
    path_ = create(run_.path(), options);
    EXPECT_TRUE(verify_bundle(path_)) << verify_bundle(path_).error().message;
    return document(path_, "binaries.json")["modules"];
  }

  RunDirectory run_;
  fs::path self_;
  fs::path path_;
};

TEST_F(BundleBinariesTest, AreKeptByBuildIdAndFoundByPath) {
  run_.add_journal(JournalType::kProcessStart, 1, self_);
  run_.add_module(self_, inode_of(self_));
  run_.add_module("[vdso]", 0);
  run_.add_module("", 0);
  const json rows = modules();
  ASSERT_EQ(rows.size(), 1u) << rows.dump();
  EXPECT_EQ(rows[0]["role"], "executable");
  EXPECT_EQ(rows[0]["file"],
            "binaries/" + rows[0]["buildId"].get<std::string>() + "/" + self_.filename().string());
  Result<OpenedBundle> opened = open_bundle(path_);
  ASSERT_TRUE(opened);
  const auto kept = opened->binary(self_);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->string().starts_with(opened->dir.string()));
  EXPECT_TRUE(slurp(*kept) == slurp(self_));
  EXPECT_FALSE(opened->binary("/nonesuch"));
}

// What is kept of binaries for the next bundle (packed_files.h).
class PackedFilesTest : public BundleBinariesTest {
 protected:
  PackedFilesTest() { run_.add_module("/bin/true", inode_of("/bin/true")); }

  std::string bundle(uint64_t max_bytes = 1 << 20) {
    CreateBundleOptions options;
    options.packed_directory = packed_;
    options.max_packed_bytes = max_bytes;
    path_ = create(run_.path(), options);
    return slurp(path_);
  }

  std::vector<fs::path> kept() const {
    std::vector<fs::path> files;
    if (!fs::exists(packed_)) return files;
    for (const auto& entry : fs::directory_iterator(packed_)) files.push_back(entry.path());
    return files;
  }

  void change(size_t at) {
    std::string bytes = slurp(kept().at(0));
    bytes[at] ^= 1;
    spew(kept().at(0), bytes);
  }

  const fs::path packed_ = root_ / ".packed";
};

TEST_F(PackedFilesTest, GiveTheSameBundle) {
  const std::string first = bundle();
  ASSERT_EQ(kept().size(), 1u);
  EXPECT_TRUE(bundle() == first);
  EXPECT_TRUE(verify_bundle(path_));
  EXPECT_TRUE(slurp(create(run_.path())) == first);
  change(fs::file_size(kept()[0]) - 1);  // of the frame: so it is really used
  bundle();
  EXPECT_FALSE(verify_bundle(path_));
}

TEST_F(PackedFilesTest, AreNotBelievedOfAnotherFileOrBoot) {
  constexpr size_t kBoot = 8, kDevice = kBoot + 40, kEnd = kDevice + 5 * 8;
  const std::string first = bundle();
  for (size_t at : {size_t{0}, kBoot}) {
    change(at);
    EXPECT_TRUE(bundle() == first) << at;
  }
  for (size_t at = kDevice; at < kEnd; at += 8) {
    change(at);
    change(fs::file_size(kept()[0]) - 1);
    EXPECT_TRUE(bundle() == first) << at;
  }
}

TEST_F(PackedFilesTest, OfAnotherUserOrOpenToOthersAreLeftAlone) {
  const std::string first = bundle();
  change(fs::file_size(kept()[0]) - 1);
  fs::permissions(packed_, fs::perms::group_write, fs::perm_options::add);
  EXPECT_TRUE(bundle() == first);
  fs::permissions(packed_, fs::perms::group_write, fs::perm_options::remove);
  fs::permissions(kept()[0], fs::perms::others_write, fs::perm_options::add);
  EXPECT_TRUE(bundle() == first);
}

TEST_F(PackedFilesTest, TheOldestGoWhenThereIsNoRoom) {
  bundle(16);
  EXPECT_TRUE(kept().empty());
  bundle();
  const uint64_t bytes = fs::file_size(kept().at(0));
  run_.add_module("/bin/false", inode_of("/bin/false"));
  bundle(bytes + bytes / 2);
  EXPECT_EQ(kept().size(), 1u);
  bundle(3 * bytes);
  EXPECT_EQ(kept().size(), 2u);
}

TEST_F(PackedFilesTest, WhatWasWrittenJustNowIsNotKept) {
  const fs::path fresh = root_ / "fresh";
  fs::copy("/bin/true", fresh);
  RunDirectory other(root_, "other-20260921T141320Z-4712");
  other.add_module(fresh, inode_of(fresh));
  CreateBundleOptions options;
  options.packed_directory = packed_;
  options.max_packed_bytes = 1 << 20;
  EXPECT_TRUE(verify_bundle(create(other.path(), options)));
  EXPECT_TRUE(kept().empty());
}

TEST_F(BundleBinariesTest, AreNotKeptIfAnotherFileHasTheNameNow) {
  run_.add_module(self_, inode_of(self_) + 1);
  run_.add_module("/nonesuch/lib.so", 5);
  run_.add_module("/tmp/gone (deleted)", 5);
  const json rows = modules();
  ASSERT_EQ(rows.size(), 3u);
  for (const json& row : rows) EXPECT_TRUE(row.contains("missing")) << row.dump();
  EXPECT_EQ(items_about(document(path_, "coverage.json"), self_).size(), 1u);
}

TEST_F(BundleBinariesTest, AreNotKeptUnlessTheyAreElfFiles) {
  spew(root_ / "secret", "password");
  run_.add_module(root_ / "secret", inode_of(root_ / "secret"));
  run_.add_module("/dev/zero", inode_of("/dev/zero"));
  run_.add_module("relative/lib.so", 0);
  for (const json& row : modules()) EXPECT_TRUE(row.contains("missing")) << row.dump();
}

TEST_F(BundleBinariesTest, EqualFilesAreKeptOnceAndOthersApart) {
  fs::create_directories(root_ / "a");
  fs::create_directories(root_ / "b");
  fs::create_directories(root_ / "c");
  for (const char* dir : {"a", "b", "c"}) fs::copy(self_, root_ / dir / "lib.so");
  std::ofstream(root_ / "c" / "lib.so", std::ios::app) << "stripped differently";
  for (const char* dir : {"a", "b", "c"}) {
    run_.add_module(root_ / dir / "lib.so", inode_of(root_ / dir / "lib.so"));
  }
  const json rows = modules();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["file"], rows[1]["file"]);
  EXPECT_NE(rows[0]["file"], rows[2]["file"]);
  EXPECT_EQ(rows[2]["file"], "binaries/" + sha256_hex(slurp(root_ / "c" / "lib.so")) + "/lib.so");
}

TEST_F(BundleBinariesTest, AreLeftOutByChoiceOrLimit) {
  run_.add_journal(JournalType::kProcessStart, 1, self_);
  run_.add_module(self_, inode_of(self_));
  fs::copy(self_, root_ / "lib.so");
  run_.add_module(root_ / "lib.so", inode_of(root_ / "lib.so"));
  const auto kept = [&](const CreateBundleOptions& options) {
    std::set<std::string> roles;
    for (const json& row : modules(options)) {
      if (row.contains("file")) roles.insert(row["role"]);
    }
    return roles;
  };
  using Roles = std::set<std::string>;
  EXPECT_EQ(kept({}), (Roles{"executable", "library"}));
  EXPECT_EQ(kept({.collect_binaries = false}), Roles{"library"});
  EXPECT_EQ(kept({.collect_libraries = false}), Roles{"executable"});
  EXPECT_TRUE(document(path_, "coverage.json")["complete"].get<bool>());
  const uint64_t log = document(path_, "manifest.json")["log"]["storedBytes"];
  EXPECT_EQ(kept({.max_bytes = log + fs::file_size(self_) * 3 / 2}), Roles{"executable"});
  EXPECT_EQ(kept({.max_bytes = 1}), Roles{});
  EXPECT_FALSE(document(path_, "coverage.json")["complete"].get<bool>());
}

// Where it lies in memory: nobody is killed for a bundle.
TEST_F(BundleBinariesTest, WhatHasNoRoomIsLeftOutOrNotMadeAtAll) {
  run_.add_journal(JournalType::kProcessStart, 1, self_);
  run_.add_module(self_, inode_of(self_));
  const uint64_t with_copy = fs::file_size(run_.path() / "run.shmlog") * 2;
  const uint64_t binary = fs::file_size(self_);
  EXPECT_TRUE(modules({.room_bytes = with_copy + (1 << 20) + binary})[0].contains("file"));
  EXPECT_FALSE(modules({.room_bytes = with_copy + (1 << 20)})[0].contains("file"));
  for (const bool foreign : {false, true}) {
    const auto made =
        create_bundle(run_.path(), {.output = out_, .room_bytes = 1 << 12, .foreign = foreign});
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("may be needed in"), std::string::npos)
        << made.error().message;
    EXPECT_FALSE(made.error().bad_input);
  }
}

// ---- A run directory of strangers ---------------------------------------------------------------

class ForeignRunTest : public BundleTest {
 protected:
  ForeignRunTest() : run_(root_) {
    spew(root_ / "secret", R"({"hostname":"top-secret-token"})"
                           "\n");
    fs::create_directories(run_.path() / "binaries");
  }

  fs::path make() {
    const fs::path path = create(run_.path(), {.foreign = true});
    EXPECT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;
    return path;
  }
  // The whole archive, unpacked to memory, to look for what must not be in it.
  std::string everything(const fs::path& bundle) {
    std::string all;
    const auto files = list_bundle(bundle);
    for (const BundleFile& file : *files) all += *read_bundle_file(bundle, file.name);
    return all;
  }
  // Puts a copy of this program into binaries/ as a launcher does; returns its line.
  KeptBinary keep(const fs::path& path, uint64_t inode) {
    const std::string content = slurp("/proc/self/exe");
    KeptBinary kept{.path = path, .inode = inode, .sha256 = sha256_hex(content)};
    const UniqueFd fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    kept.build_id = build_id(fd.get());
    kept.file = kept.build_id.empty() ? kept.sha256 : kept.build_id;
    kept.bytes = content.size();
    spew(folder() / kept.file, content);
    return kept;
  }
  void write_index(const std::vector<KeptBinary>& lines) {
    std::ofstream index(folder() / "index.jsonl", std::ios::binary | std::ios::app);
    for (const KeptBinary& line : lines) index << to_line(line);
  }
  json module(const fs::path& bundle, const std::string& path) {
    const json document = this->document(bundle, "binaries.json");
    for (const json& row : document["modules"])
      if (row["path"] == path) return row;
    return {};
  }
  fs::path folder() const { return run_.path() / "binaries"; }

  RunDirectory run_;
};

TEST_F(ForeignRunTest, LinksToFilesOfTheReaderAreNotFollowed) {
  for (const char* name : {"run.json", "end.json", "events.jsonl", "launcher.log"}) {
    fs::remove(run_.path() / name);
    fs::create_symlink(root_ / "secret", run_.path() / name);
  }
  for (const bool foreign : {true, false}) {
    const fs::path path = create(run_.path(), {.foreign = foreign});
    EXPECT_TRUE(verify_bundle(path)) << verify_bundle(path).error().message;
    EXPECT_EQ(everything(path).find("top-secret"), std::string::npos);
    const json coverage = document(path, "coverage.json");
    for (const char* name : {"run.json", "end.json", "events.jsonl", "launcher.log"}) {
      ASSERT_EQ(items_about(coverage, name).size(), 1u) << name;
      EXPECT_NE(items_about(coverage, name)[0]["why"].get<std::string>().find("link"),
                std::string::npos);
    }
  }
}

TEST_F(ForeignRunTest, PipesDevicesAndDirectoriesAreNotOpenedAsFiles) {
  const auto replace = [&](const char* name) {
    fs::remove(run_.path() / name);
    return run_.path() / name;
  };
  ASSERT_EQ(mkfifo(replace("run.json").c_str(), 0600), 0);
  fs::create_directories(replace("events.jsonl") / "below");
  if (mknod(replace("launcher.log").c_str(), S_IFCHR | 0600, makedev(1, 5)) != 0)  // /dev/zero
    fs::create_symlink("/dev/zero", run_.path() / "launcher.log");
  const json coverage = document(make(), "coverage.json");
  for (const char* name : {"run.json", "events.jsonl", "launcher.log"})
    EXPECT_EQ(items_about(coverage, name).size(), 1u) << name;
}

TEST_F(ForeignRunTest, ALogThatIsNoRegularFileIsAnError) {
  const fs::path log = run_.path() / "run.shmlog", aside = root_ / "aside";
  fs::rename(log, aside);
  const std::function<void()> kinds[] = {
      [&] { EXPECT_EQ(mkfifo(log.c_str(), 0600), 0); },
      [&] { fs::create_symlink(aside, log); },
      [&] { fs::create_directory(log); },
  };
  for (const auto& make_one : kinds) {
    make_one();
    for (const bool foreign : {true, false})
      EXPECT_FALSE(create_bundle(run_.path(), {.output = out_, .foreign = foreign}));
    fs::remove(log);
  }
  EXPECT_TRUE(names_in(out_).empty());
}

TEST_F(ForeignRunTest, TheRunDirectoryItselfIsNoLink) {
  fs::create_symlink(run_.path(), root_ / "link");
  EXPECT_TRUE(create_bundle(root_ / "link", {.output = out_}));
  EXPECT_FALSE(create_bundle(root_ / "link", {.output = out_, .foreign = true}));
  EXPECT_FALSE(create_bundle(root_ / "link" / "", {.output = out_, .foreign = true}));
}

TEST_F(ForeignRunTest, SizesHaveLimits) {
  fs::resize_file(run_.path() / "run.json", uint64_t{1} << 40);  // sparse
  fs::resize_file(run_.path() / "launcher.log", uint64_t{1} << 40);
  const fs::path path = make();
  EXPECT_EQ(items_about(document(path, "coverage.json"), "launcher.log").size(), 1u);
  run_.cut_log(uint64_t{1} << 40);
  EXPECT_FALSE(create_bundle(run_.path(), {.output = out_, .foreign = true}));
  run_.cut_log(0);
  run_.cut_log(uint64_t{1} << 30);  // no header any more: nothing that a launcher makes
  EXPECT_FALSE(create_bundle(run_.path(), {.output = out_, .foreign = true}));
}

// A tree of 262144 levels is copied and printed by as many stack frames.
TEST_F(ForeignRunTest, NestingEndsNothing) {
  const size_t levels = 1 << 18;
  spew(run_.path() / "run.json",
       "{\"container\":" + std::string(levels, '[') + std::string(levels, ']') + "}");
  const fs::path path = make();
  EXPECT_EQ(items_about(document(path, "coverage.json"), "run.json").size(), 1u);
  EXPECT_TRUE(document(path, "manifest.json")["container"].is_null());
}

TEST_F(ForeignRunTest, BracketsInTextsAreNoNesting) {
  const std::string brackets = "\\\"" + std::string(1000, '[');
  spew(run_.path() / "run.json", json{{"command", {brackets}}}.dump());
  EXPECT_EQ(document(make(), "manifest.json")["command"][0], brackets);
}

// Trees of 256 members would otherwise be held at once, each of a hundred megabytes.
TEST_F(ForeignRunTest, AllLaunchersTogetherHaveALimit) {
  for (int i = 0; i < 4; ++i) {
    const fs::path member = run_.path() / "members" / ("app-" + std::to_string(i));
    fs::create_directories(member);
    spew(member / "run.json", json{{"format", "shmrec-run/1"},
                                   {"runId", "0123456789abcdef"},
                                   {"command", {"app"}},
                                   {"hostname", std::string(1 << 18, 'x')}}
                                  .dump());
  }
  const json coverage = document(make(), "coverage.json");
  EXPECT_TRUE(items_about(coverage, "members/app-1/run.json").empty());
  EXPECT_FALSE(items_about(coverage, "members/app-3/run.json").empty());
}

// As trees, a gibibyte of entries would take ten.
TEST_F(ForeignRunTest, WhatAJournalSaysWithoutEndTakesOneLine) {
  constexpr uint32_t kUnits = 1 << 20;  // 64 MiB
  run_.fill_journal(JournalType::kCoverage, 1, kUnits);
  const json coverage = document(make(), "coverage.json");
  EXPECT_LT(coverage["items"].size(), 50u);
  uint64_t told = 0, left_out = 0;
  for (const json& item : coverage["items"]) {
    if (item["what"] == "recording stopped") told += item["count"].get<uint64_t>();
    if (item["what"] == "journal entries") left_out += item["count"].get<uint64_t>();
  }
  EXPECT_GT(told, kUnits / 4);
  EXPECT_GT(left_out, 0u);
  EXPECT_EQ(told + left_out, kUnits);
}

// What takes no room in the spool takes a second per gibibyte to sum up and compress.
TEST_F(ForeignRunTest, ALogOfHolesIsNotTaken) {
  run_.claim_chunks_of(uint64_t{32} << 30);
  const auto made = create_bundle(run_.path(), {.output = out_, .foreign = true});
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("written"), std::string::npos) << made.error().message;
}

TEST_F(ForeignRunTest, FilesThatBecomeShorterMeanwhileStopNothing) {
  spew(run_.path() / "launcher.log", std::string(1 << 20, 'x'));
  for (const bool foreign : {true, false}) {
    spew(run_.path() / "launcher.log", std::string(1 << 20, 'x'));
    CreateBundleOptions options{.output = out_, .foreign = foreign};
    bool cut = false;
    options.progress = [&](uint64_t, uint64_t) {
      if (std::exchange(cut, true)) return;
      fs::resize_file(run_.path() / "launcher.log", 10);
      if (foreign) fs::resize_file(run_.path() / "run.shmlog", 4096);
    };
    const auto path = create_bundle(run_.path(), options);
    EXPECT_EQ(path.ok(), foreign);
    if (path) {
      EXPECT_TRUE(verify_bundle(*path));
      EXPECT_EQ(read_bundle_file(*path, "launcher.log")->size(), size_t{1} << 20);
    }
  }
}

TEST_F(ForeignRunTest, PathsOfTheReaderAreNeverTaken) {
  const fs::path self = fs::read_symlink("/proc/self/exe");
  run_.add_module(self, inode_of(self));
  const fs::path path = make();
  EXPECT_TRUE(module(path, self).contains("missing")) << module(path, self).dump();
  EXPECT_EQ(items_about(document(path, "coverage.json"), self).size(), 1u);
}

TEST_F(ForeignRunTest, BinariesOfTheRunDirectoryAreTaken) {
  const std::string gone = "/elsewhere/bin/program", lost = "/elsewhere/lib/lost.so";
  run_.add_journal(JournalType::kProcessStart, 1, gone);
  run_.add_module(gone, 4711);
  run_.add_module(lost, 4712);
  KeptBinary missing{.path = lost, .inode = 4712};
  missing.missing = "No space left on device";
  write_index({keep(gone, 4711), missing});
  for (const bool foreign : {true, false}) {
    const fs::path path = create(run_.path(), {.foreign = foreign});
    const json row = module(path, gone);
    ASSERT_TRUE(row.contains("file")) << row.dump();
    EXPECT_EQ(row["role"], "executable");
    EXPECT_EQ(row["file"], "binaries/" + row["buildId"].get<std::string>() + "/program");
    EXPECT_EQ(*read_bundle_file(path, row["file"]), slurp("/proc/self/exe"));
    if (foreign) {
      EXPECT_EQ(module(path, lost)["missing"], "No space left on device");
    }
    Result<OpenedBundle> opened = open_bundle(path);
    ASSERT_TRUE(opened);
    EXPECT_TRUE(opened->binary(gone));
  }
  EXPECT_EQ(open_bundle(run_.path())->binary(gone)->parent_path(), folder());
}

TEST_F(ForeignRunTest, AFileOfAnotherInodeIsNotTheOneThatWasMapped) {
  run_.add_module("/elsewhere/lib.so", 4712);
  write_index({keep("/elsewhere/lib.so", 4711)});
  EXPECT_TRUE(module(make(), "/elsewhere/lib.so").contains("missing"));
}

TEST_F(ForeignRunTest, HostileBinariesAreRefused) {
  const std::string path = "/elsewhere/lib.so";
  run_.add_module(path, 4711);
  const KeptBinary good = keep(path, 4711);
  const std::string self = slurp("/proc/self/exe");
  const auto with = [&](const std::function<void(KeptBinary&)>& change) {
    KeptBinary line = good;
    change(line);
    return line;
  };
  const std::string other_id(40, 'a'), sum_of_half = sha256_hex(self.substr(0, self.size() / 2));
  const struct {
    const char* what;
    KeptBinary line;
    std::function<void()> prepare;
  } kCases[] = {
      {"a path out of the folder", with([](KeptBinary& k) { k.file = "../run.json"; }), [] {}},
      {"an absolute path", with([&](KeptBinary& k) { k.file = root_ / "secret"; }), [] {}},
      {"a name that is neither of its IDs", with([&](KeptBinary& k) { k.file = other_id; }),
       [&] { spew(folder() / other_id, self); }},
      {"another build-id", with([&](KeptBinary& k) { k.file = k.build_id = other_id; }),
       [&] { spew(folder() / other_id, self); }},
      {"another sum", with([&](KeptBinary& k) { k.sha256 = std::string(64, 'b'); }), [] {}},
      {"another length", with([](KeptBinary& k) { k.bytes += 1; }), [] {}},
      {"a link", with([&](KeptBinary& k) { k.file = k.sha256 = std::string(64, 'c'); }),
       [&] { fs::create_symlink("/proc/self/exe", folder() / std::string(64, 'c')); }},
      {"a pipe", with([&](KeptBinary& k) { k.file = k.sha256 = std::string(64, 'd'); }),
       [&] { mkfifo((folder() / std::string(64, 'd')).c_str(), 0600); }},
      {"a directory", with([&](KeptBinary& k) { k.file = k.sha256 = std::string(64, 'e'); }),
       [&] { fs::create_directory(folder() / std::string(64, 'e')); }},
      {"a huge file", with([&](KeptBinary& k) {
         k.file = k.sha256 = std::string(64, 'f');
         k.bytes = uint64_t{1} << 40;
       }),
       [&] {
         spew(folder() / std::string(64, 'f'), self);
         fs::resize_file(folder() / std::string(64, 'f'), uint64_t{1} << 40);
       }},
      {"no ELF file", with([&](KeptBinary& k) {
         k.build_id = "", k.bytes = 6, k.file = k.sha256 = sha256_hex("secret");
       }),
       [&] { spew(folder() / sha256_hex("secret"), "secret"); }},
  };
  for (const auto& hostile : kCases) {
    hostile.prepare();
    fs::remove(folder() / "index.jsonl");
    write_index({hostile.line});
    const json row = module(make(), path);
    EXPECT_TRUE(row.contains("missing")) << hostile.what << ": " << row.dump();
  }
  // A truncated ELF file with the right sum is one, though nobody will find much in it.
  KeptBinary half =
      with([&](KeptBinary& k) { k.bytes = self.size() / 2, k.file = k.sha256 = sum_of_half; });
  spew(folder() / sum_of_half, self.substr(0, self.size() / 2));
  fs::remove(folder() / "index.jsonl");
  write_index({half});
  EXPECT_TRUE(module(make(), path).contains("file"));
}

TEST_F(ForeignRunTest, AnyIndexIsTolerated) {
  run_.add_module("/elsewhere/lib.so", 4711);
  const KeptBinary good = keep("/elsewhere/lib.so", 4711);
  spew(folder() / "index.jsonl", "\n[]\n{}\n{\"path\":7}\nnoise\n" + std::string(100000, '[') +
                                     "\n" + std::string(50, '\0') + "\n" + to_line(good) +
                                     "{\"path\":\"cut");
  EXPECT_TRUE(module(make(), "/elsewhere/lib.so").contains("file"));
  fs::remove(folder() / "index.jsonl");
  fs::create_symlink(root_ / "secret", folder() / "index.jsonl");
  EXPECT_TRUE(module(make(), "/elsewhere/lib.so").contains("missing"));
  fs::remove_all(folder());
  fs::create_symlink(root_, folder());
  const fs::path path = make();
  EXPECT_TRUE(module(path, "/elsewhere/lib.so").contains("missing"));
  EXPECT_EQ(items_about(document(path, "coverage.json"), "binaries").size(), 1u);
}

TEST_F(ForeignRunTest, BinariesStayBelowTheLimit) {
  run_.add_module("/elsewhere/lib.so", 4711);
  write_index({keep("/elsewhere/lib.so", 4711)});
  const fs::path path = create(run_.path(), {.max_bytes = 1, .foreign = true});
  EXPECT_TRUE(module(path, "/elsewhere/lib.so").contains("missing"));
}

// ---- Failure while writing ----------------------------------------------------------------------

// Runs in a child, so that limits, mounts and death stay there. Returns its wait status.
int in_child(const std::function<int()>& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

TEST_F(BundleTest, FullDiskLeavesNothing) {
  RunDirectory run(root_);
  const uint64_t whole = fs::file_size(create(run.path(), {.output = root_ / "probe"}));
  ASSERT_GT(whole, 1000u);
  for (const uint64_t room : {uint64_t{0}, uint64_t{1}, whole / 2, whole - 1}) {
    const int status = in_child([&] {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{room, room};
      setrlimit(RLIMIT_FSIZE, &limit);
      const auto made = create_bundle(run.path(), {.output = out_});
      if (made.ok() || made.error().bad_input) return 1;
      return made.error().message.find("cannot write it") == std::string::npos ? 2 : 0;
    });
    EXPECT_EQ(status, 0) << room;
    EXPECT_TRUE(names_in(out_).empty()) << room;
  }
}

TEST_F(BundleTest, FullFileSystemLeavesNothing) {
  RunDirectory run(root_);
  run.add_module(fs::read_symlink("/proc/self/exe"), 0);
  constexpr int kNoMount = 77;
  const int status = in_child([&] {
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("none", out_.c_str(), "tmpfs", 0, "size=64k") != 0) {
      return kNoMount;
    }
    const auto made = create_bundle(run.path(), {.output = out_});
    if (made.ok()) return 1;
    return names_in(out_).empty() ? 0 : 2;
  });
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoMount) GTEST_SKIP() << "may not mount";
  EXPECT_EQ(status, 0);
}

TEST_F(BundleTest, KilledWriterLeavesOnlyAPartialFileThatTheNextOneReplaces) {
  RunDirectory run(root_);
  int calls = 0;
  for (int die_at = 0; die_at < 8; ++die_at) {
    const int status = in_child([&] {
      CreateBundleOptions options{.output = out_};
      options.progress = [&](uint64_t, uint64_t) {
        if (calls++ == die_at) kill(getpid(), SIGKILL);
      };
      return create_bundle(run.path(), options).ok() ? 0 : 1;
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << die_at;
    EXPECT_EQ(names_in(out_),
              std::set<std::string>{"demo-20260921T141320Z.shmrec.tar.zst.partial"});
  }
  const fs::path path = create(run.path());
  EXPECT_TRUE(verify_bundle(path));
  EXPECT_EQ(names_in(out_), std::set<std::string>{"demo-20260921T141320Z.shmrec.tar.zst"});
}

TEST_F(BundleTest, SecondWriterIsRefusedWhileTheFirstLives) {
  RunDirectory run(root_);
  bool tried = false;
  CreateBundleOptions options{.output = out_ / "one"};
  options.progress = [&](uint64_t, uint64_t) {
    if (std::exchange(tried, true)) return;
    const auto second = create_bundle(run.path(), {.output = out_ / "one"});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("another shmrec"), std::string::npos);
  };
  create(run.path(), options);
  EXPECT_TRUE(tried);
  EXPECT_TRUE(verify_bundle(out_ / "one"));
}

// ---- Hostile bundles ----------------------------------------------------------------------------

struct Item {
  std::string name;
  std::string content;
  mode_t type = AE_IFREG;
  std::string link = {};
  bool hard = false;
  int64_t declared = -1;  // other than the content's size
};

std::string make_tar(const std::vector<Item>& items) {
  std::string bytes(64 << 20, '\0');
  size_t used = 0;
  archive* tar = archive_write_new();
  archive_write_set_format_pax_restricted(tar);
  archive_write_set_bytes_in_last_block(tar, 1);
  archive_write_open_memory(tar, bytes.data(), bytes.size(), &used);
  for (const Item& item : items) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, item.name.c_str());
    archive_entry_set_filetype(entry, item.type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<int64_t>(item.content.size()));
    if (!item.link.empty() && item.hard) archive_entry_set_hardlink(entry, item.link.c_str());
    if (!item.link.empty() && !item.hard) archive_entry_set_symlink(entry, item.link.c_str());
    EXPECT_EQ(archive_write_header(tar, entry), ARCHIVE_OK) << archive_error_string(tar);
    archive_write_data(tar, item.content.data(), item.content.size());
    archive_entry_free(entry);
  }
  archive_write_close(tar);
  archive_write_free(tar);
  bytes.resize(used);
  return bytes;
}

std::string compress(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

class HostileBundleTest : public BundleTest {
 protected:
  HostileBundleTest() {
    RunDirectory run(root_);
    path_ = create(run.path());
    const auto files = list_bundle(path_);
    EXPECT_TRUE(files);
    for (const BundleFile& file : *files) {
      items_.push_back({file.name, *read_bundle_file(path_, file.name)});
    }
  }

  Item& item(const std::string& name) {
    return *std::find_if(items_.begin(), items_.end(),
                         [&](const Item& item) { return item.name == name; });
  }
  size_t index(const std::string& name) { return static_cast<size_t>(&item(name) - items_.data()); }

  // Sums that are right, so that what is wrong is found for its own sake.
  void renew_sums() {
    std::string sums;
    for (const Item& item : items_) {
      if (item.name != "SHA256SUMS") sums += sha256_hex(item.content) + "  " + item.name + "\n";
    }
    item("SHA256SUMS").content = sums;
  }
  void change_manifest(const std::function<void(json&)>& change) {
    json manifest = json::parse(item("manifest.json").content);
    change(manifest);
    item("manifest.json").content = manifest.dump();
  }

  // All ways of reading refuse `bytes`, with `message`, and leave nothing behind.
  void expect_refused(const std::string& bytes, const std::string& message) {
    const fs::path bad = root_ / "bad.shmrec.tar.zst";
    spew(bad, bytes);
    const fs::path temporary = root_ / "tmp", into = root_ / "into";
    fs::create_directories(temporary);
    setenv("TMPDIR", temporary.c_str(), 1);
    const auto opened = open_bundle(bad);
    const auto listed = list_bundle(bad);
    const auto extracted = extract_bundle(bad, into, {});
    unsetenv("TMPDIR");
    ASSERT_FALSE(opened);
    EXPECT_TRUE(opened.error().bad_input);
    EXPECT_NE(opened.error().message.find(message), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find(bad.string()), std::string::npos)
        << opened.error().message;
    EXPECT_FALSE(listed);
    EXPECT_FALSE(extracted);
    EXPECT_TRUE(fs::is_empty(temporary));
    EXPECT_TRUE(fs::is_empty(into));
    EXPECT_FALSE(fs::exists(root_ / "evil"));
  }
  void expect_refused(const std::string& message) {
    expect_refused(compress(make_tar(items_)), message);
  }

  fs::path path_;
  std::vector<Item> items_;
};

TEST_F(HostileBundleTest, RepackedUnchangedIsAccepted) {
  renew_sums();
  spew(root_ / "same", compress(make_tar(items_)));
  EXPECT_TRUE(verify_bundle(root_ / "same")) << verify_bundle(root_ / "same").error().message;
}

TEST_F(HostileBundleTest, NamesThatLeaveTheDirectory) {
  for (const char* name : {"../evil", "/evil", "binaries/../../evil", "binaries//x", "./run.json",
                           "a\\b", "evil\n", "evil\x1b[31m", "..", "binaries/../run.json"}) {
    auto items = items_;
    items.insert(items.begin() + 1, {name, "evil"});
    expect_refused(compress(make_tar(items)), "could leave the directory or hide");
  }
}

TEST_F(HostileBundleTest, EntriesThatAreNoPlainFiles) {
  const struct {
    Item item;
    const char* message;
  } cases[] = {{{"run.json", "", AE_IFLNK, "../../evil"}, "symbolic link"},
               {{"run.json", "", AE_IFREG, "manifest.json", true}, "hard link"},
               {{"run.json", "", AE_IFCHR}, "device"},
               {{"run.json", "", AE_IFBLK}, "device"},
               {{"run.json", "", AE_IFIFO}, "pipe"},
               {{"run.json", "", AE_IFDIR}, "name that could leave"}};  // tar gives it a slash
  for (const auto& each : cases) {
    auto items = items_;
    items[1] = each.item;
    expect_refused(compress(make_tar(items)), each.message);
  }
}

TEST_F(HostileBundleTest, EntriesTwiceMissingUnknownOrOutOfOrder) {
  const auto original = items_;
  const auto with = [&](const std::function<void(std::vector<Item>&)>& change,
                        const char* message) {
    auto items = original;
    change(items);
    expect_refused(compress(make_tar(items)), message);
  };
  const size_t log = index("run.shmlog"), sums = index("SHA256SUMS");
  with([&](auto& v) { v.insert(v.begin() + 2, v[1]); }, "run.json occurs twice");
  with([&](auto& v) { v.insert(v.begin() + 1, v[0]); }, "manifest.json occurs twice");
  with([&](auto& v) { v.push_back(v[1]); }, "follows SHA256SUMS");
  with([&](auto& v) { v.insert(v.begin() + 2, {"evil", "x"}); }, "has evil where");
  with([&](auto& v) { v.insert(v.begin(), {"evil", "x"}); }, "begins with evil");
  with([&](auto& v) { std::swap(v[1], v[2]); }, "where run.json should be");
  with([&](auto& v) { v.erase(v.begin()); }, "begins with run.json");
  with([&](auto& v) { v.erase(v.begin() + static_cast<long>(log)); }, "where run.shmlog should be");
  with([&](auto& v) { v.erase(v.begin() + static_cast<long>(sums)); }, "ends before SHA256SUMS");
  with([&](auto& v) { v.resize(3); }, "is not whole");
  with([&](auto& v) { v.clear(); }, "ends before manifest.json");
}

TEST_F(HostileBundleTest, ManifestsThatLie) {
  const auto original = items_;
  const auto with = [&](const std::function<void(json&)>& change, const char* message) {
    items_ = original;
    change_manifest(change);
    renew_sums();
    expect_refused(message);
  };
  with([](json& m) { m["format"] = "shmrec-bundle/9"; }, "expected shmrec-bundle/1");
  with([](json& m) { m = json::array(); }, "not a JSON object");
  with([](json& m) { m.erase("runId"); }, "no runId");
  with([](json& m) { m.erase("files"); }, "no list of files");
  with([](json& m) { m["files"] = 7; }, "no list of files");
  with([](json& m) { m["files"][0] = "x"; }, "without name or size");
  with([](json& m) { m["files"][0]["bytes"] = -1; }, "without name or size");
  with([](json& m) { m["files"][0]["bytes"] = 5; }, "manifest.json says 5");
  with([](json& m) { m["files"][0]["bytes"] = UINT64_MAX; }, "impossible sizes");
  with([](json& m) { m["files"][0]["name"] = "../evil"; }, "no place in a bundle");
  with([](json& m) { m["files"][0]["name"] = "binaries/../evil"; }, "no place in a bundle");
  with([](json& m) { m["files"][0]["name"] = "binaries/0123456789/.."; }, "no place in a bundle");
  with([](json& m) { m["files"].push_back(m["files"][0]); }, "listed twice");
  with([](json& m) { m["files"] = json::array(); }, "lists no coverage.json");
  with([](json& m) { m["log"]["storedBytes"] = 1; }, "contradict");
  with([](json& m) { m["log"]["bytes"] = 1; }, "contradict");
  with([](json& m) { m["log"]["bytes"] = uint64_t{1} << 60; }, "contradict");
  with([](json& m) { m.erase("processes"); }, "no list of processes");
  items_ = original;
  item("manifest.json").content = "{";
  expect_refused("not JSON");
  item("manifest.json").content = std::string(100000, '[');
  expect_refused("not JSON");
}

TEST_F(HostileBundleTest, VerifyHoldsTheManifestAgainstTheContent) {
  const auto original = items_;
  const auto verify = [&](const std::function<void()>& change) {
    items_ = original;
    change();
    renew_sums();
    spew(root_ / "lie", compress(make_tar(items_)));
    EXPECT_TRUE(list_bundle(root_ / "lie")) << list_bundle(root_ / "lie").error().message;
    const auto verified = verify_bundle(root_ / "lie");
    return verified ? "" : verified.error().message;
  };
  const auto manifest = [&](auto change) { return [=, this] { change_manifest(change); }; };
  EXPECT_NE(verify(manifest([](json& m) { m["runId"] = "0"; })).find("the log is of run"),
            std::string::npos);
  EXPECT_NE(verify(manifest([](json& m) { m["processes"].erase(0); })).find("processes"),
            std::string::npos);
  EXPECT_NE(verify(manifest([](json& m) { m["log"]["opens"] = false; })).find("opens"),
            std::string::npos);
  EXPECT_NE(verify([&] { item("run.shmlog").content[0] = 'X'; }).find("does not open"),
            std::string::npos);
  EXPECT_NE(verify([&] {
              const std::string text =
                  R"({"modules":[{"path":"/x","file":"binaries/0123456789/x"}]})";
              item("binaries.json").content = text;
              change_manifest([&](json& m) {
                for (json& file : m["files"]) {
                  if (file["name"] == "binaries.json") file["bytes"] = text.size();
                }
              });
            }).find("binaries.json is not true"),
            std::string::npos);
}

TEST_F(HostileBundleTest, VerifyNamesFileAndKeyOfWhatIsNotInTheSchema) {
  const auto original = items_;
  const auto verify = [&](const char* name, const std::function<void(json&)>& change) {
    items_ = original;
    json text = json::parse(item(name).content);
    change(text);
    item(name).content = text.dump();
    change_manifest([&](json& m) {
      for (json& file : m["files"])
        if (file["name"] == name) file["bytes"] = item(name).content.size();
    });
    renew_sums();
    spew(root_ / "odd", compress(make_tar(items_)));
    const auto verified = verify_bundle(root_ / "odd");
    EXPECT_TRUE(verified.ok() || verified.error().bad_input);
    return verified ? "ok" : verified.error().message;
  };
  const struct {
    const char *file, *key;
    json value;
  } cases[] = {{"run.json", "format", "shmrec-run/9"},
               {"run.json", "runId", "0123"},
               {"run.json", "command", "sh"},
               {"run.json", "command", json::array({1})},
               {"run.json", "uid", -1},
               {"run.json", "uid", uint64_t{1} << 32},
               {"run.json", "startTime", "yesterday"},
               {"run.json", "launcherPid", 0},
               {"run.json", "container", 7},
               {"coverage.json", "format", 1},
               {"coverage.json", "complete", "yes"},
               {"coverage.json", "items", json::object()},
               {"coverage.json", "items", json::array({1})},
               {"coverage.json", "items", json::array({{{"source", "moon"}}})}};
  for (const auto& row : cases) {
    const std::string said = verify(row.file, [&](json& text) { text[row.key] = row.value; });
    EXPECT_NE(said.find(std::string(row.file) + ": " + row.key), std::string::npos)
        << row.key << " " << row.value << ": " << said;
  }
  for (const char* key : {"format", "runId", "command"})
    EXPECT_NE(verify("run.json", [&](json& text) { text.erase(key); }).find("missing"),
              std::string::npos);
  EXPECT_NE(verify("run.json", [](json& text) { text = json::array(); }).find("run.json: expected"),
            std::string::npos);
  EXPECT_EQ(verify("run.json", [](json& text) { text["later"] = 1; }), "ok");
}

TEST_F(HostileBundleTest, WrongSumsAreNamed) {
  const auto original = items_;
  for (const char* name : {"run.json", "run.shmlog", "launcher.log", "coverage.json"}) {
    items_ = original;
    item(name).content[0] ^= 1;
    expect_refused(std::string(name) + " does not have the sum");
  }
  items_ = original;
  item("SHA256SUMS").content += "more\n";
  expect_refused("lists more");
  item("SHA256SUMS").content.clear();
  expect_refused("manifest.json does not have the sum");
}

TEST_F(HostileBundleTest, NotABundleAtAll) {
  expect_refused("", "empty");
  expect_refused("hello", "not a bundle");
  expect_refused("hello, this is a text of some length", "not a bundle");
  expect_refused(make_tar(items_), "not a bundle");
  expect_refused(compress("hello, this is a text of some length"), "not");
  EXPECT_FALSE(open_bundle(root_ / "nonesuch"));
  EXPECT_FALSE(list_bundle(root_));
  ASSERT_EQ(mkfifo((root_ / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(open_bundle(root_ / "fifo"));
}

TEST_F(HostileBundleTest, NothingMayFollowTheEnd) {
  const std::string good = compress(make_tar(items_));
  expect_refused(good + "x", "bytes follow the end");
  expect_refused(good + good, "data follows the end");
  expect_refused(good + std::string(1000, '\0'), "bytes follow the end");
  expect_refused(compress(make_tar(items_) + "x"), "data follows the end");
  expect_refused(compress(make_tar(items_) + std::string(1 << 20, '\0') + "x"),
                 "data follows the end");
  expect_refused(compress(make_tar(items_) + make_tar({{"evil", "x"}})), "data follows the end");
}

TEST_F(HostileBundleTest, BombsAreStoppedAtTheLimit) {
  const auto read = [&](const std::string& tar, const UnpackLimits& limits) {
    const std::string bytes = compress(tar);
    MemorySource source(bytes);
    ZstdSource unpacked(source, "bomb", limits);
    struct : FileSink {
      uint64_t bytes = 0;
      Result<> begin(const std::string&, uint64_t) override { return Unit{}; }
      Result<> data(const char*, size_t n) override { return bytes += n, Unit{}; }
      Result<> end() override { return Unit{}; }
    } sink;
    const auto result = read_bundle(unpacked, "bomb", limits, sink);
    EXPECT_LT(sink.bytes, tar.size());
    return result ? "" : result.error().message;
  };
  item("launcher.log").content = std::string(20 << 20, '\0');
  change_manifest([](json& m) {
    for (json& file : m["files"]) {
      if (file["name"] == "launcher.log") file["bytes"] = 20 << 20;
    }
  });
  renew_sums();
  const std::string tar = make_tar(items_);
  UnpackLimits ratio;
  ratio.free_bytes = 1 << 20;
  ratio.ratio = 10;
  EXPECT_NE(read(tar, ratio).find("unpacks to more than"), std::string::npos);
  UnpackLimits total;
  total.total_bytes = 1 << 20;
  EXPECT_NE(read(tar, total).find("unpacks to more than"), std::string::npos);
  UnpackLimits few;
  few.entries = 3;
  EXPECT_NE(read(tar, few).find("more than 3 files"), std::string::npos);
}

TEST_F(HostileBundleTest, WindowsThatNeedMuchMemoryAreRefused) {
  // A frame header that asks for a window of 2 GiB and has no content size.
  const std::string frame = std::string("\x28\xb5\x2f\xfd\x00\xa8", 6) + std::string(64, '\0');
  expect_refused(frame, "Frame requires too much memory");
}

TEST_F(HostileBundleTest, TextsThatAreTooLongAreNotReadIntoMemory) {
  const auto read = read_bundle_file(path_, "run.shmlog", 1000);
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("extract"), std::string::npos);
}

// A bundle of a run whose log was torn to a few bytes is small enough to try every byte of it.
class SmallBundleTest : public BundleTest {
 protected:
  SmallBundleTest() {
    RunDirectory run(root_);
    run.cut_log(100);
    bytes_ = slurp(create(run.path()));
  }

  Result<ReadBundle> read(const std::string& bytes) {
    UnpackLimits limits;
    MemorySource source(bytes);
    ZstdSource tar(source, "small", limits);
    content_.text.clear();
    return read_bundle(tar, "small", limits, content_);
  }

  struct Content : FileSink {
    std::string text;
    Result<> begin(const std::string& name, uint64_t) override { return text += name, Unit{}; }
    Result<> data(const char* data, size_t n) override { return text.append(data, n), Unit{}; }
    Result<> end() override { return Unit{}; }
  } content_;
  std::string bytes_;
};

TEST_F(SmallBundleTest, CutOffAtEveryByteIsRefused) {
  ASSERT_TRUE(read(bytes_));
  for (size_t size = 0; size < bytes_.size(); ++size) {
    const auto result = read(bytes_.substr(0, size));
    ASSERT_FALSE(result) << size;
    ASSERT_NE(result.error().message.find(size == 0 ? "empty" : "cut off"), std::string::npos)
        << size << ": " << result.error().message;
  }
}

TEST_F(SmallBundleTest, FlippedBitsAreRefusedOrChangeNothing) {
  ASSERT_TRUE(read(bytes_));
  const std::string original = content_.text;
  size_t refused = 0;
  for (size_t at = 0; at < bytes_.size(); ++at) {
    std::string flipped = bytes_;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    const auto result = read(flipped);
    ASSERT_TRUE(!result.ok() || content_.text == original) << at;
    refused += !result.ok();
  }
  EXPECT_GT(refused, bytes_.size() * 99 / 100);
}

// ---- The worked example of docs/bundle_format.md ------------------------------------------------

// Offset, sixteen bytes, their characters; rows of zeros are left out.
std::string hex_dump(const std::string& bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const std::string row = bytes.substr(at, 16);
    if (row.find_first_not_of('\0') == std::string::npos) continue;
    char cell[32];
    std::snprintf(cell, sizeof(cell), "%04zx ", at);
    text += cell;
    for (const char c : row) {
      std::snprintf(cell, sizeof(cell), " %02x", static_cast<uint8_t>(c));
      text += cell;
    }
    text += "  ";
    for (const char c : row) text += c >= ' ' && c <= '~' ? c : '.';
    text += "\n";
  }
  return text;
}

std::string first_tar_bytes(const std::string& bundle, size_t bytes) {
  MemorySource source(bundle);
  ZstdSource tar(source, "example", UnpackLimits{});
  std::string head(bytes, '\0');
  size_t done = 0;
  while (done < bytes) {
    const Result<size_t> got = tar.read(&head[done], bytes - done);
    if (!got || *got == 0) break;
    done += *got;
  }
  return head;
}

TEST_F(BundleTest, WorkedExampleOfTheDocumentIsTrue) {
  RunDirectory run(root_);
  run.add_process("killed", 102, 1, -1);
  run.add_journal(JournalType::kProcessStart, 1, "/work/demo");
  run.add_module("/work/demo", 42);
  const fs::path path = create(run.path(), {.trigger = "signal 6 (SIGABRT)"});
  const std::string document = slurp(fs::path(SHMREC_SOURCE_DIR) / "docs" / "bundle_format.md");
  std::map<std::string, std::string> texts = {
      {"first tar header", hex_dump(first_tar_bytes(slurp(path), 512))}};
  for (const char* name : {"manifest.json", "coverage.json", "binaries.json", "SHA256SUMS"}) {
    texts[name] = *read_bundle_file(path, name);
  }
  for (const auto& [name, text] : texts) {
    EXPECT_NE(document.find("```\n" + text + "```\n"), std::string::npos)
        << "docs/bundle_format.md should show this " << name << ":\n"
        << text;
  }
}

}  // namespace
}  // namespace shmrec::recording
