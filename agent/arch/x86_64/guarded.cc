#include "agent/arch/x86_64/guarded.h"

namespace shmrec::agent {
namespace {

struct Fixup {
  int32_t at, to;  // relative to themselves
};
extern "C" __attribute__((visibility("hidden"))) const Fixup __start_shmrec_fixups[],
    __stop_shmrec_fixups[];

uint64_t absolute(const int32_t& relative) {
  return reinterpret_cast<uint64_t>(&relative) + static_cast<uint64_t>(int64_t{relative});
}

}  // namespace

uint64_t fixup_of(uint64_t ip) {
  for (const Fixup* fixup = __start_shmrec_fixups; fixup != __stop_shmrec_fixups; ++fixup)
    if (absolute(fixup->at) == ip) return absolute(fixup->to);
  return 0;
}

}  // namespace shmrec::agent
