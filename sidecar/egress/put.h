// Puts bundles to a presigned URL. One attempt a send; the queue repeats.
//
// Trust: the server is believed only in what its certificate covers; its Range is checked, a
// redirect is followed only within the same scheme, host and port (the URL is a credential).
#pragma once

#include "sidecar/egress/destination.h"
#include "sidecar/egress/put_request.h"

namespace shmrec::sidecar::egress {

class PutDestination : public Destination {
 public:
  static Result<std::unique_ptr<PutDestination>> create(std::string destination_name,
                                                        PutOptions options);
  const char* kind() const override { return "put"; }
  Result<> send(const Bundle& file, const std::atomic<bool>& stop) override;

 private:
  PutDestination(std::string destination_name, PutOptions options)
      : Destination(std::move(destination_name)), options_(std::move(options)) {}

  Result<PutAnswer> put(PutConnection& connection, PutUrl url, const PutBody& body,
                        const std::string& content_range);
  Result<> send_at_once(PutConnection& connection, const PutUrl& url, const PutBody& body);
  Result<> send_resumed(PutConnection& connection, const PutUrl& url, const PutBody& body);
  Error refused(const PutUrl& url, const PutAnswer& answer);

  const PutOptions options_;
};

// How many bytes a session has, from the Range of its 308: "" 0, "bytes=0-41" 42.
Result<uint64_t> stored_bytes(const std::string& range_untrusted, uint64_t total);

}  // namespace shmrec::sidecar::egress
