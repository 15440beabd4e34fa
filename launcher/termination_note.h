// What a person is to know of a run that was not recorded as it was meant, in the container's
// termination message: Kubernetes shows it with the container's end, where nobody reads the log.
//
// Only where Kubernetes has made the file, and the program has left it empty: the message is the
// program's. Never through a link; at most 4096 bytes, which is all that the kubelet reads.
#pragma once

#include <string>

namespace shmrec::launcher {

// `text` is made printable. Trouble is passed over: the same is said on standard error.
void write_termination_note(const std::string& text,
                            const std::string& path = "/dev/termination-log");

}  // namespace shmrec::launcher
