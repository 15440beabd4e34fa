// share/commands.py, as it is in the program.
#pragma once

#include <string_view>

namespace shmrec::debugger {

std::string_view commands_text();

}  // namespace shmrec::debugger
