#include "recording/blame/access_index.h"

#include <algorithm>
#include <functional>
#include <map>
#include <thread>

namespace shmrec::recording {

using shmlog::RecordKind;

namespace {

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
  explicit Builder(AccessIndex& index) : index_(index), buckets_(index.buckets_) {}

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
    summary_.read(reader, copy_);
    index_.slots_[slot] = summary_.facts();
    if (const char* reason = summary_.damage()) add_damage(reason, summary_.damaged_bytes());
    for (const LinePosting& line : summary_.postings()) {
      buckets_[index_.bucket_of(key_of(line.segment, line.line))].push_back(
          {line.segment, slot * 2 + (line.writes ? 1 : 0), line.line, line.first_version,
           line.last_version});
    }
  }

  void add_damage(const std::string& reason, uint64_t bytes) {
    Damage& damage = damage_[reason];
    damage.reason = reason;
    ++damage.count;
    damage.bytes += bytes;
  }

  ChunkCopy copy_;
  ChunkSummary summary_;
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

std::unique_ptr<AccessIndex> AccessIndex::from_stored(const ShmlogReader& reader,
                                                      std::shared_ptr<const StoredIndex> stored) {
  std::unique_ptr<AccessIndex> index(new AccessIndex(reader));
  std::vector<uint32_t>& slots = index->slot_of_chunk_;
  const std::vector<ChunkInfo>& chunks = reader.chunks();
  for (uint32_t slot = 0; slot < chunks.size(); ++slot) {
    if (chunks[slot].index >= slots.size()) slots.resize(chunks[slot].index + 1, UINT32_MAX);
    slots[chunks[slot].index] = slot;
  }
  index->slots_.resize(chunks.size());
  for (const index::Chunk& chunk : stored->chunks()) {
    if (chunk.index >= slots.size() || slots[chunk.index] == UINT32_MAX) continue;
    const bool between = (chunk.flags & index::kHasBetween) != 0;
    index->slots_[slots[chunk.index]] = {chunk.first_event, chunk.last_event, chunk.records,
                                         between};
    index->records_ += chunk.records;
    index->has_between_ = index->has_between_ || between;
  }
  index->stored_ = std::move(stored);
  return index;
}

// ---- Questions ----------------------------------------------------------------------------------

std::vector<AccessIndex::Posting> AccessIndex::postings_of(uint32_t segment, uint64_t line) const {
  std::vector<Posting> found;
  if (!stored_) {
    for (const Buckets& part : parts_) {
      for (const Posting& posting : part[bucket_of(key_of(segment, line))])
        if (posting.segment == segment && posting.line == line) found.push_back(posting);
    }
    return found;
  }
  stored_->find(segment, line, found);
  for (Posting& posting : found) {
    const uint32_t slot =
        posting.chunk() < slot_of_chunk_.size() ? slot_of_chunk_[posting.chunk()] : UINT32_MAX;
    if (slot == UINT32_MAX) {
      stored_->note_trouble("it names a chunk that is not there");
      return {};
    }
    posting.chunk_writes = slot * 2 + (posting.writes() ? 1 : 0);
  }
  return found;
}

// Postings that can hold an answer, those with the newest accesses first.
std::vector<AccessIndex::Posting> AccessIndex::candidates(const LineQuery& query) const {
  std::vector<Posting> found = postings_of(query.segment, query.begin / shmlog::kLineBytes);
  std::erase_if(found, [&](const Posting& posting) {
    if (query.writes_only && !posting.writes()) return true;
    if (query.before_version && posting.first_version >= *query.before_version) return true;
    if (posting.last_version <= query.after_version) return true;
    if (query.process != 0 && reader_.chunks()[posting.chunk()].header.process != query.process)
      return true;
    return slots_[posting.chunk()].first_event > query.max_event;
  });
  std::sort(found.begin(), found.end(), [](const Posting& a, const Posting& b) {
    return a.last_version != b.last_version ? a.last_version > b.last_version
                                            : a.chunk() > b.chunk();
  });
  return found;
}

std::shared_ptr<const ChunkCopy> AccessIndex::chunk(uint32_t slot) const {
  const std::lock_guard lock(cache_mutex_);
  CachedChunk& cached = cache_[slot % cache_.size()];
  if (cached.slot != slot || !cached.copy) {
    auto copy = std::make_shared<ChunkCopy>();
    if (!reader_.copy_chunk(reader_.chunks()[slot], *copy)) {
      if (stored_) stored_->note_trouble("a chunk is not the one that it describes");
      return nullptr;
    }
    cached = {slot, std::move(copy)};
  }
  return cached.copy;
}

// Calls visit(record, version of the line) for the admitted records in the posting's chunk.
template <typename Visit>
void AccessIndex::visit_matches(const LineQuery& query, const Posting& posting, Visit visit) const {
  const std::shared_ptr<const ChunkCopy> copy = chunk(posting.chunk());
  if (!copy) return;
  const uint64_t line = query.begin / shmlog::kLineBytes;
  uint64_t first_version = UINT64_MAX, last_version = 0;
  uint64_t tsc_low = copy->info().header.start_tsc;
  uint32_t at = 0;
  RecordView record;
  while (copy->next(at, record)) {
    const shmlog::RecordHeader& header = record.header;
    if (record.is_clock()) tsc_low = record.clock_tsc;
    if (record.is_clock() || header.segment != query.segment ||
        record.writes() != posting.writes() || header.offset / shmlog::kLineBytes > line ||
        (header.offset + header.length - 1) / shmlog::kLineBytes < line)
      continue;
    const auto index = static_cast<uint32_t>(line - header.offset / shmlog::kLineBytes);
    if (reader_.outcome(copy->info(), record) == Outcome::kNotDone || !line_done(record, index))
      continue;
    const uint64_t version = line_version(record, index);
    first_version = std::min(first_version, version);
    last_version = std::max(last_version, version);
    if (header.offset >= query.end || header.offset + header.length <= query.begin) continue;
    if (header.event > query.max_event || tsc_low > query.max_tsc) continue;
    if (query.before_version && version >= *query.before_version) continue;
    if (version <= query.after_version) continue;
    visit(record, version);
  }
  if (stored_ && (first_version != posting.first_version || last_version != posting.last_version))
    stored_->note_trouble("it does not say what is in a chunk");
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
        const RecordId id{posting.chunk(), record.at};
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
  using Found = std::pair<Position, RecordId>;
  std::vector<Found> found;
  if (query.most == 0) return {};
  for (const Posting& posting : candidates(query)) {
    if (found.size() > query.most) {  // the oldest of those wanted goes to the end
      const auto oldest = found.begin() + static_cast<ptrdiff_t>(query.most) - 1;
      std::nth_element(found.begin(), oldest, found.end(), std::greater<Found>());
      found.erase(oldest + 1, found.end());
      if (oldest->first.version > posting.last_version) break;
    }
    visit_matches(query, posting, [&](const RecordView& record, uint64_t version) {
      found.push_back(
          {{version, record.writes(), record.header.event}, {posting.chunk(), record.at}});
    });
  }
  std::sort(found.begin(), found.end());
  if (found.size() > query.most)
    found.erase(found.begin(), found.end() - static_cast<ptrdiff_t>(query.most));
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

// Of each lane the chunk that holds the event, or the last before it.
uint64_t AccessIndex::clock_at(uint32_t process, uint64_t event) const {
  std::map<uint32_t, uint32_t> slots;  // by lane
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const shmlog::ChunkHeader& header = reader_.chunks()[slot].header;
    if (header.process != process || slots_[slot].first_event > event) continue;
    const auto [at, fresh] = slots.try_emplace(header.lane, slot);
    if (!fresh && reader_.chunks()[at->second].header.ticket < header.ticket) at->second = slot;
  }
  uint64_t latest = 0;
  for (const auto& [lane, slot] : slots) {
    const std::shared_ptr<const ChunkCopy> copy = chunk(slot);
    if (!copy) continue;
    uint64_t clock = copy->info().header.start_tsc;
    uint32_t at = 0;
    for (RecordView record; copy->next(at, record);) {
      if (record.is_clock())
        clock = record.clock_tsc;
      else if (record.header.event <= event)
        latest = std::max(latest, clock);
    }
  }
  return latest;
}

}  // namespace shmrec::recording
