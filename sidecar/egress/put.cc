// Resuming, as Google Cloud Storage documents it: an empty PUT with "Content-Range: bytes */TOTAL"
// asks. 308 answers with "Range: bytes=0-LAST", or without Range if there is nothing; 200 or 201
// says that all is there. The question is asked at the beginning of every attempt, so that nothing
// need be remembered between attempts or lives of the sidecar.
#include "sidecar/egress/put.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace shmrec::sidecar::egress {
namespace {

constexpr int kMaxRedirects = 3;
constexpr long kIncomplete = 308;  // with a Range, without a Location

// The request itself is wrong, and the same one will be. All else can pass: a URL that has ended
// (403, 404, 410) is replaced in its file.
constexpr std::array<long, 9> kFinal = {400, 405, 411, 412, 413, 414, 415, 431, 501};

bool is_success(long status) { return status == 200 || status == 201 || status == 204; }

std::string content_range(uint64_t from, uint64_t total) {
  return "bytes " + std::to_string(from) + "-" + std::to_string(total - 1) + "/" +
         std::to_string(total);
}

bool is_header(const std::string& text) {
  const size_t colon = text.find(':');
  return colon != 0 && colon != std::string::npos && text.find(' ') > colon &&
         std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c < ' ' && c != '\t'; });
}

}  // namespace

Result<uint64_t> stored_bytes(const std::string& range_untrusted, uint64_t total) {
  constexpr std::string_view kFromStart = "bytes=0-";
  const std::string_view text = range_untrusted;
  if (text.empty()) return uint64_t{0};
  uint64_t last = 0;
  if (text.starts_with(kFromStart)) {
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + kFromStart.size(), end, last);
    if (error == std::errc() && at == end && last < total) return last + 1;
  }
  return Error{"an impossible Range was answered", false};
}

Result<std::unique_ptr<PutDestination>> PutDestination::create(std::string destination_name,
                                                               PutOptions options) {
  const std::string who = "put destination " + destination_name;
  if (options.url_file.empty()) return Error{who + ": no URL file"};
  if (!std::all_of(options.headers.begin(), options.headers.end(), is_header)) {
    return Error{who + ": headers are \"Name: value\""};
  }
  return std::unique_ptr<PutDestination>(
      new PutDestination(std::move(destination_name), std::move(options)));
}

Result<> PutDestination::send(const Bundle& file, const std::atomic<bool>& stop) {
  begin_attempt();
  const SourceFile source = open_source(file);
  if (!source.fd) return source.gone ? final_error(source.error) : source.error;
  const Result<PutUrl> url = read_put_url(options_.url_file, file.name);
  if (!url) return url.error();
  PutConnection connection(options_, stop);
  const PutBody all{source.fd.get(), 0, file.bytes};
  const Result<> sent = options_.resumable ? send_resumed(connection, *url, all)
                                           : send_at_once(connection, *url, all);
  if (sent) place_ = url->shown();
  return sent;
}

Result<> PutDestination::send_at_once(PutConnection& connection, const PutUrl& url,
                                      const PutBody& body) {
  const Result<PutAnswer> answer = put(connection, url, body, "");
  if (!answer) return answer.error();
  if (is_success(answer->status)) return Unit{};
  return refused(url, *answer);
}

Result<> PutDestination::send_resumed(PutConnection& connection, const PutUrl& url,
                                      const PutBody& body) {
  Result<PutAnswer> answer =
      put(connection, url, {body.fd, 0, 0}, "bytes */" + std::to_string(body.bytes));
  uint64_t before = 0;
  for (bool first = true;; first = false) {
    if (!answer) return answer.error();
    if (is_success(answer->status)) return Unit{};
    if (answer->status != kIncomplete) return refused(url, *answer);
    const Result<uint64_t> stored = stored_bytes(answer->range, body.bytes);
    if (!stored) return Error{url.shown() + ": " + stored.error().message, false};
    // A server may keep only a part of what it was sent, but not nothing again and again.
    if (*stored == body.bytes || (!first && *stored <= before)) {
      return Error{url.shown() + ": the upload does not get on", false};
    }
    before = *stored;
    answer = put(connection, url, {body.fd, before, body.bytes - before},
                 before == 0 ? "" : content_range(before, body.bytes));
  }
}

Result<PutAnswer> PutDestination::put(PutConnection& connection, PutUrl url, const PutBody& body,
                                      const std::string& content_range) {
  for (int redirects = 0;; ++redirects) {
    const Result<PutAnswer> answer = connection.put(url, body, content_range);
    if (!answer || answer->redirect.empty()) return answer;
    const Result<PutUrl> next = PutUrl::parse(answer->redirect);
    if (!next) return final_error(Error{url.shown() + ": redirected to what is no URL", false});
    if (!next->same_origin(url)) {
      return final_error(Error{url.shown() + ": redirected to another host (" + next->shown() +
                                   "), which is not followed",
                               false});
    }
    if (redirects == kMaxRedirects) return Error{url.shown() + ": too many redirects", false};
    url = *next;
  }
}

Error PutDestination::refused(const PutUrl& url, const PutAnswer& answer) {
  retry_.at_least = answer.retry_after;
  std::string message = url.shown() + ": HTTP status " + std::to_string(answer.status);
  if (!answer.code.empty()) message += " (" + answer.code + ")";
  if (answer.status == kIncomplete) message += ": an upload session; set resumable";
  const Error error{message, false};
  const bool is_final = answer.status == kIncomplete ||
                        std::find(kFinal.begin(), kFinal.end(), answer.status) != kFinal.end();
  return is_final ? final_error(error) : error;
}

}  // namespace shmrec::sidecar::egress
