// The page of a log: whatever its bytes say, a page of bounded size, and no text that ends a
// script.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/unique_fd.h"
#include "report/report.h"

using namespace shmrec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const UniqueFd file(memfd_create("log", MFD_CLOEXEC));
  if (!file || write(file.get(), data, size) != static_cast<ssize_t>(size)) std::abort();
  const auto files = recording::RunFiles::open("/proc/self/fd/" + std::to_string(file.get()));
  if (!files) return 0;
  const std::string page = report::make_report(**files, "fuzz");
  if (page.size() >= report::kMostPageBytes) std::abort();
  size_t ends = 0;
  for (size_t at = page.find("</script"); at != std::string::npos;
       at = page.find("</script", at + 1))
    ++ends;
  if (ends != 3) std::abort();
  return 0;
}
