// What run.json and coverage.json must hold (docs/spool.md, docs/bundle_format.md): types, required
// keys, ranges. A member that is not known is left alone: later releases may add some.
//
// Owner: holds nothing. Threads: any.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace shmrec::recording {

// "" or the first key that is wrong and what was expected: "command: expected a list of strings".
std::string run_json_trouble(const nlohmann::json& run);
std::string coverage_trouble(const nlohmann::json& coverage);

// Whether the coverage list says itself that this file of the run is damaged: then a bundle that
// holds it as it was is true. REQUIRES: coverage_trouble(coverage) is "".
bool is_told(const nlohmann::json& coverage, const std::string& file);

}  // namespace shmrec::recording
