#include "sidecar/http/bearer_token.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <strings.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/unique_fd.h"

namespace shmrec::sidecar {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr size_t kMaxTokenBytes = 4096;

bool is_token_text(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::optional<std::string_view> bearer_credentials(std::string_view authorization) {
  if (authorization.size() <= kScheme.size() ||
      strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0)
    return {};
  authorization.remove_prefix(kScheme.size());
  authorization.remove_prefix(std::min(authorization.find_first_not_of(' '), authorization.size()));
  if (authorization.empty() || !is_token_text(authorization)) return {};
  return authorization;
}

bool same_secret(std::string_view given, std::string_view secret) {
  if (secret.empty()) return false;
  unsigned difference = given.size() != secret.size();
  for (size_t i = 0; i < given.size(); i++)
    difference |= static_cast<unsigned char>(given[i]) ^
                  static_cast<unsigned char>(secret[i < secret.size() ? i : 0]);
  return difference == 0;
}

// Not following a pipe's wait, and not reading a device: a wrong path is an error, not a hang.
Result<std::string> BearerToken::read() {
  const UniqueFd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return system_error("token file " + path_);
  struct stat file;
  if (fstat(fd.get(), &file) != 0) return system_error("token file " + path_);
  if (!S_ISREG(file.st_mode)) return Error{"token file " + path_ + ": is no regular file"};
  std::string token(kMaxTokenBytes + 1, '\0');
  const ssize_t bytes = ::read(fd.get(), token.data(), token.size());
  if (bytes < 0) return system_error("token file " + path_);
  token.resize(static_cast<size_t>(bytes));
  while (token.ends_with('\n') || token.ends_with('\r')) token.pop_back();
  if (token.empty()) return Error{"token file " + path_ + ": is empty"};
  if (token.size() > kMaxTokenBytes) return Error{"token file " + path_ + ": is too long"};
  if (!is_token_text(token))
    return Error{"token file " + path_ + ": a token has no spaces and only printable ASCII"};
  say(file.st_mode & S_IROTH ? "token file " + path_ + ": everybody may read it; give it mode 0440"
                             : "");
  return token;
}

void BearerToken::say(const std::string& complaint) {
  const std::lock_guard lock(mutex_);
  if (complaint == said_) return;
  said_ = complaint;
  if (complaint.empty())
    spdlog::info("token file {}: can be used", path_);
  else
    spdlog::warn("{}", complaint);
}

void BearerToken::look() {
  const auto token = read();
  if (!token) say(token.error().message + "; nobody is let in until it has a token");
}

BearerToken::Verdict BearerToken::check(const std::optional<std::string>& authorization) {
  const auto token = read();
  if (!token) {
    say(token.error().message + "; nobody is let in until it has a token");
    return Verdict::kUnusable;
  }
  if (!authorization) return Verdict::kMissing;
  const auto given = bearer_credentials(*authorization);
  return given && same_secret(*given, *token) ? Verdict::kAccepted : Verdict::kWrong;
}

}  // namespace shmrec::sidecar
