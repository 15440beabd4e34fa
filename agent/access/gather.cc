#include "agent/access/gather.h"

#include "agent/access/access.h"
#include "agent/arch/x86_64/exceptions.h"
#include "agent/arch/x86_64/processor.h"
#include "agent/arch/x86_64/vector_state.h"
#include "agent/process/event.h"
#include "agent/replay/accesses.h"
#include "agent/replay/replay.h"
#include "agent/stream/turns.h"

namespace shmrec::agent {
namespace {

constexpr uint64_t kVexNeeds = kSseState | kAvxState;
constexpr uint64_t kEvexNeeds = kVexNeeds | kOpmaskState | kUpperHalvesState | kUpperRegistersState;

// Of the instruction's vector length: the larger of data and indices fills it.
uint32_t vector_bytes(const Gather& gather) {
  return gather.elements * uint32_t{max(gather.element_bytes, gather.index_bytes)};
}

// ---- The mask: one bit per element, whatever register it lies in --------------------------------

uint64_t all_elements(const Gather& gather) { return (uint64_t{1} << gather.elements) - 1; }

// VEX: the top bit of each element of a vector.
uint64_t read_mask(const VectorState& state, const Gather& gather) {
  if (gather.opmask) return state.opmask(gather.mask) & all_elements(gather);
  uint8_t vector[kVectorBytes];
  state.read(gather.mask, vector);
  uint64_t mask = 0;
  for (uint32_t i = 0; i < gather.elements; ++i)
    mask |= static_cast<uint64_t>(vector[(i + 1) * gather.element_bytes - 1] >> 7) << i;
  return mask;
}

// What is left to do after a fault at `element`. Some processors have then filled each element of a
// vector mask with its top bit, those that a 4-byte form with 8-byte indices does not use included;
// others have cleared those below and leave the rest as it was.
void leave_mask(VectorState& state, const Gather& gather, const GatherFault& as, uint32_t element) {
  if (gather.opmask)
    return state.set_opmask(gather.mask, state.opmask(gather.mask) >> element << element);
  uint8_t vector[kVectorBytes];
  state.read(gather.mask, vector);
  const uint32_t bytes = gather.element_bytes, end = vector_bytes(gather);
  memset(vector, 0, element * bytes);
  for (uint32_t at = element * bytes; as.fills_mask && at < end; at += bytes)
    memset(vector + at, vector[at + bytes - 1] & 0x80 ? 0xFF : 0, bytes);
  if (as.clears_mask) memset(vector + end, 0, kVectorBytes - end);
  state.write(gather.mask, vector);
}

void clear_mask(VectorState& state, const Gather& gather) {
  const uint8_t zeros[kVectorBytes] = {};
  if (gather.opmask)
    state.set_opmask(gather.mask, 0);
  else
    state.write(gather.mask, zeros);
}

// ---- Elements -----------------------------------------------------------------------------------

uint64_t index_of(const Gather& gather, const uint8_t* indices, uint32_t element) {
  if (gather.index_bytes == 8) {
    uint64_t index;
    memcpy(&index, indices + element * 8, sizeof index);
    return index;
  }
  int32_t index;
  memcpy(&index, indices + element * 4, sizeof index);
  return static_cast<uint64_t>(int64_t{index});
}

// A store of one element is all or nothing, also where it crosses into another mapping.
bool scatter_element(Thread* thread, const Origin& origin, uint64_t address, const uint8_t* from,
                     uint32_t bytes, Fault* fault) {
  return traced_writable(address, bytes, fault) &&
         traced_write(thread, origin, address, from, bytes, fault);
}

bool gather_element(Thread* thread, const Origin& origin, uint8_t* to, uint64_t address,
                    uint32_t bytes, Fault* fault) {
  uint8_t value[8];
  if (!traced_read(thread, origin, value, address, bytes, fault)) return false;
  memcpy(to, value, bytes);
  return true;
}

// The end of the instruction clears all behind the elements. A fault before the first element
// leaves the register alone; one at a later element finds what lies beyond the vector length
// cleared on some processors. (Manuals leave that open.)
void write_data(VectorState& state, const Gather& gather, uint8_t* data) {
  const uint32_t keep = gather.elements * uint32_t{gather.element_bytes};
  memset(data + keep, 0, kVectorBytes - keep);
  state.write(gather.data, data);
}

void write_partial_data(VectorState& state, const Gather& gather, const GatherFault& as,
                        uint8_t* data) {
  const uint32_t keep = vector_bytes(gather);
  if (as.clears_data) memset(data + keep, 0, kVectorBytes - keep);
  state.write(gather.data, data);
}

// Moves the elements that `mask` selects, lowest first; returns the one that faulted, or how many
// there are.
uint32_t move_elements(Thread* thread, const Context& context, const Site& site, uint64_t mask,
                       uint8_t* data, const uint8_t* indices, Fault* fault) {
  const Gather& gather = site.gather;
  if (thread->offers_turn) turn_offer_at_access(thread);
  const Origin origin = {site.ip, next_event(thread), 0, 0, context.regs.rsp, context.regs.rbp};
  Fault recorded;
  const bool faulted = replaying() && !replay_access(thread, context.regs, site.ip, &recorded);
  for (uint32_t i = 0; i < gather.elements; ++i) {
    if (!(mask >> i & 1)) continue;
    uint8_t* element = data + i * gather.element_bytes;
    const uint64_t address = effective_address(site, context.regs, index_of(gather, indices, i));
    if (faulted && recorded.address - address < gather.element_bytes) {
      *fault = recorded;
      return i;
    }
    const bool ok =
        gather.scatter
            ? scatter_element(thread, origin, address, element, gather.element_bytes, fault)
            : gather_element(thread, origin, element, address, gather.element_bytes, fault);
    if (!ok) return i;
  }
  return gather.elements;
}

}  // namespace

Gathered gather_perform(Thread* thread, Context* context, const Site& site, Fault* fault) {
  const Gather& gather = site.gather;
  VectorState state(context->fpstate);
  if (!state.holds(gather.opmask ? kEvexNeeds : kVexNeeds)) return Gathered::kNoState;
  uint8_t data[kVectorBytes], indices[kVectorBytes];
  state.read(gather.data, data);
  state.read(gather.index, indices);
  const uint64_t mask = read_mask(state, gather);
  const uint32_t done = move_elements(thread, *context, site, mask, data, indices, fault);
  if (done < gather.elements) {
    const GatherFault& as = gather_fault(thread, gather.opmask);
    const bool any = mask & ((uint64_t{1} << done) - 1);
    if (!gather.scatter && any) write_partial_data(state, gather, as, data);
    leave_mask(state, gather, as, done);
    return Gathered::kFaulted;
  }
  if (!gather.scatter) write_data(state, gather, data);
  clear_mask(state, gather);
  context->regs.rip = site.ip + site.length;
  context->regs.eflags &= ~kResumeFlag;
  return Gathered::kDone;
}

}  // namespace shmrec::agent
