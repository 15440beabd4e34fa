#include "agent/replay/outcome.h"

#include <linux/mman.h>

#include "agent/replay/reader.h"

extern "C" shmrec::agent::BootInfo shmrec_boot_info;

namespace shmrec::agent {
namespace {

ReplayReport* report = nullptr;

[[noreturn]] void end(ReplayState state) {
  if (report) {
    report->records = reader_records();
    store(&report->state, static_cast<uint32_t>(state));
  }
  for (;;) sys(__NR_exit_group, 0);
}

}  // namespace

bool outcome_start() {
  const int64_t at =
      sys(__NR_mmap, agent_base() + kReplayReportOffset, sizeof(ReplayReport),
          PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shmrec_boot_info.replay.report_fd, 0);
  if (failed(at)) return false;
  report = reinterpret_cast<ReplayReport*>(at);
  return true;
}

ReplayReport& outcome() { return *report; }

void finish(ReplayEnd how, uint64_t detail) {
  report->end_kind = static_cast<uint32_t>(how);
  report->detail = detail;
  end(ReplayState::kFinished);
}

void diverge(const char* what, uint64_t expected, uint64_t found) {
  Text text = {report->text, sizeof report->text};
  text.add(what).add(": ").add_hex(found).add(", recorded ").add_hex(expected);
  end(ReplayState::kDiverged);
}

void diverge_at(const char* what, uint64_t address, uint64_t expected, uint64_t found) {
  Text{report->text, sizeof report->text}.add(what).add(" ").add_hex(address);
  Text rest = {report->text + strlen(report->text), sizeof report->text - strlen(report->text)};
  rest.add(": ").add_hex(found).add(", recorded ").add_hex(expected);
  end(ReplayState::kDiverged);
}

void refuse(const char* why) {
  if (report) Text{report->text, sizeof report->text}.add(why);
  end(ReplayState::kRefused);
}

}  // namespace shmrec::agent
