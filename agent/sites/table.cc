// How long does a site live?
//
// A site is what was found out about one instruction: decoding it costs some microseconds, and a
// program comes to the same instruction millions of times. But a program can make new instructions
// without end. A JIT compiler, say, writes a function at 0x7000 that has `mov (%rdi), %eax`, runs
// it, unmaps it, and writes another one there with `add %eax, (%rdi)`. Ten such functions a second
// are a million sites in a day, so sites must be freed. And while thread A runs the first function,
// is interrupted in its generated code, and waits there for the processor, thread B may unmap it
// and come to make the site for the second one: nothing may be freed under A.
//
// So the table is a cache, and three rules make it right:
//
//  1. A site is used for an instruction only if address *and bytes* agree. What is in the table can
//     therefore be out of date, never wrong: nobody has to notice that code was rewritten. (The
//     processor itself promises no more to a thread that executes what another one rewrites.)
//  2. A site is held by who performs it: its thread writes the site's address into Thread::site and
//     then looks again whether the site is still what it was. Who frees a site first makes it
//     something else (ip = 0) and then looks whether a thread holds it. Both do the two in this
//     order, with full barriers between, so at least one of them sees the other: the one gives up
//     the site and asks again, or the other leaves it alone. In the example, B finds A holding the
//     site and puts it aside until a later look.
//  3. Every site can be made again. When all of the table is in use, a hand goes around it and
//     takes those that nobody has looked up since it last passed; the program goes on correctly,
//     with some instructions decoded again. The coverage list says that this began.
//
// Sites whose code is unmapped or mapped over are freed at once, so that the table of a program
// that makes and drops code stays as small as what it has at one time.
//
// Code is written over only when no thread holds its site, that is: when none can be between the
// handler that chose it and its last instruction. A thread comes there by the end of a signal
// handler (iret serializes), so that it executes what is there then.
#include "agent/sites/table.h"

#include "agent/arch/x86_64/processor.h"
#include "agent/log/journal.h"
#include "agent/memory/regions.h"
#include "agent/patches/patch.h"
#include "agent/sites/emit.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kBuckets = 1 << 14;
constexpr uint32_t kBatch = 256;  // sites that the hand takes at once
static_assert(uint64_t{kMaxSites} * kSiteCodeBytes <= kCodeBytes);

// All of it in .bss: untouched pages cost nothing. Site 0 is none.
Site sites[kMaxSites];
uint64_t ips[kMaxSites];  // of each site, side by side; 0: it is not in a bucket
Site* buckets[kBuckets];
Site* free_sites;         // by Site::next; nobody holds them
Site* gone_sites;         // by Site::next; out of the buckets, perhaps still held
uint32_t site_count = 1;  // those from here on were never used
uint32_t hand = 1;
SpinLock sites_lock;  // for everything but lookups

uint32_t index_of(const Site& site) { return static_cast<uint32_t>(&site - sites); }
uint8_t* code_of(const Site& site) {
  return reinterpret_cast<uint8_t*>(code_base()) + uint64_t{index_of(site)} * kSiteCodeBytes;
}
Site** bucket_of(uint64_t ip) { return &buckets[(ip ^ ip >> 14 ^ ip >> 28) % kBuckets]; }

// The bytes at the program's ip; those behind the end of its page count only if they are there.
struct CodeBytes {
  uint8_t bytes[kMaxInstruction];
  size_t count;
};

// Traced memory that may be executed may not be readable where it is executed.
bool read_code_page(uint8_t* code, uint64_t ip, size_t bytes) {
  Region region;
  const uint64_t at = region_find(ip, &region) ? region.alias + (ip - region.begin) : ip;
  return safe_copy(code, reinterpret_cast<const void*>(at), bytes);
}

bool read_code(uint64_t ip, CodeBytes* code) {
  const size_t here = min<size_t>(kMaxInstruction, page_up(ip + 1) - ip);
  const size_t beyond = kMaxInstruction - here;
  memset(code->bytes, 0, sizeof code->bytes);
  if (!read_code_page(code->bytes, ip, here)) return false;
  const bool both = beyond && read_code_page(code->bytes + here, ip + here, beyond);
  code->count = both ? kMaxInstruction : here;
  patch_original(ip, code->bytes, code->count);
  return true;
}

bool describes(const Site& site, uint64_t ip, const CodeBytes& code) {
  return __atomic_load_n(&site.ip, __ATOMIC_SEQ_CST) == ip && site.length <= code.count &&
         memcmp(site.code, code.bytes, site.length) == 0;
}

// A reader without the lock may be led astray by a site that is moved to another bucket meanwhile;
// it then finds nothing, and looks again with the lock.
Site* find(uint64_t ip, const CodeBytes& code) {
  Site* site = load(bucket_of(ip));
  for (uint32_t steps = 0; site && steps < kMaxSites; ++steps, site = load(&site->next))
    if (describes(*site, ip, code)) return site;
  return nullptr;
}

void hold(Thread* thread, Site* site) {
  __atomic_store_n(&thread->site, site, __ATOMIC_SEQ_CST);
  if (!load(&site->used)) store(&site->used, uint8_t{1});
}

// ---- Freeing. REQUIRES: sites_lock held ---------------------------------------------------------

// Takes a site out of its bucket: from now on nobody finds it.
void unlink(Site& site) {
  Site** at = bucket_of(ips[index_of(site)]);
  while (*at && *at != &site) at = &(*at)->next;
  if (*at) store(at, site.next);
  ips[index_of(site)] = 0;
  __atomic_store_n(&site.ip, uint64_t{0}, __ATOMIC_SEQ_CST);
  store(&site.next, gone_sites);
  gone_sites = &site;
}

