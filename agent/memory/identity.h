// What a mapping is: reads /proc/self/maps and asks the kernel about descriptors.
//
// An object is known by device, inode, time of birth and the hash of its file handle, in whatever
// way it is reached: by another path, through a bind mount, as somebody else's descriptor. Of
// anonymous memory only device and inode can be known, and they suffice: the kernel gives no inode
// of it twice. Where time of birth or handle could not be found out (0), they are not compared.
//
// Threads: any; it asks the kernel and keeps nothing.
#pragma once

#include "agent/log/log.h"
#include "agent/memory/regions.h"

namespace shmrec::agent {

struct MapLine {
  uint64_t begin, end, offset, device, inode;
  bool executable, shared, readable, writable;
  char path[256];  // "" if none
};
// Of a line of maps or smaps; of numa_maps only `begin` is right.
void parse_map_line(const char* text, MapLine* line);
// PROT_*
uint32_t protection_of(const MapLine& line);
// Calls `visit` with each line of /proc/self/maps until it returns false. False: no /proc.
bool for_each_map(bool (*visit)(const MapLine& line, void* context), void* context);
// Where nothing can be opened: for_each_map reads this descriptor of /proc/self/maps.
void keep_maps(int fd);

// The identity of the anonymous shared mapping at `address`.
bool identify_mapping(uint64_t address, SegmentIdentity* identity);
// The identity of what descriptor `fd` maps. False: not something with an identity (a device).
bool identify_descriptor(int fd, SegmentIdentity* identity);
// The identity of the regular file that `path` (from directory `dir`; "": the file `dir` itself)
// is, and its size. `flags`: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. False: it is none. No descriptor
// is opened for it, so that other threads get the numbers that they would get alone.
bool identify_name(int dir, const char* path, uint64_t flags, SegmentIdentity* identity,
                   uint64_t* size);
// The name that a segment of this path has; symbolic links in it stay.
void name_of_path(int dir, const char* path, char* name, size_t bytes);
// Does it map anonymous memory, as /dev/zero does?
bool maps_anonymous(int fd);

// The identity of the System V segment `id`.
void identify_sysv(SegmentIdentity* identity, uint64_t id, int32_t key, int32_t maker);

// The inode that a link like /proc/self/ns/pid names; 0 if it cannot be read.
uint64_t namespace_inode(const char* path);

}  // namespace shmrec::agent
