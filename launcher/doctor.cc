#include "launcher/doctor.h"

#include <sys/utsname.h>

#include <nlohmann/json.hpp>

namespace shmrec::launcher {

bool Diagnosis::recording_works() const {
  for (const Finding& finding : findings)
    if (finding.needed && !finding.ok) return false;
  return true;
}

Diagnosis diagnose(const std::string&) {
  Diagnosis diagnosis;
  utsname names{};
  uname(&names);
  diagnosis.kernel = names.release;
  return diagnosis;
}

std::string to_table(const Diagnosis& diagnosis, bool) { return "kernel " + diagnosis.kernel + "\n"; }

std::string to_json(const Diagnosis& diagnosis) {
  return nlohmann::json{{"kernel", diagnosis.kernel}}.dump(2) + "\n";
}

}  // namespace shmrec::launcher
