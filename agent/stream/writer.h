// Where records of the stream go: files that the launcher makes when one is full.
//
// Threads: as stream.h.
#pragma once

#include "agent/process/thread.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Opens the first file of a recording's stream. 0 or -errno.
int64_t writer_open(const shmlog::ProcessEntry& entry);
// Gives the mapping back; what is committed stays.
void writer_close();

// What ends a stream then.
inline constexpr char kNoRoom[] = "its stream has no room";
// Room for `bytes` bytes behind the header of a record, which is filled; null: there is no room,
// and none of the record is there.
void* writer_begin(stream::Type type, uint16_t detail, uint64_t event, uint64_t bytes);
// The record is whole, but for the last `unused` bytes of what was asked for. REQUIRES: they are a
// multiple of kAlign.
void writer_commit(uint64_t unused = 0);

}  // namespace shmrec::agent
