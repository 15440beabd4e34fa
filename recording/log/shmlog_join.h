// Several launchers, in containers of one pod, that record into one log.
//
// Each has an opening of the file of its own, which all that it starts map, with two locks that
// last as long as any of them: a shared flock, so that the log can be locked exclusively when all
// are gone, and a lock on a byte of its own, so that the others learn that this one is gone with
// all its processes.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recording/log/shmlog_create.h"

namespace shmrec::recording {

struct JoinedLog {
  shmrec::UniqueFd fd;
  shmlog::Header layout;  // as found and checked
};

// The log at `path`, locked shared, if it can be written on: it is of this version and whole, has
// the areas that plan_layout makes, is recorded into by somebody right now, and its rules and
// defaults are those of `mine`. Its size and run_id may be others.
Result<JoinedLog> join_shmlog(const std::string& path, const CreateOptions& mine);

// Takes the byte of a new number on the opening `fd` of a log. 0: it cannot be locked, so nobody
// will learn of this launcher's end but by the processes themselves.
uint32_t lock_launcher(int fd);

// Marks the lanes of launchers that are gone (LaneEntry::launcher), so that whoever waits for one
// of their threads goes on, and their lanes are used again. Returns how many. REQUIRES: `own` is
// the number locked by `fd`, whose own lock it does not see.
uint32_t sweep_lanes(int fd, const shmlog::Header& layout, uint32_t own);

// If no other launcher is left, marks the log as finished in order. The lock of `fd` is given up or
// made exclusive: nothing may be recorded through this opening any more. False: others go on.
bool close_shmlog(int fd);

}  // namespace shmrec::recording
