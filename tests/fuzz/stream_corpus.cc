// Writes the seed corpus of stream_fuzz: a stream with each kind of record, one in several files,
// and ones that are damaged.
#include <cstdio>
#include <fstream>

#include "tests/unit/stream_builder.h"

using namespace shmrec;
using namespace shmrec::testing;

namespace {

void save(const std::string& directory, const char* name, const std::string& bytes) {
  std::ofstream(directory + "/" + name, std::ios::binary) << bytes;
}

std::string several_files() {
  StartRecord start{};
  start.parent_high = 1;
  return StreamBuilder().start(start, shmlog::StartKind::kFork).bytes() +
         StreamBuilder(1).call(1, 1, {1, 0x1000, 5}, 5).bytes() +
         StreamBuilder(2).signal(2, 34, SignalKind::kDeath, SignalPlace::kAtStop).bytes();
}

std::string with_lie(uint64_t at, uint64_t value) {
  StreamBuilder stream;
  return stream.start()
      .call(1, 0, {3, 0x1000, 8}, 8, {{0x1000, "eight by"}})
      .put_last(at, value)
      .bytes();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: stream_corpus DIRECTORY\n");
    return 2;
  }
  const std::string to = argv[1], all = every_record().bytes();
  save(to, "every-record", all);
  save(to, "several-files", several_files());
  save(to, "cut-off", all.substr(0, all.size() - 12));
  save(to, "output-address", with_lie(48, ~uint64_t{0}));
  save(to, "output-length", with_lie(56, ~uint64_t{7}));
  save(to, "call-counts", with_lie(0, 0xFFFF00FF0000ull));
  save(to, "nothing-committed", StreamBuilder().bytes());
  return 0;
}
