// What is found of a library's exports in memory, against what the loader says.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

// After libc's: the agent declares memcpy and others once more, without noexcept.
// clang-format off
#include "agent/memory/exports.h"
// clang-format on

namespace shmrec::agent {

bool safe_copy(void* to, const void* from, size_t bytes, Fault*) {
  iovec local = {to, bytes}, remote = {const_cast<void*>(from), bytes};
  return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}

namespace {

constexpr const char* kNames[] = {"memcpy", "memmove", "mempcpy",         "memset",
                                  "strlen", "qsort",   "no_such_function"};
constexpr uint32_t kCount = std::size(kNames);

// libc as it is mapped here.
CodeImage libc_image() {
  CodeImage image = {};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* raw) {
        if (!strstr(info->dlpi_name, "libc.so")) return 0;
        CodeImage& found = *static_cast<CodeImage*>(raw);
        found.base = found.bias = info->dlpi_addr;
        found.path = info->dlpi_name;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr)& part = info->dlpi_phdr[i];
          if (part.p_type == PT_DYNAMIC) found.dynamic = info->dlpi_addr + part.p_vaddr;
          if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
          found.begin = info->dlpi_addr + part.p_vaddr;
          found.end = found.begin + part.p_memsz;
        }
        return 1;
      },
      &image);
  return image;
}

std::vector<Export> find(const CodeImage& image) {
  Export found[2 * kCount];
  const uint32_t count = exports_find(image, kNames, kCount, found, 2 * kCount);
  return {found, found + count};
}

TEST(Exports, FunctionsAreWhereTheLoaderHasResolvedThemTo) {
  const CodeImage image = libc_image();
  ASSERT_NE(image.dynamic, 0u);
  void* libc = dlopen("libc.so.6", RTLD_NOW);
  const std::vector<Export> all = find(image);
  for (uint32_t name = 0; name < kCount; ++name) {
    const auto wanted = reinterpret_cast<uint64_t>(dlsym(libc, kNames[name]));
    bool found = false, other = false;
    for (const Export& each : all) {
      found |= each.entry == wanted;
      other |= each.name == name && wanted == 0;
    }
    // Two names of one function are found once.
    EXPECT_EQ(found, wanted != 0) << kNames[name];
    EXPECT_FALSE(other) << kNames[name];
  }
  dlclose(libc);
}

TEST(Exports, WithoutADynamicSectionThereAreNone) {
  CodeImage image = libc_image();
  image.dynamic = 0;
  EXPECT_TRUE(find(image).empty());
}

TEST(Exports, OfADamagedLibraryNothingOutsideOfItsCodeIsTaken) {
  const CodeImage image = libc_image();
  std::vector<ElfW(Dyn)> dynamic(64);
  ASSERT_TRUE(safe_copy(dynamic.data(), reinterpret_cast<void*>(image.dynamic),
                        dynamic.size() * sizeof dynamic[0], nullptr));
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<ElfW(Dyn)> damaged = dynamic;
    for (int i = 0; i < 3; ++i) {
      ElfW(Dyn)& entry = damaged[random() % damaged.size()];
      const uint64_t shift = random() % 2 ? random() : random() % 4096;
      if (random() % 4)
        entry.d_un.d_val += shift;
      else
        entry.d_tag = static_cast<ElfW(Sxword)>(random() % 40);
    }
    CodeImage copy = image;
    copy.dynamic = reinterpret_cast<uint64_t>(damaged.data());
    for (const Export& each : find(copy)) {
      EXPECT_GE(each.entry, image.begin);
      EXPECT_LT(each.entry, image.end);
    }
  }
}

}  // namespace
}  // namespace shmrec::agent
