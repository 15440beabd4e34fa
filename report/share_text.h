// The files of share/, as they are in the program.
#pragma once

#include <string_view>

namespace shmrec::report {

std::string_view skeleton_text();  // page.html
std::string_view style_text();     // page.css
std::string_view d3_text();        // d3-7.9.0.min.js
std::string_view script_text();    // page.js

}  // namespace shmrec::report
