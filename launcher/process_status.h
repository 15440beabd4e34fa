// What /proc tells of a process or thread. Of one that is gone: nothing, 0 or "".
#pragma once

#include <sys/types.h>

#include <string>

namespace shmrec::launcher {

// A file of /proc, whole.
std::string read_proc_file(const std::string& path);

pid_t parent_of(pid_t pid);
// The value of "KEY:\tVALUE" in /proc/ID/status.
std::string status_value(pid_t id, const std::string& key);
// Ended, though it may not have been waited for.
bool has_ended(pid_t id);
// The process that a thread is of.
pid_t process_of(pid_t tid);
// As the process itself knows it, in its own PID namespace.
pid_t id_inside(pid_t id);
// The inode of its PID namespace. The caller may trace it, or it is 0.
uint64_t pid_namespace_of(pid_t pid);

}  // namespace shmrec::launcher
