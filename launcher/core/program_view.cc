#include "launcher/core/program_view.h"

#include <cstring>
#include <iterator>
#include <optional>

#include "agent/agent_abi.h"
#include "agent/signals/unwind.h"

namespace shmrec::launcher {
namespace {

using agent::UnwindInfo;
using agent::UnwindIp;
using agent::UnwindRest;
using agent::UnwindRow;

constexpr uint64_t kSyscallBytes = 2;
constexpr uint64_t kFpstateBehindRegs = 184;  // in the kernel's struct ucontext

template <typename T>
bool read_object(const ProcessMemory& memory, uint64_t at, T& object) {
  unsigned char bytes[sizeof(T)];
  if (memory.read(at, bytes) != sizeof bytes) return false;
  std::memcpy(&object, bytes, sizeof object);
  return true;
}

// Walks from where the thread was found to the program.
class Walk {
 public:
  Walk(const ProcessMemory& memory, user_regs_struct& registers)
      : memory_(memory), registers_(registers) {}

  ProgramView run() {
    if (!find_agent()) return view_;
    const bool in_handler = leave_handler();
    const bool in_agent = leave_agent();
    const bool in_stub = leave_stub();
    if (view_.found == ProgramView::Found::kUnchanged && (in_handler || in_agent || in_stub))
      view_.found = ProgramView::Found::kExact;
    return view_;
  }

 private:
  uint64_t word(uint64_t at) const { return memory_.word(at).value_or(0); }
  uint64_t half(uint64_t at) const { return word(at) & 0xFFFF; }
  uint64_t byte(uint64_t at) const { return word(at) & 0xFF; }

  bool find_agent() {
    const uint64_t by_stack = registers_.rsp & ~(agent::kThreadBlockBytes - 1);
    for (const uint64_t thread : {uint64_t{registers_.gs_base}, by_stack}) {
      if (thread == 0 || word(thread) != thread) continue;
      if (!read_object(memory_, word(thread + agent::kUnwindInfoAt), info_)) continue;
      if (std::memcmp(info_.magic, "shmrecU1", sizeof info_.magic) != 0) continue;
      if (info_.row_count > std::size(info_.rows)) continue;
      thread_ = thread;
      return true;
    }
    return false;
  }

  void take_registers(uint64_t at) {
    for (const auto field : kContextOrder) {
      registers_.*field = word(at);
      at += sizeof(uint64_t);
    }
  }

  // From a handler of the agent to what it has interrupted.
  bool leave_handler() {
    const uint64_t outer = word(thread_ + info_.outer), stack = thread_ + info_.signal_stack;
    const bool on_it =
        registers_.rsp >= stack && registers_.rsp < thread_ + info_.thread_block_bytes;
    if (outer == 0 || !on_it) return false;
    take_registers(outer + info_.context_regs);
    view_.fpstate = word(outer + info_.context_regs + kFpstateBehindRegs);
    registers_.orig_rax = ~0ull;
    return true;
  }

  uint64_t stub_that_called() const {
    const uint64_t called = word(word(thread_ + info_.stack_top) - 2 * sizeof(uint64_t));
    return in_stub(called) ? called : word(thread_ + info_.fast_key);
  }

  uint64_t program_ip(UnwindIp from) const {
    switch (from) {
      case UnwindIp::kExit:
        return word(thread_ + info_.exit_ip);
      case UnwindIp::kCall:
        return word(thread_ + info_.call_pc) + kSyscallBytes;
      case UnwindIp::kStub:
        return stub_that_called();
      case UnwindIp::kRegs:
        break;
    }
    return word(thread_ + info_.regs + 16 * sizeof(uint64_t));
  }

  bool leave_agent() {
    for (uint64_t i = 0; i < info_.row_count; ++i) {
      const UnwindRow& row = info_.rows[i];
      if (registers_.rip < row.begin || registers_.rip >= row.end) continue;
      const uint64_t ip = program_ip(row.ip);
      const uint64_t stack = word(thread_ + info_.regs + 15 * sizeof(uint64_t));
      if (row.rest == UnwindRest::kRegs) {
        take_registers(thread_ + info_.regs);
        view_.found = ProgramView::Found::kPartly;
      }
      if (row.rest != UnwindRest::kLive) registers_.rsp = stack;
      registers_.rip = ip;
      return true;
    }
    return false;
  }

  struct InStub {
    uint64_t ip;  // of the program
    bool agents_stack;
  };

  std::optional<InStub> in_stub(uint64_t ip) const {
    const uint64_t arenas = word(info_.arena_count) & 0xFFFFFFFF;
    for (uint64_t i = 0; i < arenas && i < 4096; ++i) {
      const uint64_t arena = info_.arenas + i * info_.arena_size, offset = ip - word(arena);
      if (offset >= info_.arena_bytes || info_.granule == 0) continue;
      const uint64_t number = half(arena + info_.arena_owners + 2 * (offset / info_.granule));
      if (number == 0) return {};
      return in_patch(info_.patches + number * info_.patch_size, ip);
    }
    return {};
  }

  InStub in_patch(uint64_t patch, uint64_t ip) const {
    const uint64_t at = ip - word(patch + info_.patch_stub);
    const uint64_t count = byte(patch + info_.patch_count);
    uint64_t found = word(patch + info_.patch_ip);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t part = patch + info_.patch_parts + i * info_.part_size;
      const uint64_t length = byte(patch + info_.patch_lengths + i);
      const uint64_t next = i + 1 < count ? half(part + info_.part_size + info_.part_begin)
                                          : half(patch + info_.patch_back);
      const auto within = [&](uint64_t begin, uint64_t end) { return at >= begin && at < end; };
      const bool hit = within(half(part + info_.part_hit), half(part + info_.part_end));
      if (!hit && !within(half(part + info_.part_begin), next)) {
        found += length;
        continue;
      }
      const uint64_t done = half(part + info_.part_done);
      if (hit && done != 0 && at >= done) found += length;
      return {found,
              hit && within(half(part + info_.part_stacked), half(part + info_.part_unstacked))};
    }
    return {found, false};
  }

  bool leave_stub() {
    const std::optional<InStub> stub = in_stub(registers_.rip);
    if (!stub) return false;
    registers_.rip = stub->ip;
    if (stub->agents_stack) registers_.rsp = word(thread_ + info_.regs + 15 * sizeof(uint64_t));
    return true;
  }

  const ProcessMemory& memory_;
  user_regs_struct& registers_;
  uint64_t thread_ = 0;
  UnwindInfo info_{};
  ProgramView view_;
};

}  // namespace

ProgramView find_program(const ProcessMemory& memory, user_regs_struct& registers) {
  return Walk(memory, registers).run();
}

}  // namespace shmrec::launcher
