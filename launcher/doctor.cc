#include "launcher/doctor.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/signal_name.h"
#include "launcher/privileges.h"
#include "launcher/probes.h"
#include "policy/loaded_policy.h"

namespace shmrec::launcher {
namespace {

constexpr unsigned kProbeSeconds = 5;

// Where the child of a probe leaves its result; zero until it has one.
struct Slot {
  bool done;
  bool ok;
  char detail[1000];
};

Attempt in_child(Slot* slot, const std::function<Attempt()>& attempt) {
  memset(slot, 0, sizeof *slot);
  const pid_t child = fork();
  if (child < 0) return {false, std::string("fork: ") + strerror(errno)};
  if (child == 0) {
    alarm(kProbeSeconds);
    const Attempt result = attempt();
    slot->ok = result.ok;
    strncpy(slot->detail, result.detail.c_str(), sizeof slot->detail - 1);
    slot->done = true;
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (slot->done) return {slot->ok, slot->detail};
  if (WIFSIGNALED(status)) return {false, "killed by " + signal_name(WTERMSIG(status))};
  return {false, "ended without a result"};
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

struct Word {
  const char* text;
  const char* colour;
};
Word word_of(const Finding& finding) {
  if (finding.ok) return {"ok", "\033[32m"};
  return finding.needed ? Word{"FAILED", "\033[31m"} : Word{"missing", "\033[33m"};
}

}  // namespace

bool Diagnosis::recording_works() const {
  return std::all_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.ok || !finding.needed; });
}

Diagnosis diagnose(const std::string& spool) {
  Diagnosis diagnosis;
  utsname names{};
  uname(&names);
  diagnosis.kernel = names.release;
  diagnosis.capabilities = effective_capabilities();
  void* const shared =
      mmap(nullptr, sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Slot* const slot = static_cast<Slot*>(shared);
  auto add = [&](const char* name, bool needed, const char* remedy,
                 const std::function<Attempt()>& function) {
    Attempt attempt = in_child(slot, function);
    diagnosis.findings.push_back(
        {name, attempt.ok, needed, std::move(attempt.detail), attempt.ok ? "" : remedy});
  };
  for (const Probe& probe : probes()) add(probe.name, probe.needed, probe.remedy, probe.attempt);
  const Policy policy = load_policy_anyway(std::nullopt, environ).policy;
  const std::string directory = spool.empty() ? policy.spool_directory : spool;
  add("spool directory", true, kSpoolRemedy,
      [&] { return try_spool(directory, policy.limits.log_bytes); });
  munmap(shared, sizeof(Slot));
  return diagnosis;
}

std::string to_table(const Diagnosis& diagnosis, bool colour) {
  size_t width = 0;
  for (const Finding& finding : diagnosis.findings) width = std::max(width, finding.name.size());
  std::string text;
  for (const Finding& finding : diagnosis.findings) {
    const Word word = word_of(finding);
    text += padded(finding.name, width) + "  " + (colour ? word.colour : "") +
            padded(word.text, finding.detail.empty() ? 0 : 7) + (colour ? "\033[0m" : "");
    text += (finding.detail.empty() ? "" : "  " + finding.detail) + "\n";
    if (!finding.remedy.empty())
      text += std::string(width + 2, ' ') + "change: " + finding.remedy + "\n";
  }
  text += padded("capabilities held", width) + "  " + diagnosis.capabilities + "\n\n";
  return text + (diagnosis.recording_works() ? "Recording works here.\n"
                                             : "Recording does not work here: see FAILED above.\n");
}

std::string to_json(const Diagnosis& diagnosis) {
  nlohmann::ordered_json document = {{"format", "shmrec-doctor/1"},
                                     {"recordingWorks", diagnosis.recording_works()},
                                     {"kernel", diagnosis.kernel},
                                     {"capabilities", diagnosis.capabilities},
                                     {"findings", nlohmann::ordered_json::array()}};
  for (const Finding& finding : diagnosis.findings) {
    nlohmann::ordered_json row = {
        {"name", finding.name}, {"ok", finding.ok}, {"needed", finding.needed}};
    if (!finding.detail.empty()) row["detail"] = finding.detail;
    if (!finding.remedy.empty()) row["change"] = finding.remedy;
    document["findings"].push_back(std::move(row));
  }
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace shmrec::launcher
