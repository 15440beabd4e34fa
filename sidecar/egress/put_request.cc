#include "sidecar/egress/put_request.h"

#include <curl/curl.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string_view>

#include "recording/bundle/bundle_files.h"

namespace shmrec::sidecar::egress {
namespace {

constexpr size_t kMaxAnswerBody = 4096;
constexpr long kUploadBufferBytes = 256 * 1024;

// All that the callbacks of one request touch.
struct Transfer {
  const PutBody& body;
  const std::atomic<bool>& stop;
  uint64_t sent = 0;
  int read_error = 0;
  std::string range;
  std::string answer;
};

size_t read_body(char* into, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const uint64_t part = std::min<uint64_t>(size * count, transfer.body.bytes - transfer.sent);
  if (part == 0) return 0;
  const ssize_t got =
      recording::pread_all(transfer.body.fd, into, part, transfer.body.offset + transfer.sent);
  if (got <= 0) {
    // The end of a file that was longer: a body that is too short would wait for ever.
    transfer.read_error = got < 0 ? errno : EIO;
    return CURL_READFUNC_ABORT;
  }
  transfer.sent += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

// For a connection that turns out dead after the first bytes: curl begins again on a new one.
int seek_body(void* user, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (origin != SEEK_SET || offset < 0 || static_cast<uint64_t>(offset) > transfer.body.bytes) {
    return CURL_SEEKFUNC_FAIL;
  }
  transfer.sent = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t keep_answer(char* data, size_t size, size_t count, void* user) {
  std::string& answer = static_cast<Transfer*>(user)->answer;
  answer.append(data, std::min(size * count, kMaxAnswerBody - answer.size()));
  return size * count;
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

size_t keep_header(char* data, size_t size, size_t count, void* user) {
  constexpr std::string_view kRange = "range:";
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) transfer.range.clear();  // after a 100 comes the real answer
  if (line.size() > kRange.size() && strncasecmp(data, kRange.data(), kRange.size()) == 0) {
    transfer.range = trimmed(line.substr(kRange.size()));
  }
  return size * count;
}

int asked_to_stop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->stop ? 1 : 0;
}

// The rest of such a body is not shown: S3 repeats the signature in it.
std::string error_code(const std::string& body) {
  constexpr size_t kMaxCode = 64;
  const size_t begin = body.find("<Code>");
  const size_t end = begin == std::string::npos ? begin : body.find("</Code>", begin);
  if (end == std::string::npos || end - begin - 6 > kMaxCode) return "";
  const std::string code = body.substr(begin + 6, end - begin - 6);
  return std::all_of(code.begin(), code.end(), [](unsigned char c) { return std::isalnum(c); })
             ? code
             : "";
}

void init_curl_once() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

}  // namespace

struct PutConnection::Curl {
  CURL* easy = curl_easy_init();
  curl_slist* headers = nullptr;
  char message[CURL_ERROR_SIZE] = "";
  ~Curl() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
  }

  template <typename T>
  void set(CURLoption option, T value) {
    curl_easy_setopt(easy, option, value);
  }
  void set_headers(const PutOptions& options, const std::string& content_range) {
    curl_slist_free_all(headers);
    headers = nullptr;
    for (const std::string& header : options.headers) {
      headers = curl_slist_append(headers, header.c_str());
    }
    if (!content_range.empty()) {
      headers = curl_slist_append(headers, ("Content-Range: " + content_range).c_str());
    }
    set(CURLOPT_HTTPHEADER, headers);
  }
  void set_limits(const PutOptions& options) {
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    set(CURLOPT_NOSIGNAL, 1L);  // the sidecar has threads
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    long low = static_cast<long>(options.low_speed_bytes);
    if (options.max_rate_bytes > 0) {
      set(CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(options.max_rate_bytes));
      low = std::max(1L, std::min(low, static_cast<long>(options.max_rate_bytes / 2)));
    }
    set(CURLOPT_LOW_SPEED_LIMIT, low);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.low_speed_time.count()));
  }
  void set_callbacks(Transfer& transfer) {
    set(CURLOPT_READFUNCTION, &read_body);
    set(CURLOPT_READDATA, &transfer);
    set(CURLOPT_SEEKFUNCTION, &seek_body);
    set(CURLOPT_SEEKDATA, &transfer);
    set(CURLOPT_WRITEFUNCTION, &keep_answer);
    set(CURLOPT_WRITEDATA, &transfer);
    set(CURLOPT_HEADERFUNCTION, &keep_header);
    set(CURLOPT_HEADERDATA, &transfer);
    set(CURLOPT_XFERINFOFUNCTION, &asked_to_stop);
    set(CURLOPT_XFERINFODATA, &transfer);
    set(CURLOPT_NOPROGRESS, 0L);
  }
  PutAnswer answer(const Transfer& transfer) {
    PutAnswer result;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &result.status);
    curl_off_t seconds = 0;
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);  // of a date too
    result.retry_after = std::chrono::seconds(seconds);
    const char* redirect = nullptr;
    curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &redirect);
    if (redirect != nullptr) result.redirect = redirect;
    result.range = transfer.range;
    result.code = error_code(transfer.answer);
    return result;
  }
};

PutConnection::PutConnection(const PutOptions& options, const std::atomic<bool>& stop)
    : options_(options), stop_(stop), curl_((init_curl_once(), std::make_unique<Curl>())) {}

PutConnection::~PutConnection() = default;

Result<PutAnswer> PutConnection::put(const PutUrl& url, const PutBody& body,
                                     const std::string& content_range) {
  if (curl_->easy == nullptr) return Error{"libcurl: no memory", false};
  Transfer transfer{body, stop_};
  curl_easy_reset(curl_->easy);  // keeps the connection
  curl_->message[0] = '\0';
  curl_->set(CURLOPT_ERRORBUFFER, curl_->message);
  curl_->set(CURLOPT_URL, url.secret().c_str());
  curl_->set(CURLOPT_UPLOAD, 1L);
  curl_->set(CURLOPT_UPLOAD_BUFFERSIZE, kUploadBufferBytes);
  curl_->set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(body.bytes));
  curl_->set_headers(options_, content_range);
  curl_->set_limits(options_);
  curl_->set_callbacks(transfer);
  const CURLcode code = curl_easy_perform(curl_->easy);
  if (code == CURLE_OK) return curl_->answer(transfer);
  if (transfer.read_error != 0) return system_error("the bundle", transfer.read_error);
  if (code == CURLE_ABORTED_BY_CALLBACK) return Error{url.shown() + ": stopped", false};
  std::string why = url.without_secrets(curl_->message);
  if (why.empty()) why = curl_easy_strerror(code);
  return Error{url.shown() + ": " + why, false};
}

}  // namespace shmrec::sidecar::egress
