// The report at the end of a run, on stderr.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/run_directory.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::launcher {

// Of a log. `losses` by shmlog::Loss; `unrecorded`: processes that went on unrecorded, by name.
struct Summary {
  uint64_t recordings = 0;
  uint64_t segments = 0;
  uint64_t accesses = 0;
  uint64_t braked = 0;  // segments that were, for some time
  uint64_t losses[static_cast<size_t>(shmlog::Loss::kCount)] = {};
  std::vector<Gap> unrecorded;
  std::vector<std::string> deaths;  // in words: who, of which signal, where
};

// `layout`: as planned by the launcher. The file's own header may have been overwritten by the
// workload.
Summary summarize(int log_fd, const shmlog::Header& layout);

std::string report_text(const Summary& summary, const std::vector<Gap>& gaps,
                        const std::string& bundle);
void print_report(const Summary& summary, const std::vector<Gap>& gaps, const std::string& bundle);

// Who has a run that was left to the sidecar, and how to get its bundle. `present`: whether it was
// there at the end.
std::string sidecar_text(const std::string& run_directory, bool present);

}  // namespace shmrec::launcher
