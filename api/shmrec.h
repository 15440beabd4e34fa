/* libshmrec: a program records itself, marks moments, and asks about its recording. C11 and C++.
 *
 * Recorded is each access of this process to shared memory (MAP_SHARED mappings, POSIX and System V
 * shared memory, memfds, shared file mappings), in one log for all processes that record into it.
 * `shmrec blame LOGFILE WHERE` then says which access gave a place its value.
 *
 * A program that is started by `shmrec run` is recorded already. There shmrec_start() succeeds and
 * changes nothing, the name and size of the log that were set mean nothing, and the other calls
 * work as here. So a program may record itself always, and be recorded by the launcher now and
 * then.
 *
 * Errors: functions that return int return 0, or -1 with errno set to one of the values listed at
 * the function. Nothing is printed, nothing is thrown. A failed shmrec_start() leaves the program
 * as it was.
 *
 * Threads: shmrec_event(), shmrec_is_recording() and shmrec_recording_id() may be called by any
 * thread at any time. The others must not be called concurrently.
 *
 * Signal handlers: shmrec_event(), shmrec_is_recording() and shmrec_recording_id() are
 * async-signal-safe.
 */
#ifndef SHMREC_H
#define SHMREC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Size of a recording's ID as text: "xxxxxxxx-xxxx" and the terminating NUL. */
#define SHMREC_RECORDING_ID_SIZE 14

/* Longest name that shmrec_event() takes, in bytes without the NUL. */
#define SHMREC_EVENT_NAME_MAX 255

/* Starts to record the calling process. Its shared mappings that exist and those it makes later are
 * traced; children that it forks later are recorded too, each as a recording of its own. A program
 * image that it executes is not: it must call shmrec_start() itself.
 *
 * The log file is created, or joined if it belongs to this run: if its name was set by this process
 * or, before the fork, by an ancestor; or if a process that records into it is alive. A log of an
 * earlier run is replaced. The whole size is allocated here, so that recording cannot run out of
 * space later.
 *
 * Call it while the process has one thread, and after a fork rather than between fork and exec.
 * When the process is recorded already: 0, and nothing happens.
 *
 * EINVAL      no log file name is set
 * EBUSY       the process has more than one thread
 * EALREADY    the process stopped its recording: it cannot start again
 * EEXIST      the log file exists and is not a shared-memory log
 * EPROTO      the log file was made by another version of shmrec
 * ENAMETOOLONG  name of the log file, with the suffix it has while it is created
 * EADDRINUSE  the program has mappings in all the places that shmrec could take (agent/agent_abi.h)
 * ENOSYS      the kernel lacks what recording needs (Syscall User Dispatch: Linux 5.11)
 * ENOMEM, or an errno of open(2), fallocate(2) or mmap(2) about the log file: EACCES, ENOENT,
 * ENOSPC...
 */
int shmrec_start(void);

/* Stops recording the calling process for good. What was logged stays in the log. When the process
 * is not recorded: 0, and nothing happens.
 *
 * Any errno of the agent that refused. */
int shmrec_stop(void);

/* Sets the file that shmrec_start() logs to. A relative name is taken relative to the working
 * directory of now. Processes that are to share one log are forked after this call, or set the same
 * name while one that records into it is alive.
 *
 * Without effect on a recording that runs.
 *
 * EINVAL  `filename` is null or empty
 * ENAMETOOLONG, ENOMEM, or an errno of getcwd(3) */
int shmrec_shmem_log_filename_set(const char* filename);

/* The file set, as an absolute name; null if none is. The string lives until the next call of
 * shmrec_shmem_log_filename_set(). */
const char* shmrec_shmem_log_filename_get(void);

/* Sets the size in bytes of the log that shmrec_start() creates; a log that is joined keeps its
 * size. When a log is full, its oldest accesses are discarded and counted. Without effect on a
 * recording that runs.
 *
 * EINVAL  less than 8 MiB, or more than 64 GiB */
int shmrec_shmem_log_size_set(uint64_t bytes);

/* The size set, or the default of 64 MiB. */
uint64_t shmrec_shmem_log_size_get(void);

/* Puts a mark with this name (UTF-8) into the recording, at the current moment.
 *
 * EINVAL  `name` is null, empty, or longer than SHMREC_EVENT_NAME_MAX
 * ESRCH   the process is not recorded
 * ENOSPC  the log has no room for marks any more */
int shmrec_event(const char* name);

/* 1 if the calling process is being recorded, by itself or by `shmrec run`; else 0. Never fails. */
int shmrec_is_recording(void);

/* Writes the ID of the process's recording, as blame prints it, into `id`.
 *
 * EINVAL  `id` is null
 * ESRCH   the process is not recorded */
int shmrec_recording_id(char id[SHMREC_RECORDING_ID_SIZE]);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
