#include <algorithm>
#include <cstdio>

#include "sidecar/http/ask.h"
#include "sidecar/http/health_server.h"

namespace shmrec::sidecar {
namespace {

constexpr std::chrono::seconds kTimeout{2};
constexpr size_t kMaxLineBytes = 200;

int unwell(const std::string& why) {
  std::fprintf(stderr, "shmrec-sidecar: not healthy: %s\n", why.c_str());
  return 1;
}

}  // namespace

int health_probe(const std::string& text) {
  auto question = question_to(text, "/healthz");
  if (!question) return unwell(question.error().message);
  std::string line;
  question->whole = kTimeout;
  question->take = [&](int, std::string_view piece) {
    line += piece;
    return line.size() < kMaxLineBytes;
  };
  const auto status = ask(*question);
  if (!status) return unwell(text + ": " + status.error().message);
  line.resize(std::min({line.find('\n'), kMaxLineBytes, line.size()}));
  if (*status != 200) return unwell(text + ": " + line);
  std::printf("%s\n", line.c_str());
  return 0;
}

}  // namespace shmrec::sidecar
