// Files of manifests, found and joined as kubectl does it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace shmrec::inject {

struct ManifestFile {
  std::string name;  // for messages
  Result<std::string> text;
};

// Of each path: itself ("-": standard input), or the *.yaml, *.yml and *.json of a directory by
// name, with `recursive` also of those below. Each file once. An error if a path is not there, or
// a directory has none.
Result<std::vector<std::string>> find_manifests(const std::vector<std::string>& paths,
                                                bool recursive);

// At most one byte more than inject() takes, which then refuses it.
ManifestFile read_manifest(const std::string& path);

// Puts a stream behind another, with a document marker between where neither has one.
void append_stream(std::string& to, const std::string& stream);

}  // namespace shmrec::inject
