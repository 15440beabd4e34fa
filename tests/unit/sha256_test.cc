// SHA-256 against the vectors of FIPS 180-4 and NIST's examples, in both engines.
#include "recording/bundle/sha256.h"

#include <gtest/gtest.h>

#include <string>

namespace shmrec::recording {
namespace {

std::string hash(Sha256::Engine engine, const std::string& message, size_t piece) {
  Sha256 sum(engine);
  for (size_t at = 0; at < message.size(); at += piece) {
    sum.update(&message[at], std::min(piece, message.size() - at));
  }
  return to_hex(sum.finish());
}

class Sha256Test : public testing::TestWithParam<Sha256::Engine> {};

TEST_P(Sha256Test, GivesThePublishedDigests) {
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
    EXPECT_EQ(hash(GetParam(), vector.message, 1 << 20), vector.digest) << vector.message.size();
  }
}

TEST_P(Sha256Test, DoesNotDependOnHowTheMessageIsCut) {
  std::string message(1000, '\0');
  for (size_t i = 0; i < message.size(); ++i) message[i] = static_cast<char>(i * 7);
  const std::string whole = hash(GetParam(), message, message.size());
  for (size_t piece = 1; piece < 200; ++piece) EXPECT_EQ(hash(GetParam(), message, piece), whole);
}

INSTANTIATE_TEST_SUITE_P(Engines, Sha256Test,
                         testing::Values(Sha256::Engine::kFastest, Sha256::Engine::kPortable));

TEST(Sha256EnginesTest, AgreeForEveryLength) {
  std::string message;
  for (int length = 0; length < 300; ++length) {
    EXPECT_EQ(hash(Sha256::Engine::kFastest, message, 1 << 20),
              hash(Sha256::Engine::kPortable, message, 1 << 20));
    message += static_cast<char>(length * 31 + 5);
  }
}

}  // namespace
}  // namespace shmrec::recording
