#include "recording/bundle/bundle_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "recording/log/shmlog_create.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::recording {
namespace {

using shmlog::ChunkHeader;
using shmlog::ChunkState;
using shmlog::Header;
using shmlog::kChunkBytes;

constexpr const char* kLogName = "run.shmlog";
constexpr uint64_t kMaxForeignBytes = uint64_t{64} << 30;  // more is no bundle that opens
constexpr uint64_t kMaxUnsoundBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxHoles = uint64_t{1}
                               << 30;    // of a foreign log, beside what its data explains
constexpr uint64_t kMaxSparseness = 64;  // a used chunk of 64 KiB has a page at least
// Of the journal a bundle is made of what coverage.h and bundle_binaries.h read. Its maker may fill
// all of a log with it; that of a log of 256 MiB has a sixteenth, marks and mappings included.
constexpr uint64_t kJournalTypes = 1u << static_cast<int>(shmlog::JournalType::kProcessStart) |
                                   1u << static_cast<int>(shmlog::JournalType::kModule) |
                                   1u << static_cast<int>(shmlog::JournalType::kCoverage) |
                                   1u << static_cast<int>(shmlog::JournalType::kChildExit) |
                                   1u << static_cast<int>(shmlog::JournalType::kBrake);
constexpr uint64_t kMaxJournalBytes = uint64_t{32} << 20;
constexpr size_t kMaxExtents = 1024;  // of a log that is mapped; the kernel allows 65530 mappings

// Where the chunks are, as far as the file has them whole.
struct Chunks {
  uint64_t offset = 0;
  uint64_t count = 0;
  uint64_t end() const { return offset + count * kChunkBytes; }
};

bool sound_header(const Header& header) {
  return std::memcmp(header.magic, shmlog::kMagic, sizeof(header.magic)) == 0 &&
         header.version >= shmlog::kOldestVersion && header.version <= shmlog::kVersion &&
         header.chunks.entry_bytes == kChunkBytes;
}

// No chunks if the header cannot be used: then the file is taken byte for byte.
Chunks find_chunks(const Header& header, uint64_t file_bytes) {
  if (!sound_header(header) || header.chunks.offset > file_bytes) return {};
  const uint64_t whole = (file_bytes - header.chunks.offset) / kChunkBytes;
  return {header.chunks.offset, std::min<uint64_t>(header.chunks.count, whole)};
}

bool read_chunk_header(int fd, uint64_t at, ChunkHeader& header) {
  return pread_all(fd, &header, sizeof(header), at) == sizeof(header);
}

bool ever_used(const ChunkHeader& header) {
  static const ChunkHeader kUnused{};
  return std::memcmp(&header, &kUnused, sizeof(header)) != 0;
}

// Whether the bytes between the last chunk and the end of the file, less than a chunk, are zeros.
bool zero_tail(int fd, uint64_t from, uint64_t to) {
  std::vector<char> tail(to - from);
  if (pread_all(fd, tail.data(), tail.size(), from) < 0) return false;
  return std::all_of(tail.begin(), tail.end(), [](char c) { return c == 0; });
}

// End of the last data from `from` on; what follows reads as zeros. `to` where the file system
// cannot tell, or the data has too many pieces. A chunk that was never used is allocated and no
// data, until it is read.
uint64_t data_end(int fd, uint64_t from, uint64_t to) {
  uint64_t end = from;
  for (size_t i = 0; i < kMaxExtents; ++i) {
    const off_t data = lseek(fd, static_cast<off_t>(end), SEEK_DATA);
    if (data < 0) return errno == ENXIO ? end : to;
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return to;
    end = std::min(to, static_cast<uint64_t>(hole));
    if (end == to) return to;
  }
  return to;
}

// End of the last chunk with anything in its header.
uint64_t used_end(int fd, const Chunks& chunks, uint64_t file_bytes) {
  if (chunks.count == 0) return file_bytes;
  const uint64_t end = data_end(fd, chunks.offset, file_bytes);
  if (end > chunks.end()) {
    if (file_bytes - chunks.end() >= kChunkBytes) return file_bytes;
    if (!zero_tail(fd, chunks.end(), file_bytes)) return file_bytes;
  }
  const uint64_t with_data = (end - chunks.offset + kChunkBytes - 1) / kChunkBytes;
  for (uint64_t i = std::min(chunks.count, with_data); i > 0; --i) {
    const uint64_t at = chunks.offset + (i - 1) * kChunkBytes;
    ChunkHeader header{};
    if (!read_chunk_header(fd, at, header) || ever_used(header)) return at + kChunkBytes;
  }
  return chunks.offset;
}

// Whether any recorded process is not known to have ended.
bool any_process_live(int fd, const Header& header) {
  constexpr auto kEnded = static_cast<uint32_t>(shmlog::EntryState::kEnded);
  constexpr uint32_t kMostProcesses = 1 << 20;  // of a header that may be damaged
  const uint32_t count = std::min({header.next_process, header.processes.count, kMostProcesses});
  std::vector<shmlog::ProcessEntry> entries(count);
  const ssize_t got =
      pread_all(fd, entries.data(), count * sizeof(entries[0]), header.processes.offset);
  if (got < 0) return true;
  entries.resize(static_cast<size_t>(got) / sizeof(entries[0]));
  return std::any_of(entries.begin(), entries.end(), [](const shmlog::ProcessEntry& entry) {
    return entry.state != 0 && entry.state != kEnded && entry.exit_known == 0;
  });
}

bool all_zero(const std::vector<char>& data, size_t bytes) {
  return bytes == 0 || (data[0] == 0 && std::memcmp(&data[0], &data[1], bytes - 1) == 0);
}

// Bytes of the file that take room. A file that cannot be asked has none.
uint64_t written_bytes(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 ? static_cast<uint64_t>(status.st_blocks) * 512 : 0;
}

// Holes cost their writer nothing, and whoever sums up and compresses them a second per gibibyte.
// The areas before the chunks may be holes: the journal alone is a sixteenth of the file.
bool too_sparse(const LogImage& image, uint64_t written) {
  const uint64_t explained = written * kMaxSparseness + image.present_bytes / 8 + kMaxHoles;
  return image.stored_bytes > explained;
}

// ---- Packing ------------------------------------------------------------------------------------

constexpr uint64_t kPage = 4096;
constexpr uint32_t kMostRules = 4096;  // plan_layout wants them all in memory

// Whether the areas are where they were when the log was made.
bool laid_out_as_made(const Header& header) {
  if (header.version != shmlog::kVersion || header.rules.count > kMostRules) return false;
  CreateOptions made;
  made.log_bytes = header.file_bytes;
  made.rules.resize(header.rules.count);
  Header planned;
  constexpr size_t kAreas = offsetof(Header, default_mode) - offsetof(Header, rules);
  return plan_layout(made, planned) && std::memcmp(&header.rules, &planned.rules, kAreas) == 0;
}

// What readers look at: all, if entries were used again; then an entry's place depends on the
// count.
uint32_t handed_out(const shmlog::Area& table, uint32_t next) {
  return std::min(table.count, std::max(next, 2u));  // entry 0 is never used, and there is one more
}

// Whether a lane names a place in the file.
bool any_access_in_flight(int fd, const Header& header) {
  std::vector<shmlog::LaneEntry> lanes(handed_out(header.lanes, header.next_lane));
  const size_t bytes = lanes.size() * sizeof(lanes[0]);
  if (pread_all(fd, lanes.data(), bytes, header.lanes.offset) != static_cast<ssize_t>(bytes))
    return true;
  return std::any_of(lanes.begin(), lanes.end(),
                     [](const shmlog::LaneEntry& lane) { return lane.record != 0; });
}

class Packer {
 public:
  explicit Packer(const Header& header) : header_(header) {}

