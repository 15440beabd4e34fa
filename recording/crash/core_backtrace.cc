#include "recording/crash/core_backtrace.h"

#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/procfs.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/signal_name.h"
#include "base/unique_fd.h"
#include "recording/bundle/elf_id.h"
#include "recording/crash/core_note.h"
#include "recording/log/runtime_libraries.h"

namespace shmrec::recording {
namespace {

constexpr size_t kMostFrames = 512, kMostThreads = 4096;

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename(); }

// While elfutils looks for files it has no place for a context of the caller's.
const FileFinder* finder = nullptr;

std::string build_id_of(Dwfl_Module* module) {
  const unsigned char* bits = nullptr;
  GElf_Addr address;
  const int count = dwfl_module_build_id(module, &bits, &address);
  std::string text;
  for (int i = 0; i < count; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", bits[i]);
    text += digits;
  }
  return text;
}

// "" if there is none. A file whose build-id cannot be compared could be any.
std::string file_of(Dwfl_Module* module, const char* name) {
  const std::string id = build_id_of(module);
  if (id.empty()) return "";
  const std::string file = finder->by_build_id(id);
  if (!file.empty() || !name || name[0] != '/') return file;
  const std::string path = finder->by_path(name);
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd && build_id(fd.get()) == id ? path : "";
}

int find_elf(Dwfl_Module* module, void**, const char* name, Dwarf_Addr, char** file_name, Elf**) {
  const std::string file = file_of(module, name);
  const int fd = file.empty() ? -1 : open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) *file_name = strdup(file.c_str());
  return fd;
}

// Nothing is looked for elsewhere, nor fetched.
int find_debuginfo(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*,
                   GElf_Word, char**) {
  return -1;
}

constexpr Dwfl_Callbacks kCallbacks = {.find_elf = find_elf,
                                       .find_debuginfo = find_debuginfo,
                                       .section_address = nullptr,
                                       .debuginfo_path = nullptr};

// The core's files, and their functions and lines.
class CoreFiles {
 public:
  explicit CoreFiles(Dwfl* dwfl) : dwfl_(dwfl) {}

  // `called`: a function returns to pc, so the call before it is meant.
  std::vector<StackFrame> frames_at(uint64_t pc, bool called) {
    StackFrame frame;
    frame.pc = pc;
    const uint64_t at = called ? pc - 1 : pc;
    Dwfl_Module* module = dwfl_addrmodule(dwfl_, at);
    GElf_Addr bias = 0;
    if (!module || !dwfl_module_getelf(module, &bias)) return {frame};
    const char* file = nullptr;  // null: of a small one elfutils takes what is in the core
    const char* name =
        dwfl_module_info(module, nullptr, nullptr, nullptr, nullptr, nullptr, &file, nullptr);
    frame.module = name ? name : "";
    const ModuleFile* known = module_file(module, file, name);
    if (!known) return {frame};
    const SourcePlace place = known->place(at - bias);
    if (place.chain.empty()) {
      frame.source = place;
      return {frame};
    }
    std::vector<StackFrame> frames;
    for (const SourceFrame& source : place.chain) {
      frame.source = source;
      frame.inlined = &source != &place.chain.back();
      frames.push_back(frame);
    }
    return frames;
  }

 private:
  const ModuleFile* module_file(Dwfl_Module* module, const char* file, const char* name) {
    auto [known, is_new] = files_.try_emplace(module);
    if (is_new) known->second = ModuleFile::open(file ? file : file_of(module, name));
    return known->second.get();
  }

  Dwfl* dwfl_;
  std::map<Dwfl_Module*, std::unique_ptr<ModuleFile>> files_;
};

struct Reading {
  CoreFiles& files;
  CoreStacks& stacks;
};

int take_frame(Dwfl_Frame* state, void* argument) {
  Reading& reading = *static_cast<Reading*>(argument);
  std::vector<StackFrame>& frames = reading.stacks.threads.back().frames;
  Dwarf_Addr pc = 0;
  bool activation = false;
  if (!dwfl_frame_pc(state, &pc, &activation)) return DWARF_CB_ABORT;
  for (StackFrame& frame : reading.files.frames_at(pc, !activation))
    frames.push_back(std::move(frame));
  return frames.size() < kMostFrames ? DWARF_CB_OK : DWARF_CB_ABORT;
}

