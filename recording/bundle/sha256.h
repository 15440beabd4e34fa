// SHA-256 (FIPS 180-4), for the sums of a bundle. Streams: any number of updates, one finish.
//
// Uses the processor's SHA instructions where it has them: a bundle's time to write and to open is
// otherwise mostly hashing (docs/bundle_format.md has the figures).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shmrec::recording {

class Sha256 {
 public:
  using Digest = std::array<uint8_t, 32>;
  // kPortable is there for tests: both must agree.
  enum class Engine { kFastest, kPortable };

  explicit Sha256(Engine engine = Engine::kFastest);
  void update(const void* data, size_t bytes);
  // Ends the message. REQUIRES: called once, nothing after it.
  Digest finish();

 private:
  using Blocks = void (*)(std::array<uint32_t, 8>& state, const uint8_t* data, size_t blocks);
  Blocks blocks_;
  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> pending_;
  size_t pending_bytes_ = 0;
  uint64_t total_bytes_ = 0;
};

// 64 lowercase hexadecimal digits.
std::string to_hex(const Sha256::Digest& digest);
std::string sha256_hex(std::string_view data);

}  // namespace shmrec::recording
