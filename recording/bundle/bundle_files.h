// Small file helpers that bundles are written and read with.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace shmrec::recording {

// Full transfers that survive signals and short counts; false with errno set. write_all turns a
// write of nothing into ENOSPC.
bool write_all(int fd, const char* data, size_t bytes);
// Bytes read at `offset`: fewer than asked only at the end of the file; -1 with errno set.
ssize_t pread_all(int fd, void* into, size_t bytes, uint64_t offset);

// Opens a regular file for reading, never a device or a pipe (which could block or never end).
// `bytes` is its size at that time.
Result<UniqueFd> open_regular(const std::filesystem::path& path, uint64_t& bytes);

// The same for `name` in `directory`, never through a symbolic link: the directory's owner need not
// be trusted. `shown` stands for the path in messages. A name that is not there is an Error that
// leaves ENOENT in errno.
Result<UniqueFd> open_regular_at(int directory, const char* name, const std::string& shown,
                                 uint64_t& bytes);

// A directory, to open files in. `follow`: its last name may be a symbolic link.
Result<UniqueFd> open_directory(const std::filesystem::path& path, bool follow);

// The whole of a small text file; more than `limit` bytes is an error.
Result<std::string> read_text(const std::filesystem::path& path, uint64_t limit);

// "3.2 MiB"
std::string human_bytes(uint64_t bytes);

}  // namespace shmrec::recording
