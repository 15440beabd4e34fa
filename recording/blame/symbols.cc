#include "recording/blame/symbols.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>

namespace shmrec::recording {

namespace {

std::string demangled(const char* name) {
  int status = 0;
  char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? readable : name;
  std::free(readable);
  return result;
}

char* debug_directories = const_cast<char*>(":.debug:/usr/lib/debug");

// By build-id only. dwfl_standard_find_debuginfo would ask servers over the network.
const Dwfl_Callbacks kCallbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_build_id_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &debug_directories,
};

// The compilation unit that holds `address`; some compilers write no table of ranges, so each unit
// is asked when there is none.
bool find_unit(Dwarf* dwarf, uint64_t address, Dwarf_Die& unit) {
  if (dwarf_addrdie(dwarf, address, &unit) != nullptr) return true;
  Dwarf_CU* cu = nullptr;
  while (dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, nullptr) == 0) {
    if (dwarf_haspc(&unit, address) > 0) return true;
  }
  return false;
}

bool is_one_of(int tag, std::initializer_list<int> tags) {
  return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

constexpr int kMaxScopes = 256;  // inside each other

// The first entry of one of these kinds below `parent` that holds `address`, those of its
// namespaces and types included.
std::optional<Dwarf_Die> child_at(Dwarf_Die* parent, uint64_t address,
                                  std::initializer_list<int> kinds, int depth) {
  Dwarf_Die child;
  if (depth > kMaxScopes || dwarf_child(parent, &child) != 0) return std::nullopt;
  do {
    const int tag = dwarf_tag(&child);
    if (is_one_of(tag, kinds) && dwarf_haspc(&child, address) > 0) return child;
    // These have no addresses of their own.
    if (!is_one_of(tag, {DW_TAG_namespace, DW_TAG_module, DW_TAG_structure_type, DW_TAG_class_type,
                         DW_TAG_union_type, DW_TAG_enumeration_type}))
      continue;
    if (auto inner = child_at(&child, address, kinds, depth + 1)) return inner;
  } while (dwarf_siblingof(&child, &child) == 0);
  return std::nullopt;
}

// The blocks and functions around `address` as they were compiled, innermost first. dwarf_getscopes
// goes on at an inlined function with what is around its source, and enters no namespace.
std::vector<Dwarf_Die> scopes_around(Dwarf_Die& unit, uint64_t address) {
  std::vector<Dwarf_Die> around;
  for (auto scope = child_at(&unit, address, {DW_TAG_subprogram}, 0); scope;
       scope = child_at(&around.front(), address,
                        {DW_TAG_subprogram, DW_TAG_lexical_block, DW_TAG_inlined_subroutine}, 0)) {
    if (around.size() == kMaxScopes) break;
    around.insert(around.begin(), *scope);
  }
  return around;
}

// The entries of a unit whose content is in a separate file (split DWARF), if that can be read.
Dwarf_Die content_of(Dwarf_Die& unit) {
  Dwarf_Die content{};
  if (dwarf_cu_info(unit.cu, nullptr, nullptr, nullptr, &content, nullptr, nullptr, nullptr) != 0 ||
      content.addr == nullptr)
    return unit;
  return content;
}

std::string call_file(Dwarf_Die& unit, Dwarf_Die* inlined) {
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  const auto index = number_attribute(inlined, DW_AT_call_file);
  if (!index || dwarf_getsrcfiles(&unit, &files, &count) != 0 || *index >= count) return "";
  return string_or_empty(dwarf_filesrc(files, *index, nullptr, nullptr));
}

// Innermost first: each frame with the place in it that was executing, `file` and `line` at first.
std::vector<SourceFrame> frames_at(Dwarf_Die& unit, uint64_t address, std::string file, int line) {
  std::vector<SourceFrame> frames;
  for (Dwarf_Die& scope : scopes_around(unit, address)) {
    const bool inlined = dwarf_tag(&scope) == DW_TAG_inlined_subroutine;
    if (!inlined && dwarf_tag(&scope) != DW_TAG_subprogram) continue;
    frames.push_back({string_or_empty(dwarf_diename(&scope)), file, line});
    if (!inlined) break;
    file = call_file(unit, &scope);
    line = static_cast<int>(number_attribute(&scope, DW_AT_call_line).value_or(0));
  }
  return frames;
}

// The innermost if all are in system headers.
const SourceFrame& shown_frame(const std::vector<SourceFrame>& frames) {
  for (size_t i = frames.size(); i-- > 0;) {
    if (!frames[i].file.empty() && !is_system_source(frames[i].file)) return frames[i];
  }
  return frames.front();
}

std::optional<uint64_t> static_address(Dwarf_Die* variable) {
  Dwarf_Attribute attribute;
  Dwarf_Op* operations = nullptr;
  size_t count = 0;
  if (dwarf_attr_integrate(variable, DW_AT_location, &attribute) == nullptr) return std::nullopt;
  if (dwarf_getlocation(&attribute, &operations, &count) != 0 || count != 1) return std::nullopt;
  if (operations[0].atom == DW_OP_addr) return operations[0].number;
  // An index into .debug_addr, as clang writes for DWARF 5 and gcc for split DWARF.
  if (operations[0].atom != DW_OP_addrx && operations[0].atom != DW_OP_GNU_addr_index)
    return std::nullopt;
  Dwarf_Attribute indexed;
  Dwarf_Addr address = 0;
  if (dwarf_getlocation_attr(&attribute, operations, &indexed) != 0) return std::nullopt;
  return dwarf_formaddr(&indexed, &address) == 0 ? std::optional(address) : std::nullopt;
}

// The entry that says where a variable belongs: a definition outside of its namespace or class
// names the declaration inside, one that link-time optimization moved names the original.
Dwarf_Die declaration_of(Dwarf_Die die) {
  constexpr int kMaxSteps = 8;
  for (int i = 0; i < kMaxSteps; ++i) {
    Dwarf_Attribute attribute;
    Dwarf_Die next;
    if (dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr &&
        dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr)
      break;
    if (dwarf_formref_die(&attribute, &next) == nullptr) break;
    die = next;
  }
  return die;
}

// "ns::Class::name"; unnamed namespaces do not count.
std::string qualified_name(Dwarf_Die die) {
  die = declaration_of(die);
  Dwarf_Die* scopes = nullptr;
  std::string name = string_or_empty(dwarf_diename(&die));
  const int count = dwarf_getscopes_die(&die, &scopes);
  for (int i = 1; i < count; ++i) {
    const int tag = dwarf_tag(&scopes[i]);
    const std::string scope = string_or_empty(dwarf_diename(&scopes[i]));
    const bool counts = tag == DW_TAG_namespace || tag == DW_TAG_structure_type ||
                        tag == DW_TAG_class_type || tag == DW_TAG_union_type ||
                        tag == DW_TAG_subprogram;
    if (counts && !scope.empty()) name = scope + "::" + name;
  }
  std::free(scopes);
  return name;
}

// "Single<Table<int> >::ptr" without what is between the brackets.
std::string without_arguments(const std::string& name) {
  std::string shorter;
  int depth = 0;
  for (const char c : name) {
    if (c == '<') ++depth;
    if (depth == 0) shorter += c;
    if (c == '>' && depth > 0) --depth;
  }
  return shorter;
}

// The variable called `wanted`: with all its namespaces and classes if `whole`, else with some of
// the last or none. Searches namespaces and functions; static members are defined outside of
// classes. The arguments of templates do not count.
std::optional<Variable> find_variable(Dwarf_Die* parent, const std::string& wanted, bool whole,
                                      int depth) {
  constexpr int kMaxNamespaces = 16;
  const size_t last_colon = wanted.rfind(':');
  const std::string last = wanted.substr(last_colon == std::string::npos ? 0 : last_colon + 1);
  Dwarf_Die child;
  if (depth > kMaxNamespaces || dwarf_child(parent, &child) != 0) return std::nullopt;
  do {
    const int tag = dwarf_tag(&child);
    if (tag == DW_TAG_namespace || tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block) {
      if (auto found = find_variable(&child, wanted, whole, depth + 1)) return found;
    }
    if (tag != DW_TAG_variable || string_or_empty(dwarf_diename(&child)) != last) continue;
    const std::string name = without_arguments(qualified_name(child));
    if (name != wanted && (whole || !name.ends_with("::" + wanted))) continue;
    const std::optional<uint64_t> address = static_address(&child);
    const std::optional<Type> type = type_of(&child);
    if (address && type) return Variable{*address, type->size(), *type, ""};
  } while (dwarf_siblingof(&child, &child) == 0);
  return std::nullopt;
}

// The file of a unit whose content is elsewhere, "" if it is here.
std::string split_file(Dwarf_Die* unit) {
  Dwarf_Attribute attribute;
  if (dwarf_attr(unit, DW_AT_dwo_name, &attribute) == nullptr &&
      dwarf_attr(unit, DW_AT_GNU_dwo_name, &attribute) == nullptr)
    return "";
  return string_or_empty(dwarf_formstring(&attribute));
}

// Why the debug information does not know a variable that the symbol table does. `split` is the
// first file for split DWARF that is not there, "" if all are.
std::string lacking(const std::string& file, bool debug_information, const std::string& split) {
  if (!debug_information) {
    return file +
           " has no debug information (-g), and no separate file with its build-id is below "
           "/usr/lib/debug";
  }
  if (!split.empty()) {
    return file + " has its debug information in separate files (-gsplit-dwarf), of which " +
           split + " could not be read";
  }
  return file +
         " has debug information, but none for this variable: the source that defines it was "
         "compiled without -g";
}

}  // namespace

