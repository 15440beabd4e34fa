#include "launcher/core/core_memory.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace shmrec::launcher {
namespace {

constexpr uint64_t kPage = ProcessMemory::kPageBytes;
constexpr uint64_t kRedZone = 128;
constexpr uint64_t kStackBytes = 256 << 10;       // of each thread
constexpr uint64_t kLocalBytes = 2 * kPage;       // below its thread pointer, and behind
constexpr uint64_t kPointersFrom = 64 << 10;      // of its stack that is searched for pointers
constexpr uint64_t kPointedBytes = 8 << 20;       // of all pages that are pointed to
constexpr uint64_t kSmallSegmentBytes = 1 << 20;  // of one that is taken whole
constexpr uint64_t kAllSegmentBytes = 2 << 20;    // of all those
constexpr std::chrono::seconds kLookLimit(3);     // for which pages are in use
constexpr size_t kMostLinks = 4096;               // of the dynamic linker's list

uint64_t down(uint64_t address) { return address & ~(kPage - 1); }
uint64_t up(uint64_t address) { return down(address + kPage - 1); }

// Ranges that do not overlap, up to a sum.
class Taken {
 public:
  explicit Taken(uint64_t limit) : left_(limit) {}

  // Returns how many bytes are new.
  uint64_t add(Range range) {
    uint64_t added = 0;
    for (uint64_t at = range.begin; at < range.end;) {
      const auto [begin, end] = first_free(at, range.end);
      if (begin >= end) break;
      const uint64_t take = std::min(end - begin, left_);
      left_out_ += end - begin - take;
      if (take) insert(begin, begin + take);
      left_ -= take;
      added += take;
      at = end;
    }
    return added;
  }

  std::vector<Range> ranges() const {
    std::vector<Range> all;
    for (const auto& [begin, end] : ranges_) all.push_back({begin, end});
    return all;
  }
  uint64_t left_out() const { return left_out_; }

 private:
  std::pair<uint64_t, uint64_t> first_free(uint64_t at, uint64_t end) const {
    auto next = ranges_.upper_bound(at);
    if (next != ranges_.begin() && std::prev(next)->second > at) at = std::prev(next)->second;
    return {at, next == ranges_.end() ? end : std::min(end, next->first)};
  }
  void insert(uint64_t begin, uint64_t end) {
    auto next = ranges_.lower_bound(begin);
    if (next != ranges_.end() && next->first == end) {
      end = next->second;
      next = ranges_.erase(next);
    }
    if (next != ranges_.begin() && std::prev(next)->second == begin)
      std::prev(next)->second = end;
    else
      ranges_.emplace(begin, end);
  }

  std::map<uint64_t, uint64_t> ranges_;  // begin: end
  uint64_t left_, left_out_ = 0;
};

class Chooser {
 public:
  Chooser(const ProcessMemory& memory, Range hidden, const CoreChoice& choice)
      : memory_(memory), hidden_(hidden), taken_(choice.limit_bytes) {}

  void threads(const std::vector<user_regs_struct>& threads) {
    for (const user_regs_struct& registers : threads) stacks_of(registers);
    for (const user_regs_struct& registers : threads) {
      const uint64_t base = registers.fs_base;
      if (base) add(base - kLocalBytes, base + kLocalBytes);
    }
  }

  // What makes a debugger find the files that are mapped, and what they changed of their data. What
  // was zero at first (.bss) is anonymous memory behind it; where a core lacks that, debuggers take
  // it for zero still.
  void modules() {
    uint64_t data_end = 0;
    for (const Mapping& mapping : memory_.mappings()) {
      const bool zeros = !mapping.of_file() && mapping.begin == data_end;
      if (mapping.shared || !(mapping.of_file() || zeros)) continue;
      if (mapping.of_file() && mapping.offset == 0) add(mapping.begin, mapping.begin + kPage);
      for (const Range& own : memory_.own_pages(mapping, last_)) add(own.begin, own.end);
      data_end = mapping.of_file() && mapping.writable ? mapping.end : 0;
    }
    for (const Mapping& mapping : memory_.mappings())
      if (mapping.name == "[vdso]") add(mapping.begin, mapping.end);
  }

  // From the program's headers to the list of what is loaded.
  void links(const ProgramHeaders& headers) {
    const uint64_t debug = debug_structure(headers);
    if (!debug) return;
    add(debug, debug + sizeof(r_debug));
    uint64_t link = word(debug + offsetof(r_debug, r_map));
    for (size_t i = 0; link && i < kMostLinks; ++i) {
      add(link, link + kPage);
      const uint64_t name = word(link + offsetof(link_map, l_name));
      add(name, name + 1);
      link = word(link + offsetof(link_map, l_next));
    }
  }

  void small_segments() {
    uint64_t left = kAllSegmentBytes;
    for (const Mapping& mapping : memory_.mappings()) {
      const uint64_t bytes = mapping.end - mapping.begin;
      if (!mapping.shared || bytes > kSmallSegmentBytes || bytes > left) continue;
      left -= add(mapping.begin, mapping.end);
    }
  }

