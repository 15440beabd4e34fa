// shmrec-pack OUT AGENT.so ZYDIS.so: a static linker for the agent's image.
//
// The agent runs in processes that have no loader to help it (static programs, the first
// instruction after exec), with Zydis as its only library; distributions ship Zydis as a shared
// library only. So both shared objects are laid out here, once:
//
//     0            agent.so, as its program headers say
//     next page    libZydis.so, likewise
//
// and every relocation is applied to the bytes, imports being resolved among the two, own
// definitions first. What is left is plain memory: an ImageHeader, one ImageSegment for each
// loadable segment but those that only a loader reads, and the list of words to which whoever maps
// the image adds its base. Linking with `ld -r`
// was rejected (needs a static library), loading Zydis in the process too (needs files, a loader
// and syscalls in the worst of places).
//
// What needs a loader's help at run time is refused: TLS, indirect functions, relocations in text,
// any relocation beyond the four that Zydis and the agent have, and static constructors of the
// agent. Zydis' own constructor list is ignored: it holds nothing but the compiler's frame_dummy.
#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/agent_abi.h"
#include "agent/image_layout.h"
#include "base/result.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kMaxImageBytes = kCodeOffset;

uint64_t page_floor(uint64_t address) { return address & ~(kPageBytes - 1); }
uint64_t page_ceiling(uint64_t address) { return page_floor(address + kPageBytes - 1); }

struct Symbol {
  std::string name;
  GElf_Sym elf;
};

struct SharedObject {
  std::string path;
  uint64_t base = 0;            // where it lies in the image
  uint64_t file_bytes = 0;      // of `memory`: up to here it comes from the file, then zeros
  std::vector<uint8_t> memory;  // whole pages from address 0 of the object
  std::vector<GElf_Phdr> loads;
  std::vector<uint64_t> contents;  // where sections begin that are the program's own
  GElf_Phdr relro = {};
  std::vector<Symbol> symbols;  // the dynamic symbol table, by index
  std::vector<GElf_Rela> relocations;
  std::vector<uint32_t> moving;  // offsets of words that hold an address in the image
};

// What a symbol stands for. `moves`: with the image's base.
struct Target {
  uint64_t value;
  bool moves;
};

Error refuse(const SharedObject& object, const std::string& what) {
  return Error{object.path + ": " + what};
}

// ---- Reading ------------------------------------------------------------------------------------

// Owns the descriptor and the libelf handle of one file.
class ElfFile {
 public:
  explicit ElfFile(const char* path) : fd_(open(path, O_RDONLY | O_CLOEXEC)) {
    if (fd_ >= 0) elf_ = elf_begin(fd_, ELF_C_READ, nullptr);
  }
  ~ElfFile() {
    elf_end(elf_);
    if (fd_ >= 0) close(fd_);
  }
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;
  Elf* get() const { return elf_; }

 private:
  int fd_;
  Elf* elf_ = nullptr;
};

Result<> read_program_headers(Elf* elf, SharedObject& object) {
  size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return refuse(object, elf_errmsg(-1));
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr) {
      return refuse(object, elf_errmsg(-1));
    }
    if (header.p_type == PT_TLS) {
      return refuse(object, "has thread-local storage; the agent may not use the program's TLS");
    }
    if (header.p_type == PT_GNU_RELRO) object.relro = header;
    if (header.p_type == PT_LOAD) object.loads.push_back(header);
  }
  if (object.loads.empty()) return refuse(object, "has no loadable segment");
  return Unit{};
}

