// SHA-256 against the vectors of FIPS 180-4 and NIST's examples.
#include "recording/bundle/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace shmrec::recording {
namespace {

std::string hash(const std::string& message, size_t piece) {
  Sha256 sum;
  for (size_t at = 0; at < message.size(); at += piece) {
    sum.update(&message[at], std::min(piece, message.size() - at));
  }
  return to_hex(sum.finish());
}

TEST(Sha256Test, GivesThePublishedDigests) {
  const struct {
    std::string message;
    const char* digest;
  } vectors[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmn"
       "o"
       "pqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1000000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
      {std::string(1, '\xbd'), "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b"},
      {std::string(55, '\0'), "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7"},
      {std::string(56, '\0'), "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb"},
      {std::string(64, '\0'), "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"},
  };
  for (const auto& vector : vectors) {
    EXPECT_EQ(hash(vector.message, 1 << 20), vector.digest) << vector.message.size();
  }
}

TEST(Sha256Test, DoesNotDependOnHowTheMessageIsCut) {
  std::string message(1000, '\0');
  for (size_t i = 0; i < message.size(); ++i) message[i] = static_cast<char>(i * 7);
  const std::string whole = hash(message, message.size());
  for (size_t piece = 1; piece < 200; ++piece) EXPECT_EQ(hash(message, piece), whole);
}

}  // namespace
}  // namespace shmrec::recording
