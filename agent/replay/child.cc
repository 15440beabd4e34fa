#include "agent/replay/child.h"

#include "agent/replay/kept.h"
#include "agent/replay/outcome.h"

namespace shmrec::agent {
namespace {

bool parent_waits = false;
KeptThread parent = {};
SignalAction actions[65];  // which the child does not share with it

}  // namespace

bool in_child() { return parent_waits; }

void child_begins(Thread* thread, const Context& context, const stream::ChildRecord& record) {
  if (parent_waits) refuse("a child in the same memory has one of its own");
  parent_waits = true;
  keep_thread(thread, context, &parent);
  memcpy(actions, thread->process->actions, sizeof actions);
  memcpy(&thread->regs, record.regs, sizeof record.regs);
  write_fs_base(record.fs_base);
}

void child_ends(Thread* thread, Context* context) {
  if (!parent_waits) refuse("the recording is damaged: a child ends that has not begun");
  parent_waits = false;
  become_thread(thread, context, parent);
  memcpy(thread->process->actions, actions, sizeof actions);
}

}  // namespace shmrec::agent
