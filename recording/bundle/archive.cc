#include "recording/bundle/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/output_file.h"

namespace shmrec::recording {
namespace {

constexpr size_t kBufferBytes = 128 * 1024;
// A log compresses as well at level 1 as at 3, in less than half the time; binaries 10 % worse.
constexpr int kCompressionLevel = 1;
// Memory that a frame may ask of the reader: 2^27 bytes, zstd's own default for streams.
constexpr int kMaxWindowLog = 27;
constexpr size_t kMaxNameBytes = 255;
// What is unpacked for the sake of any byte in it.
constexpr uint64_t kFrameBytes = 256 * 1024;
constexpr uint64_t kTarBlock = 512;

struct EntryDeleter {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
using EntryPointer = std::unique_ptr<archive_entry, EntryDeleter>;

// Size, type and name are the writer's; all else is the same on every machine.
EntryPointer make_entry(const std::string& name, uint64_t bytes, int64_t mtime_s) {
  EntryPointer entry(archive_entry_new());
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(bytes));
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_mtime(entry.get(), mtime_s, 0);
  return entry;
}

}  // namespace

// ---- Writing ------------------------------------------------------------------------------------

struct ArchiveWriter::State {
  OutputFile file;
  bool given_up = false;  // what libarchive still writes while it ends is dropped
  archive* tar = nullptr;
  ZSTD_CCtx* zstd = nullptr;
  const std::unique_ptr<char[]> out = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  std::optional<Error> failure;  // of the file or of zstd, behind libarchive's back
  bool cut = false;              // into frames
  bool ended = false;            // the archive
  uint64_t file_at = 0;          // bytes written
  uint64_t tar_at = 0;           // bytes compressed
  uint64_t passed_over = 0;      // bytes that libarchive is still to write, and are there already
  Frame frame;                   // being written, if it has bytes
  std::vector<Frame> frames;

  explicit State(OutputFile output) : file(std::move(output)) {}
  ~State() {
    given_up = true;
    if (tar != nullptr) archive_write_free(tar);
    ZSTD_freeCCtx(zstd);
  }

  bool put(const char* data, size_t bytes) {
    file_at += bytes;
    if (write_all(file.fd(), data, bytes)) return true;
    failure = file.error(errno);
    return false;
  }

  bool compress(const void* data, size_t bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer input{data, bytes, 0};
    tar_at += bytes;
    size_t left;
    do {
      ZSTD_outBuffer output{out.get(), kBufferBytes, 0};
      left = ZSTD_compressStream2(zstd, &output, &input, directive);
      if (ZSTD_isError(left)) {
        failure = Error{file.name() + ": cannot compress: " + ZSTD_getErrorName(left), false};
        return false;
      }
      if (!put(out.get(), output.pos)) return false;
    } while (input.pos < input.size || (directive == ZSTD_e_end && left > 0));
    return true;
  }

  bool end_frame() {
    if (tar_at == frame.tar_at) return true;
    if (!compress(nullptr, 0, ZSTD_e_end)) return false;
    frame.tar_bytes = static_cast<uint32_t>(tar_at - frame.tar_at);
    frame.file_bytes = static_cast<uint32_t>(file_at - frame.file_at);
    frames.push_back(frame);
    frame = {tar_at, file_at, 0, 0};
    return true;
  }

  Error error() const {
    if (failure) return *failure;
    const char* text = archive_error_string(tar);
    return Error{file.name() + ": cannot write the archive: " + (text ? text : "unknown error"),
                 false};
  }

  // Never fails towards libarchive, which would not free its buffers then; see `failure`.
  static la_ssize_t on_write(archive*, void* self, const void* data, size_t bytes) {
    static_cast<State*>(self)->take(static_cast<const char*>(data), bytes);
    return static_cast<la_ssize_t>(bytes);
  }

