// Writes the seed corpus of spool_fuzz: a log with each kind of fact, and the launcher's files as
// it writes them, cut off, and hostile.
#include <cstdio>
#include <fstream>

#include "tests/unit/shmlog_builder.h"

using namespace shmrec;
using namespace shmrec::testing;
using shmlog::JournalType;

namespace {

void save(const std::string& directory, const char* name, char kind, const std::string& bytes) {
  std::ofstream(directory + "/" + name, std::ios::binary) << kind << bytes;
}

std::string text_of(ShmlogBuilder& log) {
  const std::vector<uint8_t> bytes = log.build_short();
  return std::string(bytes.begin(), bytes.end());
}

std::string every_fact() {
  ShmlogBuilder log(1);
  const uint32_t a = log.add_process({.id_high = 1, .pid = 10, .name = "a"});
  const uint32_t b = log.add_process({.id_high = 2,
                                      .pid = 11,
                                      .name = "b\x1b[2J",
                                      .start = shmlog::StartKind::kFork,
                                      .parent = a});
  log.add_process({.id_high = 3, .pid = 12, .name = "c"});
  log.add_journal(JournalType::kMark, a, 0, {1}, "halfway\n");
  log.add_journal(JournalType::kSignal, b, 0, {6, 0, 0, 0});
  log.add_journal(JournalType::kChildExit, a, 0, {12, 9});
  log.header().journal_units += 2;  // torn by death
  log.add_journal(JournalType::kMark, a, 0, {1}, std::string(100, 'x'));
  log.process(b).exit_known = 1;
  log.process(b).exit_status = 6;
  log.process(a).exit_known = 2;
  return text_of(log);
}

std::string lying_header() {
  ShmlogBuilder log(1);
  log.add_process({.id_high = 1, .pid = 10, .name = "a"});
  log.header().journal_units = UINT64_MAX;
  log.header().next_process = UINT32_MAX;
  log.header().journal.count = UINT32_MAX;
  log.header().processes.count = UINT32_MAX;
  log.header().tsc_hz = 1;
  return text_of(log);
}

constexpr const char* kRunJson =
    R"({"format":"shmrec-run/1","runId":"0123456789abcdef","command":["./demo","--t=<redacted>"],)"
    R"("executable":"/work/demo","cwd":"/work","hostname":"box","container":{"pod":"p","node":"n",)"
    R"("containerName":"app"},"startTime":"2026-09-21T14:13:20.1Z","launcherPid":7})";

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: spool_corpus DIRECTORY\n");
    return 2;
  }
  const std::string to = argv[1];
  save(to, "log-every-fact", 0, every_fact());
  save(to, "log-lying-header", 0, lying_header());
  save(to, "run", 1, kRunJson);
  save(to, "run-cut-off", 1, std::string(kRunJson).substr(0, 100));
  save(to, "run-controls", 1, R"({"command":["\u001b[2J\u0000"],"container":{"pod":"a\nb"}})");
  save(to, "run-deep", 1, R"({"command":)" + std::string(20000, '['));
  save(to, "end", 2, R"({"endTime":"2026-09-21T14:13:21.3Z","status":6,"exitCode":134})");
  save(to, "end-huge-numbers", 2, R"({"status":1e999,"exitCode":99999999999999999999})");
  save(to, "events", 3,
       R"({"time":"T","type":"exec","pid":7,"exe":"/a","argv":["exit"],"recorded":true})"
       "\n"
       R"({"time":"T","type":"exit","pid":7,"status":9})"
       "\n"
       R"({"type":"exit","pi)");
  save(to, "events-long-line", 3,
       R"({"type":"exit","pid":7,"status":9,"x":")" + std::string(9000, 'x') + "\"}\n" +
           R"({"type":"exit","pid":8,"status":0})" + "\n");
  return 0;
}
