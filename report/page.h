// The page around the data: one HTML document that needs nothing else, and fetches nothing.
//
// Its policy (Content-Security-Policy) permits its own two scripts and its style sheet by their
// sums, and nothing beside them. The data is no script; in it every '<' is an escape, so that no
// text can end it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace shmrec::report {

std::string page_text(const nlohmann::json& data);

}  // namespace shmrec::report
