#include "sidecar/http/reply.h"

#include <boost/beast/http/status.hpp>
#include <nlohmann/json.hpp>

namespace shmrec::sidecar {

// "about:blank" says that the status is all there is to the type; the title is then its phrase.
Reply problem(int status, const std::string& detail) {
  const auto phrase = boost::beast::http::obsolete_reason(
      boost::beast::http::int_to_status(static_cast<unsigned>(status)));
  const std::string title(phrase.data(), phrase.size());
  const nlohmann::ordered_json body = {
      {"type", "about:blank"}, {"title", title}, {"status", status}, {"detail", detail}};
  return {.status = status,
          .type = "application/problem+json",
          .body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
          .headers = {}};
}

}  // namespace shmrec::sidecar
