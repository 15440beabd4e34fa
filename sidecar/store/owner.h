// One sidecar for one directory: a locked file `owner` in it.
//
// The kernel releases the lock when the sidecar is gone, however it went, and it works between
// containers that share the volume. What the file says is only for the message to the second one.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::sidecar {

class OwnerLock {
 public:
  // `what` stands for the directory in messages: "spool", "store". The directory may be one that
  // the workload can write: the file is never followed through a link, and nothing but a file of
  // our own making is written to. The workload can keep the lock from us, and no more.
  static Result<OwnerLock> take(int directory_fd, const std::string& directory,
                                const std::string& what);

 private:
  UniqueFd fd_;
};

}  // namespace shmrec::sidecar