int take_thread(Dwfl_Thread* thread, void* argument) {
  Reading& reading = *static_cast<Reading*>(argument);
  if (reading.stacks.threads.size() >= kMostThreads) return DWARF_CB_ABORT;
  reading.stacks.threads.push_back({static_cast<int>(dwfl_thread_tid(thread)), {}});
  dwfl_thread_getframes(thread, take_frame, argument);  // what could be unwound is there
  return DWARF_CB_OK;
}

// `use` with each note of the core: its type and content.
template <typename Use>
void for_each_note(Elf* elf, Use use) {
  size_t headers = 0;
  if (elf_getphdrnum(elf, &headers) != 0) return;
  for (size_t i = 0; i < headers; ++i) {
    GElf_Phdr header;
    if (!gelf_getphdr(elf, static_cast<int>(i), &header) || header.p_type != PT_NOTE) continue;
    Elf_Data* data = elf_getdata_rawchunk(elf, static_cast<int64_t>(header.p_offset),
                                          header.p_filesz, ELF_T_NHDR);
    GElf_Nhdr note;
    size_t name, content;
    for (size_t at = 0; data && (at = gelf_getnote(data, at, &note, &name, &content)) > 0;)
      use(note.n_type,
          std::string_view(static_cast<const char*>(data->d_buf) + content, note.n_descsz));
  }
}

template <typename T>
bool take_object(std::string_view content, T& object) {
  if (content.size() < sizeof object) return false;
  memcpy(&object, content.data(), sizeof object);
  return true;
}

// The first thread's status is that of the one that died.
void read_end(Elf* elf, CoreStacks& stacks, int& first_tid) {
  for_each_note(elf, [&](GElf_Word type, std::string_view content) {
    elf_prstatus status;
    siginfo_t info;
    if (type == NT_PRSTATUS && first_tid == 0 && take_object(content, status)) {
      stacks.signal = status.pr_cursig;
      first_tid = status.pr_pid;
    } else if (type == NT_SIGINFO && take_object(content, info)) {
      const bool exited = info.si_signo == SIGCHLD && info.si_code == CLD_EXITED;
      if (exited) stacks.exit_status = info.si_status;
    }
  });
}

struct CloseDwfl {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};
struct CloseElf {
  void operator()(Elf* elf) const { elf_end(elf); }
};

// `what`: null: what elfutils says.
Error trouble(const std::string& core, const char* what) {
  if (!what) what = dwfl_errmsg(-1);
  if (!what) what = "it cannot be read";
  return Error{core + ": " + what + "; expected an ELF core as shmrec writes them"};
}

struct OpenedCore {
  UniqueFd fd;
  std::unique_ptr<Elf, CloseElf> elf;
};

Result<OpenedCore> open_core(const std::string& core) {
  OpenedCore opened{UniqueFd(open(core.c_str(), O_RDONLY | O_CLOEXEC)), nullptr};
  if (!opened.fd) return system_error(core);
  elf_version(EV_CURRENT);
  opened.elf.reset(elf_begin(opened.fd.get(), ELF_C_READ_MMAP, nullptr));
  GElf_Ehdr header;
  if (!opened.elf || !gelf_getehdr(opened.elf.get(), &header))
    return trouble(core, "not an ELF file");
  if (header.e_type != ET_CORE || header.e_machine != EM_X86_64)
    return trouble(core, "not a core of an x86-64 process");
  return opened;
}

}  // namespace

uint64_t core_event(const std::string& core) {
  const Result<OpenedCore> opened = open_core(core);
  uint64_t event = 0;
  if (opened)
    for_each_note(opened->elf.get(), [&](GElf_Word type, std::string_view content) {
      if (type == kCoreEventNote) take_object(content, event);
    });
  return event;
}

FileFinder finder_of(const RunFiles& files) {
  return {[&files](const std::string& path) { return files.binary(path); },
          [&files](const std::string& id) { return files.binary_of_build_id(id); }};
}

