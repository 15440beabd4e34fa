#include "debugger/gdb_session.h"

#include <nlohmann/json.hpp>

#include "debugger/core_session.h"
#include "debugger/scripts.h"
#include "recording/crash/core_backtrace.h"
#include "recording/run/listing.h"
#include "recording/run/run_files.h"

namespace shmrec::debugger {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recording::Recording;
using recording::RunFiles;

std::string own_path() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  return error ? "shmrec" : path.string();
}

// When its core was taken although it ran on, as time in the recording; 0: it ended, or has none.
uint64_t ran_on_at(const RunFiles& files, const Recording& recording) {
  const std::string core = files.core(recording.id);
  return core.empty() ? 0 : recording::core_event(core);
}

json session_document(const GdbOptions& options, const RunFiles& files,
                      const std::vector<Recording>& recordings, const Recording& chosen) {
  json list = json::array();
  for (const Recording& one : recordings)
    list.push_back({{"id", one.id},
                    {"pid", one.pid},
                    {"name", one.name},
                    {"ended", recording::end_of_recording(one)},
                    {"core", files.core(one.id)},
                    {"at", ran_on_at(files, one)},
                    {"program", program_of(files, one)}});
  return {{"shmrec", own_path()},
          {"bundle", fs::absolute(options.bundle).string()},
          {"recording", chosen.id},
          {"recordings", std::move(list)}};
}

}  // namespace

Result<int> run_gdb(const GdbOptions& options) {
  const auto files = RunFiles::open(options.bundle, RunFiles::Read::kWhole);
  if (!files) return files.error();
  const recording::Timeline timeline = (*files)->timeline();
  const Result<const Recording*> chosen =
      choose_recording(options.bundle, options.recording, **files, timeline.recordings());
  if (!chosen) return chosen.error();
  const Result<CoreSession> session = CoreSession::make(**files, **chosen);
  if (!session) return session.error();
  const json document = session_document(options, **files, timeline.recordings(), **chosen);
  const std::string text = document.dump(1, ' ', false, json::error_handler_t::replace);
  for (const auto& [name, content] :
       {std::pair<const char*, std::string_view>{"session.json", text},
        {"places.py", places_script()},
        {"commands.py", commands_script()}})
    if (const Result<> written = session->add_file(name, content); !written) return written.error();
  if ((*files)->core((*chosen)->id).empty())
    fprintf(stderr,
            "shmrec: %s left no core: its program and segments are here, its memory is not\n",
            (*chosen)->id.c_str());
  return run_to_end(session->command_line("commands.py", options.arguments));
}

}  // namespace shmrec::debugger
