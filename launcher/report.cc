#include "launcher/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/output_file.h"
#include "recording/bundle/coverage.h"
#include "recording/log/names.h"

namespace shmrec::launcher {
namespace {

using shmlog::Loss;

constexpr size_t kShownGaps = 5;
constexpr auto kStopped = static_cast<uint32_t>(shmlog::DegradedReason::kStopped);  // as it wished

std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string counted(uint64_t number, const char* noun, const char* plural_ending = "s") {
  return grouped(number) + " " + noun + (number == 1 ? "" : plural_ending);
}

// Calls `visit` with each entry of a table that was in use. `next`: the header's, entries that were
// handed out + 1.
template <typename Entry, typename Visit>
void for_each_entry(int fd, const shmlog::Area& area, uint32_t next, Visit visit) {
  std::vector<Entry> entries(std::min(area.count, next));
  const size_t bytes = entries.size() * sizeof(Entry);
  if (pread(fd, entries.data(), bytes, static_cast<off_t>(area.offset)) !=
      static_cast<ssize_t>(bytes))
    return;
  const auto live = static_cast<uint32_t>(shmlog::EntryState::kLive);
  for (const Entry& entry : entries)
    if (entry.state >= live) visit(entry);
}

std::string name_of(const shmlog::ProcessEntry& process) {
  std::string name(process.name, strnlen(process.name, sizeof process.name));
  for (char& c : name)
    if (c < 0x20 || c > 0x7E) c = '?';
  return (name.empty() ? "process" : name) + " (pid " + std::to_string(process.pid) + ")";
}

}  // namespace

Summary summarize(int log_fd, const shmlog::Header& layout) {
  Summary summary;
  shmlog::Header header;
  if (pread(log_fd, &header, sizeof header, 0) != sizeof header) return summary;
  for_each_entry<
      shmlog::
          ProcessEntry>(log_fd, layout.processes, header.next_process, [&](const auto& process) {
    ++summary.recordings;
    summary.accesses += process.accesses;
    if (process.degraded == 0 || process.degraded == kStopped) return;
    summary.unrecorded.push_back({name_of(process), recording::degraded_words(process.degraded)});
  });
  for_each_entry<shmlog::SegmentEntry>(log_fd, layout.segments, header.next_segment,
                                       [&](const auto& segment) {
                                         ++summary.segments;
                                         summary.braked += segment.braked != 0;
                                       });
  if (pread(log_fd, summary.losses, sizeof summary.losses, offsetof(shmlog::Header, losses)) !=
      sizeof summary.losses)
    memset(summary.losses, 0, sizeof summary.losses);
  return summary;
}

std::string report_text(const Summary& summary, const std::vector<Gap>& gaps,
                        const std::string& bundle) {
  std::string text = "shmrec: " + counted(summary.recordings, "recording") + ", " +
                     counted(summary.accesses, "access", "es") + " to " +
                     counted(summary.segments, "shared segment") + "\n";
  for (const std::string& death : summary.deaths) text += "shmrec: " + death + "\n";
  for (uint32_t i = 0; i < static_cast<uint32_t>(Loss::kCount); ++i) {
    const recording::LossWords& words = recording::loss_words(static_cast<Loss>(i));
    if (summary.losses[i] > 0 && words.gap)
      text += "shmrec: lost: " + grouped(summary.losses[i]) + " " + words.what + ": " + words.why +
              "\n";
  }
  if (summary.braked > 0)
    text += "shmrec: braked: " + counted(summary.braked, "segment") +
            " recorded in part for a while, because tracing cost more than limits.maxSlowdown; "
            "shmrec ls tells when\n";
  std::vector<Gap> all = summary.unrecorded;
  all.insert(all.end(), gaps.begin(), gaps.end());
  for (size_t i = 0; i < std::min(all.size(), kShownGaps); ++i)
    text += "shmrec: not recorded: " + all[i].what + ": " + all[i].why + "\n";
  if (all.size() > kShownGaps)
    text += "shmrec: not recorded: " + grouped(all.size() - kShownGaps) +
            " more, listed in the bundle's coverage.json\n";
  if (!bundle.empty()) text += "shmrec: bundle " + bundle + "\n";
  if (!bundle.empty() && is_plain_output(bundle))
    text += std::string("shmrec: look at it with: shmrec ") +
            (summary.deaths.empty() ? "ls " : "gdb ") + bundle + "\n";
  return text;
}

std::string sidecar_text(const std::string& run_directory, bool present) {
  const std::string run = std::filesystem::path(run_directory).filename().string();
  if (!present)
    return "shmrec: run " + run +
           " is left to the sidecar, which is not there right now; it finds " + run_directory +
           " when it is back; or: shmrec bundle create " + run_directory + "\n";
  // kubelet sets this variable in every container.
  const bool kubernetes = getenv("KUBERNETES_SERVICE_HOST") != nullptr;
  return "shmrec: run " + run + " is left to the sidecar, which keeps bundles by its rules\n" +
         "shmrec: they are listed by: " +
         (kubernetes ? "kubectl shmrec bundles POD; in the sidecar: " : "") +
         "shmrec-sidecar request /v1/bundles" + (kubernetes ? "" : ", in its container") + "\n";
}

void print_report(const Summary& summary, const std::vector<Gap>& gaps, const std::string& bundle) {
  fputs(report_text(summary, gaps, bundle).c_str(), stderr);
}

}  // namespace shmrec::launcher
