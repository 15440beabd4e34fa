// Instructions on the stack, and transfers of control.
#include "agent/access/emulate.h"
#include "agent/arch/x86_64/exceptions.h"

namespace shmrec::agent {
namespace {

// ---- Stack and control --------------------------------------------------------------------------

// All of it or nothing, also across the end of what may be written.
bool write_whole(Thread* thread, const Site& site, uint64_t to, const void* from, uint32_t bytes,
                 Fault* fault) {
  return traced_writable(to, bytes, fault) &&
         traced_write(thread, origin_of(thread, site), to, from, bytes, fault);
}

bool push_value(Thread* thread, const Site& site, uint64_t value, uint32_t bytes, Fault* fault) {
  const uint64_t to = thread->regs.rsp - bytes;
  if (!write_whole(thread, site, to, &value, bytes, fault)) return false;
  thread->regs.rsp = to;
  return true;
}

bool pop_value(Thread* thread, const Site& site, uint64_t* value, uint32_t bytes, Fault* fault) {
  *value = 0;
  if (!traced_read(thread, origin_of(thread, site), value, thread->regs.rsp, bytes, fault))
    return false;
  thread->regs.rsp += bytes;
  return true;
}

uint64_t segment_register(uint8_t which) {
  uint16_t selector;
  if (which == 1)
    asm volatile("mov %%fs, %0" : "=r"(selector));
  else
    asm volatile("mov %%gs, %0" : "=r"(selector));
  return selector;
}

bool operand_value(Thread* thread, const Site& site, uint64_t* value, Fault* fault) {
  *value = static_cast<uint64_t>(site.immediate);
  if (site.value_register != kNoRegister) *value = reg(thread->regs, site.value_register);
  if (site.value_segment) *value = segment_register(site.value_segment);
  if (!site.value_is_memory) return true;
  *value = 0;
  return traced_read(thread, origin_of(thread, site), value, thread->ea, site.bytes, fault);
}

}  // namespace

int emulate_push(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const bool ok = operand_value(thread, site, &value, &fault) &&
                  push_value(thread, site, value, site.value_bytes, &fault);
  return ok ? kTail : raise(thread, site, fault);
}

int emulate_pop(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const Regs before = thread->regs;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  if (!site.value_is_memory) {
    memcpy(&reg(thread->regs, site.value_register), &value, site.value_bytes);
    return kTail;
  }
  const uint64_t address = effective_address(site, thread->regs);  // with the new stack pointer
  if (write_whole(thread, site, address, &value, site.value_bytes, &fault)) return kTail;
  thread->regs = before;
  return raise(thread, site, fault);
}

namespace {

// Where a near transfer goes. Of 16 bits on AMD's processors with a 66 prefix.
uint64_t near_target(const Site& site, uint64_t target) {
  const bool relative = site.value_register == kNoRegister && !site.value_is_memory;
  if (relative) target += site.ip + site.length;
  return site.value_bytes == 2 ? static_cast<uint16_t>(target) : target;
}

}  // namespace

int emulate_call(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  const uint64_t next = site.ip + site.length;
  if (!operand_value(thread, site, &target, &fault) ||
      !push_value(thread, site, next, site.value_bytes, &fault))
    return raise(thread, site, fault);
  thread->exit_ip = near_target(site, target);
  return kTail;
}

int emulate_jump(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  if (!operand_value(thread, site, &target, &fault)) return raise(thread, site, fault);
  thread->exit_ip = near_target(site, target);
  return kTail;
}

int emulate_return(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t target;
  if (!pop_value(thread, site, &target, site.value_bytes, &fault))
    return raise(thread, site, fault);
  thread->exit_ip = target;
  thread->regs.rsp += static_cast<uint64_t>(site.immediate);
  return kTail;
}

// A faulting ENTER leaves the registers alone; what it has pushed so far is in memory.
int emulate_enter(Thread* thread, const Site& site) {
  Fault fault;
  Regs& regs = thread->regs;
  const Regs before = regs;
  const uint32_t bytes = site.value_bytes;
  uint64_t outer = regs.rbp;
  bool ok = push_value(thread, site, regs.rbp, bytes, &fault);
  const uint64_t frame = regs.rsp;
  for (int level = 1; ok && level < site.levels; ++level) {
    uint64_t pointer = 0;
    outer -= bytes;
    ok = traced_read(thread, origin_of(thread, site), &pointer, outer, bytes, &fault) &&
         push_value(thread, site, pointer, bytes, &fault);
  }
  if (ok && site.levels) ok = push_value(thread, site, frame, bytes, &fault);
  regs.rsp -= static_cast<uint64_t>(site.immediate);
  if (!ok || !traced_writable(regs.rsp, 1, &fault)) {
    regs = before;
    return raise(thread, site, fault);
  }
  memcpy(&regs.rbp, &frame, bytes);
  return kTail;
}

int emulate_leave(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  const uint64_t before = thread->regs.rsp;
  thread->regs.rsp = thread->regs.rbp;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) {
    thread->regs.rsp = before;
    return raise(thread, site, fault);
  }
  memcpy(&thread->regs.rbp, &value, site.value_bytes);
  return kTail;
}

