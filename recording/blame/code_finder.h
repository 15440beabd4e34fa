// Which code made an access: the function and line to show, and who called whom until there.
//
// What a process had mapped changes; the state at the access's event is asked.
//
// Owner: borrows what it is made of. Threads: one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "recording/blame/callers.h"
#include "recording/blame/symbols.h"
#include "recording/run/timeline.h"

namespace shmrec::recording {

struct CodeSite {
  // The access's code and its callers as far as they are known, innermost first; the one shown is
  // the first that is not in a runtime library.
  std::vector<CodeFrame> frames;
  std::string function;  // of the frame that is shown, as the next four
  std::string file;
  int line = 0;
  std::vector<SourceFrame> chain;  // if functions were inlined: all frames, innermost first
  std::string module;              // file that holds it, "" if unknown
  std::string in_module;           // where in it, or what other memory it is: CodeAddress::place
  std::string called;              // what the shown frame called that made the access, "" if itself
};

// "consumer_run", "memset from f", "read(2) from f" (`syscall`: as in a record); without a function
// the name of the module.
std::string function_text(const CodeSite& site, uint16_t syscall);

class CodeFinder {
 public:
  CodeFinder(const Timeline& timeline, Symbols& symbols) : timeline_(timeline), symbols_(symbols) {}

  // `callers`: as the record has them.
  CodeSite find(const Recording& recording, uint64_t event, uint64_t pc,
                const std::vector<uint64_t>& callers);

 private:
  std::optional<CodeAddress> code_at(const Recording& recording, uint64_t event, uint64_t pc);
  std::optional<CodeAddress> generated_code(const Recording& recording);
  const Mapping* mapping_at(const Recording& recording, uint64_t event, uint64_t pc);
  const AddressSpace& space(const Recording& recording, uint64_t time);

  const Timeline& timeline_;
  Symbols& symbols_;
  std::map<std::pair<uint32_t, uint64_t>, AddressSpace> spaces_;
};

}  // namespace shmrec::recording
