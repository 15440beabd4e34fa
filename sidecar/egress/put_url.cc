#include "sidecar/egress/put_url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "recording/bundle/bundle_files.h"
#include "recording/run/text.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr uint64_t kMaxUrlBytes = 16 * 1024;
constexpr std::string_view kPlaceholder = "{name}";

using Parsed = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string part(CURLU* url, CURLUPart what, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, what, &text, flags) != CURLUE_OK) return "";
  std::string result = text;
  curl_free(text);
  return result;
}

std::string percent_encoded(const std::string& text) {
  char* const code = curl_easy_escape(nullptr, text.c_str(), static_cast<int>(text.size()));
  if (code == nullptr) return "";
  std::string result = code;
  curl_free(code);
  return result;
}

void replace_all(std::string& text, std::string_view what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

std::string first_line(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string::npos) return "";
  return line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
}

}  // namespace

Result<PutUrl> PutUrl::parse(const std::string& text) {
  const Parsed url(curl_url(), &curl_url_cleanup);
  if (url == nullptr) return Error{"no memory for a URL", false};
  // The message must not repeat the text.
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return Error{"not an absolute URL"};
  }
  const std::string scheme = part(url.get(), CURLUPART_SCHEME);
  if (scheme != "https" && scheme != "http") return Error{"not an https or http URL"};
  PutUrl result;
  result.text_ = text;
  const std::string host = part(url.get(), CURLUPART_HOST);
  result.origin_ =
      scheme + "://" + host + ":" + part(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  std::transform(result.origin_.begin(), result.origin_.end(), result.origin_.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const std::string port = part(url.get(), CURLUPART_PORT);
  result.shown_ = recording::printable(scheme + "://" + host + (port.empty() ? "" : ":" + port) +
                                       part(url.get(), CURLUPART_PATH));
  result.query_ = part(url.get(), CURLUPART_QUERY);
  result.password_ = part(url.get(), CURLUPART_PASSWORD);
  return result;
}

std::string PutUrl::without_secrets(const std::string& message) const {
  for (const std::string& secret : {query_, password_}) {
    if (!secret.empty() && message.find(secret) != std::string::npos) return "";
  }
  return recording::printable(message);
}

Result<PutUrl> read_put_url(const std::filesystem::path& file, const std::string& bundle_name) {
  // Links are followed: a mounted secret is one (..data).
  const Result<std::string> text = recording::read_text(file, kMaxUrlBytes);
  if (!text) return text.error();
  std::string line = first_line(*text);
  if (line.empty()) return Error{file.string() + ": empty; it must hold a URL"};
  replace_all(line, kPlaceholder, percent_encoded(bundle_name));
  Result<PutUrl> url = PutUrl::parse(line);
  if (!url) return Error{file.string() + ": " + url.error().message};
  return url;
}

}  // namespace shmrec::sidecar::egress
