// What happened, in sentences: who died, where, what it had read of shared memory last, and who had
// written that: the answer before the question.
//
// About the recording that failed first (recording/blame/subject.h: goes_before), and briefly about
// the others. Whose core is in the bundle is told from the core, whose is not from the log alone.
//
// Trust: names and texts come from the workload; whoever shows them makes them harmless.
#pragma once

#include <string>
#include <vector>

#include "recording/blame/blame.h"
#include "recording/run/run_files.h"

namespace shmrec::report {

struct Story {
  // A value that the one who died had read, and where it came from.
  struct Reading {
    std::string title;
    recording::BlameAnswer answer;
  };
  const recording::Recording* subject = nullptr;  // of the timeline; nullptr: nobody failed
  std::vector<std::string> sentences;
  std::vector<Reading> readings;  // the latest first
};

Story tell_story(const recording::RunFiles& files, const recording::AccessIndex& index,
                 const recording::Timeline& timeline, recording::Symbols& symbols);

// "0.012345 s"
std::string seconds_text(double seconds);

}  // namespace shmrec::report
