#include "sidecar/http/worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <memory>

namespace shmrec::sidecar {
namespace {

constexpr size_t kPieceBytes = 128 * 1024;

// What httplib is given in place of the client's head: a path that it need not decode, and a method
// by which it reads a body or not.
std::string head_for_httplib(const RequestHead& head, bool with_body) {
  if (!with_body)
    return (head.method == "HEAD" ? "HEAD" : "GET") + std::string(" / HTTP/1.1\r\n\r\n");
  return "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(head.content_bytes) + "\r\n" +
         (head.expects_continue ? "Expect: 100-continue\r\n" : "") + "\r\n";
}

std::string http_date() {
  const time_t now = time(nullptr);
  struct tm utc;
  char text[40];
  gmtime_r(&now, &utc);
  strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return text;
}

bool write_piece(int fd, uint64_t at, size_t bytes, httplib::DataSink& sink) {
  thread_local std::string piece(kPieceBytes, '\0');
  const ssize_t got =
      pread(fd, piece.data(), std::min(bytes, piece.size()), static_cast<off_t>(at));
  // A file that ends early cannot be completed: the connection is closed, and the client sees that
  // bytes are missing.
  return got > 0 && sink.write(piece.data(), static_cast<size_t>(got));
}

}  // namespace

Worker::Worker(sidecar::Server& server) : server_(server) {
  const auto handler = [this](const httplib::Request& request, httplib::Response& response) {
    handle(request, response);
  };
  Get("/", handler);  // HEAD too
  Post("/", handler);
  // The body could not be read: httplib answers without having asked us.
  const HandlerWithResponse on_error = [this](const httplib::Request&,
                                              httplib::Response& response) {
    if (response.body.empty() && !response.content_provider_)
      fill(problem(stream_->cut() == Cut::kRequestTimeout ? 408 : 400,
                   "The body did not arrive as announced."),
           response);
    return HandlerResponse::Handled;
  };
  set_error_handler(on_error);
  // RFC 9110: 204 has no length, and httplib gives one to everything.
  set_post_routing_handler([](const httplib::Request&, httplib::Response& response) {
    if (response.status == 204) response.headers.erase("Content-Length");
  });
  set_exception_handler([this](const httplib::Request&, httplib::Response& response,
                               std::exception_ptr) {
    if (server_.log_limit_.take(5))
      spdlog::error("{}: an exception in {} {}", server_.name_, head_.method, for_log(head_.path));
    fill(problem(500, "The server failed; its log says more."), response);
  });
  set_keep_alive_max_count(server_.limits_.requests_per_connection);
  set_keep_alive_timeout(
      std::chrono::duration_cast<std::chrono::seconds>(server_.limits_.idle).count());
  svr_sock_ = server_.listener_->fd();  // to httplib: it is not shutting down
}

void Worker::serve(int fd, const std::string& peer) {
  ClientStream stream(fd, peer, server_.limits_, server_.counters_);
  unread_ = false;
  const unsigned most = server_.limits_.requests_per_connection;
  for (unsigned number = 1; number <= most; number++) {
    // An open connection without a request gives way to those who wait for a thread.
    const auto give_way = [&] {
      return server_.stopping() || (number > 1 && server_.others_wait());
    };
    if (!stream.wait_for_request(give_way) || !exchange(stream, number == most)) break;
    server_.note(fd, false);
  }
  server_.note(fd, false);
  stream.end(unread_);
}

// The reply to a request that needs no body or may not send it.
std::optional<Reply> Worker::read_and_judge(ClientStream& stream) {
  std::string text;
  const HeadLimits& limits = server_.limits_.head;
  switch (stream.read_head(text)) {
    case ClientStream::HeadRead::kWhole:
      break;
    case ClientStream::HeadRead::kTooLong:
      return problem(431, "The head is longer than " + std::to_string(limits.bytes) + " bytes.");
    case ClientStream::HeadRead::kNoHttp:
      return problem(400, "This is not HTTP/1.1; the port speaks it without TLS.");
    case ClientStream::HeadRead::kTimeout:
      return problem(408, "The head did not arrive in time.");
    case ClientStream::HeadRead::kGone:
      return {};
  }
  head_ = RequestHead{};
  if (const auto refusal = parse_head(text, limits, head_))
    return problem(refusal->status, refusal->detail);
  readable_ = true;
  return server_.site_.refuse(head_);
}

// One request and its response; false: the connection ends.
bool Worker::exchange(ClientStream& stream, bool last) {
  head_ = RequestHead{};
  readable_ = false;
  status_ = 0;
  stream_ = &stream;
  early_ = read_and_judge(stream);
  server_.note(stream.socket(), true);
  if (!early_ && !readable_) {  // the client went away in the middle
    log(stream);
    return false;
  }
  const bool with_body = !early_ && head_.content_bytes > 0;
  unread_ = !readable_ || (early_ && head_.content_bytes > 0);
  const bool close =
      unread_ || !head_.keep_alive || last || server_.stopping() || server_.others_wait();
  stream.replay(head_for_httplib(head_, with_body), with_body ? head_.content_bytes : 0);
  bool closed = false;
  const bool written = process_request(stream, close, closed, nullptr);
  log(stream);
  unread_ = unread_ || stream.body_left() > 0;
  return written && !close && !closed && !unread_;
}

void Worker::handle(const httplib::Request& request, httplib::Response& response) {
  fill(early_ ? *std::exchange(early_, {}) : server_.site_.answer(head_, request.body), response);
}

void Worker::fill(Reply reply, httplib::Response& response) {
  response.status = status_ = reply.status;
  for (const auto& [name, value] : reply.headers) response.set_header(name, value);
  response.set_header("Date", http_date());
  response.set_header("Cache-Control", "no-store");
  response.set_header("X-Content-Type-Options", "nosniff");
  if (reply.file && reply.file_bytes > 0) return send_file(std::move(reply), response);
  if (!reply.type.empty()) response.set_content(reply.body, reply.type);
}

void Worker::send_file(Reply reply, httplib::Response& response) {
  const auto fd = std::make_shared<UniqueFd>(std::move(reply.file));  // httplib copies the provider
  response.set_content_provider(
      reply.file_bytes, reply.type,
      [fd, start = reply.file_offset](size_t at, size_t bytes, httplib::DataSink& sink) {
        return write_piece(fd->get(), start + at, bytes, sink);
      });
}

// Without query and headers: those may hold secrets.
void Worker::log(const ClientStream& stream) {
  const int status_class = status_ / 100;
  if (status_class >= 2 && status_class <= 5) server_.counters_.by_class[status_class]++;
  const double seconds =
      std::chrono::duration<double>(ClientStream::Clock::now() - stream.started()).count();
  const bool cut = stream.cut() != Cut::kNone;
  const auto level = !server_.site_.is_logged(status_) ? spdlog::level::debug
                     : cut                             ? spdlog::level::warn
                                                       : spdlog::level::info;
  const size_t kind = status_class >= 0 && status_class < 6 ? static_cast<size_t>(status_class) : 0;
  if (!spdlog::should_log(level) || !server_.log_limit_.take(kind)) return;
  spdlog::log(level, "{}: {} {} {} {} bytes {:.3f} s from {}{}{}", server_.name_,
              head_.method.empty() ? "-" : for_log(head_.method),
              head_.path.empty() ? "-" : for_log(head_.path), status_, stream.sent(), seconds,
              stream.peer(), cut ? "; cut: " : "",
              cut ? kCutNames[static_cast<size_t>(stream.cut())] : "");
}

}  // namespace shmrec::sidecar
