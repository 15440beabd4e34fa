// What the tests of sidecar/egress share: a directory of their own, bundles, a log that can be
// asked.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "recording/bundle/sha256.h"
#include "sidecar/egress/destination.h"

namespace shmrec::sidecar::egress {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "shmrec-egress-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code error;
    fs::remove_all(path, error);
  }
  fs::path path;
};

inline void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Content that compresses badly and never repeats, the same in each run.
inline std::string some_bytes(size_t bytes) {
  std::mt19937_64 random(bytes);
  std::string content;
  content.reserve(bytes + 8);
  while (content.size() < bytes) {
    const uint64_t word = random();
    content.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  content.resize(bytes);
  return content;
}

inline Bundle make_bundle(const fs::path& store, const std::string& stem,
                          const std::string& content,
                          const std::string& created = "2026-11-22T06:00:00Z") {
  Bundle bundle;
  bundle.name = stem + ".shmrec.tar.zst";
  bundle.path = store / bundle.name;
  bundle.bytes = content.size();
  bundle.sha256 = recording::sha256_hex(content);
  bundle.run = stem + "-7";
  bundle.trigger = "signal 6 (SIGABRT)";
  bundle.rule = "crash";
  bundle.created = created;
  write_file(bundle.path, content);
  return bundle;
}

class TestLog {
 public:
  Log log() {
    return [this](LogLevel, const std::string& text) {
      const std::lock_guard lock(mutex_);
      text_ += text + "\n";
    };
  }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

inline bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit = 10s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

class EgressTest : public testing::Test {
 protected:
  EgressTest() { fs::create_directories(store); }
  TempDir temp;
  fs::path store = temp.path / "store";
  std::atomic<bool> stop{false};
  TestLog log;
};

}  // namespace shmrec::sidecar::egress
