#include "sidecar/http/ask.h"

#include <curl/curl.h>

#include <memory>

#include "sidecar/http/address.h"

namespace shmrec::sidecar {
namespace {

// All that the callback touches.
struct Answer {
  CURL* easy;
  const Question& question;
  bool enough = false;

  int status() const {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    return static_cast<int>(status);
  }
};

size_t take_piece(char* data, size_t size, size_t count, void* user) {
  auto& answer = *static_cast<Answer*>(user);
  const std::string_view piece(data, size * count);
  if (!answer.question.take || answer.question.take(answer.status(), piece)) return piece.size();
  answer.enough = true;
  return CURL_WRITEFUNC_ERROR;
}

// Listening on all addresses is reached on the loopback one.
std::string host_to_ask(const std::string& host) {
  if (host.empty() || host == "0.0.0.0") return "127.0.0.1";
  if (host.find(':') == std::string::npos) return host;
  return host == "::" ? "[::1]" : "[" + host + "]";
}

using Headers = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

Headers header_list(const Question& question) {
  curl_slist* list = nullptr;
  for (const std::string& header : question.headers) list = curl_slist_append(list, header.c_str());
  if (!question.body.empty()) list = curl_slist_append(list, "Content-Type: application/json");
  return {list, &curl_slist_free_all};
}

void set_question(CURL* easy, const Question& question) {
  curl_easy_setopt(easy, CURLOPT_URL, question.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  if (!question.unix_path.empty())
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, question.unix_path.c_str());
  if (question.method == "HEAD") curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (!question.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(question.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, question.body.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, question.method.c_str());
}

void set_limits(CURL* easy, const Question& question) {
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);  // the sidecar has threads
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(question.connect.count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(question.whole.count()));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(question.quiet.count()));
}

}  // namespace

Result<Question> question_to(const std::string& text, const std::string& path) {
  const auto address = parse_address(text);
  if (!address) return address.error();
  Question question;
  question.unix_path = address->unix_path;
  question.url = (address->unix_path.empty()
                      ? "http://" + host_to_ask(address->host) + ":" + std::to_string(address->port)
                      : "http://localhost") +
                 path;
  return question;
}

Result<int> ask(const Question& question) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(
      ready == CURLE_OK ? curl_easy_init() : nullptr, &curl_easy_cleanup);
  if (!easy) return Error{"libcurl: no memory", false};
  const Headers headers = header_list(question);
  Answer answer{easy.get(), question};
  char message[CURL_ERROR_SIZE] = "";
  set_question(easy.get(), question);
  set_limits(easy.get(), question);
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &take_piece);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &answer);
  const CURLcode code = curl_easy_perform(easy.get());
  if (code == CURLE_OK || answer.enough) return answer.status();
  return Error{message[0] != '\0' ? message : curl_easy_strerror(code), false};
}

}  // namespace shmrec::sidecar