Result<CoreStacks> read_core_stacks(const std::string& core, const FileFinder& find) {
  const Result<OpenedCore> opened = open_core(core);
  if (!opened) return opened.error();
  Elf* const elf = opened->elf.get();
  CoreStacks stacks;
  int first_tid = 0;
  read_end(elf, stacks, first_tid);
  finder = &find;
  const std::unique_ptr<Dwfl, CloseDwfl> dwfl(dwfl_begin(&kCallbacks));
  if (!dwfl) return trouble(core, nullptr);
  dwfl_report_begin(dwfl.get());
  if (dwfl_core_file_report(dwfl.get(), elf, nullptr) < 0) return trouble(core, nullptr);
  dwfl_report_end(dwfl.get(), nullptr, nullptr);
  if (dwfl_core_file_attach(dwfl.get(), elf) < 0) return trouble(core, nullptr);
  CoreFiles files(dwfl.get());
  Reading reading{files, stacks};
  dwfl_getthreads(dwfl.get(), take_thread, &reading);
  if (stacks.threads.empty()) return trouble(core, "no threads in it");
  for (ThreadStack& thread : stacks.threads)
    if (thread.tid == first_tid) std::swap(thread, stacks.threads.front());
  return stacks;
}

const StackFrame* telling_frame(const ThreadStack& stack) {
  const StackFrame* known = nullptr;
  for (const StackFrame& frame : stack.frames) {
    if (frame.source.function.empty() || frame.source.function == "_start" ||
        is_runtime_library(frame.module.c_str()) || is_system_source(frame.source.file))
      continue;
    if (frame.source.line != 0) return &frame;
    if (!known) known = &frame;
  }
  return known;
}

std::string telling_text(const ThreadStack& stack) {
  const StackFrame* telling = telling_frame(stack);
  if (!telling) return "";
  std::string text = telling->source.function;
  if (telling->source.line != 0)
    text +=
        " (" + file_name(telling->source.file) + ":" + std::to_string(telling->source.line) + ")";
  const StackFrame* const end = stack.frames.data() + stack.frames.size();
  const StackFrame* const caller = telling + 1;
  if (caller != end && !caller->source.function.empty() &&
      !is_runtime_library(caller->module.c_str()))
    text += ", called from " + caller->source.function;
  return text;
}

std::string core_text(const std::string& name, int pid, const CoreStacks& stacks) {
  const std::string where = telling_text(stacks.threads.front());
  const std::string who = name + " (pid " + std::to_string(pid) + ") ";
  if (!stacks.ended()) return who + "was in " + (where.empty() ? "a place unknown" : where);
  return who +
         (stacks.signal != 0 ? "died of " + signal_name(stacks.signal)
                             : "exited with status " + std::to_string(stacks.exit_status)) +
         (where.empty() ? "" : " in " + where);
}

std::map<std::string, CoreLine> core_lines(const RunFiles& files, const Timeline& timeline) {
  constexpr size_t kMost = 8;
  std::map<std::string, CoreLine> lines;
  for (const Recording& one : timeline.recordings()) {
    const std::string core = lines.size() < kMost ? files.core(one.id) : "";
    if (core.empty()) continue;
    const auto stacks = read_core_stacks(core, finder_of(files));
    if (stacks) lines[one.id] = {stacks->ended(), core_text(one.name, one.pid, *stacks)};
  }
  return lines;
}

std::string stack_text(const ThreadStack& stack) {
  std::string text;
  size_t number = 0;
  for (const StackFrame& frame : stack.frames) {
    const std::string digits = std::to_string(number++);
    text += "#" + digits + std::string(digits.size() < 3 ? 3 - digits.size() : 1, ' ');
    text += frame.inlined ? std::string("(inlined)         ") : hex(frame.pc);
    text += " in " + (frame.source.function.empty() ? "??" : frame.source.function) + " ()";
    if (!frame.source.file.empty())
      text += " at " + frame.source.file + ":" + std::to_string(frame.source.line);
    else if (!frame.module.empty())
      text += " from " + frame.module;
    text += "\n";
  }
  return text;
}

nlohmann::json stacks_json(const CoreStacks& stacks) {
  nlohmann::json threads = nlohmann::json::array();
  for (const ThreadStack& thread : stacks.threads) {
    nlohmann::json frames = nlohmann::json::array();
    for (const StackFrame& frame : thread.frames)
      frames.push_back({{"pc", hex(frame.pc)},
                        {"function", frame.source.function},
                        {"file", frame.source.file},
                        {"line", frame.source.line},
                        {"inlined", frame.inlined},
                        {"module", frame.module}});
    threads.push_back({{"tid", thread.tid}, {"frames", std::move(frames)}});
  }
  return {{"signal", stacks.signal},
          {"exit_status", stacks.exit_status},
          {"threads", std::move(threads)}};
}

}  // namespace shmrec::recording