  void take(const char* data, size_t bytes) {
    const uint64_t there = std::min<uint64_t>(passed_over, bytes);
    passed_over -= there;
    data += there;
    bytes -= there;
    while (bytes > 0 && !failure && !given_up) {
      const uint64_t room = cut ? kFrameBytes - (tar_at - frame.tar_at) : bytes;
      const size_t part = std::min<uint64_t>(bytes, room);
      if (compress(data, part, ZSTD_e_continue) && cut && part == room) end_frame();
      data += part;
      bytes -= part;
    }
  }
};

ArchiveWriter::ArchiveWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArchiveWriter::~ArchiveWriter() = default;

Result<std::unique_ptr<ArchiveWriter>> ArchiveWriter::create(const std::filesystem::path& path) {
  Result<OutputFile> file = OutputFile::create(path, 0600, OutputFile::Special::kWrite);
  if (!file) return file.error();
  auto state = std::make_unique<State>(std::move(*file));
  state->zstd = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(state->zstd, ZSTD_c_compressionLevel, kCompressionLevel);
  ZSTD_CCtx_setParameter(state->zstd, ZSTD_c_checksumFlag, 1);
  state->tar = archive_write_new();
  archive_write_set_format_pax_restricted(state->tar);
  archive_write_set_bytes_per_block(state->tar, 0);  // as they come: what is where is known
  archive_write_set_bytes_in_last_block(state->tar, 1);
  if (archive_write_open(state->tar, state.get(), nullptr, State::on_write, nullptr) !=
      ARCHIVE_OK) {
    return state->error();
  }
  return std::unique_ptr<ArchiveWriter>(new ArchiveWriter(std::move(state)));
}

Result<> ArchiveWriter::begin(const std::string& name, uint64_t bytes, int64_t mtime_s) {
  const EntryPointer entry = make_entry(name, bytes, mtime_s);
  if (archive_write_header(state_->tar, entry.get()) != ARCHIVE_OK || state_->failure) {
    return state_->error();
  }
  return Unit{};
}

Result<> ArchiveWriter::write(const char* data, size_t bytes) {
  while (bytes > 0) {
    const la_ssize_t written = archive_write_data(state_->tar, data, bytes);
    if (written <= 0 || state_->failure) return state_->error();
    data += written;
    bytes -= static_cast<size_t>(written);
  }
  return Unit{};
}

// libarchive fills an entry that got no content with zeros.
Result<> ArchiveWriter::write_frame(uint64_t content_bytes, uint64_t frame_bytes,
                                    const FrameReader& read) {
  State& state = *state_;
  if (!state.end_frame()) return state.error();
  for (uint64_t at = 0; at < frame_bytes;) {
    const size_t part = std::min<uint64_t>(kBufferBytes, frame_bytes - at);
    if (!read(state.out.get(), part, at))
      return Error{state.file.name() + ": a part of it cannot be read", false};
    if (!state.put(state.out.get(), part)) return state.error();
    at += part;
  }
  state.passed_over = padded_bytes(content_bytes);
  state.tar_at += state.passed_over;
  state.frame.tar_bytes = static_cast<uint32_t>(state.passed_over);
  state.frame.file_bytes = static_cast<uint32_t>(frame_bytes);
  state.frames.push_back(state.frame);
  state.frame = {state.tar_at, state.file_at, 0, 0};
  return Unit{};
}

uint64_t padded_bytes(uint64_t content_bytes) {
  return (content_bytes + kTarBlock - 1) / kTarBlock * kTarBlock;
}

void ArchiveWriter::cut_frames() { state_->cut = true; }

const std::vector<ArchiveWriter::Frame>& ArchiveWriter::frames() const { return state_->frames; }

uint64_t ArchiveWriter::entry_at() const {
  return static_cast<uint64_t>(archive_filter_bytes(state_->tar, 0));
}

Result<uint64_t> ArchiveWriter::put_block(std::string_view content) {
  const uint32_t head[] = {kBlockMagic, static_cast<uint32_t>(content.size())};
  if (!state_->end_frame()) return state_->error();
  if (!state_->put(reinterpret_cast<const char*>(head), sizeof(head))) return state_->error();
  const uint64_t at = state_->file_at;
  if (!state_->put(content.data(), content.size())) return state_->error();
  state_->frame.file_at = state_->file_at;
  return at;
}

Result<> ArchiveWriter::end_archive() {
  state_->ended = true;
  if (archive_write_close(state_->tar) != ARCHIVE_OK || state_->failure) return state_->error();
  return state_->end_frame() ? Result<>(Unit{}) : Result<>(state_->error());
}

Result<> ArchiveWriter::commit() {
  const Result<> ended = state_->ended ? Result<>(Unit{}) : end_archive();
  return ended ? state_->file.commit() : ended;
}

// ---- Sources ------------------------------------------------------------------------------------

Result<size_t> FileSource::read(char* into, size_t bytes) {
  const ssize_t got = pread_all(fd_.get(), into, bytes, at_);
  if (got < 0) return system_error(name_);
  at_ += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

Result<size_t> MemorySource::read(char* into, size_t bytes) {
  const size_t part = std::min(bytes, data_.size());
  std::copy_n(data_.data(), part, into);
  data_.remove_prefix(part);
  return part;
}

struct ZstdSource::State {
  ByteSource& compressed;
  std::string name;
  UnpackLimits limits;
  ZSTD_DCtx* zstd = ZSTD_createDCtx();
  std::vector<char> in = std::vector<char>(kBufferBytes);
  ZSTD_inBuffer input{nullptr, 0, 0};
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  bool ended = false;

  ~State() { ZSTD_freeDCtx(zstd); }

  uint64_t allowed() const {
    const uint64_t by_ratio =
        limits.free_bytes + std::min(bytes_in, uint64_t{1} << 40) * limits.ratio;
    return std::min(limits.total_bytes, by_ratio);
  }
};

ZstdSource::ZstdSource(ByteSource& compressed, std::string name, const UnpackLimits& limits)
    : state_(new State{compressed, std::move(name), limits}) {
  ZSTD_DCtx_setParameter(state_->zstd, ZSTD_d_windowLogMax, kMaxWindowLog);
}
ZstdSource::~ZstdSource() = default;

Result<> ZstdSource::refill() {
  const Result<size_t> got = state_->compressed.read(state_->in.data(), state_->in.size());
  if (!got) return got.error();
  state_->input = {state_->in.data(), *got, 0};
  state_->bytes_in += *got;
  return Unit{};
}

// Another frame may follow. The first byte of a frame or a block tells it from all else.
Result<> ZstdSource::end_of_frame() {
  if (state_->input.pos == state_->input.size) {
    const Result<> refilled = refill();
    if (!refilled) return refilled.error();
  }
  state_->ended = state_->input.size == state_->input.pos;
  if (state_->ended) return Unit{};
  const auto next =
      static_cast<uint8_t>(static_cast<const char*>(state_->input.src)[state_->input.pos]);
  if (next == (ZSTD_MAGICNUMBER & 0xFF) || next == (kBlockMagic & 0xFF)) return Unit{};
  return Error{state_->name +
               ": bytes follow the end of the bundle; it was appended to or damaged: "
               "get another copy"};
}

Result<size_t> ZstdSource::read(char* into, size_t bytes) {
  if (state_->ended) return size_t{0};
  ZSTD_outBuffer output{into, bytes, 0};
  while (output.pos == 0) {
    if (state_->input.pos == state_->input.size) {
      const Result<> refilled = refill();
      if (!refilled) return refilled.error();
      if (state_->input.size == 0) {
        if (state_->bytes_in == 0) return Error{state_->name + ": empty; expected a bundle"};
        return Error{state_->name + ": cut off after " + std::to_string(state_->bytes_in) +
                     " bytes; the copy is incomplete: copy it again"};
      }
    }
    const size_t hint = ZSTD_decompressStream(state_->zstd, &output, &state_->input);
    if (ZSTD_isError(hint)) {
      const bool foreign = ZSTD_getErrorCode(hint) == ZSTD_error_prefix_unknown;
      return Error{state_->name +
                   (foreign ? ": not a bundle (tar compressed with zstd): "
                            : ": damaged, get another copy: ") +
                   ZSTD_getErrorName(hint)};
    }
    state_->bytes_out += output.pos;
    if (state_->bytes_out > state_->allowed()) {
      return Error{state_->name + ": unpacks to more than " + human_bytes(state_->allowed()) +
                   ", which no honest bundle of its size does; not opened"};
    }
    if (hint != 0) continue;
    const Result<> end = end_of_frame();
    if (!end) return end.error();
    if (state_->ended) break;
  }
  return output.pos;
}

// ---- Reading ------------------------------------------------------------------------------------

namespace {

bool harmless_component(std::string_view component) {
  return !component.empty() && component != "." && component != "..";
}

bool harmless_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) return false;
  const auto printable = [](char c) { return c > ' ' && c <= '~' && c != '\\'; };
  if (!std::all_of(name.begin(), name.end(), printable)) return false;
  for (size_t from = 0;;) {
    const size_t slash = name.find('/', from);
    if (!harmless_component(name.substr(from, slash - from))) return false;
    if (slash == std::string_view::npos) return true;
    from = slash + 1;
  }
}

// For messages about names that are not fit to be shown as they are.
std::string quoted(std::string_view name) {
  std::string text = "'";
  for (const char c : name.substr(0, 80)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > 80 ? "...'" : "'");
}

const char* why_not_plain_file(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return "a hard link";
  if (archive_entry_symlink(entry) != nullptr) return "a symbolic link";
  if (archive_entry_filetype(entry) == AE_IFLNK) return "a symbolic link";
  if (archive_entry_filetype(entry) == AE_IFDIR) return "a directory";
  if (archive_entry_filetype(entry) != AE_IFREG) return "a device, pipe or socket";
  if (archive_entry_sparse_count(entry) > 0) return "a sparse file";
  if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0) return "without a size";
  return nullptr;
}

}  // namespace