  void pointed_to(const std::vector<user_regs_struct>& threads) {
    uint64_t left = kPointedBytes;
    const auto follow = [&](uint64_t pointer) {
      const Mapping* mapping = memory_.mapping_at(pointer);
      if (mapping && left >= 2 * kPage && (mapping->shared || !mapping->of_file()))
        left -= add(pointer, std::min(pointer + kPage / 4, mapping->end));
    };
    for (const user_regs_struct& registers : threads) {
      for (const uint64_t value :
           {registers.rax, registers.rbx, registers.rcx, registers.rdx, registers.rsi,
            registers.rdi, registers.rbp, registers.r8, registers.r9, registers.r10, registers.r11,
            registers.r12, registers.r13, registers.r14, registers.r15})
        follow(value);
      for (const uint64_t value : words(registers.rsp, kPointersFrom)) follow(value);
    }
  }

  void all_private() {
    for (const Mapping& mapping : memory_.mappings())
      if (!mapping.shared)
        for (const Range& own : memory_.own_pages(mapping, last_)) add(own.begin, own.end);
  }
  void everything() {
    for (const Mapping& mapping : memory_.mappings()) add(mapping.begin, mapping.end);
  }

  CoreMemory result() const { return {taken_.ranges(), taken_.left_out()}; }

 private:
  uint64_t word(uint64_t at) const { return memory_.word(at).value_or(0); }

  std::vector<uint64_t> words(uint64_t from, uint64_t bytes) const {
    from = (from + 7) & ~uint64_t{7};
    std::vector<uint64_t> all(bytes / sizeof(uint64_t));
    const size_t got = memory_.read(
        from, {reinterpret_cast<unsigned char*>(all.data()), all.size() * sizeof(uint64_t)});
    all.resize(got / sizeof(uint64_t));
    return all;
  }

  // Whole pages of what is mapped there, and not the agent's. Returns the bytes that are new.
  uint64_t add(uint64_t begin, uint64_t end) {
    uint64_t added = 0;
    begin = down(begin);
    end = up(end);
    const auto& mappings = memory_.mappings();
    auto mapping =
        std::lower_bound(mappings.begin(), mappings.end(), begin,
                         [](const Mapping& one, uint64_t address) { return one.end <= address; });
    for (; mapping != mappings.end() && mapping->begin < end; ++mapping) {
      const Range range{std::max(begin, mapping->begin), std::min(end, mapping->end)};
      const bool hidden = range.begin < hidden_.end && range.end > hidden_.begin;
      if (!hidden && mapping->name != "[vvar]" && mapping->name != "[vsyscall]")
        added += taken_.add(range);
    }
    return added;
  }

  void stack_at(uint64_t pointer) {
    const Mapping* mapping = memory_.mapping_at(pointer);
    if (mapping) add(pointer - kRedZone, std::min(mapping->end, pointer + kStackBytes));
  }

  // On an alternate stack, the one that was left is found by the frame's pointers into it.
  void stacks_of(const user_regs_struct& registers) {
    stack_at(registers.rsp);
    const Mapping* here = memory_.mapping_at(registers.rsp);
    uint64_t lowest = UINT64_MAX;
    for (const uint64_t value : words(registers.rsp, kPointersFrom)) {
      const Mapping* mapping = memory_.mapping_at(value);
      if (!mapping || mapping == here) continue;
      if (mapping->name == "[stack]" || mapping->holds(registers.fs_base))
        lowest = std::min(lowest, value);
    }
    if (lowest != UINT64_MAX) stack_at(lowest);
  }

  uint64_t debug_structure(const ProgramHeaders& place) const {
    std::vector<ElfW(Phdr)> headers(std::min<uint64_t>(place.count, 64));
    const size_t got = memory_.read(
        place.address,
        {reinterpret_cast<unsigned char*>(headers.data()), headers.size() * sizeof(ElfW(Phdr))});
    headers.resize(got / sizeof(ElfW(Phdr)));
    uint64_t base = 0, dynamic = 0;
    for (const ElfW(Phdr) & header : headers) {
      if (header.p_type == PT_PHDR) base = place.address - header.p_vaddr;
      if (header.p_type == PT_DYNAMIC) dynamic = header.p_vaddr;
    }
    if (!dynamic) return 0;
    const std::vector<uint64_t> entries = words(base + dynamic, kPage);
    for (size_t i = 0; i + 1 < entries.size() && entries[i] != DT_NULL; i += 2)
      if (entries[i] == DT_DEBUG) return entries[i + 1];
    return 0;
  }

  const ProcessMemory& memory_;
  const Range hidden_;
  Taken taken_;
  const ProcessMemory::Clock::time_point last_ = ProcessMemory::Clock::now() + kLookLimit;
};

}  // namespace

CoreMemory choose_core_memory(const ProcessMemory& memory, Range hidden,
                              const std::vector<user_regs_struct>& threads,
                              const CoreChoice& choice, const ProgramHeaders& headers) {
  Chooser chooser(memory, hidden, choice);
  chooser.threads(threads);
  chooser.modules();
  chooser.links(headers);
  chooser.small_segments();
  chooser.pointed_to(threads);
  if (choice.memory != CoreMemoryChoice::kStacks) chooser.all_private();
  if (choice.memory == CoreMemoryChoice::kAll) chooser.everything();
  return chooser.result();
}

}  // namespace shmrec::launcher
