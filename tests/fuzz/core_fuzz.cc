// Cores that a bundle may hold: whatever the bytes, stacks or an error, of bounded length.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "recording/crash/core_backtrace.h"

namespace {

using namespace shmrec::recording;

void require(bool condition) {
  if (!condition) abort();
}

}  // namespace

// elfutils 0.188 loses the 16 bytes by which it goes from thread to thread, where it gives up.
extern "C" const char* __lsan_default_suppressions() { return "leak:core_next_thread\n"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  require(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size));
  const FileFinder nowhere = {[](const std::string&) { return std::string(); },
                              [](const std::string&) { return std::string(); }};
  const auto stacks = read_core_stacks("/proc/self/fd/" + std::to_string(fd), nowhere);
  if (stacks) {
    require(!stacks->threads.empty());
    for (const ThreadStack& thread : stacks->threads) require(thread.frames.size() < 1000);
    require(!core_text("program", 1, *stacks).empty());
    (void)stack_text(stacks->threads[0]);
    (void)stacks_json(*stacks);
  }
  close(fd);
  return 0;
}
