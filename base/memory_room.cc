#include "base/memory_room.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <fstream>
#include <optional>

#include "base/control_groups.h"

namespace shmrec {
namespace {

// The names of a version's files.
struct Files {
  const char* limit;
  const char* used;
  const char* reclaimable;  // key in memory.stat
};
constexpr Files kV1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr Files kV2{"memory.max", "memory.current", "inactive_file"};

std::optional<uint64_t> read_number(const std::string& path) {
  uint64_t number = 0;
  std::ifstream file(path);
  if (file >> number) return number;
  return std::nullopt;  // "max", too
}

// The number behind `key`, 0 if there is none.
uint64_t read_row(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string found;
  uint64_t number = 0;
  while (file >> found) {
    if (found == key && file >> number) return number;
    std::getline(file, found);
  }
  return 0;
}

uint64_t less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }

void take_less(MemoryRoom& room, uint64_t free_bytes, const std::string& of) {
  if (free_bytes < room.free_bytes) room = {free_bytes, of};
}

void look_at(const std::string& group, const Files& files, MemoryRoom& room) {
  const std::string limit_file = group + "/" + files.limit;
  const std::optional<uint64_t> limit = read_number(limit_file);
  const std::optional<uint64_t> used = read_number(group + "/" + files.used);
  if (!limit || !used) return;
  const uint64_t held = less(*used, read_row(group + "/memory.stat", files.reclaimable));
  take_less(room, less(*limit, held), limit_file);
}

// From the group up to the root. A container often sees its own group as the root, while
// /proc/self/cgroup gives the path as the host has it: what is not there is passed over.
void look_up_from(const std::string& root, std::string path, const Files& files, MemoryRoom& room) {
  while (path.size() > 1) {
    look_at(root + path, files, room);
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  look_at(root, files, room);
}

}  // namespace

std::string in_mib(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

MemoryRoom memory_room(const std::string& membership, const std::string& root,
                       const std::string& machine) {
  MemoryRoom room;
  for (const MemoryGroup& group : memory_groups(membership, root))
    look_up_from(group.root, group.path, group.unified ? kV2 : kV1, room);
  if (const uint64_t kib = read_row(machine, "MemAvailable:")) take_less(room, kib << 10, machine);
  return room;
}

DiskRoom disk_room(const std::string& directory) {
  struct statfs status;
  if (statfs(directory.c_str(), &status) != 0) return {};
  const auto type = static_cast<uint64_t>(status.f_type);
  if (type == RAMFS_MAGIC) return {true, UINT64_MAX};  // it has no size
  const auto block = static_cast<uint64_t>(status.f_frsize ? status.f_frsize : status.f_bsize);
  return {type == TMPFS_MAGIC, status.f_bavail * block};
}

}  // namespace shmrec