namespace {

// Rust's own library comes compiled, with the names of its sources from the root of Rust's.
bool is_of_rust(const std::string& path) {
  constexpr const char* kDirectories[] = {"library/std/src/", "library/core/src/",
                                          "library/alloc/src/", "library/panic_abort/src/",
                                          "library/panic_unwind/src/"};
  return path.find("/rustlib/src/rust/") != std::string::npos ||
         (path.ends_with(".rs") &&
          std::any_of(std::begin(kDirectories), std::end(kDirectories),
                      [&](const char* directory) { return path.starts_with(directory); }));
}

}  // namespace

bool is_system_source(const std::string& file) {
  constexpr const char* kDirectories[] = {
      "/usr/include/", "/usr/local/include/", "/usr/lib/gcc/", "/usr/lib/llvm",
      "/rustc/",       "/usr/src/rustc-",     "/usr/lib/go-",  "/usr/local/go/src/"};
  // clang names the headers of gcc from its own directory: /usr/bin/../lib/gcc/...
  const std::string path = std::filesystem::path(file).lexically_normal();
  return is_of_rust(path) ||
         std::any_of(std::begin(kDirectories), std::end(kDirectories),
                     [&](const char* directory) { return path.starts_with(directory); });
}

struct ModuleFile::Dwfl_ {
  ::Dwfl* session = nullptr;
  Dwfl_Module* module = nullptr;
  std::string file;
  // Answers given; a search reads all units.
  std::map<std::string, std::optional<Variable>> variables;
  ~Dwfl_() { dwfl_end(session); }

