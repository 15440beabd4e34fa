// `shmrec run` with the stand-in agent of blob.S: launcher_driver [OPTION...] COMMAND...
//   --policy FILE  --wait-all  --keep-spool  --on-failure  --strict
//   --no-agent (a broken image)
#include <cstdio>
#include <cstring>
#include <vector>

#include "agent/agent_abi.h"
#include "launcher/run.h"

extern "C" const unsigned char blob_begin[];
extern "C" const unsigned char blob_end[];

namespace {

using namespace shmrec;

constexpr uint64_t kPage = 4096;
static_assert(agent::kCallCommand == 0x53484D52 && agent::kCallHello == 1);
static_assert(offsetof(agent::BootInfo, resume_address) == 8);

std::vector<unsigned char> make_image() {
  const uint64_t blob_bytes = static_cast<uint64_t>(blob_end - blob_begin);
  agent::ImageHeader header{};
  memcpy(header.magic, agent::kImageMagic, sizeof header.magic);
  header.abi_version = agent::kAbiVersion;
  header.segment_count = 1;
  header.span_bytes = 2 * kPage;
  header.entry = kPage;
  header.boot_info = 0;
  header.segments[0] = {header.entry, sizeof header, blob_bytes, blob_bytes};
  std::vector<unsigned char> image(sizeof header + blob_bytes);
  memcpy(image.data(), &header, sizeof header);
  memcpy(image.data() + sizeof header, blob_begin, blob_bytes);
  return image;
}

}  // namespace

int main(int argc, char** argv) {
  launcher::RunOptions options;
  std::vector<unsigned char> image = make_image();
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; ++i) {
    if (!strcmp(argv[i], "--policy"))
      options.policy_file = argv[++i];
    else if (!strcmp(argv[i], "--wait-all"))
      options.wait_all = true;
    else if (!strcmp(argv[i], "--keep-spool"))
      options.keep_spool = true;
    else if (!strcmp(argv[i], "--on-failure"))
      options.on_failure = true;
    else if (!strcmp(argv[i], "--strict"))
      options.strict = true;
    else if (!strcmp(argv[i], "--no-agent"))
      image[0] = 0;
    else
      return 2;
  }
  options.agent_image = image;
  options.command.assign(argv + i, argv + argc);
  return launcher::run(options);
}
