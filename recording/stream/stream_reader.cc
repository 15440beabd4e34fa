#include "recording/stream/stream_reader.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <new>
#include <set>

#include "recording/bundle/bundle_files.h"
#include "recording/run/timeline.h"
#include "recording/stream/stream_files.h"

namespace shmrec::recording {

using namespace stream;

namespace {

constexpr uint64_t kWindowBytes = 1 << 20;
constexpr uint32_t kMostFiles = 1 << 20;

// The number in "N.stream".
std::optional<uint32_t> number_of(const std::string& name) {
  uint32_t number = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
  if (parsed.ec != std::errc() || name != stream_file_name(number)) return {};
  return number;
}

Result<std::set<uint32_t>> stream_numbers(int directory, const std::string& shown) {
  const int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> list(fd < 0 ? nullptr : fdopendir(fd), closedir);
  if (!list) return system_error(shown);
  std::set<uint32_t> numbers;
  while (const dirent* entry = readdir(list.get())) {
    const auto number = number_of(entry->d_name);
    if (number && *number < kMostFiles) numbers.insert(*number);
  }
  return numbers;
}

Result<UniqueFd> open_recording(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  const Result<UniqueFd> all = open_directory(parent.empty() ? "." : parent, false);
  UniqueFd fd(all ? openat(all->get(), path.filename().c_str(),
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                  : -1);
  if (!fd) return Error{path.string() + ": no recording: " + std::strerror(errno)};
  return fd;
}

bool is_zero(const FileHeader& header) {
  const FileHeader zero{};
  return std::memcmp(&header, &zero, sizeof zero) == 0;
}

}  // namespace

// ---- Files --------------------------------------------------------------------------------------

Result<StreamReader> StreamReader::open(const std::filesystem::path& directory) {
  StreamReader reader;
  reader.path_ = directory.has_filename() ? directory : directory.parent_path();
  Result<UniqueFd> opened = open_recording(reader.path_);
  if (!opened) return opened.error();
  reader.directory_ = std::move(*opened);
  if (auto found = reader.find_files(); !found) return found.error();
  if (auto entered = reader.enter(0); !entered) return entered.error();
  for (uint32_t number = 0; number < reader.files_; ++number) {
    const Result<OpenFile> file = reader.open_file(number);
    if (!file) break;  // next() says so
    reader.bytes_ += std::min(file->header.committed, file->bytes);
  }
  return reader;
}

// Those from 0 on without a gap. The last one may have nothing in it: whoever made it, or was to
// write it, died.
Result<> StreamReader::find_files() {
  const Result<std::set<uint32_t>> numbers = stream_numbers(directory_.get(), path_.string());
  if (!numbers) return numbers.error();
  while (numbers->contains(files_)) ++files_;
  gap_ = numbers->size() > files_;
  if (files_ == 0)
    return Error{name(0) + (gap_ ? ": missing, and files that follow it are there"
                                 : ": missing; expected the first file of a recording")};
  if (gap_ || files_ == 1) return Unit{};
  const Result<OpenFile> last = open_file(files_ - 1);
  if (last && !last->has_header) --files_;
  return Unit{};
}

std::string StreamReader::name(uint32_t number) const {
  return (path_ / stream_file_name(number)).string();
}

Result<UniqueFd> StreamReader::file(uint32_t number) const {
  uint64_t bytes = 0;
  return open_regular_at(directory_.get(), stream_file_name(number).c_str(), name(number), bytes);
}

Result<StreamReader::OpenFile> StreamReader::open_file(uint32_t number) const {
  OpenFile file;
  Result<UniqueFd> fd =
      open_regular_at(directory_.get(), stream_file_name(number).c_str(), name(number), file.bytes);
  if (!fd) return fd.error();
  file.fd = std::move(*fd);
  const ssize_t got = pread_all(file.fd.get(), &file.header, sizeof file.header, 0);
  if (got < 0) return system_error(name(number));
  file.has_header = !is_zero(file.header);
  if (file.has_header && got != ssize_t{sizeof file.header})
    return Error{name(number) + ": cut off after " + std::to_string(got) +
                 " bytes; expected a header of " + std::to_string(sizeof file.header)};
  return file;
}

std::string StreamReader::header_trouble(const FileHeader& header, uint32_t number) const {
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0)
    return "no stream of a recording: it does not begin with SHMRSTRM";
  if (header.version != kVersion)
    return "of version " + std::to_string(header.version) + "; this shmrec reads version " +
           std::to_string(kVersion);
  if (header.number != number)
    return "damaged at byte " + std::to_string(offsetof(FileHeader, number)) + ": file number " +
           std::to_string(header.number) + "; expected " + std::to_string(number);
  if (header.committed < sizeof header || header.committed > kMaxFileBytes ||
      header.committed % kAlign != 0)
    return "damaged at byte " + std::to_string(offsetof(FileHeader, committed)) + ": " +
           std::to_string(header.committed) + " bytes are committed; expected " +
           std::to_string(sizeof header) + " to " + std::to_string(kMaxFileBytes) +
           ", a multiple of " + std::to_string(kAlign);
  const std::string id = recording_id(header.id_high, header.id_low);
  if (number > 0 && id != recording_)
    return "damaged at byte " + std::to_string(offsetof(FileHeader, id_high)) + ": of recording " +
           id + "; expected " + recording_;
  return "";
}

Result<> StreamReader::enter(uint32_t number) {
  Result<OpenFile> file = open_file(number);
  if (!file) return file.error();
  if (!file->has_header) return Error{name(number) + ": nothing was written to it"};
  const std::string trouble = header_trouble(file->header, number);
  if (!trouble.empty()) return Error{name(number) + ": " + trouble};
  recording_ = recording_id(file->header.id_high, file->header.id_low);
  fd_ = std::move(file->fd);
  number_ = number;
  at_ = sizeof file->header;
  committed_ = file->header.committed;
  end_ = std::min(committed_, file->bytes);
  window_.clear();
  return Unit{};
}

Result<> StreamReader::to_next_file() {
  if (end_ < committed_) return cut_off();
  if (number_ + 1 < files_) return enter(number_ + 1);
  if (gap_) return Error{name(files_) + ": missing, and files that follow it are there"};
  return Unit{};
}

// ---- Records ------------------------------------------------------------------------------------

Error StreamReader::damaged(const std::string& what) const {
  return Error{name(number_) + ": damaged at byte " + std::to_string(at_) + ": " + what};
}

Error StreamReader::cut_off() const {
  return Error{name(number_) + ": cut off at byte " + std::to_string(end_) + "; expected " +
               std::to_string(committed_) + " bytes, as its header says"};
}

// Makes [at, at + bytes) of the file part of the window. False: it is not there.
bool StreamReader::fill(uint64_t at, uint64_t bytes) {
  if (at >= window_at_ && at + bytes <= window_at_ + window_.size()) return true;
  try {
    window_.resize(std::min(end_ - at, std::max(bytes, kWindowBytes)));
  } catch (const std::bad_alloc&) {
    return false;
  }
  window_at_ = at;
  const ssize_t got = pread_all(fd_.get(), window_.data(), window_.size(), at);
  window_.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return window_.size() >= bytes;
}

// The header of the record at at_, all of which is in the file.
Result<RecordHeader> StreamReader::record_header() {
  RecordHeader header;
  const uint64_t left = end_ - at_;
  const bool is_cut = end_ < committed_;
  if (left < sizeof header)
    return is_cut ? cut_off()
                  : damaged(std::to_string(left) + " bytes are left; expected a record");
  if (!fill(at_, sizeof header)) return damaged("it cannot be read");
  std::memcpy(&header, window_.data() + (at_ - window_at_), sizeof header);
  if (header.bytes < sizeof header || header.bytes % kAlign != 0)
    return damaged("a record of " + std::to_string(header.bytes) + " bytes; expected at least " +
                   std::to_string(sizeof header) + ", a multiple of " + std::to_string(kAlign));
  if (header.bytes > left)
    return is_cut
               ? cut_off()
               : damaged("a record of " + std::to_string(header.bytes) +
                         " bytes; expected at most the " + std::to_string(left) + " that are left");
  return header;
}

Result<std::optional<StreamRecord>> StreamReader::next() {
  while (at_ >= end_) {
    const uint32_t before = number_;
    if (auto moved = to_next_file(); !moved) return moved.error();
    if (number_ == before) return std::optional<StreamRecord>();
  }
  const Result<RecordHeader> header = record_header();
  if (!header) return header.error();
  if (!fill(at_, header->bytes)) return damaged("it cannot be read");
  StreamRecord record{
      static_cast<Type>(header->type), header->detail, header->event, number_, at_, {}};
  const auto begin = static_cast<size_t>(at_ - window_at_);
  record.payload = std::span(window_).subspan(begin, header->bytes).subspan(sizeof *header);
  if (const std::string trouble = record_trouble(record); !trouble.empty()) return damaged(trouble);
  if (const std::string trouble = order_.trouble(record); !trouble.empty()) return damaged(trouble);
  at_ += header->bytes;
  return std::optional(record);
}

}  // namespace shmrec::recording