  std::optional<Variable> search(const std::string& name) const;
  // The function that holds the address: its symbol and where it begins.
  std::optional<std::pair<std::string, uint64_t>> function_at(uint64_t address) const;
  std::string symbol_at(uint64_t address) const;
  std::optional<uint64_t> bytes_below_return(uint64_t address) const;
  std::string imported_in_slot(uint64_t slot) const;
  std::vector<uint8_t> bytes_at(uint64_t address, size_t count) const;
  Elf* elf(GElf_Addr* bias) const { return dwfl_module_getelf(module, bias); }
  Dwarf* dwarf(Dwarf_Addr* bias) const { return dwfl_module_getdwarf(module, bias); }
};

std::unique_ptr<ModuleFile> ModuleFile::open(const std::string& file) {
  auto state = std::make_unique<Dwfl_>();
  state->file = file;
  state->session = dwfl_begin(&kCallbacks);
  if (state->session == nullptr) return nullptr;
  dwfl_report_begin(state->session);
  state->module = dwfl_report_offline(state->session, file.c_str(), file.c_str(), -1);
  dwfl_report_end(state->session, nullptr, nullptr);
  GElf_Addr bias;
  if (state->module == nullptr || state->elf(&bias) == nullptr) return nullptr;
  std::unique_ptr<ModuleFile> module(new ModuleFile);
  module->dwfl_ = std::move(state);
  return module;
}

ModuleFile::~ModuleFile() = default;

