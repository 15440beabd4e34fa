// Reading the streams that a replay follows (agent_abi.h, ReplayBoot).
//
// Trust: a stream is whatever somebody has put there. A record is looked at only if it lies within
// its file; its fields are checked by who uses them. What a lie can do is to break this process,
// which can do nothing to others (replay/stub.h).
#pragma once

#include "agent/agent_abi.h"
#include "agent/runtime.h"
#include "recording/stream/stream_format.h"

namespace shmrec::agent {

// Opens the first stage.
bool reader_start();
// The next record; null: the recording ends here.
const stream::RecordHeader* reader_peek();
// The one behind that; null: there is none, or it is in the next file.
const stream::RecordHeader* reader_behind();
// The record has been followed.
void reader_advance();
// Goes on with the next stage's stream, at its first record. False: there is none.
bool reader_next_stage();
const ReplayStage& reader_stage();
bool reader_last_stage();
uint64_t reader_records();  // followed so far

template <typename T>
const T* payload(const stream::RecordHeader* record) {
  return record->bytes >= sizeof *record + sizeof(T) ? reinterpret_cast<const T*>(record + 1)
                                                     : nullptr;
}

}  // namespace shmrec::agent
