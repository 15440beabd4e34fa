#include "agent/replay/reader.h"

#include <linux/mman.h>

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {

using namespace stream;

namespace {

struct Reader {
  uint32_t stage = 0;
  uint32_t file = 0;  // of the stage
  const uint8_t* base = nullptr;
  uint64_t mapped = 0;  // bytes
  uint64_t at = 0, end = 0;
  uint64_t records = 0;
};
Reader reader;

const ReplayBoot& boot() { return shmrec_boot_info.replay; }

uint64_t file_bytes(int fd) {
  const int64_t bytes = sys(__NR_lseek, fd, 0, 2 /* SEEK_END */);
  return failed(bytes) ? 0 : static_cast<uint64_t>(bytes);
}

void close_file() {
  if (reader.base) sys(__NR_munmap, reader.base, reader.mapped);
  reader.base = nullptr;
  reader.at = reader.end = 0;
}

bool open_file(uint32_t number) {
  close_file();
  if (number >= reader_stage().streams) return false;
  const int fd = reader_stage().first_stream + static_cast<int>(number);
  const uint64_t bytes = file_bytes(fd), place = agent_base() + kStreamOffset;
  if (bytes < sizeof(FileHeader) || bytes > kMaxFileBytes) return false;
  const int64_t at = sys(__NR_mmap, place, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
  if (failed(at)) return false;
  reader.base = reinterpret_cast<const uint8_t*>(place);
  reader.mapped = bytes;
  const FileHeader& header = *reinterpret_cast<const FileHeader*>(place);
  reader.file = number;
  reader.at = sizeof(FileHeader);
  reader.end = min(header.committed, bytes);
  return true;
}

// The record at this place of the file; null: it is not whole.
const RecordHeader* record_at(uint64_t at) {
  const uint64_t left = reader.end - at;
  const auto* record = reinterpret_cast<const RecordHeader*>(reader.base + at);
  const bool whole = left >= sizeof *record && record->bytes >= sizeof *record &&
                     record->bytes <= left && record->bytes % kAlign == 0;
  return whole ? record : nullptr;
}

}  // namespace

bool reader_start() { return boot().stages && open_file(0); }

const ReplayStage& reader_stage() { return boot().stage[reader.stage]; }

bool reader_last_stage() { return reader.stage + 1 == boot().stages; }

uint64_t reader_records() { return reader.records; }

namespace {

const RecordHeader* peek_any() {
  while (reader.base && reader.at >= reader.end)
    if (!open_file(reader.file + 1)) return nullptr;
  return reader.base ? record_at(reader.at) : nullptr;
}

}  // namespace

// Accesses that were made again are not among those that are followed.
const RecordHeader* reader_peek() {
  const RecordHeader* record;
  while ((record = peek_any()) && record->type == static_cast<uint16_t>(Type::kAgain))
    reader_advance();
  return record;
}

const RecordHeader* reader_behind() {
  const RecordHeader* record = reader_peek();
  uint64_t at = reader.at;
  do {
    if (!record) return nullptr;
    at += record->bytes;
    record = record_at(at);
  } while (record && record->type == static_cast<uint16_t>(Type::kAgain));
  return record;
}

void reader_advance() {
  reader.at += reinterpret_cast<const RecordHeader*>(reader.base + reader.at)->bytes;
  ++reader.records;
}

bool reader_next_stage() {
  if (reader_last_stage()) return false;
  ++reader.stage;
  return open_file(0);
}

}  // namespace shmrec::agent
