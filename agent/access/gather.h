// Gather and scatter instructions, performed element by element in the fault handler.
//
// Their elements may lie anywhere: in several segments, in private memory, in nothing. So no copy
// of the memory can be put under the instruction as for other forms; but the signal frame holds its
// index, mask and destination registers, and what the instruction does to them is little. As on the
// processor, a fault at an element leaves the elements below it done and their mask bits clear: the
// instruction goes on from there when it is executed again.
#pragma once

#include "agent/signals/signals.h"
#include "agent/sites/site.h"

namespace shmrec::agent {

enum class Gathered : uint8_t {
  kDone,     // context: behind the instruction
  kFaulted,  // context: at the instruction, the elements below the fault are done
  kNoState,  // the frame lacks a register that it needs; nothing was done
};

// Performs the instruction `site` (of Form::kGather) for the program whose registers are in
// `context`. One event; a record for each element in traced memory.
Gathered gather_perform(Thread* thread, Context* context, const Site& site, Fault* fault);

}  // namespace shmrec::agent
