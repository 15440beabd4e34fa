#include "recording/blame/access_index.h"

#include <algorithm>
#include <map>
#include <thread>

namespace shmrec::recording {

using shmlog::RecordKind;

namespace {

uint64_t line_version(const RecordView& record, uint32_t i) {
  return record.writes() ? record.write_version(i) : record.read_version(i);
}

// The version is filled in before the line is touched; an access that was cut short lacks the rest.
bool line_done(const RecordView& record, uint32_t i) { return line_version(record, i) != 0; }

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  x ^= x >> 29;
  return x;
}

}  // namespace

Position Access::position(uint64_t offset) const {
  const uint32_t i = line_index(offset);
  return {writes() ? write_versions[i] : read_versions[i], writes(), header.event};
}

uint64_t Access::earliest(uint64_t offset) const {
  const uint32_t i = line_index(offset);
  if (!first_versions.empty()) return first_versions[i];
  return writes() ? write_versions[i] + 1 : read_versions[i];
}

uint64_t Access::latest(uint64_t offset) const {
  const uint32_t i = line_index(offset);
  if (!finished) return UINT64_MAX;
  return writes() ? write_versions[i] + 1 : read_versions[i];
}

// ---- Building -----------------------------------------------------------------------------------

// Indexes a share of the chunks; one per thread.
class AccessIndex::Builder {
 public:
  explicit Builder(AccessIndex& index)
      : index_(index), buckets_(index.buckets_), table_(kFirstTableSize) {}

  void run(uint32_t first, uint32_t step) {
    for (uint32_t slot = first; slot < index_.slots_.size(); slot += step) add_chunk(slot);
  }

  AccessIndex& index_;
  Buckets buckets_;
  std::map<std::string, Damage> damage_;

 private:
  void add_chunk(uint32_t slot) {
    const ShmlogReader& reader = index_.reader_;
    if (!reader.copy_chunk(reader.chunks()[slot], copy_)) {
      return add_damage("chunk claimed anew while it was read", shmlog::kChunkBytes);
    }
    open_.clear();
    std::fill(table_.begin(), table_.end(), kNone);
    uint32_t at = 0;
    RecordView record;
    while (copy_.next(at, record)) add_record(slot, record);
    if (const char* reason = copy_.damage_at(at)) add_damage(reason, copy_.bytes_after(at));
    for (const Posting& posting : open_) buckets_[index_.bucket_of(posting.key)].push_back(posting);
  }

  void add_record(uint32_t slot, const RecordView& record) {
    if (record.is_clock()) return;
    const Outcome outcome = index_.reader_.outcome(copy_.info(), record);
    if (outcome == Outcome::kNotDone) return;
    Slot& summary = index_.slots_[slot];
    summary.first_event = std::min(summary.first_event, record.header.event);
    summary.last_event = std::max(summary.last_event, record.header.event);
    ++summary.records;
    summary.has_between = summary.has_between || record.between();
    const uint64_t line = record.header.offset / shmlog::kLineBytes;
    for (uint32_t i = 0; i < record.lines(); ++i) {
      if (!line_done(record, i)) continue;
      add_line(slot, record, line + i, line_version(record, i));
    }
  }

  void add_line(uint32_t slot, const RecordView& record, uint64_t line, uint64_t version) {
    Posting& posting = open_posting(key_of(record.header.segment, line), record.writes());
    if (posting.last_version == 0) posting = {posting.key, version, version, slot, posting.writes};
    posting.first_version = std::min(posting.first_version, version);
    posting.last_version = std::max(posting.last_version, version);
  }

  // The chunk's posting of this key, made if it is new (with version 0). `table_` finds it: open
  // addressing, at most half full; this is where building spends its time.
  Posting& open_posting(uint64_t key, bool writes) {
    if (open_.size() * 2 >= table_.size()) grow_table();
    uint32_t* place = find_place(key, writes);
    if (*place == kNone) {
      *place = static_cast<uint32_t>(open_.size());
      open_.push_back({key, 0, 0, 0, writes});
    }
    return open_[*place];
  }

  uint32_t* find_place(uint64_t key, bool writes) {
    const size_t mask = table_.size() - 1;
    size_t at = (key >> 20 ^ static_cast<size_t>(writes)) & mask;
    while (table_[at] != kNone &&
           (open_[table_[at]].key != key || open_[table_[at]].writes != writes))
      at = (at + 1) & mask;
    return &table_[at];
  }

