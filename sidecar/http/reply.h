// What a server answers, apart from how it is sent.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace shmrec::sidecar {

struct Reply {
  int status = 200;
  std::string type;  // Content-Type
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // If open: the content is `file_bytes` of it from `file_offset`, instead of `body`.
  UniqueFd file;
  uint64_t file_offset = 0, file_bytes = 0;
};

// application/problem+json (RFC 9457). `detail` is a sentence for a person.
Reply problem(int status, const std::string& detail);

}  // namespace shmrec::sidecar
