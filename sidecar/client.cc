#include "sidecar/client.h"

#include <fstream>

#include "sidecar/http/ask.h"

namespace shmrec::sidecar {

Result<int> send_request(const Config& config, const ClientRequest& request, FILE* out, FILE* err) {
  if (config.artefact_listen.empty())
    return Error{"this sidecar has no artefact server; expected http.listen in its configuration",
                 false};
  auto question = question_to(config.artefact_listen, request.path);
  if (!question) return question.error();
  question->method = request.method;
  question->body = request.body;
  if (!config.no_auth) {
    std::ifstream file(config.token_file);
    std::string token;
    if (!std::getline(file, token) || token.empty())
      return Error{config.token_file + ": no token can be read from it; expected one line", false};
    if (token.ends_with('\r')) token.pop_back();
    question->headers.push_back("Authorization: Bearer " + token);
  }
  bool written = true;
  question->take = [&](int status, std::string_view piece) {
    written = std::fwrite(piece.data(), 1, piece.size(), status < 400 ? out : err) == piece.size();
    return written;
  };
  const Result<int> status = ask(*question);
  if (!written || std::fflush(out) != 0) return Error{"the answer cannot be written", false};
  if (!status) return Error{config.artefact_listen + ": " + status.error().message, false};
  return status;
}

}  // namespace shmrec::sidecar
