// The ioctls of a seccomp listener. libseccomp 2.5 has none for ADDFD and the wake-up flag.
#pragma once

#include <linux/seccomp.h>

#include <cstdint>

namespace shmrec::launcher {

// Takes the next notification. False: there was none after all (its process was killed meanwhile).
bool receive_notification(int listener, seccomp_notif& request);

// The syscall goes on as if nobody had been asked.
bool answer_continue(int listener, uint64_t id);

// The syscall returns -error.
bool answer_error(int listener, uint64_t id, int error);

// The syscall returns a new descriptor (close-on-exec), a copy of `fd`. Returns 0, or the errno:
// the syscall then still waits for its answer, unless it is ENOENT (its process was killed
// meanwhile).
int answer_with_descriptor(int listener, uint64_t id, int fd);

// Answered processes wake up on the processor of the one who answers: four times faster where the
// two take turns. False: this kernel cannot (before 6.6).
bool wake_up_on_this_processor(int listener);

}  // namespace shmrec::launcher
