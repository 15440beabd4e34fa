#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {
namespace {

// NAME_MAX less what is added: ".partial" by a copy, ".DESTINATION.new" by the queue.
constexpr size_t kMaxName = 255 - 40;

}  // namespace

bool is_bundle_name(const std::string& name) {
  if (name.empty() || name.front() == '.' || name.size() > kMaxName) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c > ' ' && c < 0x7f && c != '/' && c != '\\'; });
}

SourceFile open_source(const Bundle& bundle) {
  SourceFile file;
  // O_NONBLOCK: if it is a pipe by now, opening must not wait for a writer.
  UniqueFd fd(open(bundle.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) {
    file.gone = errno == ENOENT;
    file.error = file.gone ? Error{bundle.name + ": no longer in the store"}
                           : system_error(bundle.path.string());
    return file;
  }
  struct stat status;
  if (fstat(fd.get(), &status) != 0) {
    file.error = system_error(bundle.path.string());
    return file;
  }
  if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != bundle.bytes) {
    file.gone = true;
    file.error = Error{bundle.path.string() + ": not a file of " + std::to_string(bundle.bytes) +
                       " bytes any more"};
    return file;
  }
  file.fd = std::move(fd);
  return file;
}

}  // namespace shmrec::sidecar::egress