struct ArchiveReader::State {
  ByteSource& tar;
  std::string name;
  UnpackLimits limits;
  archive* handle = archive_read_new();
  std::vector<char> buffer = std::vector<char>(kBufferBytes);
  std::optional<Error> failure;  // of the source, behind libarchive's back
  uint64_t bytes_in = 0;
  uint64_t nonzero_end = 0;  // offset after the last byte that is not zero
  uint32_t entries = 0;
  bool opened = false;

  ~State() { archive_read_free(handle); }

  // Bytes read into buffer, 0 at the end, -1 on failure.
  la_ssize_t pull() {
    const Result<size_t> got = tar.read(buffer.data(), buffer.size());
    if (!got) {
      failure = got.error();
      return -1;
    }
    size_t tail = *got;
    while (tail > 0 && buffer[tail - 1] == 0) --tail;
    if (tail > 0) nonzero_end = bytes_in + tail;
    bytes_in += *got;
    return static_cast<la_ssize_t>(*got);
  }

  static la_ssize_t on_read(archive* handle, void* self, const void** data) {
    State& state = *static_cast<State*>(self);
    *data = state.buffer.data();
    const la_ssize_t got = state.pull();
    if (got < 0) archive_set_error(handle, EIO, "source failed");
    return got;
  }

  Error error() const {
    if (failure) return *failure;
    const char* text = archive_error_string(handle);
    return Error{name +
                 ": not a sound tar archive, get another copy: " + (text ? text : "damaged")};
  }

