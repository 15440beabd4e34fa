#include "recording/bundle/sha256.h"

#include <nettle/base16.h>

namespace shmrec::recording {

Sha256::Digest Sha256::finish() {
  Digest digest;
  sha256_digest(&context_, digest.size(), digest.data());
  return digest;
}

std::string to_hex(const Sha256::Digest& digest) {
  std::string hex(BASE16_ENCODE_LENGTH(digest.size()), '\0');
  base16_encode_update(hex.data(), digest.size(), digest.data());
  return hex;
}

std::string sha256_hex(std::string_view data) {
  Sha256 sum;
  sum.update(data.data(), data.size());
  return to_hex(sum.finish());
}

}  // namespace shmrec::recording
