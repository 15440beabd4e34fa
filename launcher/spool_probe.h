// What the launcher shows the sidecar before it records: a directory made as its runs will be
// (docs/spool.md, The control socket). Whether the sidecar can read and remove it decides who makes
// the bundle, whatever the reason: users, groups, user namespaces, a security module, or that it
// has another spool.
//
// Owner: removes what the sidecar has left of it.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <string>

namespace shmrec::launcher {

class SpoolProbe {
 public:
  // The sidecar's group is given to what is made if that takes effect, and nothing else makes the
  // two share: so a root application is read by a sidecar that is not root.
  SpoolProbe(const std::string& spool, const ucred& sidecar);
  ~SpoolProbe();
  SpoolProbe(const SpoolProbe&) = delete;
  SpoolProbe& operator=(const SpoolProbe&) = delete;

  const std::string& name() const { return name_; }      // in the spool; "": could not be made
  std::optional<gid_t> group() const { return group_; }  // that runs are to have

 private:
  std::string directory_, name_;
  std::optional<gid_t> group_;
};

// Gives a new directory to a group, with the setgid bit. False: not allowed; it is as it was.
bool give_to_group(const std::string& directory, gid_t group);

}  // namespace shmrec::launcher