  // Puts the first `count` entries of the area behind what is there already.
  void keep(shmlog::Area& area, uint32_t count) {
    const uint64_t bytes = (uint64_t{count} * area.entry_bytes + kPage - 1) / kPage * kPage;
    if (bytes > 0) pieces_.push_back({next_, area.offset, bytes});
    area.offset = next_;
    area.count = count;
    next_ += bytes;
  }

  void pack(uint64_t used_bytes) {
    Header& to = header_;
    const uint64_t chunk_bytes = used_bytes - to.chunks.offset;
    const uint64_t units =
        std::min<uint64_t>(to.journal.count, std::max<uint64_t>(to.journal_units, 1));
    keep(to.rules, to.rules.count);
    keep(to.processes, handed_out(to.processes, to.next_process));
    keep(to.lanes, handed_out(to.lanes, to.next_lane));
    keep(to.segments, handed_out(to.segments, to.next_segment));
    keep(to.usage, handed_out(to.usage, to.next_usage));
    keep(to.journal, static_cast<uint32_t>(units));
    // Without a segment no stripe was ever taken: they lie in the hole behind the chunks.
    const bool stripes = to.next_segment > 1;
    if (stripes) keep(to.stripes, to.stripes.count);
    if (chunk_bytes > 0) pieces_.push_back({next_, to.chunks.offset, chunk_bytes});
    to.chunks.offset = next_;
    next_ += chunk_bytes;
    if (!stripes) to.stripes.offset = to.chunks.offset + uint64_t{to.chunks.count} * kChunkBytes;
  }

