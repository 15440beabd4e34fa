#include "agent/memory/modules.h"

#include <linux/elf.h>

#include "agent/arch/x86_64/gs.h"
#include "agent/log/log.h"
#include "agent/memory/native.h"
#include "agent/patches/patch.h"
#include "agent/sites/table.h"
#include "recording/log/runtime_libraries.h"

namespace shmrec::agent {

using namespace shmlog;

namespace {

constexpr uint32_t kMaxModules = 1024;
constexpr uint32_t kLeastChanges = 128;  // until all is listed again

struct Module {
  uint64_t begin, end, offset, inode;
  CodeOwner owner;
  bool written;   // it is or was writable
  bool gs_known;  // it was looked for uses of gs...
  bool uses_gs;   // ...and has some
  bool data_known;
  DataRange data;  // once it is known
  char path[256];
};
Module modules[kMaxModules];
uint32_t module_count = 0;
uint32_t changes = 0;  // journalled since all was listed
uint32_t listed = 0;   // maps there were then

// ---- Whose code it is ---------------------------------------------------------------------------

// What was found of pages lately: page number << 2 | CodeOwner. Page 0 has no code.
constexpr uint32_t kPagesKnown = 1024;
uint64_t pages_known[kPagesKnown];

// The same of addresses that may lie behind a call: address << 1 | whether it does.
constexpr uint32_t kReturnsKnown = 4096;
uint64_t returns_known[kReturnsKnown];

void forget_pages() {
  for (uint64_t& page : pages_known) store(&page, uint64_t{0});
  for (uint64_t& known : returns_known) store(&known, uint64_t{0});
}

CodeOwner find_owner(uint64_t address) {
  for (uint32_t i = 0, count = min(load(&module_count), kMaxModules); i < count; ++i)
    if (load(&modules[i].begin) <= address && address < load(&modules[i].end))
      return modules[i].owner;
  return CodeOwner::kNobody;
}

// ---- Its data -----------------------------------------------------------------------------------

// The ELF header and the program headers that are mapped at `base`.
struct Image {
  uint64_t base;
  Elf64_Ehdr header;
  Elf64_Phdr segments[16];
  uint32_t count;
  uint64_t first;  // address that the file gives to what is mapped at `base`

  bool read(uint64_t at) {
    base = at;
    if (!safe_copy(&header, reinterpret_cast<void*>(base), sizeof header)) return false;
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr))
      return false;
    count = min<uint32_t>(header.e_phnum, sizeof segments / sizeof segments[0]);
    if (!safe_copy(segments, reinterpret_cast<void*>(base + header.e_phoff),
                   count * sizeof segments[0]))
      return false;
    for (uint32_t i = count; i-- > 0;)
      if (segments[i].p_type == PT_LOAD) first = page_down(segments[i].p_vaddr);
    return true;
  }
  // Is the code with this place in the file mapped `distance` behind the header?
  bool has_code(uint64_t offset, uint64_t distance) const {
    for (uint32_t i = 0; i < count; ++i) {
      const Elf64_Phdr& segment = segments[i];
      if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) &&
          page_down(segment.p_offset) == offset && page_down(segment.p_vaddr) - first == distance)
        return true;
    }
    return false;
  }
  // Where its dynamic section is mapped; 0: it has none.
  uint64_t dynamic() const {
    for (uint32_t i = 0; i < count; ++i)
      if (segments[i].p_type == PT_DYNAMIC) return base + segments[i].p_vaddr - first;
    return 0;
  }
  // From the first writable byte to the last.
  DataRange data() const {
    DataRange range = {0, 0};
    for (uint32_t i = 0; i < count; ++i) {
      const Elf64_Phdr& segment = segments[i];
      if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_W)) continue;
      const uint64_t begin = base + segment.p_vaddr - first;
      if (!range.begin) range.begin = begin;
      range.end = begin + segment.p_memsz;
    }
    return range;
  }
};

// Where in memory the image of executable code begins is not told by its place in the file: some
// linkers leave up to a page between segments.
bool find_image(const Module& module, Image* image) {
  constexpr uint64_t kMaxGap = 16 * kPage;
  for (uint64_t gap = 0; gap <= kMaxGap; gap += kPage) {
    const uint64_t distance = module.offset + gap;
    if (distance > module.begin) break;
    if (image->read(module.begin - distance) && image->has_code(module.offset, distance))
      return true;
  }
  return false;
}

