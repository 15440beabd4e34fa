#include "recording/bundle/elf_id.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "recording/bundle/bundle_files.h"
#include "recording/bundle/sha256.h"

namespace shmrec::recording {
namespace {

constexpr size_t kMaxProgramHeaders = 256;  // real files have about a dozen
constexpr uint64_t kMaxNoteBytes = 64 << 10;
constexpr char kGnu[] = "GNU";

template <typename T>
bool read_at(int fd, uint64_t at, T& into) {
  return pread_all(fd, &into, sizeof into, at) == static_cast<ssize_t>(sizeof into);
}

std::string to_hex_digits(const char* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

uint64_t padded(uint32_t bytes, uint64_t alignment) {
  return (uint64_t{bytes} + alignment - 1) & ~(alignment - 1);
}

// The build-id among the notes of one segment; nothing if it is not there.
std::optional<std::string> find_note(const std::vector<char>& notes, uint64_t alignment) {
  for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr note;  // the same in 32-bit files
    std::memcpy(&note, &notes[at], sizeof note);
    const uint64_t name = at + sizeof note;
    const uint64_t content = name + padded(note.n_namesz, alignment);
    if (content > notes.size() || note.n_descsz > notes.size() - content) return std::nullopt;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof kGnu &&
        std::memcmp(&notes[name], kGnu, sizeof kGnu) == 0) {
      return to_hex_digits(notes.data() + content, note.n_descsz);
    }
    at = content + padded(note.n_descsz, alignment);
  }
  return std::nullopt;
}

template <typename Header, typename ProgramHeader>
std::string find_build_id(int fd) {
  Header header{};
  if (!read_at(fd, 0, header) || header.e_phentsize != sizeof(ProgramHeader)) return "";
  const size_t count = std::min<size_t>(header.e_phnum, kMaxProgramHeaders);
  for (size_t i = 0; i < count; ++i) {
    ProgramHeader segment{};
    uint64_t at = 0;
    if (__builtin_add_overflow(uint64_t{header.e_phoff}, i * sizeof segment, &at) ||
        at > INT64_MAX || !read_at(fd, at, segment)) {
      return "";
    }
    if (segment.p_type != PT_NOTE || segment.p_offset > INT64_MAX) continue;
    std::vector<char> notes(std::min<uint64_t>(segment.p_filesz, kMaxNoteBytes));
    const ssize_t got = pread_all(fd, notes.data(), notes.size(), segment.p_offset);
    notes.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (const auto id = find_note(notes, segment.p_align == 8 ? 8 : 4)) return *id;
  }
  return "";
}

std::vector<Elf64_Phdr> program_headers(int fd) {
  Elf64_Ehdr header{};
  if (!read_at(fd, 0, header) || header.e_phentsize != sizeof(Elf64_Phdr) ||
      header.e_phoff > INT64_MAX)
    return {};
  std::vector<Elf64_Phdr> headers(std::min<size_t>(header.e_phnum, kMaxProgramHeaders));
  const ssize_t bytes = static_cast<ssize_t>(headers.size() * sizeof(Elf64_Phdr));
  if (pread_all(fd, headers.data(), static_cast<size_t>(bytes), header.e_phoff) != bytes) return {};
  return headers;
}

std::vector<Elf64_Dyn> dynamic_entries(int fd, const std::vector<Elf64_Phdr>& headers) {
  constexpr size_t kMostEntries = 4096;
  for (const Elf64_Phdr& header : headers) {
    if (header.p_type != PT_DYNAMIC || header.p_offset > INT64_MAX) continue;
    std::vector<Elf64_Dyn> entries(
        std::min<size_t>(header.p_filesz / sizeof(Elf64_Dyn), kMostEntries));
    const ssize_t got =
        pread_all(fd, entries.data(), entries.size() * sizeof(Elf64_Dyn), header.p_offset);
    entries.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)) / sizeof(Elf64_Dyn));
    return entries;
  }
  return {};
}

std::optional<uint64_t> offset_of(const std::vector<Elf64_Phdr>& headers, uint64_t address) {
  for (const Elf64_Phdr& header : headers)
    if (header.p_type == PT_LOAD && address >= header.p_vaddr &&
        address - header.p_vaddr < header.p_filesz)
      return header.p_offset + (address - header.p_vaddr);
  return std::nullopt;
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c > ' ' && c < 0x7F && c != '/'; });
}

}  // namespace

std::string soname(int fd) {
  unsigned char ident[EI_NIDENT] = {};
  if (!is_elf(fd) || !read_at(fd, 0, ident) || ident[EI_DATA] != ELFDATA2LSB ||
      ident[EI_CLASS] != ELFCLASS64)
    return "";
  const std::vector<Elf64_Phdr> headers = program_headers(fd);
  std::optional<uint64_t> name, strings;
  for (const Elf64_Dyn& entry : dynamic_entries(fd, headers)) {
    if (entry.d_tag == DT_SONAME) name = entry.d_un.d_val;
    if (entry.d_tag == DT_STRTAB) strings = offset_of(headers, entry.d_un.d_ptr);
  }
  char text[256] = {};
  uint64_t at = 0;
  if (!name || !strings || __builtin_add_overflow(*strings, *name, &at) || at > INT64_MAX ||
      pread_all(fd, text, sizeof text - 1, at) <= 0)
    return "";
  return is_plain_file_name(text) ? text : "";
}

bool is_elf(int fd) {
  char magic[SELFMAG];
  return pread_all(fd, magic, sizeof(magic), 0) == SELFMAG &&
         std::memcmp(magic, ELFMAG, SELFMAG) == 0;
}

std::string build_id(int fd) {
  unsigned char ident[EI_NIDENT] = {};
  if (!is_elf(fd) || !read_at(fd, 0, ident) || ident[EI_DATA] != ELFDATA2LSB) return "";
  const std::string id = ident[EI_CLASS] == ELFCLASS32 ? find_build_id<Elf32_Ehdr, Elf32_Phdr>(fd)
                                                       : find_build_id<Elf64_Ehdr, Elf64_Phdr>(fd);
  return is_id(id) ? id : "";
}

std::string content_id(int fd, uint64_t bytes) {
  Sha256 sum;
  std::vector<char> buffer(1 << 18);
  for (uint64_t at = 0; at < bytes;) {
    const size_t part = static_cast<size_t>(std::min<uint64_t>(buffer.size(), bytes - at));
    if (pread_all(fd, buffer.data(), part, at) != static_cast<ssize_t>(part)) return "";
    sum.update(buffer.data(), part);
    at += part;
  }
  return to_hex(sum.finish());
}

bool is_id(std::string_view text) {
  return text.size() >= kMinIdDigits && text.size() <= kMaxIdDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace shmrec::recording