std::optional<uint64_t> ModuleFile::address_of_offset(uint64_t file_offset) const {
  GElf_Addr bias;
  Elf* elf = dwfl_->elf(&bias);
  size_t count = 0;
  if (elf == nullptr || elf_getphdrnum(elf, &count) != 0) return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    // Modules are executable mappings; a page of the file can be in another one too.
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_LOAD ||
        !(header.p_flags & PF_X))
      continue;
    // A mapping begins on a page boundary, so it holds what precedes p_offset in that page too.
    const uint64_t begin = header.p_offset & ~uint64_t{4095};
    if (file_offset < begin || file_offset - begin >= header.p_filesz + (header.p_offset - begin))
      continue;
    return file_offset - header.p_offset + header.p_vaddr;
  }
  return std::nullopt;
}

SourcePlace ModuleFile::place(uint64_t address) const {
  SourcePlace place;
  Dwarf_Addr dwarf_bias = 0;
  GElf_Addr elf_bias = 0;
  Dwarf_Die unit;
  dwfl_->elf(&elf_bias);
  Dwarf* dwarf = dwfl_->dwarf(&dwarf_bias);
  const uint64_t dwarf_address = address + elf_bias - dwarf_bias;
  if (dwarf != nullptr && find_unit(dwarf, dwarf_address, unit)) {
    if (Dwarf_Line* line = dwarf_getsrc_die(&unit, dwarf_address)) {
      place.file = string_or_empty(dwarf_linesrc(line, nullptr, nullptr));
      dwarf_lineno(line, &place.line);
    }
    Dwarf_Die content = content_of(unit);
    std::vector<SourceFrame> frames = frames_at(content, dwarf_address, place.file, place.line);
    if (!frames.empty()) static_cast<SourceFrame&>(place) = shown_frame(frames);
    if (frames.size() > 1) place.chain = std::move(frames);
  }
  if (place.function.empty()) place.function = dwfl_->symbol_at(address);
  return place;
}

// In a stripped file the nearest symbol before an address is often that of another function.
std::optional<std::pair<std::string, uint64_t>> ModuleFile::Dwfl_::function_at(
    uint64_t address) const {
  GElf_Addr bias = 0;
  GElf_Off inside = 0;
  GElf_Sym symbol;
  elf(&bias);
  const char* name =
      dwfl_module_addrinfo(module, address + bias, &inside, &symbol, nullptr, nullptr, nullptr);
  if (name == nullptr || (symbol.st_size != 0 && inside >= symbol.st_size)) return std::nullopt;
  return std::make_pair(std::string(name), address - inside);
}

std::string ModuleFile::Dwfl_::symbol_at(uint64_t address) const {
  const auto function = function_at(address);
  return function ? demangled(function->first.c_str()) : "";
}

// ---- Calls --------------------------------------------------------------------------------------

namespace {

// How many bytes a function with a frame pointer takes from the stack at its beginning, the return
// address included; none if that is not told by these instructions. Unoptimized code, in which each
// template is a function of its own, is so, and its unwind information counts from the frame
// pointer, which the log does not have.
std::optional<uint64_t> frame_of(const std::vector<uint8_t>& code) {
  size_t at = 0;
  const auto next_is = [&](std::initializer_list<int> bytes) {
    return code.size() - at >= bytes.size() &&
           std::equal(bytes.begin(), bytes.end(), code.begin() + static_cast<ptrdiff_t>(at));
  };
  if (next_is({0xF3, 0x0F, 0x1E, 0xFA})) at += 4;     // endbr64
  if (!next_is({0x55, 0x48, 0x89, 0xE5})) return {};  // push %rbp; mov %rsp, %rbp
  uint64_t bytes = 16;
  at += 4;
  for (; at + 1 < code.size(); ++at, bytes += 8) {  // push
    const bool high = code[at] == 0x41;
    if ((code[at + high] & 0xF8) != 0x50) break;
    at += high;
  }
  if (next_is({0x48, 0x83, 0xEC}) && code.size() - at >= 4) return bytes + code[at + 3];  // sub
  if (next_is({0x48, 0x83, 0xE4}) || next_is({0x48, 0x81, 0xE4})) return {};  // and: aligned
  if (!next_is({0x48, 0x81, 0xEC})) return bytes;
  if (code.size() - at < 7) return {};
  uint32_t taken = 0;
  std::memcpy(&taken, &code[at + 3], sizeof taken);
  return bytes + taken;
}

}  // namespace