DataRange find_data(const Module& module) {
  Image image;
  return find_image(module, &image) ? image.data() : DataRange{0, 0};
}

void copy_path(char* to, const char* from, size_t bytes) {
  const size_t size = min(strlen(from), bytes - 1);
  memcpy(to, from, size);
  to[size] = 0;
}

JournalValues values_of(const Module& module) {
  JournalValues values;
  values.a = module.begin;
  values.b = module.end - module.begin;
  values.c = module.offset;
  values.d = module.inode;
  values.text = module.path;
  return values;
}

struct List {
  const Process* process;
  uint64_t first;  // place of its first entry
  uint32_t count;
  void add(JournalType type, const JournalValues& values) {
    first = min(first, journal_append(process, type, values));
    ++count;
  }
};

}  // namespace

// Where the kernel puts libraries, at the top of the address space, and executables, far below.
constexpr uint64_t kLibraries = 0x700000000000;
CodeRange program_range = {~0ull, 0}, library_range = {~0ull, 0};

namespace {

void widen(const Module& module) {
  CodeRange& range = module.begin < kLibraries ? program_range : library_range;
  store(&range.begin, min(range.begin, module.begin));
  store(&range.end, max(range.end, module.end));
}

}  // namespace

CodeOwner code_owner(uint64_t address) {
  if (address >> 47) return CodeOwner::kNobody;
  const uint64_t page = address / kPage;
  uint64_t& known = pages_known[page % kPagesKnown];
  const uint64_t word = load(&known);
  if (page && word >> 2 == page) return static_cast<CodeOwner>(word & 3);
  const CodeOwner owner = find_owner(address);
  store(&known, page << 2 | static_cast<uint64_t>(owner));
  return owner;
}

bool behind_call(uint64_t address) {
  uint8_t code[7];
  if (address < kPage || !safe_copy(code, reinterpret_cast<void*>(address - 7), sizeof code))
    return false;
  const auto indirect = [&](int bytes) {  // FF /2, with that many bytes
    return code[7 - bytes] == 0xFF && (code[8 - bytes] >> 3 & 7) == 2;
  };
  return code[2] == 0xE8 || indirect(2) || indirect(3) || indirect(6) || indirect(7);
}

bool may_be_return(uint64_t address) {
  uint64_t& known = returns_known[(address ^ address >> 12) % kReturnsKnown];
  const uint64_t word = load(&known);
  if (word >> 1 == address) return word & 1;
  const bool answer = code_owner(address) != CodeOwner::kNobody && behind_call(address);
  store(&known, address << 1 | answer);
  return answer;
}

uint32_t modules_data(DataRange* ranges, uint32_t room) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < module_count && count < room; ++i) {
    Module& module = modules[i];
    if (module.owner == CodeOwner::kRuntime) continue;
    if (!module.data_known) module.data = find_data(module);
    module.data_known = true;
    if (module.data.begin < module.data.end) ranges[count++] = module.data;
  }
  return count;
}

JournalValues values_of(const Region& region) {
  JournalValues values;
  values.segment = region.segment;
  values.a = region.begin;
  values.b = region.end - region.begin;
  values.c = region.segment_offset;
  values.d = region.protection;
  return values;
}

void module_add(const Process* process, uint64_t begin, uint64_t bytes, uint64_t offset,
                uint64_t inode, const char* path) {
  if (!path[0]) return;
  Module unlisted;
  Module& module = module_count < kMaxModules ? modules[module_count++] : unlisted;
  module.begin = begin;
  module.end = begin + bytes;
  module.offset = offset;
  module.inode = inode;
  copy_path(module.path, path, sizeof module.path);
  module.data_known = module.written = module.gs_known = module.uses_gs = false;
  module.owner = recording::is_runtime_library(path) ? CodeOwner::kRuntime : CodeOwner::kProgram;
  widen(module);
  forget_pages();
  if (&module == &unlisted) coverage(process, "more modules are mapped than are kept by name");
  journal(process, JournalType::kModule, values_of(module));
  if (load(&gs_kept) && modules_use_gs()) patches_end_locked();
}