Result<> read_memory(Elf* elf, SharedObject& object) {
  size_t raw_bytes = 0;
  const char* raw = elf_rawfile(elf, &raw_bytes);
  uint64_t end = 0;
  for (const GElf_Phdr& load : object.loads) {
    const bool in_file = load.p_offset <= raw_bytes && load.p_filesz <= raw_bytes - load.p_offset;
    if (!in_file || load.p_filesz > load.p_memsz) return refuse(object, "is cut short");
    if (load.p_vaddr > kMaxImageBytes || load.p_memsz > kMaxImageBytes) {
      return refuse(object, "does not fit below kCodeOffset");
    }
    if (page_floor(load.p_vaddr) < page_ceiling(end)) {
      return refuse(object, "has segments that share a page; link it with -z separate-code");
    }
    end = load.p_vaddr + load.p_memsz;
    object.file_bytes = std::max(object.file_bytes, load.p_vaddr + load.p_filesz);
  }
  if (page_floor(object.loads[0].p_vaddr) != 0)
    return refuse(object, "does not start at address 0");
  object.memory.resize(page_ceiling(end));
  for (const GElf_Phdr& load : object.loads) {
    std::memcpy(object.memory.data() + load.p_vaddr, raw + load.p_offset, load.p_filesz);
  }
  return Unit{};
}

Result<> read_symbols(Elf* elf, const GElf_Shdr& header, Elf_Data* data, SharedObject& object) {
  GElf_Sym symbol;
  for (int i = 0; gelf_getsym(data, i, &symbol) != nullptr; ++i) {
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (name == nullptr) return refuse(object, "has a dynamic symbol without a name");
    object.symbols.push_back({name, symbol});
  }
  return Unit{};
}

// Sections that a loader would act on. Zydis and the agent need the first three.
Result<> read_sections(Elf* elf, SharedObject& object) {
  for (Elf_Scn* section = elf_nextscn(elf, nullptr); section != nullptr;
       section = elf_nextscn(elf, section)) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) return refuse(object, elf_errmsg(-1));
    if ((header.sh_flags & SHF_ALLOC) == 0) continue;
    if (header.sh_type == SHT_PROGBITS || header.sh_type == SHT_NOBITS)
      object.contents.push_back(header.sh_addr);
    Elf_Data* data = elf_getdata(section, nullptr);
    if (header.sh_type == SHT_DYNSYM) {
      if (auto read = read_symbols(elf, header, data, object); !read) return read.error();
    } else if (header.sh_type == SHT_RELA) {
      GElf_Rela relocation;
      for (int i = 0; gelf_getrela(data, i, &relocation) != nullptr; ++i) {
        object.relocations.push_back(relocation);
      }
    } else if (header.sh_type == SHT_REL || header.sh_type == SHT_RELR) {
      return refuse(object, "has REL or RELR relocations; link it with -z nopack-relative-relocs");
    }
  }
  if (object.symbols.empty()) return refuse(object, "has no dynamic symbol table");
  return Unit{};
}

Result<SharedObject> read_shared_object(const char* path) {
  SharedObject object;
  object.path = path;
  ElfFile file(path);
  GElf_Ehdr header;
  if (file.get() == nullptr) return system_error(path);
  if (gelf_getehdr(file.get(), &header) == nullptr || header.e_machine != EM_X86_64 ||
      header.e_type != ET_DYN || header.e_ident[EI_CLASS] != ELFCLASS64) {
    return refuse(object, "is not an x86-64 shared object");
  }
  for (auto step : {read_program_headers, read_memory, read_sections}) {
    if (auto done = step(file.get(), object); !done) return done.error();
  }
  return object;
}

// ---- Symbols and relocations --------------------------------------------------------------------

// Address of `symbol`, defined in `object`.
Result<Target> address_of(const SharedObject& object, const Symbol& symbol) {
  const unsigned type = GELF_ST_TYPE(symbol.elf.st_info);
  if (type == STT_GNU_IFUNC) {
    return refuse(object, symbol.name + " is an indirect function; nobody would resolve it");
  }
  if (type == STT_TLS) return refuse(object, symbol.name + " is thread-local");
  if (symbol.elf.st_shndx == SHN_ABS) return Target{symbol.elf.st_value, false};
  return Target{object.base + symbol.elf.st_value, true};
}

const Symbol* find_definition(const SharedObject& object, std::string_view name) {
  const auto found = std::find_if(object.symbols.begin(), object.symbols.end(), [&](const auto& s) {
    return s.elf.st_shndx != SHN_UNDEF && s.name == name;
  });
  return found == object.symbols.end() ? nullptr : &*found;
}