std::optional<uint64_t> ModuleFile::Dwfl_::bytes_below_return(uint64_t address) const {
  constexpr size_t kBeginning = 40;  // as many instructions as frame_of knows
  const auto function = function_at(address);
  return function ? frame_of(bytes_at(function->second, kBeginning)) : std::nullopt;
}

StackRule ModuleFile::stack_rule(uint64_t address) const {
  constexpr unsigned kRbp = 6, kRsp = 7;  // as DWARF numbers them
  using GetCfi = Dwarf_CFI* (*)(Dwfl_Module*, Dwarf_Addr*);
  for (const GetCfi get : {GetCfi{dwfl_module_eh_cfi}, GetCfi{dwfl_module_dwarf_cfi}}) {
    Dwarf_Addr bias = 0;
    Dwarf_Frame* frame = nullptr;
    GElf_Addr elf_bias = 0;
    dwfl_->elf(&elf_bias);
    Dwarf_CFI* cfi = get(dwfl_->module, &bias);
    if (cfi == nullptr || dwarf_cfi_addrframe(cfi, address + elf_bias - bias, &frame) != 0)
      continue;
    StackRule rule{true, std::nullopt};
    Dwarf_Op* operations = nullptr;
    size_t count = 0;
    const bool known = dwarf_frame_cfa(frame, &operations, &count) == 0 && count == 1;
    const auto counts_from = [&](unsigned number) {
      return known && (operations[0].atom == DW_OP_breg0 + number ||
                       (operations[0].atom == DW_OP_bregx && operations[0].number == number));
    };
    if (counts_from(kRsp)) {
      rule.frame_bytes =
          operations[0].atom == DW_OP_bregx ? operations[0].number2 : operations[0].number;
    } else if (counts_from(kRbp)) {
      rule.frame_bytes = dwfl_->bytes_below_return(address);
    }
    std::free(frame);
    return rule;
  }
  return {};
}

// Up to `count` bytes of the file's content at an address.
std::vector<uint8_t> ModuleFile::Dwfl_::bytes_at(uint64_t address, size_t count) const {
  GElf_Addr bias;
  Elf* elf = this->elf(&bias);
  size_t headers = 0;
  if (elf == nullptr || elf_getphdrnum(elf, &headers) != 0) return {};
  for (size_t i = 0; i < headers; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_LOAD)
      continue;
    if (address < header.p_vaddr || address - header.p_vaddr >= header.p_filesz) continue;
    const uint64_t inside = address - header.p_vaddr;
    const size_t there = std::min<uint64_t>(count, header.p_filesz - inside);
    const Elf_Data* data = elf_getdata_rawchunk(elf, static_cast<int64_t>(header.p_offset + inside),
                                                there, ELF_T_BYTE);
    if (data == nullptr || data->d_buf == nullptr || data->d_size != there) return {};
    const auto* bytes = static_cast<const uint8_t*>(data->d_buf);
    return {bytes, bytes + there};
  }
  return {};
}

// The function whose address the loader puts into the word at `slot`.
std::string ModuleFile::Dwfl_::imported_in_slot(uint64_t slot) const {
  GElf_Addr bias;
  Elf* elf = this->elf(&bias);
  Elf_Scn* section = nullptr;
  while (elf != nullptr && (section = elf_nextscn(elf, section)) != nullptr) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_RELA) continue;
    Elf_Data* relocations = elf_getdata(section, nullptr);
    Elf_Scn* symbols = elf_getscn(elf, header.sh_link);
    GElf_Shdr symbols_header;
    if (relocations == nullptr || header.sh_entsize == 0 || symbols == nullptr ||
        gelf_getshdr(symbols, &symbols_header) == nullptr)
      continue;
    const size_t count = relocations->d_size / header.sh_entsize;
    for (size_t i = 0; i < count; ++i) {
      GElf_Rela relocation;
      GElf_Sym symbol;
      if (gelf_getrela(relocations, static_cast<int>(i), &relocation) == nullptr) break;
      if (relocation.r_offset != slot) continue;
      const auto index = static_cast<int>(GELF_R_SYM(relocation.r_info));
      if (gelf_getsym(elf_getdata(symbols, nullptr), index, &symbol) == nullptr) return "";
      return demangled(
          string_or_empty(elf_strptr(elf, symbols_header.sh_link, symbol.st_name)).c_str());
    }
  }
  return "";
}

