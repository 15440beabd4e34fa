#include "launcher/core/elf_core.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/procfs.h>
#include <unistd.h>

#include <algorithm>

#include "recording/crash/core_note.h"

namespace shmrec::launcher {
namespace {

constexpr uint64_t kPage = ProcessMemory::kPageBytes;
constexpr size_t kMostSegments = 60000;  // their number has 16 bits

template <typename T>
void append(std::string& bytes, const T& object) {
  bytes.append(reinterpret_cast<const char*>(&object), sizeof object);
}
void pad(std::string& bytes) { bytes.resize((bytes.size() + 3) & ~size_t{3}); }

void note(std::string& notes, uint32_t type, std::string_view content, std::string_view owner) {
  append(notes, Elf64_Nhdr{static_cast<Elf64_Word>(owner.size() + 1),
                           static_cast<Elf64_Word>(content.size()), type});
  notes.append(owner);
  notes.push_back('\0');
  pad(notes);
  notes.append(content);
  pad(notes);
}
template <typename T>
std::string_view bytes_of(const T& object) {
  return {reinterpret_cast<const char*>(&object), sizeof object};
}
std::string_view bytes_of(const std::vector<unsigned char>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <size_t kBytes>
void copy_text(char (&to)[kBytes], const std::string& from) {
  memcpy(to, from.data(), std::min(from.size(), kBytes - 1));
}

elf_prpsinfo process_info(const CoreProcess& process) {
  elf_prpsinfo info{};
  constexpr std::string_view kStates = "RSDTZW";
  info.pr_sname = process.state;
  const size_t state = kStates.find(process.state);
  info.pr_state = static_cast<char>(state == std::string_view::npos ? 0 : state);
  info.pr_zomb = process.state == 'Z';
  info.pr_uid = process.uid;
  info.pr_gid = process.gid;
  info.pr_pid = process.pid;
  info.pr_ppid = process.parent;
  info.pr_pgrp = process.group;
  info.pr_sid = process.session;
  copy_text(info.pr_fname, process.name);
  copy_text(info.pr_psargs, process.arguments);
  return info;
}

elf_prstatus thread_status(const CoreProcess& process, const CoreThread& thread) {
  siginfo_t signal;
  static_assert(sizeof signal == sizeof process.siginfo);
  memcpy(&signal, process.siginfo.data(), sizeof signal);
  elf_prstatus status{};
  status.pr_info.si_signo = signal.si_signo;
  status.pr_info.si_code = signal.si_code;
  status.pr_info.si_errno = signal.si_errno;
  // That of an exit ends nothing.
  if (signal.si_signo != SIGCHLD) status.pr_cursig = static_cast<short>(signal.si_signo);
  status.pr_sighold = thread.blocked;
  status.pr_pid = thread.tid;
  status.pr_ppid = process.parent;
  status.pr_pgrp = process.group;
  status.pr_sid = process.session;
  static_assert(sizeof status.pr_reg == sizeof thread.registers);
  memcpy(&status.pr_reg, &thread.registers, sizeof status.pr_reg);
  status.pr_fpvalid = thread.vector_state.size() >= sizeof(user_fpregs_struct);
  return status;
}

bool overlaps(const Mapping& mapping, Range hidden) {
  return mapping.begin < hidden.end && mapping.end > hidden.begin;
}

std::string mapped_files(const ProcessMemory& memory, Range hidden) {
  std::string rows, names;
  uint64_t count = 0;
  for (const Mapping& mapping : memory.mappings()) {
    if (!mapping.of_file() || overlaps(mapping, hidden)) continue;
    ++count;
    append(rows, mapping.begin);
    append(rows, mapping.end);
    append(rows, mapping.offset / kPage);
    names += mapping.name;
    names.push_back('\0');
  }
  std::string all;
  append(all, count);
  append(all, kPage);
  return all + rows + names;
}

// Where the parts of an XSAVE area are, which differs between processors: Linux 6.9's
// NT_X86_XSAVE_LAYOUT, rows of struct x86_xfeat_component.
constexpr uint32_t kXsaveLayoutNote = 0x205;
std::string xsave_layout(std::string_view state) {
  constexpr size_t kFeaturesAt = 464;
  constexpr uint32_t kXsaveLeaf = 0xD, kFirstExtended = 2, kLast = 62;
  uint64_t features;
  memcpy(&features, state.data() + kFeaturesAt, sizeof features);
  std::string rows;
  for (uint32_t feature = kFirstExtended; feature <= kLast; ++feature) {
    uint32_t size = 0, offset = 0, unused, also_unused;
    if (!(features >> feature & 1) ||
        !__get_cpuid_count(kXsaveLeaf, feature, &size, &offset, &unused, &also_unused))
      continue;
    for (const uint32_t word : {feature, size, offset, 0u}) append(rows, word);
  }
  return rows;
}

std::string make_notes(const CoreProcess& process, const ProcessMemory& memory, Range hidden) {
  std::string notes, layout;
  bool first = true;
  for (const CoreThread& thread : process.threads) {
    note(notes, NT_PRSTATUS, bytes_of(thread_status(process, thread)), "CORE");
    if (first) {
      note(notes, NT_PRPSINFO, bytes_of(process_info(process)), "CORE");
      note(notes, NT_SIGINFO, bytes_of(process.siginfo), "CORE");
      note(notes, NT_AUXV, bytes_of(process.auxiliary_vector), "CORE");
      note(notes, NT_FILE, mapped_files(memory, hidden), "CORE");
      if (process.event)
        note(notes, recording::kCoreEventNote, bytes_of(process.event), recording::kCoreNoteOwner);
    }
    first = false;
    const std::string_view state = bytes_of(thread.vector_state);
    if (state.size() < sizeof(user_fpregs_struct)) continue;
    note(notes, NT_FPREGSET, state.substr(0, sizeof(user_fpregs_struct)), "CORE");
    note(notes, NT_X86_XSTATE, state, "LINUX");
    layout = xsave_layout(state);
  }
  if (!layout.empty()) note(notes, kXsaveLayoutNote, layout, "LINUX");
  return notes;
}

Elf64_Phdr segment(const Mapping& mapping, Range part, bool with_bytes) {
  Elf64_Phdr header{};
  header.p_type = PT_LOAD;
  header.p_flags = (mapping.readable || mapping.shared ? PF_R : 0u) |
                   (mapping.writable || (mapping.shared && !mapping.readable) ? PF_W : 0u) |
                   (mapping.executable ? PF_X : 0u);
  header.p_vaddr = part.begin;
  header.p_memsz = part.bytes();
  header.p_filesz = with_bytes ? part.bytes() : 0;
  header.p_align = kPage;
  return header;
}

// The mapping in pieces, with and without bytes.
void add_segments(const Mapping& mapping, const std::vector<Range>& ranges,
                  std::vector<Elf64_Phdr>& headers) {
  auto range = std::lower_bound(ranges.begin(), ranges.end(), mapping.begin,
                                [](const Range& one, uint64_t at) { return one.end <= at; });
  for (uint64_t at = mapping.begin; at < mapping.end;) {
    const bool inside = range != ranges.end() && range->begin <= at;
    uint64_t end = mapping.end;
    if (range != ranges.end()) end = std::min(end, inside ? range->end : range->begin);
    headers.push_back(segment(mapping, {at, end}, inside));
    if (inside && end == range->end) ++range;
    at = end;
  }
}

std::vector<Elf64_Phdr> make_segments(const ProcessMemory& memory, Range hidden,
                                      const std::vector<Range>& ranges) {
  std::vector<Elf64_Phdr> headers;
  for (const Mapping& mapping : memory.mappings())
    if (!overlaps(mapping, hidden)) add_segments(mapping, ranges, headers);
  // Rather no headers without bytes than too many.
  if (headers.size() > kMostSegments)
    std::erase_if(headers, [](const Elf64_Phdr& header) { return header.p_filesz == 0; });
  if (headers.size() > kMostSegments) headers.resize(kMostSegments);
  return headers;
}

Elf64_Ehdr file_header(size_t segments) {
  Elf64_Ehdr header{};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(segments);
  return header;
}

Result<> write_at(int fd, uint64_t at, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written <= 0) return system_error("write the core");
    at += static_cast<uint64_t>(written);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Unit{};
}

bool is_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

// Page by page as far as pages can be read, in pieces.
Result<> write_memory(int fd, const ProcessMemory& memory, const Elf64_Phdr& header) {
  constexpr uint64_t kPiece = 256 * kPage;
  std::vector<unsigned char> bytes(kPiece);
  for (uint64_t at = 0; at < header.p_filesz;) {
    const uint64_t wanted = std::min(kPiece, header.p_filesz - at);
    const uint64_t got = memory.read(header.p_vaddr + at, {bytes.data(), wanted}) & ~(kPage - 1);
    for (uint64_t page = 0; page < got; page += kPage) {
      const std::string_view content(reinterpret_cast<const char*>(&bytes[page]), kPage);
      if (is_zero(content)) continue;
      if (Result<> written = write_at(fd, header.p_offset + at + page, content); !written)
        return written;
    }
    at += got == wanted ? wanted : got + kPage;  // behind one that cannot be read
  }
  return Unit{};
}

}  // namespace

Result<uint64_t> write_elf_core(int fd, const CoreProcess& process, const ProcessMemory& memory,
                                Range hidden, const std::vector<Range>& ranges) {
  const std::string notes = make_notes(process, memory, hidden);
  std::vector<Elf64_Phdr> headers = make_segments(memory, hidden, ranges);
  Elf64_Phdr of_notes{};
  of_notes.p_type = PT_NOTE;
  of_notes.p_offset = sizeof(Elf64_Ehdr) + (headers.size() + 1) * sizeof(Elf64_Phdr);
  of_notes.p_filesz = notes.size();
  of_notes.p_align = 4;
  uint64_t next = (of_notes.p_offset + notes.size() + kPage - 1) & ~(kPage - 1);
  std::string front;
  append(front, file_header(headers.size() + 1));
  append(front, of_notes);
  for (Elf64_Phdr& header : headers) {
    header.p_offset = next;
    next += header.p_filesz;
    append(front, header);
  }
  if (Result<> written = write_at(fd, 0, front + notes); !written) return written.error();
  for (const Elf64_Phdr& header : headers)
    if (Result<> written = write_memory(fd, memory, header); !written) return written.error();
  if (ftruncate(fd, static_cast<off_t>(next)) != 0) return system_error("write the core");
  return next;
}

}  // namespace shmrec::launcher
