// Which file a self-recording process logs to: creates the run's log, or joins the one that is
// there.
//
// Several processes of one run may ask at the same time, in any order, and some may have ended
// before others begin; exactly one creates the log. They agree through the file system alone:
//  1. A log appears under its name complete (link of a finished file), so whoever opens it can use
//     it.
//  2. Everybody who records into a log holds its flock shared, from before the agent starts to the
//     end. It is removed only by who holds it exclusively, so that nobody records into it, and has
//     seen under the lock that the name still means this file and that it belongs to another run.
// A run is known by its ID, drawn when the file's name is set and inherited over fork.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec::api {

struct LogFile {
  int fd = -1;         // the caller's to close, once the agent has mapped it
  uint64_t bytes = 0;  // size of the file
};

struct LogRequest {
  std::string path;    // absolute
  uint64_t bytes = 0;  // size if it is created
  uint64_t run_id = 0;
};

// Opens or creates the log of `request`. 0 or an errno of shmrec_start(); fills `log` on success.
int open_log(const LogRequest& request, LogFile& log);

}  // namespace shmrec::api
