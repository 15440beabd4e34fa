// One HTTP PUT of a part of a file, and what was answered.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "sidecar/egress/put_url.h"

namespace shmrec::sidecar::egress {

struct PutOptions {
  std::filesystem::path url_file;
  std::filesystem::path ca_file;     // "": the system's
  std::vector<std::string> headers;  // "Name: value", those that the URL was signed with
  // The URL is an upload session that can be asked what it has (Google Cloud Storage and those who
  // do as it does).
  bool resumable = false;
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(30);
  // Slower than this for so long ends the attempt; also how long an answer may take.
  uint32_t low_speed_bytes = 1024;  // a second
  std::chrono::seconds low_speed_time{60};
  uint64_t max_rate_bytes = 0;  // a second; 0: any
};

// Bytes [offset, offset + bytes) of a file.
struct PutBody {
  int fd = -1;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct PutAnswer {
  long status = 0;
  std::string range;     // the header of that name
  std::string redirect;  // absolute, of a 3xx with a Location
  std::string code;      // <Code> of an S3-like error body: a word
  std::chrono::seconds retry_after{0};
};

// Keeps a connection for the requests of one attempt. No redirect is followed.
class PutConnection {
 public:
  PutConnection(const PutOptions& options, const std::atomic<bool>& stop);
  ~PutConnection();
  // An Error: no answer. `content_range` "": no such header.
  Result<PutAnswer> put(const PutUrl& url, const PutBody& body, const std::string& content_range);

 private:
  struct Curl;
  const PutOptions& options_;
  const std::atomic<bool>& stop_;
  const std::unique_ptr<Curl> curl_;
};

}  // namespace shmrec::sidecar::egress
