#include "recording/blame/callers.h"

#include <algorithm>

#include "recording/log/runtime_libraries.h"
#include "recording/log/shmlog_format.h"

namespace shmrec::recording {
namespace {

constexpr uint64_t kWord = 8;

// The word at `place`, if it was logged.
std::optional<uint64_t> word_at(const std::vector<uint64_t>& callers, uint64_t place) {
  for (const uint64_t word : callers)
    if (shmlog::caller_place(word) == place) return shmlog::caller_address(word);
  return std::nullopt;
}

// How many words above the stack pointer the return address is. Code without unwind information is
// trusted to have pushed nothing if it is a runtime library's, as those of assembler are.
std::optional<uint64_t> return_place(const CodeAddress& code, bool innermost) {
  if (code.file == nullptr) return std::nullopt;
  const StackRule rule = code.file->stack_rule(code.address);
  if (rule.frame_bytes && *rule.frame_bytes >= kWord && *rule.frame_bytes % kWord == 0)
    return *rule.frame_bytes / kWord - 1;
  const bool assembler = !rule.described && innermost && is_runtime_library(code.module.c_str());
  return assembler ? std::optional<uint64_t>(0) : std::nullopt;
}

CodeFrame frame_at(uint64_t pc, const std::optional<CodeAddress>& code) {
  CodeFrame frame;
  frame.pc = pc;
  if (!code) return frame;
  frame.module = code->module;
  frame.in_module = code->place;
  if (code->file != nullptr) static_cast<SourcePlace&>(frame) = code->file->place(code->address);
  return frame;
}

// What the caller names it: fread, where the library has _IO_fread, or nothing if it is stripped.
void name_callee(CodeFrame& callee, const CodeAddress& caller) {
  const bool leaves_program =
      is_runtime_library(callee.module.c_str()) && !is_runtime_library(caller.module.c_str());
  if (caller.file == nullptr || !leaves_program) return;
  const std::string name = caller.file->callee(caller.address + 1);
  if (!name.empty()) callee.function = name;
}

}  // namespace

std::vector<CodeFrame> frames_of(uint64_t pc, const std::vector<uint64_t>& callers,
                                 const FindCode& find_code) {
  std::optional<CodeAddress> code = find_code(pc);
  std::vector<CodeFrame> frames{frame_at(pc, code)};
  uint64_t above = 0;  // words between the access's stack pointer and the frame's
  while (code && frames.size() <= callers.size()) {
    const auto place = return_place(*code, frames.size() == 1);
    const auto address = place ? word_at(callers, above + *place) : std::nullopt;
    if (!address) break;
    above += *place + 1;
    // What lies before the return address is the call.
    std::optional<CodeAddress> caller = find_code(*address - 1);
    if (!caller) break;
    name_callee(frames.back(), *caller);
    frames.push_back(frame_at(*address, caller));
    code = std::move(caller);
  }
  return frames;
}

const CodeFrame& shown_frame(const std::vector<CodeFrame>& frames) {
  const auto is_program = [](const CodeFrame& frame) {
    return !frame.in_module.empty() && !is_runtime_library(frame.module.c_str());
  };
  const auto has_source = [&](const CodeFrame& frame) {
    return is_program(frame) && !frame.file.empty();
  };
  const auto is_own = [&](const CodeFrame& frame) {
    return has_source(frame) && !is_system_source(frame.file);
  };
  auto shown = std::find_if(frames.begin(), frames.end(), is_own);
  if (shown == frames.end()) shown = std::find_if(frames.begin(), frames.end(), has_source);
  if (shown == frames.end()) shown = std::find_if(frames.begin(), frames.end(), is_program);
  return shown == frames.end() ? frames.front() : *shown;
}

}  // namespace shmrec::recording
