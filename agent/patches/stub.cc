#include "agent/patches/stub.h"

#include "agent/access/fast.h"
#include "agent/access/routines.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/memory/outside.h"
#include "agent/memory/window.h"
#include "agent/patches/moved.h"
#include "agent/replay/replay.h"
#include "agent/sites/table.h"

namespace shmrec::agent {
namespace {

constexpr uint32_t kSavedRcx = offsetof(Thread, saved_rcx);

void save_rcx(StubCode& out) { out.bytes(0x65, 0x48, 0x89, 0x0C, 0x25), out.word(kSavedRcx); }
void load_rcx(StubCode& out) { out.bytes(0x65, 0x48, 0x8B, 0x0C, 0x25), out.word(kSavedRcx); }

// lea ADDRESS, %rcx
void load_address(StubCode& out, const Site& site) {
  const int base = site.base == kNoRegister ? 5 : hardware_of(site.base);
  const int index = site.index == kNoRegister ? 4 : hardware_of(site.index);
  const int scale = site.scale == 8 ? 3 : site.scale == 4 ? 2 : site.scale == 2 ? 1 : 0;
  out.bytes(0x48 | (index >> 3) << 1 | base >> 3, 0x8D, site.base == kNoRegister ? 0x0C : 0x8C,
            scale << 6 | (index & 7) << 3 | (base & 7));
  out.word(static_cast<uint64_t>(site.displacement));
}

// The part of the address above the window's shift minus the window's number: zero in the window.
void look(StubCode& out) {
  out.bytes(0xC4, 0xE3, 0xFB, 0xF0, 0xC9, kWindowShift);  // rorx $SHIFT, %rcx, %rcx
  out.bytes(0x0F, 0xB7, 0xC9);                            // movzx %cx, %ecx
  out.bytes(0x8D, 0x89), out.word(0u - window_number());  // lea -NUMBER(%rcx), %ecx
}

void copy(StubCode& out, const Covered& instruction, uint64_t ip) {
  if (!instruction.target) return out.moved(instruction, ip + instruction.length);
  out.bytes(0x0F, 0x80 | instruction.condition);
  out.distance_to(instruction.target);
}

// mov %gs:PLACE, %REGISTER, or the other way
void move_register(StubCode& out, int hardware, uint8_t opcode, uint32_t place) {
  out.bytes(0x65, 0x48 | hardware >> 3 << 2, opcode, (hardware & 7) << 3 | 4, 0x25);
  out.word(place);
}
constexpr uint8_t kFrom = 0x8B, kTo = 0x89;

// A jump whose distance is known later.
struct Jump {
  uint8_t* distance = nullptr;  // null: there is none
  uint8_t bytes = 0;            // of the distance

