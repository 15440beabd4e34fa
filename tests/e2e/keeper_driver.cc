// Keeps the binaries of a run that another shmrec records, until its standard input ends.
// usage: keeper_driver RUN_DIRECTORY
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "launcher/binary_keeper.h"

using shmrec::launcher::BinaryKeeper;

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  shmrec::launcher::BinaryKeeperOptions options;
  options.run_directory = argv[1];
  options.log = open((std::string(argv[1]) + "/run.shmlog").c_str(), O_RDONLY | O_CLOEXEC);
  auto keeper = BinaryKeeper::start(options);
  if (!keeper) return std::fprintf(stderr, "%s\n", keeper.error().message.c_str()), 1;
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  const BinaryKeeper::Summary summary = (*keeper)->finish();
  std::printf("files %llu lost %llu %s\n", static_cast<unsigned long long>(summary.files),
              static_cast<unsigned long long>(summary.lost), summary.why.c_str());
  return 0;
}