  void into(LogImage& image) && {
    image.header.assign(kPage, '\0');
    std::memcpy(image.header.data(), &header_, sizeof(header_));
    image.stored_bytes = next_;
    image.pieces = std::move(pieces_);
  }

 private:
  Header header_;
  uint64_t next_ = kPage;
  std::vector<LogImage::Piece> pieces_;
};

// Says what of image.fd is stored.
void choose_pieces(LogImage& image) {
  image.stored_bytes = image.used_bytes;
  image.pieces = {{0, 0, image.used_bytes}};
  Header header{};
  if (pread_all(image.fd.get(), &header, sizeof(header), 0) != sizeof(header)) return;
  if (!sound_header(header) || !laid_out_as_made(header)) return;
  if (header.file_bytes != image.present_bytes || image.used_bytes < header.chunks.offset) return;
  if (image.used_bytes > header.chunks.offset + uint64_t{header.chunks.count} * kChunkBytes) return;
  if (any_access_in_flight(image.fd.get(), header)) return;
  Packer packer(header);
  packer.pack(image.used_bytes);
  std::move(packer).into(image);
}

// ---- A log that may still be written ------------------------------------------------------------

class Snapshot {
 public:
  Snapshot(int from, int to) : from_(from), to_(to) {}

  // Copies [0, end).
  bool take(const Chunks& chunks, uint64_t end) {
    const uint64_t chunks_end = chunks.count == 0 ? 0 : std::min(chunks.end(), end);
    uint64_t at = end;
    if (at > chunks_end && !copy_down(chunks_end, at)) return false;
    at = chunks_end;
    for (; chunks.count != 0 && at > chunks.offset; at -= kChunkBytes) {
      if (!copy_chunk(at - kChunkBytes)) return false;
    }
    return copy_down(0, at) && ftruncate(to_, static_cast<off_t>(end)) == 0;
  }

 private:
  // [begin, end), highest block first. Zeros stay holes.
  bool copy_down(uint64_t begin, uint64_t end) {
    while (end > begin) {
      const uint64_t part = std::min<uint64_t>(end - begin, buffer_.size());
      end -= part;
      if (!copy(end, static_cast<size_t>(part))) return false;
    }
    return true;
  }

  bool copy(uint64_t at, size_t bytes) {
    const ssize_t got = pread_all(from_, buffer_.data(), bytes, at);
    if (got < 0) return false;
    if (all_zero(buffer_, static_cast<size_t>(got))) return true;
    return lseek(to_, static_cast<off_t>(at), SEEK_SET) >= 0 &&
           write_all(to_, buffer_.data(), static_cast<size_t>(got));
  }

  bool copy_chunk(uint64_t at) {
    // What cannot be read any more, the file having become shorter, is zeros: not in use.
    ChunkHeader before{}, after{};
    read_chunk_header(from_, at, before);
    if (!copy(at, kChunkBytes)) return false;
    read_chunk_header(from_, at, after);
    const auto claimed = static_cast<uint32_t>(ChunkState::kClaimed);
    if (before.ticket == after.ticket && (after.state & 0xFF) != claimed) return true;
    const ChunkHeader unused{};
    return pwrite(to_, &unused, sizeof(unused), static_cast<off_t>(at)) == sizeof(unused);
  }