Result<Target> resolve(const SharedObject& object, size_t index,
                       std::span<const SharedObject> all) {
  if (index == 0) return Target{0, false};
  if (index >= object.symbols.size()) return refuse(object, "has a relocation without its symbol");
  const Symbol& symbol = object.symbols[index];
  if (symbol.elf.st_shndx != SHN_UNDEF) return address_of(object, symbol);
  for (const SharedObject& other : all) {
    if (const Symbol* definition = find_definition(other, symbol.name)) {
      return address_of(other, *definition);
    }
  }
  if (GELF_ST_BIND(symbol.elf.st_info) == STB_WEAK) return Target{0, false};
  return refuse(object, "imports " + symbol.name + ", which no packed object defines");
}

bool is_writable(const SharedObject& object, uint64_t offset) {
  return std::any_of(object.loads.begin(), object.loads.end(), [&](const GElf_Phdr& load) {
    return (load.p_flags & (PF_W | PF_X)) == PF_W && offset >= load.p_vaddr &&
           offset + 8 <= load.p_vaddr + load.p_memsz;
  });
}

void write_word(SharedObject& object, uint64_t offset, const Target& target) {
  std::memcpy(object.memory.data() + offset, &target.value, sizeof target.value);
  // A relocated word in .bss is one that no longer is zero.
  object.file_bytes = std::max(object.file_bytes, offset + sizeof target.value);
  if (target.moves) object.moving.push_back(static_cast<uint32_t>(offset));
}

Result<> apply(SharedObject& object, const GElf_Rela& relocation,
               std::span<const SharedObject> all) {
  const auto type = GELF_R_TYPE(relocation.r_info);
  if (type == R_X86_64_NONE) return Unit{};
  if (!is_writable(object, relocation.r_offset)) {
    return refuse(object, "has a text relocation; compile all of it with -fPIC");
  }
  Target target = {object.base + relocation.r_addend, true};
  if (type == R_X86_64_RELATIVE) {
    // As it stands.
  } else if (type == R_X86_64_64 || type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT) {
    auto symbol = resolve(object, GELF_R_SYM(relocation.r_info), all);
    if (!symbol) return symbol.error();
    target = *symbol;
    if (type == R_X86_64_64) target.value += relocation.r_addend;
  } else {
    return refuse(object, "has a relocation of type " + std::to_string(type) +
                              "; supported are R_X86_64_RELATIVE, 64, GLOB_DAT and JUMP_SLOT");
  }
  write_word(object, relocation.r_offset, target);
  return Unit{};
}

// ---- Layout -------------------------------------------------------------------------------------

uint32_t protection_of(const GElf_Phdr& load) {
  return (load.p_flags & PF_R ? PROT_READ : 0) | (load.p_flags & PF_W ? PROT_WRITE : 0) |
         (load.p_flags & PF_X ? PROT_EXEC : 0);
}

Result<> add_range(ImageLayout& layout, uint64_t begin, uint64_t end, uint32_t protection) {
  if (begin >= end) return Unit{};
  if (layout.range_count == kMaxImageRanges) return Error{"more than kMaxImageRanges ranges"};
  layout.ranges[layout.range_count++] = {begin, end, protection, 0};
  return Unit{};
}

Result<> add_ranges(const SharedObject& object, ImageLayout& layout) {
  for (const GElf_Phdr& load : object.loads) {
    const uint64_t begin = page_floor(object.base + load.p_vaddr);
    const uint64_t end = page_ceiling(object.base + load.p_vaddr + load.p_memsz);
    const uint64_t relro_end =
        page_floor(object.base + object.relro.p_vaddr + object.relro.p_memsz);
    const bool has_relro = page_floor(object.base + object.relro.p_vaddr) == begin;
    const uint64_t middle = has_relro ? std::clamp(relro_end, begin, end) : begin;
    const uint32_t protection = protection_of(load);
    for (auto added : {add_range(layout, begin, middle, protection & ~PROT_WRITE),
                       add_range(layout, middle, end, protection)}) {
      if (!added) return added.error();
    }
  }
  return Unit{};
}

