// What a library exports, read from its memory: its symbols, and what the loader has resolved those
// of them to that have several implementations.
//
// Trust: the library is a file of the program's. Whatever is damaged in it, a search ends, reads
// what it may, and answers with addresses of the library's code only.
#pragma once

#include "agent/runtime.h"

namespace shmrec::agent {

// The library that some code belongs to.
struct CodeImage {
  uint64_t base;        // where its ELF header is mapped
  uint64_t bias;        // what the loader adds to the file's addresses
  uint64_t dynamic;     // its dynamic section; 0: none
  uint64_t begin, end;  // of its code
  const char* path;
};

struct Export {
  uint32_t name;  // which of the names
  uint64_t entry;
};

constexpr uint32_t kMaxNames = 64;

// Where the functions of these names begin; one name may have several versions. Returns how many
// there are in `found`. REQUIRES: count <= kMaxNames.
uint32_t exports_find(const CodeImage& image, const char* const* names, uint32_t count,
                      Export* found, uint32_t room);

}  // namespace shmrec::agent