  // Everything after what libarchive took for the end must be padding.
  Result<bool> finish() {
    const auto end =
        static_cast<uint64_t>(std::max<la_int64_t>(0, archive_filter_bytes(handle, 0)));
    la_ssize_t got;
    while ((got = pull()) > 0) {
    }
    if (got < 0) return error();
    if (nonzero_end > end) {
      return Error{name +
                   ": data follows the end of the archive; it was appended to or damaged: get "
                   "another copy"};
    }
    return false;
  }
};

ArchiveReader::ArchiveReader(ByteSource& tar, std::string name, const UnpackLimits& limits)
    : state_(new State{tar, std::move(name), limits}) {
  archive_read_support_format_tar(state_->handle);
}
ArchiveReader::~ArchiveReader() = default;

Result<bool> ArchiveReader::next(ArchiveEntry& entry) {
  if (!state_->opened) {
    state_->opened = true;
    const int opened =
        archive_read_open(state_->handle, state_.get(), nullptr, State::on_read, nullptr);
    if (opened != ARCHIVE_OK) return state_->error();
  }
  archive_entry* raw = nullptr;
  const int status = archive_read_next_header(state_->handle, &raw);
  if (state_->failure) return *state_->failure;
  if (status == ARCHIVE_EOF) return state_->finish();
  if (status != ARCHIVE_OK) return state_->error();
  if (++state_->entries > state_->limits.entries) {
    return Error{state_->name + ": more than " + std::to_string(state_->limits.entries) +
                 " files, which no honest bundle has; not opened"};
  }
  const char* name = archive_entry_pathname(raw);
  if (name == nullptr || !harmless_name(name)) {
    return Error{state_->name + ": entry " + quoted(name ? name : "") +
                 " has a name that could leave the directory or hide; not opened"};
  }
  if (const char* why = why_not_plain_file(raw)) {
    return Error{state_->name + ": entry " + quoted(name) + " is " + why +
                 "; a bundle has regular files only; not opened"};
  }
  entry = {name, static_cast<uint64_t>(archive_entry_size(raw))};
  return true;
}

Result<size_t> ArchiveReader::read(char* into, size_t bytes) {
  const la_ssize_t got = archive_read_data(state_->handle, into, bytes);
  if (got < 0 || state_->failure) return state_->error();
  return static_cast<size_t>(got);
}

}  // namespace shmrec::recording