Result<ImageLayout> make_layout(std::span<const SharedObject> objects) {
  ImageLayout layout = {};
  for (const GElf_Phdr& load : objects[0].loads) {
    if ((load.p_flags & PF_X) == 0) continue;
    if (layout.text_end != 0) return refuse(objects[0], "has two executable segments");
    layout.text_begin = page_floor(objects[0].base + load.p_vaddr);
    layout.text_end = page_ceiling(objects[0].base + load.p_vaddr + load.p_memsz);
  }
  layout.image_begin = objects.front().base;
  layout.image_end = objects.back().base + objects.back().memory.size();
  for (const SharedObject& object : objects) {
    if (auto added = add_ranges(object, layout); !added) return added.error();
  }
  return layout;
}

Result<> write_layout(SharedObject& agent, const ImageLayout& layout) {
  const Symbol* symbol = find_definition(agent, "shmrec_image_layout");
  if (symbol == nullptr) return Unit{};
  if (symbol->elf.st_size != sizeof layout || !is_writable(agent, symbol->elf.st_value) ||
      symbol->elf.st_value + sizeof layout > agent.memory.size()) {
    return refuse(agent, "shmrec_image_layout is not a writable ImageLayout");
  }
  const uint64_t at = symbol->elf.st_value;
  std::memcpy(agent.memory.data() + at, &layout, sizeof layout);
  agent.file_bytes = std::max<uint64_t>(agent.file_bytes, at + sizeof layout);
  const auto moves = [&](uint64_t offset) {
    agent.moving.push_back(static_cast<uint32_t>(at + offset));
  };
  for (uint64_t offset : {offsetof(ImageLayout, text_begin), offsetof(ImageLayout, text_end),
                          offsetof(ImageLayout, image_begin), offsetof(ImageLayout, image_end)})
    moves(offset);
  for (uint32_t i = 0; i < layout.range_count; ++i) {
    moves(offsetof(ImageLayout, ranges) + i * sizeof(ImageRange) + offsetof(ImageRange, begin));
    moves(offsetof(ImageLayout, ranges) + i * sizeof(ImageRange) + offsetof(ImageRange, end));
  }
  return Unit{};
}

Result<uint64_t> required_symbol(const SharedObject& agent, const char* name) {
  const Symbol* symbol = find_definition(agent, name);
  if (symbol == nullptr) return refuse(agent, std::string("does not export ") + name);
  auto target = address_of(agent, *symbol);
  if (!target) return target.error();
  return target->value;
}

Result<> refuse_constructors(const SharedObject& agent, Elf* elf) {
  for (Elf_Scn* section = elf_nextscn(elf, nullptr); section != nullptr;
       section = elf_nextscn(elf, section)) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) != nullptr && header.sh_type == SHT_INIT_ARRAY) {
      return refuse(agent, "has static constructors; nobody would run them");
    }
  }
  return Unit{};
}

// ---- The passes ---------------------------------------------------------------------------------

// Headers, symbols and relocations are of no use any more.
bool only_loader_reads(const SharedObject& object, const GElf_Phdr& load) {
  return std::none_of(object.contents.begin(), object.contents.end(), [&](uint64_t address) {
    return address >= load.p_vaddr && address < load.p_vaddr + load.p_memsz;
  });
}

// Bytes of `load` that are in the image; what follows them is zero.
uint64_t bytes_of(const SharedObject& object, const GElf_Phdr& load) {
  const bool last = load.p_vaddr == object.loads.back().p_vaddr;
  return last ? object.file_bytes - load.p_vaddr : load.p_filesz;
}

Result<> add_segments(const SharedObject& object, ImageHeader& header, uint64_t& file_offset) {
  for (const GElf_Phdr& load : object.loads) {
    if (only_loader_reads(object, load)) continue;
    if (header.segment_count == std::size(header.segments))
      return refuse(object, "has more segments than an ImageHeader has room for");
    header.segments[header.segment_count++] = {object.base + load.p_vaddr, file_offset,
                                               bytes_of(object, load), load.p_memsz};
    file_offset = page_ceiling(file_offset + bytes_of(object, load));
  }
  return Unit{};
}

