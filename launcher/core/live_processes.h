// The recorded processes of this launcher that live, as it sees them and as the log names them.
//
// What joined launchers have started is theirs to trace: only descendants are told. The log is the
// workload's to write; a wrong entry makes a core wrong or fail, nothing else.
#pragma once

#include <vector>

#include "launcher/core/one_core.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::launcher {

// By rising pid. `layout`: the log's header as it was made.
std::vector<CoreSubject> live_processes(int log_fd, const shmlog::Header& layout);

}  // namespace shmrec::launcher
