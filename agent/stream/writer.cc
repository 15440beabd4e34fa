#include "agent/stream/writer.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"

namespace shmrec::agent {

using namespace stream;

namespace {

// Small at first: most processes make few syscalls, and the launcher allocates all of it.
constexpr uint64_t kFirstBytes = 256 << 10, kMostBytes = 32 << 20;
constexpr uint32_t kGrowth = 4;

struct Writer {
  FileHeader* file = nullptr;  // mapped, or null
  uint64_t bytes = 0;          // of the file
  RecordHeader* record = nullptr;
  StreamRequest next = {};  // the file that is asked for next
};
Writer writer;

uint8_t* start_of(FileHeader* file) { return reinterpret_cast<uint8_t*>(file); }

int64_t map_file(int64_t fd, uint64_t bytes) {
  const uint64_t place = agent_base() + kStreamOffset;
  const int64_t at =
      sys(__NR_mmap, place, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  sys(__NR_close, fd);
  if (failed(at)) return at;
  sys(__NR_madvise, place, bytes, MADV_DONTFORK);
  writer.file = reinterpret_cast<FileHeader*>(place);
  writer.bytes = bytes;
  return 0;
}

// A file that has room for a record of `least` bytes.
int64_t open_next(uint64_t least) {
  StreamRequest& request = writer.next;
  const uint64_t needed = page_up(sizeof(FileHeader) + least);
  if (needed > kMaxFileBytes) return -EFBIG;
  request.bytes = max(needed, request.bytes);
  writer_close();
  const int64_t fd = sys(__NR_fcntl, -1, kCallCommand, kCallStream, &request, sizeof request);
  if (failed(fd)) return fd;
  if (const int64_t error = map_file(fd, request.bytes)) return error;
  ++request.number;
  request.bytes = min(request.bytes * kGrowth, kMostBytes);
  return 0;
}

}  // namespace

int64_t writer_open(const shmlog::ProcessEntry& entry) {
  writer = {};
  writer.next = {entry.id_high, entry.id_low, 0, 0, kFirstBytes};
  return open_next(0);
}

void writer_close() {
  if (writer.file) sys(__NR_munmap, writer.file, writer.bytes);
  writer.file = nullptr;
}

void* writer_begin(Type type, uint16_t detail, uint64_t event, uint64_t bytes) {
  const uint64_t whole = sizeof(RecordHeader) + aligned(bytes);
  if (whole > UINT32_MAX || !writer.file) return nullptr;
  if (whole > writer.bytes - writer.file->committed && failed(open_next(whole))) return nullptr;
  writer.record = reinterpret_cast<RecordHeader*>(start_of(writer.file) + writer.file->committed);
  *writer.record = {static_cast<uint32_t>(whole), static_cast<uint16_t>(type), detail, event};
  return writer.record + 1;
}

void writer_commit(uint64_t unused) {
  writer.record->bytes -= static_cast<uint32_t>(unused);
  store(&writer.file->committed, writer.file->committed + writer.record->bytes);
}

}  // namespace shmrec::agent