Result<ImageHeader> make_header(std::span<const SharedObject> objects, const ImageLayout& layout) {
  ImageHeader header = {};
  auto entry = required_symbol(objects[0], "shmrec_agent_entry");
  auto boot_info = required_symbol(objects[0], "shmrec_boot_info");
  if (!entry) return entry.error();
  if (!boot_info) return boot_info.error();
  std::memcpy(header.magic, kImageMagic, sizeof header.magic);
  header.abi_version = kAbiVersion;
  header.span_bytes = layout.image_end - layout.image_begin;
  header.entry = *entry;
  header.boot_info = *boot_info;
  uint64_t file_offset = page_ceiling(sizeof header);
  for (const SharedObject& object : objects) {
    if (auto added = add_segments(object, header, file_offset); !added) return added.error();
    header.relocation_count += static_cast<uint32_t>(object.moving.size());
  }
  header.relocation_offset = file_offset;
  return header;
}

// Image addresses of the words that move with it, rising.
std::vector<uint32_t> moving_words(std::span<const SharedObject> objects) {
  std::vector<uint32_t> words;
  for (const SharedObject& object : objects)
    for (uint32_t offset : object.moving)
      words.push_back(static_cast<uint32_t>(object.base + offset));
  std::sort(words.begin(), words.end());
  return words;
}

Result<> write_image(const std::string& path, const ImageHeader& header,
                     std::span<const SharedObject> objects) {
  const std::string partial = path + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&header), sizeof header);
  for (const ImageSegment& segment : std::span(header.segments, header.segment_count)) {
    const bool first = segment.address < objects[1].base;
    const SharedObject& object = objects[first ? 0 : 1];
    out.seekp(static_cast<std::streamoff>(segment.file_offset));
    out.write(reinterpret_cast<const char*>(object.memory.data() + segment.address - object.base),
              static_cast<std::streamsize>(segment.file_bytes));
  }
  out.seekp(static_cast<std::streamoff>(header.relocation_offset));
  for (uint32_t address : moving_words(objects))
    out.write(reinterpret_cast<const char*>(&address), sizeof address);
  out.close();
  if (!out || std::rename(partial.c_str(), path.c_str()) != 0) return system_error(path);
  return Unit{};
}

Result<> pack(const char* out_path, const char* agent_path, const char* zydis_path) {
  std::vector<SharedObject> objects;
  for (const char* path : {agent_path, zydis_path}) {
    auto object = read_shared_object(path);
    if (!object) return object.error();
    objects.push_back(std::move(*object));
  }
  if (auto none = refuse_constructors(objects[0], ElfFile(agent_path).get()); !none) return none;

  uint64_t address = 0;
  for (SharedObject& object : objects) {
    object.base = address;
    address += object.memory.size();
  }
  if (address > kMaxImageBytes) return Error{"the image does not fit below kCodeOffset"};
  // Addresses in the image are fixed from here.

  for (SharedObject& object : objects) {
    for (const GElf_Rela& relocation : object.relocations) {
      if (auto applied = apply(object, relocation, objects); !applied) return applied;
    }
  }
  auto layout = make_layout(objects);
  if (!layout) return layout.error();
  if (auto written = write_layout(objects[0], *layout); !written) return written;
  auto header = make_header(objects, *layout);
  if (!header) return header.error();
  return write_image(out_path, *header, objects);
}

}  // namespace
}  // namespace shmrec::agent

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: shmrec-pack OUT AGENT.so ZYDIS.so\n");
    return 2;
  }
  elf_version(EV_CURRENT);
  if (auto done = shmrec::agent::pack(argv[1], argv[2], argv[3]); !done) {
    std::fprintf(stderr, "shmrec-pack: %s\n", done.error().message.c_str());
    return 1;
  }
  return 0;
}
