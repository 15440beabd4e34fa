// A tar archive compressed with zstd, as bundles use it: ArchiveWriter makes one so that equal
// input gives equal bytes and no half archive ever has the final name; ArchiveReader reads one that
// may be hostile. What the entries mean is bundle.h's business.
//
// Bytes: tar (POSIX ustar; a pax header only for an entry of 8 GiB or more), regular files only,
// zstd frames with a checksum: one, or more, with blocks between that are not the archive's
// (skippable frames). docs/bundle_format.md.
// Trust: ArchiveReader and its sources trust nothing they read. Every failure is an Error that
// names the archive; after one, the object is of no more use.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/bundle/bundle_files.h"

namespace shmrec::recording {

// ---- Writing ------------------------------------------------------------------------------------

class ArchiveWriter {
 public:
  // Starts `path` + ".partial", mode 0600, which takes the place of one left by a killed writer;
  // another living writer's is an error.
  static Result<std::unique_ptr<ArchiveWriter>> create(const std::filesystem::path& path);
  // Without commit() the partial file is removed.
  ~ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;

  // Starts an entry of exactly `bytes` bytes; the one before it must be complete.
  Result<> begin(const std::string& name, uint64_t bytes, int64_t mtime_s);
  Result<> write(const char* data, size_t bytes);
  // All of the content of the entry just begun and its padding, in a frame that is ready:
  // padded_bytes() of the content, by packed() (index/posting_block.h). `read` gives bytes of it.
  using FrameReader = std::function<bool(char* into, size_t bytes, uint64_t at)>;
  Result<> write_frame(uint64_t content_bytes, uint64_t frame_bytes, const FrameReader& read);

  // For an index (recording/index): a frame that is read alone.
  struct Frame {
    uint64_t tar_at = 0;  // of its first byte in the archive
    uint64_t file_at = 0;
    uint32_t tar_bytes = 0;
    uint32_t file_bytes = 0;
  };
  // From now on the archive is cut into frames. REQUIRES: called before the first begin().
  void cut_frames();
  const std::vector<Frame>& frames() const;  // all but the one that is being written
  // Where the content of the entry just begun lies in the archive.
  uint64_t entry_at() const;
  // Ends the frame and puts a block behind it. Returns where its content lies in the file.
  Result<uint64_t> put_block(std::string_view content);
  // Ends the archive; blocks may follow.
  Result<> end_archive();
  // Ends the archive if it has not been, brings it to disk and gives it its final name, replacing
  // what had it.
  Result<> commit();

 private:
  struct State;
  explicit ArchiveWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What an entry of so many bytes takes in the archive, behind its header.
uint64_t padded_bytes(uint64_t content_bytes);

// ---- Reading ------------------------------------------------------------------------------------

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to `bytes` bytes; 0 at the end.
  virtual Result<size_t> read(char* into, size_t bytes) = 0;
};

class FileSource : public ByteSource {
 public:
  FileSource(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  Result<size_t> read(char* into, size_t bytes) override;

 private:
  UniqueFd fd_;
  std::string name_;
  uint64_t at_ = 0;
};

// Borrows the bytes.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view data) : data_(data) {}
  Result<size_t> read(char* into, size_t bytes) override;

 private:
  std::string_view data_;
};

// How much an archive may unpack to: free_bytes whatever its size, from there on `ratio` bytes for
// each compressed byte, total_bytes in all. A run's log is mostly zeros, so the ratio is no sign of
// malice by itself.
struct UnpackLimits {
  uint64_t free_bytes = uint64_t{4} << 30;
  uint64_t ratio = 4096;
  uint64_t total_bytes = uint64_t{64} << 30;
  uint32_t entries = 4096;
};

// Blocks that are not the archive's are in skippable frames of this number.
inline constexpr uint32_t kBlockMagic = 0x184D2A5B;
inline constexpr uint32_t kBlockHeadBytes = 8;  // number, bytes that follow

// Decompresses a source that is zstd frames and nothing else. Blocks are passed over.
class ZstdSource : public ByteSource {
 public:
  // `compressed` must outlive this object.
  ZstdSource(ByteSource& compressed, std::string name, const UnpackLimits& limits);
  ~ZstdSource() override;
  Result<size_t> read(char* into, size_t bytes) override;

 private:
  struct State;
  Result<> refill();
  Result<> end_of_frame();
  std::unique_ptr<State> state_;
};

struct ArchiveEntry {
  std::string name;  // relative, printable ASCII, no empty, "." or ".." component
  uint64_t bytes = 0;
};

class ArchiveReader {
 public:
  // `tar` must outlive this object. `name` stands for the archive in messages.
  ArchiveReader(ByteSource& tar, std::string name, const UnpackLimits& limits);
  ~ArchiveReader();

  // Goes to the next entry, which must be a regular file with a harmless name; what is left of the
  // current one is skipped. False at the end, when nothing but padding followed.
  Result<bool> next(ArchiveEntry& entry);
  // Up to `bytes` bytes of the current entry; 0 at its end.
  Result<size_t> read(char* into, size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shmrec::recording
