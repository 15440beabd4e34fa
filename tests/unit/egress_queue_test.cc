// The queue: order, pauses, and what it remembers.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <map>
#include <nlohmann/json.hpp>

#include "egress_support.h"
#include "sidecar/egress/directory.h"
#include "sidecar/egress/queue.h"
#include "sidecar/egress/termination_message.h"

namespace shmrec::sidecar::egress {
namespace {

// Does what the test says, and keeps what it was asked.
class Scripted : public Destination {
 public:
  struct Script {
    std::atomic<int> failures{0};    // so many times, then it succeeds
    std::atomic<bool> holds{false};  // does not return
    Retry retry;
    std::mutex mutex;
    std::vector<std::string> sent;  // names of bundles, each attempt
    size_t attempts() {
      const std::lock_guard lock(mutex);
      return sent.size();
    }
  };

  Scripted(const std::string& destination_name, std::shared_ptr<Script> script)
      : Destination(destination_name), script_(std::move(script)) {}
  const char* kind() const override { return "put"; }
  Result<> send(const Bundle& file, const std::atomic<bool>& stop) override {
    begin_attempt();
    {
      const std::lock_guard lock(script_->mutex);
      script_->sent.push_back(file.name);
    }
    while (script_->holds && !stop) std::this_thread::sleep_for(1ms);
    if (stop) return Error{"stopped"};
    if (script_->failures > 0) {
      --script_->failures;
      retry_ = script_->retry;
      return Error{"it does not work"};
    }
    place_ = "https://store/" + file.name;
    return Unit{};
  }

 private:
  const std::shared_ptr<Script> script_;
};

class EgressQueue : public EgressTest {
 protected:
  using Script = Scripted::Script;

  EgressQueue() {
    options.store = store;
    options.log = log.log();
    options.retry.first_pause = 1ms;
    options.retry.longest_pause = 2ms;
  }
  std::shared_ptr<Script> script(const std::string& name) {
    auto& known = scripts_[name];
    if (known == nullptr) known = std::make_shared<Script>();
    return known;
  }
  std::unique_ptr<Queue> open(const std::vector<std::string>& names) {
    std::vector<std::unique_ptr<Destination>> destinations;
    for (const std::string& name : names) {
      destinations.push_back(std::make_unique<Scripted>(name, script(name)));
    }
    auto queue = Queue::open(options, std::move(destinations));
    EXPECT_TRUE(queue.ok()) << queue.error().message;
    return std::move(*queue);
  }
  Bundle bundle(int number) {
    return make_bundle(store, "app" + std::to_string(number), "12345",
                       "2026-11-22T06:00:0" + std::to_string(number) + "Z");
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(store / ".egress"), {}));
  }
  static bool is_empty(const Queue& queue) {
    return eventually([&] { return queue.size() == 0; });
  }
  static double metric(const Queue& queue, const std::string& name) {
    for (const Metric& metric : queue.metrics()) {
      if (metric.name == name) return metric.values.at(0).second;
    }
    return -1;
  }

  QueueOptions options;

 private:
  std::map<std::string, std::shared_ptr<Script>> scripts_;
};