  void grow_table() {
    table_.assign(table_.size() * 2, kNone);
    for (uint32_t i = 0; i < open_.size(); ++i) *find_place(open_[i].key, open_[i].writes) = i;
  }

  void add_damage(const std::string& reason, uint64_t bytes) {
    Damage& damage = damage_[reason];
    damage.reason = reason;
    ++damage.count;
    damage.bytes += bytes;
  }

  ChunkCopy copy_;
  static constexpr size_t kFirstTableSize = 4096;  // a power of two
  static constexpr uint32_t kNone = UINT32_MAX;
  std::vector<Posting> open_;    // of the chunk being read
  std::vector<uint32_t> table_;  // hash table of indices into open_
};

uint64_t AccessIndex::key_of(uint32_t segment, uint64_t line) {
  return mix(line + uint64_t{segment} * 0xD6E8FEB86659FD93u);
}

std::unique_ptr<AccessIndex> AccessIndex::build(const ShmlogReader& reader) {
  std::unique_ptr<AccessIndex> index(new AccessIndex(reader));
  index->slots_.resize(reader.chunks().size());
  index->buckets_ = std::clamp<size_t>(reader.chunks().size(), 16, 4096);
  const size_t processors = std::max(1u, std::thread::hardware_concurrency());
  const size_t threads = std::clamp<size_t>(reader.chunks().size() / 64, 1, processors);
  std::vector<Builder> builders;
  for (size_t i = 0; i < threads; ++i) builders.emplace_back(*index);
  std::vector<std::thread> workers;
  for (uint32_t i = 1; i < threads; ++i) {
    workers.emplace_back(
        [&builders, i, threads] { builders[i].run(i, static_cast<uint32_t>(threads)); });
  }
  builders[0].run(0, static_cast<uint32_t>(threads));
  for (std::thread& worker : workers) worker.join();

  std::map<std::string, Damage> damage;
  for (Builder& builder : builders) {
    index->parts_.push_back(std::move(builder.buckets_));
    for (const auto& [reason, found] : builder.damage_) {
      damage[reason].reason = reason;
      damage[reason].count += found.count;
      damage[reason].bytes += found.bytes;
    }
  }
  for (const auto& [reason, found] : damage) index->damage_.push_back(found);
  for (const Slot& slot : index->slots_) {
    index->records_ += slot.records;
    index->has_between_ = index->has_between_ || slot.has_between;
  }
  return index;
}

// ---- Questions ----------------------------------------------------------------------------------

// Postings that can hold an answer, those with the newest accesses first.
std::vector<AccessIndex::Posting> AccessIndex::candidates(const LineQuery& query) const {
  const uint64_t key = key_of(query.segment, query.begin / shmlog::kLineBytes);
  std::vector<Posting> found;
  for (const Buckets& part : parts_) {
    for (const Posting& posting : part[bucket_of(key)]) {
      if (posting.key != key || (query.writes_only && !posting.writes)) continue;
      if (query.before_version && posting.first_version >= *query.before_version) continue;
      if (posting.last_version <= query.after_version) continue;
      if (query.process != 0 && reader_.chunks()[posting.slot].header.process != query.process)
        continue;
      if (slots_[posting.slot].first_event > query.max_event) continue;
      found.push_back(posting);
    }
  }
  std::sort(found.begin(), found.end(), [](const Posting& a, const Posting& b) {
    return a.last_version != b.last_version ? a.last_version > b.last_version : a.slot > b.slot;
  });
  return found;
}

std::shared_ptr<const ChunkCopy> AccessIndex::chunk(uint32_t slot) const {
  const std::lock_guard lock(cache_mutex_);
  CachedChunk& cached = cache_[slot % cache_.size()];
  if (cached.slot != slot || !cached.copy) {
    auto copy = std::make_shared<ChunkCopy>();
    if (!reader_.copy_chunk(reader_.chunks()[slot], *copy)) return nullptr;
    cached = {slot, std::move(copy)};
  }
  return cached.copy;
}

