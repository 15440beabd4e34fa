#include "agent/arch/x86_64/processor.h"

#include <asm/prctl.h>
#include <cpuid.h>

extern "C" {
// Each returns 1 if it faulted, as it should, with the registers in which it did (measure.S).
int shmrec_measure_gather_simd(const uint64_t addresses[2], uint64_t mask[4], uint64_t data[4]);
int shmrec_measure_gather_evex_simd(const uint64_t addresses[2], uint64_t data[8]);
int shmrec_measure_convert_simd(uint64_t address, uint32_t* mxcsr);
}

namespace shmrec::agent {
namespace {

bool amd = false, xsave = false, wide_exchange = false, bmi2 = false;

struct Measured {
  uint32_t known;
  GatherFault fault;
};
// Of two threads that measure at once, both come to the same.
Measured vex = {}, evex = {};
uint32_t convert_known = 0;
bool convert_flags = true;

// Nobody can read this page: the guard of the thread's signal stack.
uint64_t bad_address(const Thread* thread) { return thread_signal_stack(thread) - kPage; }

void measure_vex(Thread* thread) {
  constexpr uint64_t kSelected = uint64_t{1} << 63 | 1, kAll = ~uint64_t{0};
  const uint64_t good = 0;
  const uint64_t addresses[2] = {reinterpret_cast<uint64_t>(&good), bad_address(thread)};
  uint64_t mask[4] = {kSelected, kSelected, kAll, kAll}, data[4] = {kAll, kAll, kAll, kAll};
  shmrec_measure_gather_simd(addresses, mask, data);
  vex.fault = {mask[1] == kAll, mask[2] == 0, data[2] == 0};
  store(&vex.known, 1u);
}

void measure_evex(Thread* thread) {
  constexpr uint64_t kAll = ~uint64_t{0};
  const uint64_t good = 0;
  const uint64_t addresses[2] = {reinterpret_cast<uint64_t>(&good), bad_address(thread)};
  uint64_t data[8] = {kAll, kAll, kAll, kAll, kAll, kAll, kAll, kAll};
  shmrec_measure_gather_evex_simd(addresses, data);
  evex.fault = {false, false, data[2] == 0};
  store(&evex.known, 1u);
}

}  // namespace

void processor_start() {
  if (sys(__NR_arch_prctl, ARCH_GET_CPUID) == 0) return;
  constexpr uint32_t kHygonEbx = 0x6F677948, kHygonEcx = 0x656E6975;  // the same processors
  constexpr uint32_t kOsxsave = 1 << 27, kCmpxchg16b = 1 << 13, kBmi2 = 1 << 8;
  uint32_t a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return;
  amd = (b == signature_AMD_ebx && c == signature_AMD_ecx) || (b == kHygonEbx && c == kHygonEcx);
  if (!__get_cpuid(1, &a, &b, &c, &d)) return;
  xsave = c & kOsxsave;
  wide_exchange = c & kCmpxchg16b;
  bmi2 = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & kBmi2);
}

bool has_xsave() { return xsave; }
bool has_wide_exchange() { return wide_exchange; }
bool has_bmi2() { return bmi2; }

bool made_by_amd() { return amd; }

const GatherFault& gather_fault(Thread* thread, bool of_evex) {
  Measured& measured = of_evex ? evex : vex;
  if (!load(&measured.known)) of_evex ? measure_evex(thread) : measure_vex(thread);
  return measured.fault;
}

bool convert_flags_in_spite_of_fault() { return convert_flags; }

void convert_measure(Thread* thread) {
  constexpr uint32_t kInexact = 1 << 5;
  if (load(&convert_known)) return;
  uint32_t mxcsr = 0x1F80;
  if (shmrec_measure_convert_simd(bad_address(thread), &mxcsr)) convert_flags = mxcsr & kInexact;
  store(&convert_known, 1u);
}

}  // namespace shmrec::agent
