#include "agent/memory/window.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kHugePage = 2 << 20;
uint64_t next = 0;  // where the next mapping goes

uint64_t window_begin() { return agent_base() + kZoneBytes; }
uint64_t window_end() { return (uint64_t{window_number()} + 1) << kWindowShift; }

// As far from the beginning as the kernel's own choice varies.
uint64_t first_place() { return window_begin() + page_down(rdtsc() * 0x9E3779B97F4A7C15 >> 28); }

}  // namespace

uint64_t window_hint(uint64_t bytes) {
  const uint64_t wanted = page_up(bytes) + kPage;  // one stays free between two
  if (wanted < bytes || wanted > (window_end() - window_begin()) / 4) return 0;
  if (!next) next = first_place();
  if (next + wanted + kHugePage > window_end()) next = window_begin();
  if (bytes >= kHugePage) next = (next + kHugePage - 1) & ~(kHugePage - 1);
  const uint64_t at = next;
  next += wanted;
  return at;
}

}  // namespace shmrec::agent
