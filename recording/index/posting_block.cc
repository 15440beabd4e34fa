#include "recording/index/posting_block.h"

#include <zstd.h>

#include <memory>

namespace shmrec::recording {
namespace {

constexpr int kCompressionLevel = 1;
constexpr uint64_t kMaxChunk = (uint64_t{1} << 31) - 1;

void put_varint(std::string& into, uint64_t value) {
  for (; value >= 0x80; value >>= 7) into += static_cast<char>(value | 0x80);
  into += static_cast<char>(value);
}

uint64_t zigzag(uint64_t difference) {
  return difference << 1 ^ (difference >> 63 != 0 ? UINT64_MAX : 0);
}
uint64_t unzigzag(uint64_t value) { return value >> 1 ^ ((value & 1) != 0 ? UINT64_MAX : 0); }

class Varints {
 public:
  explicit Varints(std::string_view raw) : raw_(raw) {}
  bool at_end() const { return at_ == raw_.size(); }
  bool failed() const { return failed_; }

  uint64_t next() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ < raw_.size(); shift += 7) {
      const auto byte = static_cast<uint8_t>(raw_[at_++]);
      value |= uint64_t{byte & 0x7Fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }

 private:
  std::string_view raw_;
  size_t at_ = 0;
  bool failed_ = false;
};

bool add_to(uint32_t& value, uint64_t difference, uint64_t most) {
  if (difference > most - value) return false;
  value += static_cast<uint32_t>(difference);
  return true;
}

bool read_posting(Varints& from, StoredPosting& posting) {
  const uint64_t segments = from.next();
  const uint64_t line = from.next();
  if (!add_to(posting.segment, segments, UINT32_MAX)) return false;
  const bool same = segments == 0 && line == 0;
  posting.line = segments != 0 ? line : posting.line + line;
  const uint64_t chunk = from.next();
  if (!same) posting.chunk_writes = 0;
  if (!add_to(posting.chunk_writes, chunk, kMaxChunk * 2 + 1)) return false;
  const uint64_t first = from.next();
  posting.first_version = same ? posting.first_version + unzigzag(first) : first;
  posting.last_version = posting.first_version + from.next();
  return !from.failed() && posting.last_version >= posting.first_version;
}

}  // namespace

std::string encode_block(std::span<const StoredPosting> postings) {
  std::string raw;
  StoredPosting before;
  for (const StoredPosting& posting : postings) {
    const bool new_segment = posting.segment != before.segment;
    const bool same = !new_segment && posting.line == before.line;
    put_varint(raw, posting.segment - before.segment);
    put_varint(raw, new_segment ? posting.line : posting.line - before.line);
    put_varint(raw, same ? posting.chunk_writes - before.chunk_writes : posting.chunk_writes);
    put_varint(raw,
               same ? zigzag(posting.first_version - before.first_version) : posting.first_version);
    put_varint(raw, posting.last_version - posting.first_version);
    before = posting;
  }
  return raw;
}

Result<std::vector<StoredPosting>> decode_block(std::string_view raw) {
  std::vector<StoredPosting> postings;
  Varints from(raw);
  StoredPosting posting;
  while (!from.at_end()) {
    if (postings.size() == index::kPostingsPerBlock || !read_posting(from, posting))
      return Error{"a block of postings is damaged"};
    postings.push_back(posting);
  }
  return postings;
}

Result<std::string> packed(std::string_view raw) {
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> zstd(ZSTD_createCCtx(), ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(zstd.get(), ZSTD_c_compressionLevel, kCompressionLevel);
  ZSTD_CCtx_setParameter(zstd.get(), ZSTD_c_checksumFlag, 1);
  std::string frame(ZSTD_compressBound(raw.size()), '\0');
  const size_t bytes =
      ZSTD_compress2(zstd.get(), frame.data(), frame.size(), raw.data(), raw.size());
  if (ZSTD_isError(bytes))
    return Error{std::string("cannot compress: ") + ZSTD_getErrorName(bytes), false};
  frame.resize(bytes);
  return frame;
}

Result<std::string> unpacked(std::string_view frame, uint64_t raw_bytes) {
  std::string raw(raw_bytes, '\0');
  const size_t bytes = ZSTD_decompress(raw.data(), raw.size(), frame.data(), frame.size());
  if (ZSTD_isError(bytes)) return Error{ZSTD_getErrorName(bytes)};
  if (bytes != raw_bytes) return Error{"is not as long as the index says"};
  return raw;
}

}  // namespace shmrec::recording
