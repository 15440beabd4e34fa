// How much memory and disk there is to take before somebody else is killed or fails for it.
//
// Files in a tmpfs are memory of the container whose process wrote them, charged when blocks are
// allocated: what takes there what the program needs gets the program killed, which would have
// lived alone.
//
// Invariants
//  1. Of all control groups from the caller's own up to the root, as far as they can be seen (v1
//     and v2), and of the machine, the tightest counts. What the kernel gives back before it kills
//     (inactive page cache) is free.
//  2. What cannot be told sets no limit.
// Units: bytes.
#pragma once

#include <cstdint>
#include <string>

namespace shmrec {

struct MemoryRoom {
  uint64_t free_bytes = UINT64_MAX;
  std::string of;  // what has so little, for messages: a file with a limit; "": nothing is known
};

MemoryRoom memory_room(const std::string& membership = "/proc/self/cgroup",
                       const std::string& root = "/sys/fs/cgroup",
                       const std::string& machine = "/proc/meminfo");

struct DiskRoom {
  bool in_memory = false;  // tmpfs, ramfs
  uint64_t free_bytes = UINT64_MAX;
};

// Of the file system that `directory` is on.
DiskRoom disk_room(const std::string& directory);

// "12 MiB", rounded down.
std::string in_mib(uint64_t bytes);

}  // namespace shmrec
