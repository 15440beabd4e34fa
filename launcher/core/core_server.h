// The socket in a launcher's run directory by which cores of its processes are asked for, which
// then run on (docs/spool.md, cores.sock).
//
// Owner: serves on a thread of its own until it is destroyed, one client after the other; borrows
// the taker and the log. The name goes with the object.
// Trust: whoever may write the run directory may ask, the recorded programs among them: for a pause
// of some milliseconds and a file. A client has two seconds to say its line.
#pragma once

#include <filesystem>
#include <memory>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "launcher/core/core_taker.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::launcher {

struct CoreServerOptions {
  std::filesystem::path directory;  // the launcher's own
  mode_t file_mode = 0600;
  int log_fd = -1;  // stays the caller's
  shmlog::Header layout{};
};

class CoreServer {
 public:
  static Result<std::unique_ptr<CoreServer>> start(const CoreServerOptions& options,
                                                   CoreTaker& taker);
  ~CoreServer();
  CoreServer(const CoreServer&) = delete;
  CoreServer& operator=(const CoreServer&) = delete;

 private:
  CoreServer(const CoreServerOptions& options, CoreTaker& taker)
      : options_(options), taker_(taker) {}
  Result<> listen();
  void serve();
  void answer(int client);

  const CoreServerOptions options_;
  CoreTaker& taker_;
  UniqueFd folder_, listener_, wake_;
  std::thread thread_;
};

}  // namespace shmrec::launcher
