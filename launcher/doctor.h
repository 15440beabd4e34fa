// What recording needs of a machine, each thing tried by doing it in a short-lived child.
#pragma once

#include <string>
#include <vector>

namespace shmrec::launcher {

struct Finding {
  std::string name;
  bool ok = false;
  bool needed = true;  // false: recording works without it, less well
  std::string detail;  // what was seen: a value, or what failed and the error
  std::string remedy;  // if not ok: what to change
};

struct Diagnosis {
  std::string kernel;
  std::string capabilities;  // effective ones, by name
  std::vector<Finding> findings;
  bool recording_works() const;
};

// `spool`: directory to check for space and permission; empty: the one `shmrec run` would take.
Diagnosis diagnose(const std::string& spool);

std::string to_table(const Diagnosis& diagnosis, bool colour);
std::string to_json(const Diagnosis& diagnosis);

}  // namespace shmrec::launcher
