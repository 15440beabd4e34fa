#include "agent/memory/exports.h"

#include <linux/elf.h>

namespace shmrec::agent {
namespace {

constexpr uint32_t kMaxDynamic = 128;             // entries
constexpr uint32_t kMaxChain = 1024;              // symbols of one hash
constexpr uint64_t kMaxTable = 64 << 20;          // bytes of a table of relocations
constexpr uint32_t kMaxSymbolBytes = 64;          // of a name that is looked for
constexpr uint8_t kFunction = 2, kIndirect = 10;  // STT_FUNC, STT_GNU_IFUNC
constexpr uint32_t kIRelative = 37;               // R_X86_64_IRELATIVE
constexpr int64_t kGnuHash = 0x6FFFFEF5;          // DT_GNU_HASH

template <typename T>
bool peek(uint64_t at, T* to) {
  return safe_copy(to, reinterpret_cast<const void*>(at), sizeof *to);
}

struct Table {
  uint64_t at, bytes;
};

// Of the dynamic section, as addresses.
struct Dynamic {
  uint64_t symbols = 0, strings = 0, hash = 0;
  Table relocations[2] = {};  // DT_RELA, DT_JMPREL

  bool read(const CodeImage& image) {
    Elf64_Dyn entry;
    for (uint32_t i = 0; image.dynamic && i < kMaxDynamic; ++i) {
      if (!peek(image.dynamic + i * sizeof entry, &entry) || entry.d_tag == DT_NULL) break;
      take(image, entry);
    }
    return symbols && strings && hash;
  }
  // Some loaders make addresses of what the file has, some leave it.
  void take(const CodeImage& image, const Elf64_Dyn& entry) {
    const uint64_t value = entry.d_un.d_val;
    const uint64_t address = value < image.base ? value + image.bias : value;
    if (entry.d_tag == DT_SYMTAB) symbols = address;
    if (entry.d_tag == DT_STRTAB) strings = address;
    if (entry.d_tag == kGnuHash) hash = address;
    if (entry.d_tag == DT_RELA) relocations[0].at = address;
    if (entry.d_tag == DT_RELASZ) relocations[0].bytes = value;
    if (entry.d_tag == DT_JMPREL) relocations[1].at = address;
    if (entry.d_tag == DT_PLTRELSZ) relocations[1].bytes = value;
  }
};

// A function that was found, or its resolver.
struct Candidate {
  uint32_t name;
  uint64_t value;  // as the file has it
  bool indirect;
};

struct Search {
  const CodeImage& image;
  Dynamic dynamic;
  Export* found;
  uint32_t room, count = 0;

  bool in_code(uint64_t address) const { return address >= image.begin && address < image.end; }
  void add(uint32_t name, uint64_t entry) {
    if (count == room || !in_code(entry)) return;
    for (uint32_t i = 0; i < count; ++i)
      if (found[i].entry == entry) return;
    found[count++] = {name, entry};
  }
  bool named(const Elf64_Sym& symbol, const char* name) const {
    char there[kMaxSymbolBytes];
    const size_t bytes = strlen(name) + 1;
    return bytes <= sizeof there &&
           safe_copy(there, reinterpret_cast<const void*>(dynamic.strings + symbol.st_name),
                     bytes) &&
           memcmp(there, name, bytes) == 0;
  }
};

uint32_t hash_of(const char* name) {
  uint32_t hash = 5381;
  for (; *name; ++name) hash = hash * 33 + static_cast<uint8_t>(*name);
  return hash;
}

// Calls `visit` with the symbols that have the name's hash.
template <typename Visit>
void for_each_hashed(const Dynamic& dynamic, const char* name, Visit visit) {
  struct {
    uint32_t buckets, first, bloom, shift;
  } head;
  if (!peek(dynamic.hash, &head) || !head.buckets) return;
  const uint32_t hash = hash_of(name);
  const uint64_t buckets = dynamic.hash + sizeof head + uint64_t{head.bloom} * 8;
  const uint64_t chain = buckets + uint64_t{head.buckets} * 4;
  uint32_t index = 0, word = 0;
  if (!peek(buckets + uint64_t{hash % head.buckets} * 4, &index) || index < head.first) return;
  for (uint32_t i = 0; i < kMaxChain && !(word & 1); ++i, ++index) {
    Elf64_Sym symbol;
    if (!peek(chain + uint64_t{index - head.first} * 4, &word) ||
        !peek(dynamic.symbols + uint64_t{index} * sizeof symbol, &symbol))
      return;
    if ((word | 1) == (hash | 1)) visit(symbol);
  }
}

// What the loader has made of the resolvers among the candidates.
void add_resolved(Search& search, const Table& table, const Candidate* candidates, uint32_t count) {
  Elf64_Rela block[32];
  const uint64_t bytes = min(table.bytes, kMaxTable) / sizeof block[0] * sizeof block[0];
  for (uint64_t at = 0; at < bytes; at += sizeof block) {
    const uint64_t now = min<uint64_t>(sizeof block, bytes - at);
    if (!safe_copy(block, reinterpret_cast<const void*>(table.at + at), now)) return;
    for (uint64_t i = 0; i < now / sizeof block[0]; ++i) {
      if ((block[i].r_info & 0xFFFFFFFF) != kIRelative) continue;
      const uint64_t resolver = static_cast<uint64_t>(block[i].r_addend);
      for (uint32_t each = 0; each < count; ++each) {
        uint64_t entry = 0;
        if (candidates[each].indirect && candidates[each].value == resolver &&
            peek(search.image.bias + block[i].r_offset, &entry) &&
            entry != search.image.bias + resolver)
          search.add(candidates[each].name, entry);
      }
    }
  }
}

}  // namespace

uint32_t exports_find(const CodeImage& image, const char* const* names, uint32_t count,
                      Export* found, uint32_t room) {
  Search search = {image, {}, found, room};
  if (!search.dynamic.read(image)) return 0;
  Candidate candidates[2 * kMaxNames];
  uint32_t candidate_count = 0;
  for (uint32_t name = 0; name < count; ++name)
    for_each_hashed(search.dynamic, names[name], [&](const Elf64_Sym& symbol) {
      const uint8_t type = symbol.st_info & 15;
      if (candidate_count == 2 * kMaxNames || !symbol.st_shndx || !symbol.st_value ||
          (type != kFunction && type != kIndirect) || !search.named(symbol, names[name]))
        return;
      candidates[candidate_count++] = {name, symbol.st_value, type == kIndirect};
    });
  for (uint32_t i = 0; i < candidate_count; ++i)
    if (!candidates[i].indirect) search.add(candidates[i].name, image.bias + candidates[i].value);
  for (const Table& table : search.dynamic.relocations)
    add_resolved(search, table, candidates, candidate_count);
  return search.count;
}

}  // namespace shmrec::agent
