// The URL that a bundle is put to. Its query is a credential: only shown() is for logs and
// messages.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace shmrec::sidecar::egress {

class PutUrl {
 public:
  // http or https, absolute.
  static Result<PutUrl> parse(const std::string& text);

  const std::string& secret() const { return text_; }
  // SCHEME://HOST[:PORT]/PATH
  const std::string& shown() const { return shown_; }
  bool same_origin(const PutUrl& other) const { return origin_ == other.origin_; }
  // `message` of a library, or nothing if it repeats what is secret.
  std::string without_secrets(const std::string& message) const;

 private:
  std::string text_, shown_, origin_, query_, password_;
};

// The first line of `file`, "{name}" replaced by the bundle's name. Read anew for each attempt: a
// mounted secret changes while we run, and presigned URLs end.
Result<PutUrl> read_put_url(const std::filesystem::path& file, const std::string& bundle_name);

}  // namespace shmrec::sidecar::egress
