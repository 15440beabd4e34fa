#include "agent/patches/call_sites.h"

#include "agent/patches/patch.h"
#include "agent/replay/replay.h"
#include "agent/signals/jumped_call.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kSites = 4096;
constexpr uint32_t kProbes = 64;  // who finds no place in so many goes on trapping
constexpr uint64_t kGone = 1;     // something was here
constexpr uint32_t kTrapsBefore = 16;
constexpr uint32_t kSettled = 1u << 30;  // patched, or cannot be

struct CallSite {
  uint64_t ip;     // 0: free
  uint32_t traps;  // kSettled: no more are counted
  uint32_t strays;
};
CallSite sites[kSites];  // hashed, open
uint64_t lowest = ~0ull, highest = 0;
uint32_t all_traps = 0;  // of the process

CallSite* find(uint64_t ip) {
  const uint32_t first = static_cast<uint32_t>(ip * 0x9E3779B97F4A7C15 >> 40) % kSites;
  for (uint32_t i = 0; i < kProbes; ++i) {
    CallSite& site = sites[(first + i) % kSites];
    const uint64_t at = load(&site.ip);
    if (at == ip) return &site;
    if (!at) return nullptr;
  }
  return nullptr;
}

CallSite* enter(uint64_t ip) {
  const uint32_t first = static_cast<uint32_t>(ip * 0x9E3779B97F4A7C15 >> 40) % kSites;
  for (uint32_t i = 0; i < kProbes; ++i) {
    CallSite& site = sites[(first + i) % kSites];
    const uint64_t at = load(&site.ip);
    if (at > kGone || !compare_exchange(&site.ip, at, ip)) continue;
    store(&site.traps, 0u);
    store(&site.strays, 0u);
    store(&lowest, min(load(&lowest), ip));
    store(&highest, max(load(&highest), ip));
    return &site;
  }
  return nullptr;
}

}  // namespace

void patch_call_if_due(Thread* thread, uint64_t ip, uint64_t number) {
  if (call_needs_signal(number) || (replaying() && replay_needs_signal(number))) return;
  const uint32_t traps = fetch_add(&all_traps, 1u) + 1;
  CallSite* site = find(ip);
  if (!site) site = enter(ip);
  if (!site || load(&site->traps) >= kSettled || fetch_add(&site->traps, 1u) + 1 < kTrapsBefore)
    return;
  store(&site->traps, kSettled);
  if (!patch_call(thread, ip, load(&site->strays), traps)) store(&site->traps, kTrapsBefore);
}

void call_site_undone(uint64_t ip) {
  if (CallSite* site = find(ip)) store(&site->traps, 0u);
}

void call_site_strayed(uint64_t ip) {
  if (CallSite* site = find(ip)) store(&site->strays, 1u);
}

void call_sites_forget(uint64_t begin, uint64_t end) {
  if (begin > load(&highest) || end <= load(&lowest)) return;
  for (CallSite& site : sites)
    if (load(&site.ip) >= begin && load(&site.ip) < end) store(&site.ip, kGone);
}

}  // namespace shmrec::agent
