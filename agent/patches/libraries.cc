#include "agent/patches/libraries.h"

#include "agent/memory/exports.h"
#include "agent/memory/modules.h"
#include "agent/memory/regions.h"
#include "agent/patches/patch.h"

namespace shmrec::agent {
namespace {

struct Named {
  const char* name;
  Routine routine;
};
constexpr Named kNamed[] = {
    {"memcpy", Routine::kCopy},    {"memmove", Routine::kCopy}, {"mempcpy", Routine::kCopyToEnd},
    {"memcmp", Routine::kCompare}, {"memchr", Routine::kFind},  {"memset", Routine::kSet},
};
constexpr uint32_t kNames = sizeof kNamed / sizeof kNamed[0];

// Those that share code: an instruction of the one may serve the other.
uint32_t family_of(Routine routine) {
  return static_cast<uint32_t>(routine == Routine::kCopyToEnd ? Routine::kCopy : routine);
}

// No routine is longer than that.
constexpr uint64_t kLongest = 4096;
constexpr uint32_t kVersions = 2;  // of one name

struct Library {
  uint64_t begin, end;  // of its code; 0: none
  uint32_t count;
  struct {
    uint64_t entry;
    Routine routine;
  } routines[kNames * kVersions];
};
constexpr uint32_t kMaxLibraries = 4;
Library libraries[kMaxLibraries];
uint32_t hand = 0;

// By the file's name, whatever its directory.
bool is_c_library(const char* path) {
  static constexpr const char* kBeginnings[] = {"libc.so", "libc-2", "ld-musl", "libc.musl"};
  const char* name = path;
  for (const char* at = path; *at; ++at)
    if (*at == '/') name = at + 1;
  for (const char* beginning : kBeginnings) {
    const char *at = name, *wanted = beginning;
    while (*wanted && *at == *wanted) ++at, ++wanted;
    if (!*wanted) return true;
  }
  return false;
}

void look_through(const CodeImage& image, Library* library) {
  const char* names[kNames];
  for (uint32_t i = 0; i < kNames; ++i) names[i] = kNamed[i].name;
  Export found[kNames * kVersions];
  const uint32_t count = exports_find(image, names, kNames, found, kNames * kVersions);
  for (uint32_t i = 0; i < count; ++i)
    library->routines[library->count++] = {found[i].entry, kNamed[found[i].name].routine};
}

// What is known of the library whose code is at `ip`; null: it is none.
Library* library_at(uint64_t ip) {
  for (Library& known : libraries)
    if (ip >= known.begin && ip < known.end) return &known;
  CodeImage image;
  if (!module_image(ip, &image)) return nullptr;
  Library& library = libraries[hand++ % kMaxLibraries];
  library = {image.begin, image.end, 0, {}};
  if (is_c_library(image.path)) look_through(image, &library);
  return &library;
}

}  // namespace

void libraries_patch(Thread* thread, uint64_t ip, bool outside) {
  if (code_owner(ip) != CodeOwner::kRuntime) return;
  Locked regions(regions_lock);
  const Library* library = library_at(ip);
  if (!library) return;
  uint64_t nearest = 0;
  uint32_t family = 0;
  for (uint32_t i = 0; i < library->count; ++i) {
    const auto& each = library->routines[i];
    if (each.entry > ip || each.entry < nearest) continue;
    nearest = each.entry;
    family = family_of(each.routine);
  }
  if (!nearest || ip - nearest >= kLongest) return;
  for (uint32_t i = 0; i < library->count; ++i)
    if (family_of(library->routines[i].routine) == family)
      patch_routine(thread, library->routines[i].entry, library->routines[i].routine, outside);
}

void libraries_forget(uint64_t begin, uint64_t end) {
  for (Library& library : libraries)
    if (library.begin < end && library.end > begin) library = {};
}

}  // namespace shmrec::agent
