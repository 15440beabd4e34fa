// Which modules are under every program: the C library, the loader, the C++ library and their like.
// An access in one of them is made for whoever called it, so callers are logged of these (agent)
// and shown instead of them (readers). Freestanding, as the agent includes it.
#pragma once

namespace shmrec::recording {

inline constexpr const char* kRuntimeLibraries[] = {
    "libc.so",  "libc-2",    "ld-linux", "ld-musl", "libpthread", "librt.so", "libm.so",
    "libgcc_s", "libstdc++", "libc++",   "libasan", "libtsan",    "libubsan", "libatomic.so",
};

// By the file's name, whatever its directory.
inline constexpr bool is_runtime_library(const char* path) {
  const char* name = path;
  for (const char* at = path; *at != '\0'; ++at)
    if (*at == '/') name = at + 1;
  for (const char* library : kRuntimeLibraries) {
    const char* at = name;
    const char* wanted = library;
    while (*wanted != '\0' && *at == *wanted) ++at, ++wanted;
    if (*wanted == '\0') return true;
  }
  return false;
}

}  // namespace shmrec::recording
