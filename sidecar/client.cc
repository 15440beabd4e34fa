#include "sidecar/client.h"

#include <httplib.h>

#include <fstream>

namespace shmrec::sidecar {
namespace {

std::unique_ptr<httplib::Client> connect(const std::string& address) {
  constexpr std::string_view kUnix = "unix:";
  if (!address.starts_with(kUnix)) return std::make_unique<httplib::Client>("http://" + address);
  auto client = std::make_unique<httplib::Client>(address.substr(kUnix.size()), 80);
  client->set_address_family(AF_UNIX);
  client->set_default_headers({{"Host", "localhost"}});
  return client;
}

}  // namespace

Result<int> send_request(const Config& config, const ClientRequest& request, FILE* out, FILE* err) {
  if (config.artefact_listen.empty())
    return Error{"this sidecar has no artefact server; expected http.listen in its configuration",
                 false};
  const std::unique_ptr<httplib::Client> client = connect(config.artefact_listen);
  client->set_read_timeout(std::chrono::seconds(60));
  httplib::Request question;
  question.method = request.method;
  question.path = request.path;
  question.body = request.body;
  if (!request.body.empty()) question.set_header("Content-Type", "application/json");
  if (!config.no_auth) {
    std::ifstream file(config.token_file);
    std::string token;
    if (!std::getline(file, token) || token.empty())
      return Error{config.token_file + ": no token can be read from it; expected one line", false};
    question.set_header("Authorization", "Bearer " + token);
  }
  int status = 0;
  bool written = true;
  question.response_handler = [&](const httplib::Response& response) {
    status = response.status;
    return true;
  };
  question.content_receiver = [&](const char* data, size_t bytes, uint64_t, uint64_t) {
    written = std::fwrite(data, 1, bytes, status < 400 ? out : err) == bytes;
    return written;
  };
  const httplib::Result answer = client->send(question);
  if (!written || std::fflush(out) != 0) return Error{"the answer cannot be written", false};
  if (!answer)
    return Error{config.artefact_listen + ": " + httplib::to_string(answer.error()), false};
  return status;
}

}  // namespace shmrec::sidecar
