// SHA-256 (FIPS 180-4) by nettle, for the sums of a bundle. Streams: any number of updates, one
// finish.
//
// Nettle, because it takes the processor's SHA instructions where there are some (a bundle's time
// to write and to open is otherwise mostly hashing, docs/bundle_format.md), and adds 40 KiB to a
// static program; of OpenSSL's libcrypto the interface that is not deprecated adds 4 MiB.
#pragma once

#include <nettle/sha2.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shmrec::recording {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, SHA256_DIGEST_SIZE>;

  Sha256() { sha256_init(&context_); }
  void update(const void* data, size_t bytes) {
    sha256_update(&context_, bytes, static_cast<const uint8_t*>(data));
  }
  // Ends the message. REQUIRES: called once, nothing after it.
  Digest finish();

 private:
  sha256_ctx context_;
};

// 64 lowercase hexadecimal digits.
std::string to_hex(const Sha256::Digest& digest);
std::string sha256_hex(std::string_view data);

}  // namespace shmrec::recording
