// The bearer token that guards the artefacts, from a file such as a mounted secret.
//
// The file is read at every request, so that a rotated token counts at once; it is small, and a
// cache keyed by times would miss a change within the clock's grain. Threads: any.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace shmrec::sidecar {

// The token in an Authorization header: "Bearer TOKEN", the scheme in any case.
std::optional<std::string_view> bearer_credentials(std::string_view authorization);

// Takes a time that depends on the length of `given` alone.
bool same_secret(std::string_view given, std::string_view secret);

class BearerToken {
 public:
  enum class Verdict {
    kAccepted,
    kMissing,  // no credentials
    kWrong,
    kUnusable,  // the file is missing, empty or no token: nobody can be let in
  };

  explicit BearerToken(std::string path) : path_(std::move(path)) {}
  Verdict check(const std::optional<std::string>& authorization);
  // Says in the log what is wrong with the file, once per change.
  void look();

 private:
  Result<std::string> read();
  void say(const std::string& complaint);

  const std::string path_;
  std::mutex mutex_;
  std::string said_;  // last complaint
};

}  // namespace shmrec::sidecar
