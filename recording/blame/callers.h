// Who called the code that made an access, told from the words of the stack that its record has.
//
// The log cannot unwind: it has words that point behind a call instruction, with their places above
// the stack pointer (shmlog::caller_word). The unwind information of the code says where the return
// address is, so that a word at that place is the caller's, and no other is taken for one.
//
// Example: memset of the C library has pushed nothing, so its caller's address is at the stack
// pointer. fwrite has a frame of 0x40 bytes and calls memcpy: memcpy's caller is word 0, in fwrite,
// whose own caller is word 8.
//
// Owner: nothing is kept. Threads: as Symbols, which it asks.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "recording/blame/symbols.h"

namespace shmrec::recording {

// Where an address of the program lies.
struct CodeAddress {
  std::string module;                // path, as mapped; "" in memory that is no file's
  const ModuleFile* file = nullptr;  // nullptr if it cannot be read
  uint64_t address = 0;              // in the ELF file
  // Where in the module, "nginx+0x2a", as the ELF file counts addresses; "nginx@0x2a" with the
  // offset in the file if that cannot be read. Without a module: what else it is.
  std::string place;
};
using FindCode = std::function<std::optional<CodeAddress>(uint64_t pc)>;

// A function that the thread was in: the innermost made the access.
struct CodeFrame : SourcePlace {
  uint64_t pc = 0;        // of the access, or where the call returns to
  std::string module;     // file that holds it, "" if unknown
  std::string in_module;  // CodeAddress::place
};

// The frames of an access at `pc`, innermost first, as far as they are known; at least one. What
// was called in the C library and its like has the name by which it was called.
std::vector<CodeFrame> frames_of(uint64_t pc, const std::vector<uint64_t>& callers,
                                 const FindCode& find_code);

// The innermost whose source is the program's own: in no runtime library, nor written in a system
// header (a template's function that was not inlined). If there is none, the innermost that is in
// no runtime library, one with known source if any is: in a static program nothing else tells the C
// library apart. The innermost of all if there is none.
const CodeFrame& shown_frame(const std::vector<CodeFrame>& frames);

}  // namespace shmrec::recording
