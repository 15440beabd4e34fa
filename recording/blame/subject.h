// What a question is about: the recording that is asked, and the bytes that WHERE means in it.
//
// If the question names no recording, one is chosen: of those in which WHERE exists and which
// accessed it, the newest that was ended by a signal, else the one that accessed it last. So after
// a crash nobody has to find out first who crashed.
#pragma once

#include "recording/blame/blame.h"
#include "recording/blame/locate.h"

namespace shmrec::recording {

struct Subject {
  Location location;                     // with its length settled
  const Recording* recording = nullptr;  // nullptr: nobody accessed the bytes
};

// The bytes asked for are as many as the question says, else as WHERE says, else up to the end of
// the recording's last access there, 8 at most. More than kMaxBlameBytes is an Error.
Result<Subject> find_subject(const LocateContext& context, const BlameQuery& query);

}  // namespace shmrec::recording