// ---- Far transfers ------------------------------------------------------------------------------

namespace {

constexpr char kOtherSegment[] =
    "a far transfer to another code or stack segment went through traced memory: not performed";

uint16_t code_segment() {
  uint16_t selector;
  asm volatile("mov %%cs, %0" : "=r"(selector));
  return selector;
}
uint16_t stack_segment() {
  uint16_t selector;
  asm volatile("mov %%ss, %0" : "=r"(selector));
  return selector;
}

struct FarPointer {
  uint64_t offset = 0;
  uint16_t selector = 0;
};
bool far_operand(Thread* thread, const Site& site, FarPointer* to, Fault* fault) {
  uint8_t bytes[10] = {};
  if (!traced_read(thread, origin_of(thread, site), bytes, thread->ea, site.bytes, fault))
    return false;
  memcpy(&to->offset, bytes, site.bytes - sizeof to->selector);
  memcpy(&to->selector, bytes + site.bytes - sizeof to->selector, sizeof to->selector);
  return true;
}

}  // namespace

int emulate_far_jump(Thread* thread, const Site& site) {
  Fault fault;
  FarPointer to;
  if (!far_operand(thread, site, &to, &fault)) return raise(thread, site, fault);
  if (to.selector != code_segment()) return give_up(thread, site, kOtherSegment);
  thread->exit_ip = to.offset;
  return kTail;
}

int emulate_far_call(Thread* thread, const Site& site) {
  Fault fault;
  FarPointer to;
  const uint64_t before = thread->regs.rsp;
  if (!far_operand(thread, site, &to, &fault)) return raise(thread, site, fault);
  if (to.selector != code_segment()) return give_up(thread, site, kOtherSegment);
  if (!traced_writable(before - site.value_bytes, site.value_bytes, &fault) ||
      !traced_writable(before - 2 * site.value_bytes, site.value_bytes, &fault) ||
      !push_value(thread, site, to.selector, site.value_bytes, &fault) ||
      !push_value(thread, site, site.ip + site.length, site.value_bytes, &fault)) {
    thread->regs.rsp = before;
    return raise(thread, site, fault);
  }
  thread->exit_ip = to.offset;
  return kTail;
}

int emulate_far_return(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t ip, segment;
  const uint64_t before = thread->regs.rsp;
  const bool ok = pop_value(thread, site, &ip, site.value_bytes, &fault) &&
                  pop_value(thread, site, &segment, site.value_bytes, &fault);
  const bool same = ok && static_cast<uint16_t>(segment) == code_segment();
  if (!same) thread->regs.rsp = before;
  if (!ok) return raise(thread, site, fault);
  if (!same) return give_up(thread, site, kOtherSegment);
  thread->exit_ip = ip;
  thread->regs.rsp += static_cast<uint64_t>(site.immediate);
  return kTail;
}

int emulate_interrupt_return(Thread* thread, const Site& site) {
  enum { kIp, kCode, kFlags, kStack, kStackSegment, kWords };
  Fault fault;
  uint64_t words[kWords];
  const Regs before = thread->regs;
  for (uint64_t& word : words) {
    if (pop_value(thread, site, &word, site.value_bytes, &fault)) continue;
    thread->regs = before;
    return raise(thread, site, fault);
  }
  thread->regs = before;
  if (static_cast<uint16_t>(words[kCode]) != code_segment() ||
      static_cast<uint16_t>(words[kStackSegment]) != stack_segment())
    return give_up(thread, site, kOtherSegment);
  const uint64_t mask = site.value_bytes == 2 ? kUserFlags & 0xFFFF : kUserFlags;
  thread->regs.eflags = (before.eflags & ~mask) | (words[kFlags] & mask);
  thread->held_flags = 0;
  thread->regs.rsp = words[kStack];
  thread->exit_ip = words[kIp];
  return kTail;
}

// ---- Flags --------------------------------------------------------------------------------------

int emulate_push_flags(Thread* thread, const Site& site) {
  Fault fault;
  if (!push_value(thread, site, (thread->regs.eflags | thread->held_flags) & ~kResumeFlag,
                  site.value_bytes, &fault))
    return raise(thread, site, fault);
  return kTail;
}

int emulate_pop_flags(Thread* thread, const Site& site) {
  Fault fault;
  uint64_t value;
  if (!pop_value(thread, site, &value, site.value_bytes, &fault)) return raise(thread, site, fault);
  const uint64_t mask = site.value_bytes == 2 ? kUserFlags & 0xFFFF : kUserFlags;
  thread->regs.eflags = (thread->regs.eflags & ~mask) | (value & mask);
  thread->held_flags = 0;
  return kTail;
}

}  // namespace shmrec::agent
