#include "recording/stream/stream_reader.h"

#include <algorithm>
#include <cstring>

#include "recording/bundle/bundle_files.h"
#include "recording/stream/stream_files.h"

namespace shmrec::recording {

using namespace stream;

namespace {

constexpr size_t kWindowBytes = 1 << 20;
constexpr uint32_t kMostFiles = 1 << 20;

Result<FileHeader> read_header(int fd, const std::string& name, uint32_t number, uint64_t bytes) {
  FileHeader header;
  if (pread_all(fd, &header, sizeof header, 0) != ssize_t{sizeof header} ||
      std::memcmp(header.magic, kMagic, sizeof kMagic) != 0)
    return Error{name + ": this is no stream of a recording"};
  if (header.version != kVersion)
    return Error{name + ": version " + std::to_string(header.version) +
                 ", and this shmrec reads version " + std::to_string(kVersion)};
  if (header.number != number || header.committed < sizeof header || header.committed > bytes)
    return Error{name + ": damaged: its header does not fit the file"};
  return header;
}

}  // namespace

Result<StreamReader> StreamReader::open(const std::filesystem::path& directory) {
  StreamReader reader;
  reader.path_ = directory;
  Result<UniqueFd> opened = open_directory(directory, false);
  if (!opened) return opened.error();
  reader.directory_ = std::move(*opened);
  for (; reader.files_ < kMostFiles; ++reader.files_) {
    Result<UniqueFd> fd = reader.file(reader.files_);
    if (!fd) {
      if (reader.files_ > 0) break;
      return fd.error();
    }
    uint64_t bytes = 0;
    const std::string name = (directory / stream_file_name(reader.files_)).string();
    if (!open_regular_at(reader.directory_.get(), stream_file_name(reader.files_).c_str(), name,
                         bytes))
      break;
    const auto header = read_header(fd->get(), name, reader.files_, bytes);
    if (!header) return header.error();
    reader.bytes_ += header->committed;
  }
  if (auto first = reader.open_file(0); !first) return first.error();
  return reader;
}

Result<UniqueFd> StreamReader::file(uint32_t number) const {
  uint64_t bytes = 0;
  const std::string name = stream_file_name(number);
  return open_regular_at(directory_.get(), name.c_str(), (path_ / name).string(), bytes);
}

Result<> StreamReader::open_file(uint32_t number) {
  Result<UniqueFd> fd = file(number);
  if (!fd) return fd.error();
  FileHeader header;
  if (pread_all(fd->get(), &header, sizeof header, 0) != ssize_t{sizeof header})
    return Error{(path_ / stream_file_name(number)).string() + ": it cannot be read"};
  fd_ = std::move(*fd);
  number_ = number;
  at_ = sizeof header;
  end_ = header.committed;
  window_.clear();
  return Unit{};
}

Error StreamReader::damaged(const char* what) const {
  return Error{(path_ / stream_file_name(number_)).string() + ": damaged at byte " +
               std::to_string(at_) + ": " + what};
}

// Makes [at, at + bytes) of the file part of the window. False: it is not there.
bool StreamReader::fill(uint64_t at, size_t bytes) {
  if (at >= window_at_ && at + bytes <= window_at_ + window_.size()) return true;
  const size_t wanted =
      static_cast<size_t>(std::min<uint64_t>(end_ - at, std::max(bytes, kWindowBytes)));
  window_.resize(wanted);
  window_at_ = at;
  const ssize_t got = pread_all(fd_.get(), window_.data(), wanted, at);
  window_.resize(got > 0 ? static_cast<size_t>(got) : 0);
  return window_.size() >= bytes;
}

Result<std::optional<StreamRecord>> StreamReader::next() {
  while (at_ >= end_) {
    if (number_ + 1 >= files_) return std::optional<StreamRecord>();
    if (auto opened = open_file(number_ + 1); !opened) return opened.error();
  }
  RecordHeader header;
  if (end_ - at_ < sizeof header || !fill(at_, sizeof header)) return damaged("it is cut short");
  std::memcpy(&header, window_.data() + (at_ - window_at_), sizeof header);
  if (header.bytes < sizeof header || header.bytes % kAlign != 0 || header.bytes > end_ - at_)
    return damaged("the length of a record");
  if (!fill(at_, header.bytes)) return damaged("it is cut short");
  StreamRecord record{static_cast<Type>(header.type), header.detail, header.event, {}};
  record.payload = std::span(window_).subspan(static_cast<size_t>(at_ - window_at_) + sizeof header,
                                              header.bytes - sizeof header);
  at_ += header.bytes;
  return std::optional(record);
}

}  // namespace shmrec::recording
