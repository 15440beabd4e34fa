// What addresses in program files mean: functions and source lines, and where global variables lie.
//
// Everything works on addresses as the ELF file has them; callers go from a program's address to a
// file offset by the module that is mapped there (timeline.h), which serves position independent
// and fixed programs alike. Separate debug files are found by build-id below /usr/lib/debug.
// Nothing is fetched from a network.
//
// Owner: Symbols owns all open files; types borrow from it. Threads: one at a time.
// Trust: ELF and DWARF are parsed by elfutils; files that it refuses have no symbols.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "recording/blame/dwarf_type.h"

namespace shmrec::recording {

struct SourceFrame {
  std::string function;  // "" if unknown
  std::string file;      // as the compiler was given it; "" if unknown
  int line = 0;
};

// Does the file belong to a compiler, a system library's headers, or a language's own library
// (Rust, Go)? What such code stores, it stores for whoever called it.
bool is_system_source(const std::string& file);

// Of an instruction. Where functions were inlined: the outermost frame that is not in a system
// header, so that a call of std::atomic::store is where the program stores.
struct SourcePlace : SourceFrame {
  std::vector<SourceFrame> chain;  // all frames if functions were inlined, innermost first
};

struct Variable {
  uint64_t address = 0;  // as in the ELF file
  uint64_t size = 0;     // 0 if unknown
  Type type;             // not known() without debug information
  std::string lacking;   // which file lacks what, if the type is not known; else ""
};

// What the unwind information says of an address.
struct StackRule {
  bool described = false;  // there is some
  // From the stack pointer to behind the return address. None if it is told neither by the stack
  // pointer nor, of a function with a frame pointer, by its first instructions.
  std::optional<uint64_t> frame_bytes;
};

// One ELF file.
class ModuleFile {
 public:
  // nullptr if the file is not there or not ELF.
  static std::unique_ptr<ModuleFile> open(const std::string& file);
  ~ModuleFile();

  // Of an executable segment.
  std::optional<uint64_t> address_of_offset(uint64_t file_offset) const;
  SourcePlace place(uint64_t address) const;
  StackRule stack_rule(uint64_t address) const;
  // The name by which the call that returns to `address` names what it calls: an imported function
  // or one of this file. "" if it is not known (a call by a pointer).
  std::string callee(uint64_t address) const;
  // A global or file-static variable or a static member; `name` may be qualified with namespaces
  // and classes (a::b), all of them or the last.
  std::optional<Variable> variable(const std::string& name) const;

 private:
  ModuleFile() = default;
  struct Dwfl_;
  std::unique_ptr<Dwfl_> dwfl_;
};

// All files of a recording. `find_file` gives for a path in the recorded system the file to read.
class Symbols {
 public:
  using FindFile = std::function<std::string(const std::string& path)>;
  explicit Symbols(FindFile find_file) : find_file_(std::move(find_file)) {}

  const ModuleFile* module(const std::string& path);  // nullptr if it cannot be read

 private:
  FindFile find_file_;
  std::map<std::string, std::unique_ptr<ModuleFile>> modules_;
};

}  // namespace shmrec::recording
