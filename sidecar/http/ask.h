// Asks an HTTP server one question, by libcurl: the sidecar's own servers, and readiness URLs.
//
// No redirect is followed, no proxy is asked. Threads: any, each waits for its own answer.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace shmrec::sidecar {

struct Question {
  std::string url;        // http://HOST[:PORT]/PATH
  std::string unix_path;  // of the socket, if not empty; the URL's host is then only said
  std::string method = "GET";
  std::string body;                  // application/json
  std::vector<std::string> headers;  // "NAME: VALUE"
  std::chrono::milliseconds connect{2'000};
  std::chrono::milliseconds whole{0};  // 0: as long as something comes every `quiet`
  std::chrono::seconds quiet{60};
  // Gets the answer's body in pieces, with its status; false: enough of it. Null: nobody wants it.
  std::function<bool(int status, std::string_view piece)> take;
};

// To one of our servers, by the address that it listens on (http/address.h).
Result<Question> question_to(const std::string& address, const std::string& path);

// The answer's status, as soon as its body ended or was enough. An Error says why there is none.
Result<int> ask(const Question& question);

}  // namespace shmrec::sidecar
