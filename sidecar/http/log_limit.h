// Bounds what clients can write into the log: so many lines in a window, and of the rest a count.
//
// Answers are counted by kind, so that a flood of refusals hides no download. A kind that went over
// its share has one line more when its window ends: "... and 12,345 more in 10 s".
// Threads: any. Invariant: at most kLines + 1 lines per kind and window.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace shmrec::sidecar {

class LogLimit {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t kLines = 20;
  static constexpr size_t kKinds = 6;  // classes of status; 0: no answer
  static constexpr Clock::duration kWindow = std::chrono::seconds(10);

  explicit LogLimit(std::string name) : name_(std::move(name)) {}

  // Whether a line of this kind may be written now; if not, it is counted.
  bool take(size_t kind, Clock::time_point now = Clock::now());
  // Says what was withheld in windows that are over, or with `all` in those that are not.
  // REQUIRES: is called now and then, as no line may come that would say it.
  void tell(bool all = false, Clock::time_point now = Clock::now());
  uint64_t withheld() const;  // since the start

 private:
  struct Window {
    Clock::time_point start{};
    uint64_t lines = 0, withheld = 0;
  };
  void close(size_t kind, Clock::time_point now);

  const std::string name_;
  mutable std::mutex mutex_;
  std::array<Window, kKinds> windows_{};
  uint64_t total_ = 0;
};

// What a client sent, as a line of the log may show it: not all of a long one.
std::string for_log(const std::string& text);

}  // namespace shmrec::sidecar
