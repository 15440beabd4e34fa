#include "agent/kernel/names.h"

#include <linux/fcntl.h>
#include <linux/fs.h>

#include "agent/kernel/bounce.h"
#include "agent/log/log.h"
#include "agent/memory/identity.h"
#include "syscalls/syscall_table.h"

namespace shmrec::agent {

using namespace shmlog;
using syscalls::name_rule;
using syscalls::NameRule;
using syscalls::NameUse;

namespace {

constexpr uint64_t kMaxPath = 512;

// A file that the call is about, before it is made.
struct NamedFile {
  uint32_t segment;  // 0: none that the run knows
  uint64_t bytes;
  char name[sizeof(SegmentIdentity::name)];
};

struct NameChange {
  const NameRule* rule;
  NamedFile from, to;
};

NameChange* change_of(const Thread* thread) { return static_cast<NameChange*>(thread->call.names); }

uint64_t register_of(const Thread* thread, int n) {
  const Regs& regs = thread->regs;
  const uint64_t values[] = {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9};
  return values[n];
}

// False: there is none, or it is longer than any name that is kept.
bool read_path(uint64_t address, char* path) {
  const uint64_t got = peek(path, address, kMaxPath);
  for (uint64_t i = 0; i < got; ++i)
    if (!path[i]) return true;
  return false;
}

int directory(const Thread* thread, uint8_t argument) {
  return argument == NameRule::kNone ? AT_FDCWD : static_cast<int>(arg(thread, argument));
}

// The file that an argument names; its segment if it has one.
void look(const Thread* thread, int dir, uint8_t argument, uint64_t flags, NamedFile* file) {
  char path[kMaxPath] = "";
  SegmentIdentity identity;
  const bool by_path = argument != NameRule::kNone;
  if (by_path && !read_path(register_of(thread, argument), path)) return;
  if (!identify_name(dir, path, flags, &identity, &file->bytes)) {
    // A rename's target need not be there.
    if (by_path) name_of_path(dir, path, file->name, sizeof file->name);
    return;
  }
  memcpy(file->name, identity.name, sizeof file->name);
  if (segment_maybe(identity.device, identity.inode)) file->segment = segment_find(identity);
}

// The target of a link is followed if the call says so; the other calls follow none but for sizes.
uint64_t look_flags(const Thread* thread, const NameRule& rule) {
  if (rule.use == NameUse::kSize) return rule.from == NameRule::kNone ? AT_EMPTY_PATH : 0;
  const uint64_t flags = rule.flags == NameRule::kNone ? 0 : arg(thread, rule.flags);
  if (rule.use != NameUse::kLink) return AT_SYMLINK_NOFOLLOW;
  return (flags & AT_EMPTY_PATH) | (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW);
}

// ---- After the call -----------------------------------------------------------------------------

void tell_renamed(const Process* process, const NamedFile& file, const char* name) {
  if (!file.segment) return;
  segment_lives(process, file.segment, SegmentEvent::kRenamed, file.name);
  segment_named(process, file.segment, name, NameReason::kRenamed);
}

void tell_rename(const Thread* thread, const NameChange& change) {
  const bool exchange =
      change.rule->flags != NameRule::kNone && (arg(thread, change.rule->flags) & RENAME_EXCHANGE);
  const NamedFile &from = change.from, &to = change.to;
  if (from.segment == to.segment) return;  // two names of one file: nothing happens
  tell_renamed(thread->process, from, to.name);
  if (exchange) return tell_renamed(thread->process, to, from.name);
  if (to.segment) segment_lives(thread->process, to.segment, SegmentEvent::kReplaced, to.name);
}

void tell_size(const Thread* thread, const NameChange& change) {
  NamedFile now = {};
  const NameRule& rule = *change.rule;
  look(thread, directory(thread, rule.from_directory), rule.from, look_flags(thread, rule), &now);
  if (now.segment == change.from.segment && now.bytes != change.from.bytes)
    segment_lives(thread->process, now.segment, SegmentEvent::kResized, nullptr, change.from.bytes,
                  now.bytes);
}

}  // namespace

bool names_concerned(const Thread* thread) {
  return load(&log_header().next_segment) > 1 &&
         name_rule(static_cast<uint32_t>(thread->call.number));
}

bool names_begin(Thread* thread) {
  const NameRule& rule = *name_rule(static_cast<uint32_t>(thread->call.number));
  auto* change = static_cast<NameChange*>(bounce_memory(thread, sizeof(NameChange)));
  if (!change) return false;
  memset(change, 0, sizeof *change);
  change->rule = &rule;
  look(thread, directory(thread, rule.from_directory), rule.from, look_flags(thread, rule),
       &change->from);
  if (rule.use == NameUse::kRename || (rule.use == NameUse::kLink && change->from.segment))
    look(thread, directory(thread, rule.to_directory), rule.to, AT_SYMLINK_NOFOLLOW, &change->to);
  if (!change->from.segment && !change->to.segment) return false;
  thread->call.names = change;
  return true;
}

void names_end(Thread* thread) {
  const NameChange* change = change_of(thread);
  if (!change) return;
  thread->call.names = nullptr;
  if (failed(static_cast<int64_t>(thread->regs.rax))) return;
  switch (change->rule->use) {
    case NameUse::kUnlink:
      return segment_lives(thread->process, change->from.segment, SegmentEvent::kUnlinked,
                           change->from.name);
    case NameUse::kLink:
      return segment_named(thread->process, change->from.segment, change->to.name,
                           NameReason::kLinked);
    case NameUse::kRename:
      return tell_rename(thread, *change);
    case NameUse::kSize:
      return tell_size(thread, *change);
  }
}

void names_cancel(Thread* thread) { thread->call.names = nullptr; }

}  // namespace shmrec::agent
