// Programs that a bundle may hold: whatever the bytes of an ELF file, an ID or none, and functions,
// lines and variables or none.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "recording/blame/symbols.h"
#include "recording/bundle/elf_id.h"

namespace {

using namespace shmrec::recording;

void require(bool condition) {
  if (!condition) abort();
}

void look_up(const std::string& path) {
  const auto file = ModuleFile::open(path);
  if (!file) return;
  for (const uint64_t offset : {0, 0x1000, 0x1004, 0x2f00}) {
    const auto address = file->address_of_offset(offset);
    if (address) (void)file->place(*address);
  }
  for (const char* name : {"counter", "table", "space::hidden"}) {
    const auto variable = file->variable(name);
    if (!variable || !variable->type.known()) continue;
    (void)variable->type.size();
    if (const auto element = variable->type.element()) (void)element->size();
    if (const auto target = variable->type.target()) (void)target->member("next");
    (void)variable->type.member("next");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  require(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size));
  const std::string id = build_id(fd);
  require(id.empty() || (is_id(id) && is_elf(fd)));
  require(soname(fd).find('/') == std::string::npos);
  require(content_id(fd, size).size() == 64);
  look_up("/proc/self/fd/" + std::to_string(fd));
  close(fd);
  return 0;
}
