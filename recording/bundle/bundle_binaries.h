// Which of the files that were mapped as code go into a bundle, and under which names.
//
// The copy that the launcher kept in the run directory comes first (kept_binaries.h). Without one,
// and if the run was recorded here, a module is taken by its path if the file of that name is now
// the one that was mapped (same inode) and is an ELF file: the journal is writable by the recorded
// program, which must not be able to have any file of its choice exported. Files are kept by
// build-id, or by SHA-256 if they have none; equal files are kept once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recording/bundle/bundle_files.h"
#include "recording/bundle/kept_binaries.h"
#include "recording/log/shmlog_reader.h"

namespace shmrec::recording {

struct CollectChoice {
  bool binaries = true;
  bool libraries = true;
  uint64_t max_bytes = 0;  // of all taken files together; 0: any
  bool foreign = false;    // recorded elsewhere: paths mean nothing
};

struct BinaryFile {
  std::string name;  // binaries/ID/NAME
  uint64_t bytes = 0;
  UniqueFd fd;
};

struct Module {
  std::string path;  // as mapped
  uint64_t inode = 0;
  bool executable = false;  // started as a process; else a library
  std::string build_id;     // hex; empty if none
  std::string file;         // BinaryFile::name; empty if not taken
  std::string why;          // not taken
  bool unwanted = false;    // not taken because nobody asked for it
};

struct BinaryCollection {
  std::vector<BinaryFile> files;  // by name
  std::vector<Module> modules;    // by path
  uint64_t left_out = 0;          // times that one more was mapped or started: there are too many
};

BinaryCollection collect_binaries(const ShmlogReader& log, const KeptBinaries& kept,
                                  const CollectChoice& choice);

// Whether `name` is one that collect_binaries makes.
bool is_binary_name(const std::string& name);

}  // namespace shmrec::recording
