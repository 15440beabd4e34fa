#include "launcher/privileges.h"

#include <sys/capability.h>

#include <memory>
#include <vector>

namespace shmrec::launcher {
namespace {

struct Needed {
  cap_value_t capability;
  const char* why;
};

constexpr Needed kNeeded[] = {
    {CAP_KILL, "forward signals to a command that changed its user"},
    {CAP_SYS_PTRACE, "put the agent into programs of other users"},
    {CAP_SETUID, "take the user of such a program where CAP_SYS_PTRACE is not held"},
    {CAP_SETGID, "take its group"},
};

struct FreeCapabilities {
  void operator()(void* memory) const { cap_free(memory); }
};
using Capabilities = std::unique_ptr<_cap_struct, FreeCapabilities>;

bool has(const Capabilities& set, cap_value_t capability, cap_flag_t flag) {
  cap_flag_value_t value = CAP_CLEAR;
  return cap_get_flag(set.get(), capability, flag, &value) == 0 && value == CAP_SET;
}

std::string name_of(cap_value_t capability) {
  const std::unique_ptr<char, FreeCapabilities> name(cap_to_name(capability));
  return name ? name.get() : "cap_" + std::to_string(capability);
}

}  // namespace

Result<std::string> drop_capabilities() {
  const Capabilities set(cap_get_proc());
  if (!set) return system_error("capabilities");
  std::vector<cap_value_t> keep;
  std::string line;
  for (const Needed& needed : kNeeded) {
    if (!has(set, needed.capability, CAP_EFFECTIVE)) continue;
    keep.push_back(needed.capability);
    line += (line.empty() ? "" : ", ") + name_of(needed.capability) + " (" + needed.why + ")";
  }
  cap_clear_flag(set.get(), CAP_EFFECTIVE);
  if (!keep.empty())
    cap_set_flag(set.get(), CAP_EFFECTIVE, static_cast<int>(keep.size()), keep.data(), CAP_SET);
  if (cap_set_proc(set.get()) != 0) return system_error("capabilities: drop");
  return "effective capabilities: " + (line.empty() ? "none" : line);
}

void regain_capabilities() {
  const Capabilities set(cap_get_proc());
  if (!set) return;
  for (cap_value_t capability = 0; capability < cap_max_bits(); ++capability)
    if (has(set, capability, CAP_PERMITTED))
      cap_set_flag(set.get(), CAP_EFFECTIVE, 1, &capability, CAP_SET);
  cap_set_proc(set.get());
}

RegainedCapabilities::RegainedCapabilities() : before_(cap_get_proc()) { regain_capabilities(); }

RegainedCapabilities::~RegainedCapabilities() {
  if (!before_) return;
  cap_set_proc(static_cast<cap_t>(before_));
  cap_free(before_);
}

std::string effective_capabilities() {
  const Capabilities set(cap_get_proc());
  std::string names;
  for (cap_value_t capability = 0; set && capability < cap_max_bits(); ++capability)
    if (has(set, capability, CAP_EFFECTIVE))
      names += (names.empty() ? "" : ",") + name_of(capability);
  return names.empty() ? "none" : names;
}

}  // namespace shmrec::launcher