namespace {

// Where an operand of four bytes that ends at `next` leads.
uint64_t relative_target(const std::vector<uint8_t>& code, size_t at, uint64_t next) {
  int32_t distance = 0;
  std::copy_n(&code[at], sizeof distance, reinterpret_cast<uint8_t*>(&distance));
  return next + static_cast<uint64_t>(static_cast<int64_t>(distance));
}

// The slot through which an entry of the procedure linkage table at `address` jumps, 0 if the code
// is something else.
uint64_t slot_of_linkage(const std::vector<uint8_t>& code, uint64_t address) {
  static constexpr uint8_t kEndbr[] = {0xF3, 0x0F, 0x1E, 0xFA};
  size_t at = 0;
  if (code.size() >= sizeof kEndbr && std::equal(std::begin(kEndbr), std::end(kEndbr), &code[0]))
    at = sizeof kEndbr;
  if (at < code.size() && code[at] == 0xF2) ++at;  // bnd
  if (code.size() < at + 6 || code[at] != 0xFF || code[at + 1] != 0x25) return 0;
  return relative_target(code, at + 2, address + at + 6);
}

}  // namespace

std::string ModuleFile::callee(uint64_t address) const {
  constexpr size_t kLongest = 6;  // call through a slot; a direct one has 5
  constexpr size_t kLinkageEntry = 16;
  const std::vector<uint8_t> code = dwfl_->bytes_at(address - kLongest, kLongest);
  if (code.size() != kLongest) return "";
  if (code[0] == 0xFF && code[1] == 0x15)
    return dwfl_->imported_in_slot(relative_target(code, 2, address));
  if (code[1] != 0xE8) return "";
  const uint64_t target = relative_target(code, 2, address);
  const uint64_t slot = slot_of_linkage(dwfl_->bytes_at(target, kLinkageEntry), target);
  return slot != 0 ? dwfl_->imported_in_slot(slot) : dwfl_->symbol_at(target);
}

std::optional<Variable> ModuleFile::variable(const std::string& name) const {
  const auto [known, fresh] = dwfl_->variables.try_emplace(name);
  if (fresh) known->second = dwfl_->search(name);
  return known->second;
}

std::optional<Variable> ModuleFile::Dwfl_::search(const std::string& name) const {
  Dwarf_Addr dwarf_bias = 0;
  GElf_Addr elf_bias = 0;
  elf(&elf_bias);
  Dwarf* dwarf = this->dwarf(&dwarf_bias);
  std::string split;  // file that is not there
  for (const bool whole : {true, false}) {
    Dwarf_CU* cu = nullptr;
    Dwarf_Die unit;
    Dwarf_Die content;  // of a unit that is elsewhere and was found
    while (dwarf != nullptr &&
           dwarf_get_units(dwarf, cu, &cu, nullptr, nullptr, &unit, &content) == 0) {
      if (content.addr == nullptr && split.empty()) split = split_file(&unit);
      if (content.addr == nullptr) content = unit;
      if (auto found = find_variable(&content, name, whole, 0)) {
        found->address += dwarf_bias - elf_bias;
        return found;
      }
    }
  }
  const int symbols = dwfl_module_getsymtab(module);
  for (int i = 0; i < symbols; ++i) {
    GElf_Sym symbol;
    GElf_Addr address;
    const char* symbol_name =
        dwfl_module_getsym_info(module, i, &symbol, &address, nullptr, nullptr, nullptr);
    if (symbol_name == nullptr || GELF_ST_TYPE(symbol.st_info) != STT_OBJECT) continue;
    if (symbol.st_shndx == SHN_UNDEF || (name != symbol_name && name != demangled(symbol_name)))
      continue;
    return Variable{address - elf_bias, symbol.st_size, Type(),
                    lacking(file, dwarf != nullptr, split)};
  }
  return std::nullopt;
}

// ---- All files ----------------------------------------------------------------------------------

const ModuleFile* Symbols::module(const std::string& path) {
  const auto [at, fresh] = modules_.try_emplace(path);
  if (fresh) at->second = ModuleFile::open(find_file_(path));
  return at->second.get();
}

}  // namespace shmrec::recording