namespace {

// rdgsbase and wrgsbase: F3 [REX] 0F AE /1 or /3, with a register.
bool is_gs_instruction(const uint8_t* code) {
  const uint8_t* opcode = code + ((code[1] & 0xF0) == 0x40 ? 2 : 1);
  const uint8_t kind = opcode[2] & 0xF8;
  return code[0] == 0xF3 && opcode[0] == 0x0F && opcode[1] == 0xAE &&
         (kind == 0xC8 || kind == 0xD8);
}

// Is one of the eight bytes F3?
bool has_prefix(const uint8_t* code) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  uint64_t word;
  __builtin_memcpy(&word, code, sizeof word);  // no call
  word ^= kOnes * 0xF3;
  return (word - kOnes) & ~word & kOnes << 7;
}

bool finds_gs(const Module& module) {
  constexpr uint64_t kLongest = 5, kStep = 1024;
  uint8_t code[kStep + kLongest];
  for (uint64_t at = module.begin; at < module.end; at += kStep) {
    const uint64_t bytes = min(kStep + kLongest, module.end - at);
    memset(code + bytes, 0, sizeof code - bytes);
    if (!safe_copy(code, reinterpret_cast<void*>(at), bytes)) continue;  // beyond the file's end
    for (uint64_t i = 0; i < kStep; i += 8)
      for (uint64_t k = i; has_prefix(code + i) && k < i + 8; ++k)
        if (code[k] == 0xF3 && is_gs_instruction(code + k)) return true;
  }
  return false;
}

}  // namespace

bool modules_use_gs() {
  bool any = false;
  for (uint32_t i = 0; i < module_count; ++i) {
    Module& module = modules[i];
    if (!module.gs_known) module.uses_gs = finds_gs(module);
    module.gs_known = true;
    any |= module.uses_gs;
  }
  return any || module_count == kMaxModules;
}

uint64_t modules_unread() {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < module_count; ++i)
    if (!modules[i].gs_known) bytes += modules[i].end - modules[i].begin;
  return bytes;
}

bool module_patchable(uint64_t address, uint64_t bytes) {
  for (uint32_t i = 0; i < module_count; ++i)
    if (modules[i].begin <= address && address < modules[i].end)
      return !modules[i].written && bytes <= modules[i].end - address;
  return false;
}

bool module_image(uint64_t address, CodeImage* found) {
  for (uint32_t i = 0; i < module_count; ++i) {
    const Module& module = modules[i];
    if (address < module.begin || address >= module.end) continue;
    Image image;
    if (!find_image(module, &image)) return false;
    *found = {image.base, image.base - image.first, image.dynamic(), module.begin, module.end,
              module.path};
    return true;
  }
  return false;
}

void modules_written(uint64_t begin, uint64_t end) {
  bool any = false;
  for (uint32_t i = 0; i < module_count; ++i)
    if (modules[i].begin < end && modules[i].end > begin) modules[i].written = any = true;
  if (any) patches_undo(begin, end);
}

bool modules_forget(uint64_t begin, uint64_t end) {
  sites_forget(begin, end);
  patches_forget(begin, end);
  bool any = false;
  for (uint32_t i = 0; i < module_count;) {
    if (modules[i].begin < end && modules[i].end > begin) {
      if (i != --module_count) memcpy(&modules[i], &modules[module_count], sizeof modules[i]);
      any = true;
    } else {
      ++i;
    }
  }
  if (any) forget_pages();
  return any;
}

void maps_list(const Process* process) {
  if (!process->index) return;
  const uint64_t ticket = load(&process->entry->last_ticket);
  List list = {process, UINT64_MAX, 0};
  for (uint32_t i = 0; i < module_count; ++i) list.add(JournalType::kModule, values_of(modules[i]));
  Region region;
  for (uint64_t at = 0; region_next(at, &region); at = region.end)
    list.add(JournalType::kSegmentMap, values_of(region));
  native_for_each(
      [](const Region& piece, void* raw) {
        static_cast<List*>(raw)->add(JournalType::kSegmentMap, values_of(piece));
      },
      &list);
  listed = list.count;
  changes = 0;
  JournalValues values;
  values.a = list.first;
  list.add(JournalType::kMaps, values);
  store(&process->entry->checkpoint_ticket, ticket);
  store(&process->entry->checkpoint, list.first);
}

void maps_list_if_still(const Process* process) {
  if (!regions_lock.try_lock()) return;
  maps_list(process);
  regions_lock.unlock();
}

void maps_journalled(const Process* process) {
  if (++changes >= max(kLeastChanges, 2 * listed)) maps_list(process);
}

}  // namespace shmrec::agent
