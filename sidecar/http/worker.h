// One thread's httplib: serves one connection after another. Its handlers see the request that its
// thread is at, so there is one Worker per thread.
#pragma once

#include <httplib.h>

#include <optional>
#include <string>

#include "sidecar/http/client_stream.h"
#include "sidecar/http/server.h"

namespace shmrec::sidecar {

class Worker : private httplib::Server {
 public:
  explicit Worker(sidecar::Server& server);
  void serve(int fd, const std::string& peer);

 private:
  bool exchange(ClientStream& stream, bool last);
  std::optional<Reply> read_and_judge(ClientStream& stream);
  void handle(const httplib::Request& request, httplib::Response& response);
  void fill(Reply reply, httplib::Response& response);
  void send_file(Reply reply, httplib::Response& response);
  void log(const ClientStream& stream);

  sidecar::Server& server_;
  // Of the request at work.
  RequestHead head_;
  std::optional<Reply> early_;  // before the body was read
  bool readable_ = false;       // head_ is a whole request's
  bool unread_ = false;         // bytes of it are still to come
  int status_ = 0;
  ClientStream* stream_ = nullptr;
};

}  // namespace shmrec::sidecar
