#include "api/attach.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/agent_abi.h"
#include "agent/pack/image.h"
#include "agent/pack/relocate.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::api {
namespace {

using agent::BootInfo;
using agent::ImageHeader;

ImageHeader image_header() {
  ImageHeader header;
  std::memcpy(&header, shmrec_agent_image, sizeof(header));
  return header;
}

// Anonymous memory for the whole image at `base`. 0 or an errno.
int reserve(const ImageHeader& header, uint64_t base) {
  void* const at = reinterpret_cast<void*>(base);
  void* const mapped = mmap(at, header.span_bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (mapped == MAP_FAILED) return errno == EEXIST ? EADDRINUSE : errno;
  if (mapped == at) return 0;
  munmap(mapped, header.span_bytes);  // a kernel before 4.17 takes the address as a hint
  return EADDRINUSE;
}

void fill(const ImageHeader& header, uint64_t base, const LogFile& log) {
  for (uint32_t i = 0; i < header.segment_count; ++i) {
    const agent::ImageSegment& segment = header.segments[i];
    unsigned char* const memory = reinterpret_cast<unsigned char*>(base + segment.address);
    std::memcpy(memory, shmrec_agent_image + segment.file_offset, segment.file_bytes);
    agent::relocate(shmrec_agent_image, i, base, memory);
  }
  BootInfo boot{};
  boot.abi_version = agent::kAbiVersion;
  boot.mode = static_cast<uint32_t>(agent::BootMode::kApi);
  boot.log_bytes = log.bytes;
  boot.log_fd = log.fd;
  boot.start_kind = static_cast<uint32_t>(shmlog::StartKind::kApi);
  boot.launcher_uid = getuid();
  std::memcpy(reinterpret_cast<void*>(base + header.boot_info), &boot, sizeof(boot));
}

int attach_at(const ImageHeader& header, uint64_t base, const LogFile& log) {
  if (const int error = reserve(header, base)) return error;
  fill(header, base, log);
  const int result = reinterpret_cast<int (*)()>(base + header.entry)();
  if (result == 0) return 0;
  munmap(reinterpret_cast<void*>(base), header.span_bytes);
  return result == -EEXIST ? EADDRINUSE : -result;
}

}  // namespace

int attach_agent(const LogFile& log) {
  const ImageHeader header = image_header();
  int error = EADDRINUSE;
  for (const uint64_t base : agent::kBases)
    if ((error = attach_at(header, base, log)) != EADDRINUSE) break;
  return error;
}

}  // namespace shmrec::api
