#include "report/page.h"

#include <nettle/base64.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "recording/bundle/sha256.h"
#include "report/share_text.h"

namespace shmrec::report {
namespace {

using recording::Sha256;

// "'sha256-...'", as a policy names a script or a style sheet.
std::string sum_of(std::string_view text) {
  Sha256 sha;
  sha.update(text.data(), text.size());
  const Sha256::Digest digest = sha.finish();
  std::string sum(BASE64_ENCODE_RAW_LENGTH(SHA256_DIGEST_SIZE), '\0');
  base64_encode_raw(sum.data(), digest.size(), digest.data());
  return "'sha256-" + sum + "'";
}

std::string policy() {
  return "default-src 'none'; script-src " + sum_of(d3_text()) + " " + sum_of(script_text()) +
         "; style-src " + sum_of(style_text()) + "; base-uri 'none'; form-action 'none'";
}

std::string data_text(const nlohmann::json& data) {
  const std::string text = data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text)
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  return safe;
}

}  // namespace

std::string page_text(const nlohmann::json& data) {
  const std::vector<std::pair<std::string_view, std::string>> parts = {
      {"{{policy}}", policy()},
      {"{{style}}", std::string(style_text())},
      {"{{data}}", data_text(data)},
      {"{{d3}}", std::string(d3_text())},
      {"{{script}}", std::string(script_text())}};
  // In this order in the skeleton, so what is put in is never searched.
  std::string_view rest = skeleton_text();
  std::string page;
  for (const auto& [mark, text] : parts) {
    const size_t at = rest.find(mark);
    page.append(rest.substr(0, at)).append(text);
    rest.remove_prefix(at + mark.size());
  }
  return page.append(rest);
}

}  // namespace shmrec::report
