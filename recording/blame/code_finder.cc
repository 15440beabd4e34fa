#include "recording/blame/code_finder.h"

#include "recording/blame/locate.h"
#include "recording/log/syscall_names.h"
#include "recording/run/text.h"

namespace shmrec::recording {

std::string function_text(const CodeSite& site, uint16_t syscall) {
  const std::string place = !site.function.empty() ? site.function : base_name(site.module);
  const std::string call = syscall != 0 ? syscall_name(syscall - 1u) + "(2)" : site.called;
  if (call.empty()) return place;
  return place.empty() ? call : call + " from " + place;
}

CodeSite CodeFinder::find(const Recording& recording, uint64_t event, uint64_t pc,
                          const std::vector<uint64_t>& callers) {
  constexpr size_t kMaxSpaces = 256;
  if (spaces_.size() > kMaxSpaces) spaces_.clear();
  CodeSite site;
  site.frames =
      frames_of(pc, callers, [&](uint64_t address) { return code_at(recording, event, address); });
  const CodeFrame& shown = shown_frame(site.frames);
  site.function = shown.function;
  site.file = shown.file;
  site.line = shown.line;
  site.chain = shown.chain;
  site.module = shown.module;
  site.in_module = shown.in_module;
  if (&shown == &site.frames.front()) return site;
  const CodeFrame& called = *(&shown - 1);
  site.called = called.function.empty() ? called.in_module : called.function;
  return site;
}

// None if the journal does not tell what was mapped.
std::optional<CodeAddress> CodeFinder::code_at(const Recording& recording, uint64_t event,
                                               uint64_t pc) {
  const Mapping* mapping = mapping_at(recording, event, pc);
  if (mapping == nullptr) return generated_code(recording);
  const uint64_t offset = mapping->offset + (pc - mapping->begin);
  if (mapping->segment != 0) {
    const auto* segment = timeline_.reader().segment(mapping->segment);
    return CodeAddress{"", nullptr, 0,
                       "code in " + segment_label(mapping->segment, segment) + "+" + hex(offset)};
  }
  CodeAddress code{mapping->path, symbols_.module(mapping->path), 0, ""};
  const auto address = code.file ? code.file->address_of_offset(offset) : std::nullopt;
  if (!address) code.file = nullptr;
  code.address = address.value_or(0);
  code.place = base_name(code.module) + (address ? "+" + hex(*address) : "@" + hex(offset));
  return code;
}

// Code in memory that is no file's, nor shared: a compiler in the process made it.
std::optional<CodeAddress> CodeFinder::generated_code(const Recording& recording) {
  for (const auto& [begin, mapping] : space(recording, UINT64_MAX).mappings())
    if (mapping.segment == 0) return CodeAddress{"", nullptr, 0, "generated code"};
  return std::nullopt;
}

// What was mapped at pc at the event; journal and event numbers of other threads may be a little
// apart, so the final state is asked when the state at the event does not know. Executable memory
// is a module's or, seldom, a segment's.
const Mapping* CodeFinder::mapping_at(const Recording& recording, uint64_t event, uint64_t pc) {
  const Mapping* in_segment = nullptr;
  for (const uint64_t time : {event, UINT64_MAX}) {
    const Mapping* mapping = space(recording, time).find(pc);
    if (mapping != nullptr && mapping->segment == 0) return mapping;
    if (mapping != nullptr && in_segment == nullptr) in_segment = mapping;
  }
  return in_segment;
}

const AddressSpace& CodeFinder::space(const Recording& recording, uint64_t time) {
  const auto key = std::make_pair(recording.process, time);
  const auto at = spaces_.find(key);
  if (at != spaces_.end()) return at->second;
  return spaces_.emplace(key, timeline_.address_space(recording, time)).first->second;
}

}  // namespace shmrec::recording
