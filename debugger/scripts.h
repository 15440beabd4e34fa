// The scripts for gdb in share/, as they are in the program.
#pragma once

#include <string_view>

namespace shmrec::debugger {

std::string_view away_script();      // share/away.py, which a session has
std::string_view commands_script();  // share/commands.py
std::string_view evaluate_script();  // share/evaluate.py
std::string_view places_script();    // share/places.py, which the others need

}  // namespace shmrec::debugger