  int from_, to_;
  std::vector<char> buffer_ = std::vector<char>(1 << 20);
};

Result<UniqueFd> unnamed_file(const std::filesystem::path& scratch) {
  UniqueFd fd(open(scratch.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  std::string name = (scratch / ".shmrec-log-XXXXXX").string();
  fd = UniqueFd(mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return system_error(scratch.string() + ": cannot make a temporary file");
  unlink(name.c_str());
  return fd;
}

}  // namespace

Result<LogImage> take_log(int run_dir, const std::string& shown, bool foreign,
                          const std::filesystem::path& scratch, uint64_t room_bytes) {
  LogImage image;
  Result<UniqueFd> fd = open_regular_at(run_dir, kLogName, shown, image.present_bytes);
  if (!fd) return fd.error();
  if (foreign && image.present_bytes > kMaxForeignBytes) {
    return Error{shown + ": " + human_bytes(image.present_bytes) + " long; expected at most " +
                 human_bytes(kMaxForeignBytes) + " of a run that another container recorded"};
  }
  Header header{};
  if (pread_all(fd->get(), &header, sizeof(header), 0) < 0) return system_error(shown);
  const Chunks chunks = find_chunks(header, image.present_bytes);
  // Without chunks it is taken byte for byte. No launcher leaves such a log, and never a large one.
  if (foreign && chunks.count == 0 && image.present_bytes > kMaxUnsoundBytes) {
    return Error{shown + ": " + human_bytes(image.present_bytes) +
                 " long and not a shared-memory log; not taken"};
  }
  image.used_bytes = image.stored_bytes = used_end(fd->get(), chunks, image.present_bytes);
  const uint64_t written = written_bytes(fd->get());
  if (foreign && too_sparse(image, written)) {
    return Error{shown + ": " + human_bytes(image.stored_bytes) + " long, of which " +
                 human_bytes(written) + " are written; no launcher leaves such a log; not taken"};
  }
  image.copied =
      foreign || chunks.count == 0 || header.closed != 1 || any_process_live(fd->get(), header);
  const uint64_t needed = image.stored_bytes * (image.copied ? 2 : 1);
  if (needed > room_bytes) {
    return Error{shown + ": " + strerror(ENOSPC) + ": " + human_bytes(needed) +
                     " may be needed in " + scratch.string() +
                     (image.copied ? " for the log in a bundle and a copy meanwhile"
                                   : " for the log in a bundle") +
                     ", which is in memory and has room for " + human_bytes(room_bytes) +
                     "; make the bundle on a disk, or give more memory",
                 false};
  }
  if (!image.copied) {
    image.fd = std::move(*fd);
    choose_pieces(image);
    return image;
  }
  Result<UniqueFd> copy = unnamed_file(scratch);
  if (!copy) return copy.error();
  if (!Snapshot(fd->get(), copy->get()).take(chunks, image.used_bytes)) {
    return system_error(shown + ": cannot copy it to " + scratch.string());
  }
  image.fd = std::move(*copy);
  choose_pieces(image);
  return image;
}

ssize_t LogImage::read(char* into, size_t bytes, uint64_t at) const {
  size_t done = 0;
  if (at < header.size()) {
    done = std::min<size_t>(bytes, header.size() - at);
    std::copy_n(header.data() + at, done, into);
  }
  for (const Piece& piece : pieces) {
    const uint64_t place = at + done;
    if (done == bytes || place < piece.at || place >= piece.at + piece.bytes) continue;
    const size_t part = std::min<uint64_t>(bytes - done, piece.at + piece.bytes - place);
    const ssize_t got = pread_all(fd.get(), into + done, part, piece.from + (place - piece.at));
    if (got < 0) return got;
    done += static_cast<size_t>(got);
    if (static_cast<size_t>(got) != part) break;
  }
  return static_cast<ssize_t>(done);
}

LogView::LogView() : data_(MAP_FAILED) {}

LogView::~LogView() {
  reader_.reset();
  if (data_ != MAP_FAILED) munmap(data_, bytes_);
}

Result<std::unique_ptr<LogView>> LogView::open(const LogImage& image, const std::string& name) {
  std::unique_ptr<LogView> view(new LogView);
  view->bytes_ = std::max<uint64_t>(image.present_bytes, 1);
  view->data_ =
      mmap(nullptr, view->bytes_, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (view->data_ == MAP_FAILED) return system_error(name);
  if (!view->map_data(image.fd.get(), image.used_bytes)) return system_error(name);
  auto reader = ShmlogReader::from_memory(
      {static_cast<const uint8_t*>(view->data_), image.present_bytes}, name,
      {.journal_types = kJournalTypes,
       .journal_bytes = kMaxJournalBytes,
       .chunks = false,
       .chunk_header = [&](uint64_t at) {
         ChunkHeader header{};  // of what cannot be read: as in a hole
         if (at < image.used_bytes) read_chunk_header(image.fd.get(), at, header);
         return header;
       }});
  if (!reader) return reader.error();
  view->reader_ = std::move(*reader);
  return view;
}

bool LogView::map_data(int fd, uint64_t bytes) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  uint64_t at = 0;
  for (size_t count = 1; at < bytes; ++count) {
    const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // nothing but a hole is left
    const uint64_t begin = data < 0 ? at : static_cast<uint64_t>(data) & ~(page - 1);
    // A file system that cannot tell has no holes; one mapping holds what is left in the end.
    const off_t hole = data < 0 || count == kMaxExtents ? -1 : lseek(fd, data, SEEK_HOLE);
    const uint64_t end = hole < 0 ? bytes : std::min(bytes, static_cast<uint64_t>(hole));
    if (begin >= end) break;
    if (mmap(static_cast<char*>(data_) + begin, end - begin, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
             static_cast<off_t>(begin)) == MAP_FAILED) {
      return false;
    }
    at = (end + page - 1) & ~(page - 1);
  }
  return true;
}

}  // namespace shmrec::recording