  // False: it does not reach.
  bool lead_to(const uint8_t* target) const {
    const int64_t value = target - (distance + bytes);
    memcpy(distance, &value, bytes);
    return bytes == 4 || value == static_cast<int8_t>(value);
  }
};

template <typename... Opcode>
Jump jump_short(StubCode& out, Opcode... opcode) {
  out.bytes(opcode..., 0);
  return {out.at - 1, 1};
}

template <typename... Opcode>
Jump jump_near(StubCode& out, Opcode... opcode) {
  out.bytes(opcode...), out.word(0);
  return {out.at - 4, 4};
}

constexpr uint8_t kJrcxz = 0xE3, kJump = 0xE9, kJumpIfEqual = 0x74;

// rcx: how many pages near the address in it are traced (memory/outside.h). Uses rax.
void look_outside(StubCode& out) {
  out.bytes(0x48, 0xA1), out.word(reinterpret_cast<uint64_t>(&outside.shift), 8);
  out.bytes(0xC4, 0xE2, 0xFB, 0xF7, 0xC9);  // shrx %rax, %rcx, %rcx
  out.bytes(0x0F, 0xB7, 0xC9);              // movzx %cx, %ecx
  out.bytes(0x48, 0xB8), out.word(reinterpret_cast<uint64_t>(outside.pages), 8);
  out.bytes(0x8B, 0x0C, 0x88);  // mov (%rax,%rcx,4), %ecx
}

void spill(StubCode& out, PartLayout* part) {
  move_register(out, kRax, kTo, offsetof(Thread, saved_scratch));
  part->spilled = out.offset();
}

void unspill(StubCode& out, PartLayout* part) {
  move_register(out, kRax, kFrom, offsetof(Thread, saved_scratch));
  part->unspilled = out.offset();
}

// The jump to the hit.
Jump ask(StubCode& out, const Site& site, PartLayout* part) {
  save_rcx(out);
  part->saved = out.offset();
  load_address(out, site);
  look(out);
  const Jump in_window = jump_short(out, kJrcxz);
  load_rcx(out);
  if (!site.outside) return in_window;
  load_address(out, site);
  spill(out, part);
  look_outside(out);
  unspill(out, part);
  const Jump nowhere = jump_short(out, kJrcxz);
  in_window.lead_to(out.at);
  const Jump hit = jump_near(out, kJump);
  nowhere.lead_to(out.at);
  load_rcx(out);
  return hit;
}

// Zero flag: is the pointer in the window? 14 bytes.
void look_at_pointer(StubCode& out, int hardware) {
  out.bytes(0x49, 0x89, 0xC3 | hardware << 3);             // mov %POINTER, %r11
  out.bytes(0x49, 0xC1, 0xEB, kWindowShift);               // shr $SHIFT, %r11
  out.bytes(0x41, 0x81, 0xFB), out.word(window_number());  // cmp $NUMBER, %r11d
}

// As `ask`, for a routine: nothing is saved.
Jump ask_routine_in_window(StubCode& out, const RoutineCall& call) {
  constexpr uint8_t kLookBytes = 14, kBranchBytes = 2, kCompareBytes = 7;
  look_at_pointer(out, kRdi);
  if (call.pointers == 2) {
    out.bytes(kJumpIfEqual, kLookBytes + kBranchBytes);  // to the cmp below
    look_at_pointer(out, kRsi);
  }
  out.bytes(0x75, kCompareBytes + kBranchBytes);      // jne to the instruction itself
  out.bytes(0x48, 0x81, 0xFA), out.word(call.least);  // cmp $LEAST, %rdx
  return jump_short(out, 0x73);                       // jae hit
}

// r11 becomes 0 unless memory near one of the pointers is traced.
void look_outside_at_pointers(StubCode& out, const RoutineCall& call, PartLayout* part) {
  save_rcx(out);
  part->saved = out.offset();
  spill(out, part);
  out.bytes(0x48, 0x89, 0xF9);  // mov %rdi, %rcx
  look_outside(out);
  out.bytes(0x41, 0x89, 0xCB);  // mov %ecx, %r11d
  if (call.pointers == 2) {
    out.bytes(0x48, 0x89, 0xF1);  // mov %rsi, %rcx
    look_outside(out);
    out.bytes(0x41, 0x09, 0xCB);  // or %ecx, %r11d
  }
  unspill(out, part);
  load_rcx(out);
}

Jump ask_routine_outside(StubCode& out, const RoutineCall& call, PartLayout* part) {
  Jump in_window[2];
  out.bytes(0x48, 0x81, 0xFA), out.word(call.least);  // cmp $LEAST, %rdx
  const Jump few = jump_near(out, 0x0F, 0x82);        // jb to the instruction itself
  for (uint32_t i = 0; i < call.pointers; ++i) {
    look_at_pointer(out, i ? kRsi : kRdi);
    in_window[i] = jump_near(out, 0x0F, 0x84);  // je
  }
  look_outside_at_pointers(out, call, part);
  out.bytes(0x45, 0x85, 0xDB);  // test %r11d, %r11d
  const Jump nowhere = jump_short(out, kJumpIfEqual);
  for (uint32_t i = 0; i < call.pointers; ++i) in_window[i].lead_to(out.at);
  const Jump hit = jump_near(out, kJump);
  few.lead_to(out.at), nowhere.lead_to(out.at);
  return hit;
}

Jump ask_routine(StubCode& out, const Site& site, PartLayout* part) {
  const RoutineCall& call = call_of(site.routine);
  return site.outside ? ask_routine_outside(out, call, part) : ask_routine_in_window(out, call);
}

// The instruction, on Thread::value.
void run_on_value(StubCode& out, const Site& site) {
  memcpy(out.at, reinterpret_cast<const void*>(site.valued), site.valued_length);
  out.at += site.valued_length;
}

// The same on the alias.
void run_on_alias(StubCode& out, const Site& site) {
  const int scratch = hardware_of(site.scratch);
  move_register(out, scratch, kTo, offsetof(Thread, saved_scratch));
  move_register(out, scratch, kFrom, offsetof(Thread, fast_alias));
  memcpy(out.at, reinterpret_cast<const void*>(site.core), site.core_length);
  out.at += site.core_length;
  move_register(out, scratch, kFrom, offsetof(Thread, saved_scratch));
}

void call_on_stack(StubCode& out, const Site& site, uint64_t entry) {
  move_register(out, kRsp, kFrom, offsetof(Thread, stack_top));
  out.bytes(0x68), out.word(site_number(site));        // push $NUMBER
  out.bytes(0x65, 0xFF, 0x14, 0x25), out.word(entry);  // call *%gs:...
}

void jump_in(StubCode& out, uint16_t to) {
  out.bytes(0xE9), out.word(0u - (out.offset() + 4u - to));
}

// `next`: where the part behind this one begins.
void fast_hit(StubCode& out, const Site& site, uint16_t next, PartLayout* part) {
  const bool store = site.form == Form::kStore;
  const uint32_t size = static_cast<uint32_t>(__builtin_ctz(site.bytes));
  part->hit = out.offset();
  load_rcx(out);
  if (store) run_on_value(out, site);
  load_address(out, site);
  move_register(out, kRsp, kTo, offsetof(Thread, regs.rsp));
  part->stacked = out.offset();
  call_on_stack(out, site,
                offsetof(Thread, quick) + (store * kQuickSizes + size) * sizeof(uint64_t));
  (store ? part->done : part->returned) = out.offset();
  move_register(out, kRsp, kFrom, offsetof(Thread, regs.rsp));
  part->unstacked = out.offset();
  load_rcx(out);
  part->enter = part->finish = out.offset();
  if (!store) {
    run_on_value(out, site);
    part->done = out.offset();
  }
  jump_in(out, next);
  part->end = out.offset();
}

void fast_hit_of_two(StubCode& out, const Site& site, uint16_t next, PartLayout* part) {
  part->hit = out.offset();
  load_rcx(out);
  load_address(out, site);
  move_register(out, kRsp, kTo, offsetof(Thread, regs.rsp));
  part->stacked = out.offset();
  const bool atomic = site.form == Form::kAtomic;
  const uint32_t size = static_cast<uint32_t>(__builtin_ctz(site.bytes));
  call_on_stack(out, site,
                offsetof(Thread, quick_both) + (atomic * kQuickSizes + size) * sizeof(uint64_t));
  part->held = out.offset();
  move_register(out, kRsp, kFrom, offsetof(Thread, regs.rsp));
  load_rcx(out);
  if (atomic)
    run_on_alias(out, site);
  else
    run_on_value(out, site);
  save_rcx(out);
  call_on_stack(out, site, offsetof(Thread, fast_end));
  part->done = part->unheld = out.offset();
  move_register(out, kRsp, kFrom, offsetof(Thread, regs.rsp));
  part->unstacked = out.offset();
  load_rcx(out);
  part->enter = out.offset();
  jump_in(out, next);
  part->end = out.offset();
}

void hit(StubCode& out, const Site& site, PartLayout* part) {
  part->hit = out.offset();
  if (site.form != Form::kRoutine) load_rcx(out);
  part->enter = out.offset();
  out.bytes(0x65, 0xC7, 0x04, 0x25);  // movl $NUMBER, %gs:jumped_site
  out.word(offsetof(Thread, jumped_site)), out.word(site_number(site));
  out.bytes(0x65, 0xFF, 0x24, 0x25), out.word(offsetof(Thread, jump_entry));  // jmp *%gs:...
  part->end = out.offset();
}

}  // namespace

bool stubs_possible() { return has_bmi2(); }

bool stub_possible(const Site& site) {
  const bool registers = site.base != kNoRegister || site.index != kNoRegister;
  const bool plain = site.segment == Segment::kNone && !site.address32 && !site.rip_relative &&
                     !site.line && site.bit_register == kNoRegister && !site.x87;
  // What a conversion that faults leaves in mxcsr is in no record: the processor itself says it.
  const bool followed = !replaying() || !site.converts;
  return site.form <= Form::kMaskedStore && registers && plain && followed;
}

bool stub_emit(const CoveredCode& covered, uint64_t at, uint8_t* code, StubLayout* layout) {
  StubCode out = {code, code, at};
  Jump to_hits[kMaxCovered];
  uint64_t ip = covered.ip;
  *layout = {};
  for (uint32_t i = 0; i < covered.count; ++i) {
    const Covered& instruction = covered.instructions[i];
    PartLayout& part = layout->parts[i];
    part.begin = part.saved = out.offset();
    const bool routine = instruction.site && instruction.site->form == Form::kRoutine;
    if (routine)
      to_hits[i] = ask_routine(out, *instruction.site, &part);
    else if (instruction.site)
      to_hits[i] = ask(out, *instruction.site, &part);
    part.copy = out.offset();
    if (routine && !instruction.site->outside) part.saved = part.copy;
    copy(out, instruction, ip);
    ip += instruction.length;
  }
  layout->back = out.offset();
  out.jump_to(covered.back ? covered.back : ip);
  for (uint32_t i = 0; i < covered.count; ++i) {
    PartLayout& part = layout->parts[i];
    part.hit = part.enter = part.end = out.offset();
    if (!to_hits[i].distance) continue;
    // A short one: no three instructions in five bytes are longer.
    if (!to_hits[i].lead_to(out.at)) return false;
    const Site& site = *covered.instructions[i].site;
    const uint16_t next = i + 1 == covered.count ? layout->back : layout->parts[i + 1].begin;
    if (replaying() || !fast_possible(site))
      hit(out, site, &part);
    else if (site.form == Form::kLoad || site.form == Form::kStore)
      fast_hit(out, site, next, &part);
    else
      fast_hit_of_two(out, site, next, &part);
  }
  layout->bytes = out.offset();
  return out.reaches;
}

}  // namespace shmrec::agent
