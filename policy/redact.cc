#include "policy/redact.h"

#include <algorithm>

#include "policy/glob.h"

namespace shmrec {
namespace {

char fold(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool contains(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) { return fold(a) == fold(b); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end() ||
         part.empty();
}

// *PART*, as most globs of names are: asked of each variable at each exec.
bool is_part_anywhere(std::string_view glob) {
  return glob.size() >= 2 && glob.front() == '*' && glob.back() == '*' &&
         glob.substr(1, glob.size() - 2).find_first_of("*?[\\") == glob.npos;
}

bool matches(std::string_view glob, std::string_view name) {
  if (is_part_anywhere(glob)) return contains(name, glob.substr(1, glob.size() - 2));
  return glob_match(glob.data(), glob.size(), name.data(), name.size(),
                    kGlobFoldCase | kGlobCrossSlashes);
}

bool any_matches(const std::vector<std::string>& globs, std::string_view name) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return matches(glob, name); });
}

// scheme://USER:PASSWORD@host
std::string hide_url_passwords(std::string text) {
  constexpr std::string_view kScheme = "://";
  for (size_t at = text.find(kScheme); at != text.npos; at = text.find(kScheme, at)) {
    at += kScheme.size();
    const size_t end = std::min(text.find_first_of("/?# \t\n\"'", at), text.size());
    const size_t host = text.substr(at, end - at).rfind('@');
    const size_t colon = text.find(':', at);
    if (host == text.npos || colon >= at + host) continue;
    text.replace(colon + 1, at + host - colon - 1, kRedacted);
  }
  return text;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// Whether the word that ends at text[end] names the value behind it: NAME=, "Name: " or --name and
// a space.
bool names_value(std::string_view text, std::string_view word, size_t end) {
  if (end == text.size() || is_space(text[end])) return word.starts_with('-');
  return text[end] == '=' || (end + 1 < text.size() && is_space(text[end + 1]));
}

// Where the value begins that a redacted name in `text` announces; text.size() if it is the next
// argument; npos if there is none.
size_t announced_value(const std::vector<std::string>& globs, std::string_view text) {
  size_t start = 0;
  for (size_t end = 0; end <= text.size(); ++end) {
    if (end < text.size() && text[end] != '=' && text[end] != ':' && !is_space(text[end])) continue;
    const std::string_view word = text.substr(start, end - start);
    start = end + 1;
    const std::string_view name =
        word.substr(std::min(word.find_first_not_of("-'\""), word.size()));
    if (name.empty() || !names_value(text, word, end) || !any_matches(globs, name)) continue;
    const size_t value = text.find_first_not_of(" \t\n", std::min(end + 1, text.size()));
    return std::min(value, text.size());
  }
  return text.npos;
}

}  // namespace

bool redacted(const Policy& policy, std::string_view name) {
  return any_matches(policy.redaction.environment, name);
}

std::vector<std::string> redact_environment(const Policy& policy,
                                            const std::vector<std::string>& environment) {
  std::vector<std::string> out;
  for (const std::string& entry : environment) {
    const size_t equals = entry.find('=');
    if (equals != entry.npos && redacted(policy, std::string_view(entry).substr(0, equals))) {
      out.push_back(entry.substr(0, equals + 1) + std::string(kRedacted));
    } else {
      out.push_back(hide_url_passwords(entry));
    }
  }
  return out;
}

std::vector<std::string> redact_arguments(const Policy& policy,
                                          const std::vector<std::string>& arguments) {
  std::vector<std::string> out;
  bool announced = false;  // the argument before names the value that is this one
  for (const std::string& argument : arguments) {
    if (announced && !argument.starts_with('-')) {
      out.emplace_back(kRedacted);
      announced = false;
      continue;
    }
    const size_t value =
        out.empty() ? argument.npos : announced_value(policy.redaction.arguments, argument);
    announced = value == argument.size();
    const bool inside = value < argument.size();
    out.push_back(inside ? hide_url_passwords(argument.substr(0, value)) + std::string(kRedacted)
                         : hide_url_passwords(argument));
  }
  return out;
}

}  // namespace shmrec