// Calls visit(record, version of the line) for the admitted records in the posting's chunk.
template <typename Visit>
void AccessIndex::visit_matches(const LineQuery& query, const Posting& posting, Visit visit) const {
  const std::shared_ptr<const ChunkCopy> copy = chunk(posting.slot);
  if (!copy) return;
  const uint64_t line = query.begin / shmlog::kLineBytes;
  uint32_t at = 0;
  RecordView record;
  while (copy->next(at, record)) {
    const shmlog::RecordHeader& header = record.header;
    if (record.is_clock() || header.segment != query.segment || record.writes() != posting.writes)
      continue;
    if (header.offset >= query.end || header.offset + header.length <= query.begin) continue;
    if (header.event > query.max_event) continue;
    const auto index = static_cast<uint32_t>(line - header.offset / shmlog::kLineBytes);
    if (reader_.outcome(copy->info(), record) == Outcome::kNotDone || !line_done(record, index))
      continue;
    const uint64_t version = line_version(record, index);
    if (query.before_version && version >= *query.before_version) continue;
    if (version <= query.after_version) continue;
    visit(record, version);
  }
}

std::vector<std::optional<RecordId>> AccessIndex::newest(const LineQuery& query) const {
  struct Best {
    Position position;
    std::optional<RecordId> id;
  };
  std::vector<Best> best(query.end - query.begin);
  for (const Posting& posting : candidates(query)) {
    const bool settled = std::all_of(best.begin(), best.end(), [&](const Best& b) {
      return b.id && b.position.version > posting.last_version;
    });
    if (settled) break;
    visit_matches(query, posting, [&](const RecordView& record, uint64_t version) {
      const Position position{version, record.writes(), record.header.event};
      const uint64_t from = std::max(query.begin, record.header.offset);
      const uint64_t to = std::min(query.end, record.header.offset + record.header.length);
      for (uint64_t byte = from; byte < to; ++byte) {
        Best& b = best[byte - query.begin];
        const RecordId id{posting.slot, record.at};
        // Equal positions: pieces of one event; the later record of the lane wins.
        if (!b.id || b.position < position || (b.position == position && *b.id < id))
          b = {position, id};
      }
    });
  }
  std::vector<std::optional<RecordId>> answer;
  for (const Best& b : best) answer.push_back(b.id);
  return answer;
}

std::vector<RecordId> AccessIndex::all(const LineQuery& query) const {
  std::vector<std::pair<Position, RecordId>> found;
  for (const Posting& posting : candidates(query)) {
    visit_matches(query, posting, [&](const RecordView& record, uint64_t version) {
      found.push_back({{version, record.writes(), record.header.event}, {posting.slot, record.at}});
    });
  }
  std::sort(found.begin(), found.end());
  std::vector<RecordId> answer;
  for (const auto& [position, id] : found) answer.push_back(id);
  return answer;
}

std::optional<Access> AccessIndex::load(RecordId id) const {
  const std::shared_ptr<const ChunkCopy> copy = chunk(id.slot);
  if (!copy) return std::nullopt;
  Access access;
  access.id = id;
  access.process = copy->info().header.process;
  access.lane = copy->info().header.lane;
  access.tid = copy->info().header.tid;
  access.tsc_low = copy->info().header.start_tsc;
  uint32_t at = 0;
  RecordView record;
  while (copy->next(at, record) && record.at < id.at) {
    if (record.is_clock()) access.tsc_low = record.clock_tsc;
  }
  if (record.at != id.at || record.is_clock() || record.body == nullptr) return std::nullopt;
  access.kind = record.kind;
  access.header = record.header;
  access.outcome = reader_.outcome(copy->info(), record);
  for (uint32_t i = 0; i < record.lines(); ++i) {
    if (record.reads()) access.read_versions.push_back(record.read_version(i));
    if (record.writes()) access.write_versions.push_back(record.write_version(i));
    if (record.between()) access.first_versions.push_back(record.first_version(i));
  }
  access.finished = !record.between() || access.outcome == Outcome::kDone;
  access.input.assign(record.input().begin(), record.input().end());
  access.output.assign(record.output().begin(), record.output().end());
  access.callers = record.callers();
  while (access.tsc_high == 0 && copy->next(at, record)) {
    if (record.is_clock()) access.tsc_high = record.clock_tsc;
  }
  return access;
}

}  // namespace shmrec::recording
