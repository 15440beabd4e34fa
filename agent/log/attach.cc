#include "agent/log/attach.h"

#include <linux/mman.h>

#include "agent/agent_abi.h"
#include "agent/memory/identity.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

bool attached = false;
uint64_t own_pid_namespace = 0;
uint32_t own_launcher = 0;

bool area_ok(const Area& area, uint64_t bytes, uint32_t entry_bytes) {
  return area.entry_bytes == entry_bytes && area.offset < bytes &&
         static_cast<uint64_t>(area.count) * entry_bytes <= bytes - area.offset;
}

}  // namespace

Header& log_header() { return *reinterpret_cast<Header*>(agent_base() + kLogOffset); }

bool log_attached() { return attached; }

void count_loss(Loss loss, uint64_t by) {
  if (attached) fetch_add(&log_header().losses[static_cast<uint32_t>(loss)], by);
}

uint64_t pid_namespace() { return own_pid_namespace; }

void pid_namespace_refresh() {
  if (const uint64_t found = namespace_inode("/proc/self/ns/pid")) own_pid_namespace = found;
}

uint32_t own_launcher_number() { return own_launcher; }

int64_t log_attach(int fd, uint64_t bytes, uint32_t launcher) {
  const uint64_t place = agent_base() + kLogOffset;
  if (bytes > kMaxLogBytes) return -E2BIG;
  const int64_t at =
      sys(__NR_mmap, place, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  if (at != static_cast<int64_t>(place)) return failed(at) ? at : -EEXIST;
  const Header& header = log_header();
  const bool ok = memcmp(header.magic, kMagic, sizeof kMagic) == 0 && header.version == kVersion &&
                  header.file_bytes == bytes && area_ok(header.rules, bytes, sizeof(PolicyRule)) &&
                  area_ok(header.stripes, bytes, 8) &&
                  area_ok(header.processes, bytes, sizeof(ProcessEntry)) &&
                  area_ok(header.lanes, bytes, sizeof(LaneEntry)) &&
                  area_ok(header.segments, bytes, sizeof(SegmentEntry)) &&
                  area_ok(header.usage, bytes, sizeof(UsageEntry)) &&
                  area_ok(header.journal, bytes, kJournalUnitBytes) &&
                  area_ok(header.chunks, bytes, kChunkBytes) &&
                  (header.stripes.count & (header.stripes.count - 1)) == 0 && header.stripes.count;
  if (!ok) {
    sys(__NR_munmap, place, bytes);
    return -EINVAL;
  }
  // An entry here, an entry there: what the kernel would read ahead at each of them (8 MiB on some
  // disks) is zeros, cleared for nobody. Chunks are written from end to end.
  sys(__NR_madvise, place, header.chunks.offset & ~(kPage - 1), MADV_RANDOM);
  attached = true;
  own_launcher = launcher;
  pid_namespace_refresh();
  return 0;
}

}  // namespace shmrec::agent