TEST_F(EgressQueue, SendsToAllOrToThoseNamed) {
  const auto queue = open({"a", "b"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(queue->add(bundle(2), {"b"}).ok());
  EXPECT_FALSE(queue->add(bundle(3), {"b", "c"}).ok());
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(script("a")->sent, std::vector<std::string>{"app1.shmrec.tar.zst"});
  EXPECT_EQ(script("b")->sent,
            (std::vector<std::string>{"app1.shmrec.tar.zst", "app2.shmrec.tar.zst"}));
  EXPECT_EQ(files(), 0u);
}

TEST_F(EgressQueue, RepeatsUntilItWorks) {
  script("a")->failures = 3;
  const auto queue = open({"a"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(script("a")->attempts(), 4u);
  EXPECT_EQ(metric(*queue, "shmrec_egress_sent_total"), 1);
  EXPECT_EQ(metric(*queue, "shmrec_egress_failed_total"), 3);
  EXPECT_EQ(metric(*queue, "shmrec_egress_bytes_total"), 5);
  EXPECT_EQ(metric(*queue, "shmrec_egress_given_up_total"), 0);
}

TEST_F(EgressQueue, GivesUpLoudlyAfterSoManyAttempts) {
  options.retry.max_attempts = 3;
  script("a")->failures = 100;
  const auto queue = open({"a"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(script("a")->attempts(), 3u);
  EXPECT_EQ(metric(*queue, "shmrec_egress_given_up_total"), 1);
  EXPECT_NE(log.text().find("given up after attempt 3: it does not work"), std::string::npos);
  EXPECT_EQ(files(), 0u);
}

TEST_F(EgressQueue, DoesNotRepeatWhatCannotWork) {
  script("a")->failures = 100;
  script("a")->retry.useful = false;
  const auto queue = open({"a"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(script("a")->attempts(), 1u);
}

TEST_F(EgressQueue, WaitsAsLongAsItWasAskedToWithinBounds) {
  options.retry.longest_asked = 300ms;
  script("a")->failures = 1;
  script("a")->retry.at_least = 1h;
  const auto queue = open({"a"});
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 300ms);
}

TEST(EgressPause, GrowsToItsLimitAndIsSpread) {
  const RetryPolicy policy{5s, 60s};
  EXPECT_EQ(pause_after(policy, 1, 0.0), 2500ms);
  EXPECT_EQ(pause_after(policy, 1, 0.999999), 4999ms);
  EXPECT_EQ(pause_after(policy, 3, 0.0), 10s);
  EXPECT_EQ(pause_after(policy, 5, 0.0), 30s);
  EXPECT_EQ(pause_after(policy, 4000000000u, 0.0), 30s);
}

TEST_F(EgressQueue, ADestinationThatFailsDoesNotHoldUpTheOthers) {
  options.retry.first_pause = options.retry.longest_pause = 1h;
  script("a")->failures = 100;
  const auto queue = open({"a", "b"});
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(queue->add(bundle(i)).ok());
  EXPECT_TRUE(eventually([&] { return script("b")->attempts() == 5; }));
  EXPECT_TRUE(eventually([&] { return script("a")->attempts() == 5; }));
  // What "b" has sent leaves the queue a moment after the attempt.
  EXPECT_TRUE(eventually([&] { return queue->size() == 5; }));
  EXPECT_TRUE(queue->waits("app1.shmrec.tar.zst"));
  EXPECT_FALSE(queue->waits("app9.shmrec.tar.zst"));
}

TEST_F(EgressQueue, DestinationsTakeTurns) {
  script("a")->holds = true;
  const auto queue = open({"a", "b"});
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(queue->add(bundle(i), {"a"}).ok());
  ASSERT_TRUE(eventually([&] { return script("a")->attempts() == 1; }));
  script("b")->holds = true;
  ASSERT_TRUE(queue->add(bundle(6), {"b"}).ok());
  script("a")->holds = false;
  // Four bundles were there for "a" before the one for "b".
  EXPECT_TRUE(eventually([&] { return script("b")->attempts() == 1; }));
  EXPECT_EQ(script("a")->attempts(), 1u);
  script("b")->holds = false;
}

TEST_F(EgressQueue, IsBoundedAndKeepsTheOldest) {
  options.max_jobs = 2;
  script("a")->holds = true;
  const auto queue = open({"a"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(queue->add(bundle(2)).ok());
  ASSERT_TRUE(queue->add(bundle(2)).ok()) << "waits already";
  const auto third = queue->add(bundle(3));
  ASSERT_FALSE(third.ok());
  EXPECT_NE(third.error().message.find("2 bundles wait already"), std::string::npos);
  EXPECT_EQ(metric(*queue, "shmrec_egress_refused_total"), 1);
  EXPECT_EQ(metric(*queue, "shmrec_egress_waiting"), 2);
}

TEST_F(EgressQueue, DrainTriesAllOnceMoreAndDoesNotWaitForPauses) {
  options.retry.first_pause = options.retry.longest_pause = 1h;
  script("a")->failures = 1;
  script("b")->failures = 2;
  const auto queue = open({"a", "b"});
  ASSERT_TRUE(queue->add(bundle(1)).ok());
  ASSERT_TRUE(eventually([&] { return script("a")->attempts() + script("b")->attempts() == 2; }));
  EXPECT_FALSE(queue->drain(10s)) << "b has failed again";
  EXPECT_EQ(queue->size(), 1u);
  EXPECT_TRUE(queue->drain(10s));
  script("a")->holds = true;
  ASSERT_TRUE(queue->add(bundle(2)).ok());
  EXPECT_FALSE(queue->drain(50ms));
}

TEST_F(EgressQueue, NamesOfDestinationsAreFileNamesAndDiffer) {
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{""}, {"a/b"}, {"a.b"}, {"a", "a"}, {std::string(25, 'a')}}) {
    std::vector<std::unique_ptr<Destination>> destinations;
    for (const auto& name : names) {
      destinations.push_back(std::make_unique<Scripted>(name, script("a")));
    }
    EXPECT_FALSE(Queue::open(options, std::move(destinations)).ok());
  }
}

TEST_F(EgressQueue, RefusesNamesThatArePaths) {
  const auto queue = open({"a"});
  for (const char* name : {"", "..", ".hidden", "a/b", "../a", "a\nb"}) {
    Bundle bad = bundle(1);
    bad.name = name;
    EXPECT_FALSE(queue->add(bad).ok()) << name;
  }
}

TEST_F(EgressQueue, TheTerminationMessageLearnsOfOtherPlaces) {
  std::vector<std::unique_ptr<Destination>> destinations;
  destinations.push_back(std::make_unique<Scripted>("a", script("a")));
  destinations.push_back(std::make_unique<TerminationMessage>("message", temp.path / "log"));
  const auto queue = Queue::open(options, std::move(destinations));
  ASSERT_TRUE(queue.ok());
  ASSERT_TRUE((*queue)->add(bundle(1)).ok());
  ASSERT_TRUE(is_empty(**queue));
  EXPECT_NE(read_file(temp.path / "log").find("; https://store/app1.shmrec.tar.zst\n"),
            std::string::npos)
      << read_file(temp.path / "log");
}

// ---- Another life -------------------------------------------------------------------------------

TEST_F(EgressQueue, ARestartedQueueGoesOn) {
  options.retry.first_pause = options.retry.longest_pause = 300ms;
  script("a")->failures = 1;
  const Bundle sent = bundle(1);
  {
    const auto queue = open({"a"});
    ASSERT_TRUE(queue->add(sent).ok());
    ASSERT_TRUE(eventually([&] { return metric(*queue, "shmrec_egress_failed_total") == 1; }));
  }
  EXPECT_EQ(files(), 1u);
  script("a")->failures = 1;
  options.retry.max_attempts = 2;  // the attempt of the last life counts
  const auto queue = open({"a"});
  EXPECT_EQ(queue->size(), 1u);
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(metric(*queue, "shmrec_egress_given_up_total"), 1);
}

TEST_F(EgressQueue, AnAttemptThatOurStopEndedDoesNotCount) {
  options.retry.max_attempts = 1;
  script("a")->holds = true;
  for (int life = 0; life < 3; ++life) {
    const auto queue = open({"a"});
    ASSERT_TRUE(queue->add(bundle(1)).ok());
    ASSERT_TRUE(eventually([&] { return script("a")->attempts() > static_cast<size_t>(life); }));
  }
  script("a")->holds = false;
  const auto queue = open({"a"});
  ASSERT_TRUE(is_empty(*queue));
  EXPECT_EQ(metric(*queue, "shmrec_egress_sent_total"), 1);
}

TEST_F(EgressQueue, AKilledQueueIsTakenUpByTheNextProcess) {
  const fs::path volume = temp.path / "volume";
  fs::create_directories(volume);
  const Bundle first = bundle(1), second = bundle(2);
  const pid_t child = fork();
  if (child == 0) {
    script("a")->holds = true;
    const auto queue = open({"a"});
    const bool added = queue->add(first).ok() && queue->add(second).ok();
    write_file(temp.path / (added ? "added" : "failed"), "");
    pause();
  }
  const bool added = eventually([&] { return fs::exists(temp.path / "added"); });
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_TRUE(added);

  std::vector<std::unique_ptr<Destination>> destinations;
  destinations.push_back(std::make_unique<DirectoryDestination>("a", DirectoryOptions{volume}));
  const auto queue = Queue::open(options, std::move(destinations));
  ASSERT_TRUE(queue.ok());
  ASSERT_TRUE(is_empty(**queue));
  EXPECT_EQ(read_file(volume / first.name), "12345");
  EXPECT_EQ(read_file(volume / second.name), "12345");
  EXPECT_EQ(files(), 0u);
}

class EgressQueueFiles : public EgressQueue {
 protected:
  // A queue has failed once, and its thread is gone.
  void SetUp() override {
    auto before = options.retry;
    options.retry.first_pause = options.retry.longest_pause = 1h;
    script("a")->failures = 1;
    const auto queue = open({"a"});
    ASSERT_TRUE(queue->add(sent).ok());
    ASSERT_TRUE(eventually([&] { return metric(*queue, "shmrec_egress_failed_total") == 1; }));
    queue->stop();
    options.retry = before;
  }
  const Bundle sent = bundle(1);
  const fs::path file = store / ".egress" / (sent.name + ".a");
};

TEST_F(EgressQueueFiles, HoldTheWholeJobAndAreForTheOwnerOnly) {
  const auto job = nlohmann::json::parse(read_file(file));
  EXPECT_EQ(job["format"], "shmrec-egress/1");
  EXPECT_EQ(job["attempts"], 1);
  EXPECT_EQ(job["sha256"], sent.sha256);
  EXPECT_EQ(job["trigger"], "signal 6 (SIGABRT)");
  EXPECT_EQ(fs::status(file).permissions(), fs::perms(0600));
  EXPECT_EQ(fs::status(store / ".egress").permissions(), fs::perms(0700));
}

TEST_F(EgressQueueFiles, AClockThatWasSteppedStarvesNobody) {
  options.retry.longest_asked = 200ms;
  for (const int64_t next : {int64_t{4102444800000}, INT64_MAX, INT64_MIN, int64_t{-1}}) {
    auto job = nlohmann::json::parse(read_file(file));
    job["nextUnixMs"] = next;
    const std::string text = job.dump();
    write_file(file, text);
    {
      const auto queue = open({"a"});
      EXPECT_TRUE(is_empty(*queue)) << next;
    }
    write_file(file, text);
  }
}

TEST_F(EgressQueueFiles, DamagedOnesAreLeftAndSaid) {
  const std::string good = read_file(file);
  auto path = nlohmann::json::parse(good);
  path["bundle"] = "../../etc/passwd";
  auto sum = nlohmann::json::parse(good);
  sum["sha256"] = "unknown";
  for (const std::string& bad :
       {std::string(), std::string("{}"), good.substr(0, good.size() / 2), std::string("[1]"),
        std::string(100000, 'x'), path.dump(), sum.dump()}) {
    write_file(file, bad);
    const auto queue = open({"a"});
    EXPECT_EQ(queue->size(), 0u) << bad.substr(0, 60);
    EXPECT_EQ(read_file(file), bad);
  }
  write_file(store / ".egress" / "other.name", good);
  fs::create_symlink(file, store / ".egress" / "link.a");
  write_file(file.string() + ".new", "torn");
  const auto queue = open({"b"});
  EXPECT_NE(log.text().find("not a job"), std::string::npos) << log.text();
  EXPECT_NE(log.text().find("other.name: not the job of its name"), std::string::npos);
  EXPECT_NE(log.text().find("link.a"), std::string::npos);
  EXPECT_FALSE(fs::exists(file.string() + ".new"));
}

TEST_F(EgressQueueFiles, AForgottenDestinationKeepsItsJobsWhileTheBundleIsThere) {
  { const auto queue = open({"b"}); }
  EXPECT_NE(log.text().find("no such destination any more"), std::string::npos);
  EXPECT_TRUE(fs::exists(file));
  fs::remove(sent.path);
  { const auto queue = open({"b"}); }
  EXPECT_FALSE(fs::exists(file));
}

}  // namespace
}  // namespace shmrec::sidecar::egress