// Moves the sites that are gone and that no thread holds to the free ones. One look at each thread
// serves all of them.
void free_gone() {
  for (Site* site = gone_sites; site; site = site->next) site->held = 0;
  for_each_block(
      [](Thread* thread, void*) {
        Site* held = __atomic_load_n(&thread->site, __ATOMIC_SEQ_CST);
        if (held) held->held = 1;
      },
      nullptr);
  Site* still_held = nullptr;
  while (Site* site = gone_sites) {
    gone_sites = site->next;
    Site** list = site->held ? &still_held : &free_sites;
    store(&site->next, *list);
    *list = site;
  }
  gone_sites = still_held;
}

// The hand goes around: second chance for what was used, the others go.
void make_room(const Process* process) {
  coverage(process,
           "more than 65,535 instructions touch traced memory: some are decoded again and again",
           shmlog::DegradedReason::kManySites);
  uint32_t taken = 0;
  for (uint32_t steps = 0; steps < 3 * kMaxSites && taken < kBatch; ++steps) {
    Site& site = sites[hand];
    hand = hand + 1 == kMaxSites ? 1 : hand + 1;
    if (!ips[index_of(site)] || site.patched == kPatched) continue;
    if (site.used) {
      site.used = 0;
      continue;
    }
    unlink(site);
    ++taken;
  }
  free_gone();
}

Site* take_site(const Process* process) {
  if (!free_sites && gone_sites) free_gone();
  if (!free_sites && site_count < kMaxSites) return &sites[site_count++];
  if (!free_sites) make_room(process);
  Site* site = free_sites;
  if (site) free_sites = site->next;
  return site;
}

void give_back(Site* site) {
  store(&site->next, free_sites);
  free_sites = site;
}

// ---- Making. REQUIRES: sites_lock held ----------------------------------------------------------

// Other bytes were at this address before: that code is gone.
void forget_same_address(uint64_t ip) {
  for (Site* site = *bucket_of(ip); site;) {
    Site* next = site->next;
    if (site->ip == ip) unlink(*site);
    site = next;
  }
}

Site* make(Thread* thread, uint64_t ip, const CodeBytes& code) {
  forget_same_address(ip);
  Site* site = take_site(thread->process);
  if (!site) return nullptr;
  // Everything but `ip` first: a thread that still looks at the old site finds that it is none.
  Site made = {};
  Decoded decoded;
  made.ip = ip;
  memcpy(made.code, code.bytes, sizeof made.code);
  if (!describe(thread, made, decoded) || made.length > code.count) {
    give_back(site);
    return nullptr;
  }
  emit(made, decoded, code_of(*site));
  if (made.converts) convert_measure(thread);
  made.ip = 0;
  made.next = *bucket_of(ip);
  *site = made;
  ips[index_of(*site)] = ip;
  __atomic_store_n(&site->ip, ip, __ATOMIC_SEQ_CST);
  store(bucket_of(ip), site);
  return site;
}

}  // namespace

Site* site_for(Thread* thread, uint64_t ip) {
  CodeBytes code;
  if (!read_code(ip, &code)) return nullptr;
  if (Site* known = find(ip, code)) {
    hold(thread, known);
    if (describes(*known, ip, code)) return known;
    site_leave(thread);
  }
  Locked lock(sites_lock);
  Site* site = find(ip, code);
  if (!site) site = make(thread, ip, code);
  if (site) hold(thread, site);
  return site;
}

namespace {

// REQUIRES: sites_lock held.
Site* pin_locked(Thread* thread, uint64_t ip) {
  CodeBytes code;
  if (!read_code(ip, &code)) return nullptr;
  Site* site = find(ip, code);
  if (!site) site = make(thread, ip, code);
  if (!site || site->patched == kPatched) return nullptr;
  site->patched = kPatched;
  return site;
}

}  // namespace

Site* site_pin(Thread* thread, uint64_t ip) {
  Locked lock(sites_lock);
  return pin_locked(thread, ip);
}

Site* site_pin_routine(Thread* thread, uint64_t ip, Routine routine) {
  Locked lock(sites_lock);
  Site* site = pin_locked(thread, ip);
  if (!site) return nullptr;
  // One without a memory operand has no form; it is not executed by the agent and never faults.
  if (site->form == Form::kUnknown || site->form == Form::kRoutine) {
    site->form = Form::kRoutine;
    site->routine = routine;
    return site;
  }
  site->patched = kNotPatched;
  return nullptr;
}

void site_unpin(Site& site) {
  Locked lock(sites_lock);
  if (site.patched == kPatched) site.patched = kNotPatched;
  site.faults = 0;
}

bool code_copy(uint64_t ip, uint8_t code[kMaxInstruction]) {
  CodeBytes read;
  if (!read_code(ip, &read)) return false;
  memcpy(code, read.bytes, kMaxInstruction);
  return true;
}

uint32_t site_number(const Site& site) { return index_of(site); }
Site& site_numbered(uint32_t number) { return sites[number]; }

void site_leave(Thread* thread) { store(&thread->site, static_cast<Site*>(nullptr)); }

void sites_forget(uint64_t begin, uint64_t end) {
  Locked lock(sites_lock);
  // An instruction that begins before the range may end in it.
  const uint64_t first = begin - min<uint64_t>(begin, kMaxInstruction - 1);
  for (uint32_t i = 1; i < site_count; ++i)
    if (ips[i] >= first && ips[i] < end && ips[i] + sites[i].length > begin) unlink(sites[i]);
  if (gone_sites) free_gone();
}

void sites_before_fork() { sites_lock.lock(); }
void sites_after_fork() { sites_lock.unlock(); }

}  // namespace shmrec::agent
