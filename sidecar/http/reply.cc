#include "sidecar/http/reply.h"

#include <nlohmann/json.hpp>

namespace shmrec::sidecar {
namespace {

struct Reason {
  int status;
  const char* phrase;
};
constexpr Reason kReasons[] = {
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

}  // namespace

const char* reason_phrase(int status) {
  for (const Reason& reason : kReasons)
    if (reason.status == status) return reason.phrase;
  return "Error";
}

// "about:blank" says that the status is all there is to the type; the title is then its phrase.
Reply problem(int status, const std::string& detail) {
  const nlohmann::ordered_json body = {{"type", "about:blank"},
                                       {"title", reason_phrase(status)},
                                       {"status", status},
                                       {"detail", detail}};
  return {.status = status,
          .type = "application/problem+json",
          .body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
          .headers = {}};
}

}  // namespace shmrec::sidecar
