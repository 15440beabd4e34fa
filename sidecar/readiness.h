// Asks readiness URLs, each in its period, on a thread of its own: a server that does not answer
// delays nothing else. http only; an answer of 200 to 399 within the period is readiness, as for a
// kubelet. Threads: any.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "sidecar/rules/rules.h"

namespace shmrec::sidecar {

// "http://HOST[:PORT][/PATH]", cut in two for the client.
struct ReadinessUrl {
  std::string origin;  // http://HOST:PORT
  std::string path;
};
Result<ReadinessUrl> parse_readiness_url(const std::string& url);

class Readiness {
 public:
  struct Answer {
    std::string url;
    bool ready = false;
  };

  // REQUIRES: every URL parses.
  explicit Readiness(const std::vector<Rule>& rules);
  ~Readiness();

  std::vector<Answer> take();  // since the last call, in order

 private:
  struct Probe {
    std::string url;
    ReadinessUrl parts;
    std::chrono::seconds period;
    std::chrono::steady_clock::time_point due;
  };
  void work();
  static bool ask(const Probe& probe);

  std::vector<Probe> probes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Answer> answers_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace shmrec::sidecar
