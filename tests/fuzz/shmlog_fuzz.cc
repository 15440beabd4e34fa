// Fuzzes everything that reads a shared-memory log: opening, the index, blame both ways, ls, dump,
// export.
// No bytes may crash it, hang it or make it read outside the file.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "recording/blame/blame.h"
#include "recording/blame/blame_print.h"
#include "recording/export/access_csv.h"
#include "recording/export/trace_events.h"
#include "recording/log/shmlog_dump.h"
#include "recording/run/listing.h"

using namespace shmrec;
using namespace shmrec::recording;

namespace {

void ask(const Blame& blame, const BlameQuery& query) {
  const Result<BlameAnswer> answer = blame.ask(query);
  if (!answer) return;
  blame_table(*answer, true);
  blame_json(*answer);
  blame_command_lines(*answer, "run.shmlog");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto opened = ShmlogReader::from_memory({data, size}, "fuzz");
  if (!opened) return 0;
  const ShmlogReader& log = **opened;
  const auto index = AccessIndex::build(log);
  const Timeline timeline(log);
  Symbols symbols([](const std::string&) { return "/nonexistent"; });
  const Blame blame(*index, timeline, symbols);
  ask(blame, {.where = "1+0x118", .length = 8, .history = 10});
  ask(blame, {.where = "/ring+60", .length = 80, .history = kWholeHistory});
  ask(blame, {.where = "1+0", .time = {2}, .forward = true});
  ask(blame, {.where = "0x7f61b0794118"});
  ask(blame, {.where = "variable->field"});
  listing_text(make_listing(timeline));
  listing_json(make_listing(timeline));
  dump_shmlog(log, true, [](const std::string&) { return true; });
  write_access_csv(timeline, symbols, {}, [](std::string_view) { return true; });
  write_trace_events(timeline, {}, {}, [](std::string_view) { return true; });
  return 0;
}
