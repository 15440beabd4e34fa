// What a question is about: the recording that is asked, and the bytes that WHERE means in it.
//
// If the question names no recording, one is chosen: of those that have WHERE mapped and accessed
// it, the one that failed first. A fault (SEGV, ABRT, BUS, FPE, ILL) goes before other signals,
// which a supervisor sends to the rest, these before an exit status that is not 0; of the same kind
// the one that ended earlier. Without any, the one that accessed it last. So after a crash nobody
// has to find out first who crashed. A pid or name of several recordings means the one that maps
// WHERE. Where only writes are recorded, whoever maps WHERE may have read it.
#pragma once

#include "recording/blame/blame.h"
#include "recording/blame/locate.h"

namespace shmrec::recording {

// How a recording ended; the first is asked about first.
enum class Ending { kFault, kSignal, kError, kOrderly };
Ending ending_of(const Recording& recording);
// Is `a` asked about before `b`?
bool goes_before(const Recording& a, const Recording& b);

struct Subject {
  Location location;                     // with its length settled
  const Recording* recording = nullptr;  // nullptr: nobody accessed the bytes
};

// The bytes asked for are as many as the question says, else as WHERE says, else up to the end of
// the recording's last access there, 8 at most. More than kMaxBlameBytes is an Error.
Result<Subject> find_subject(const LocateContext& context, const BlameQuery& query);

}  // namespace shmrec::recording
