// Rules: which events lead to which bundles, and what is remembered over a restart.
#include "sidecar/rules/rules.h"

#include <gtest/gtest.h>

#include "sidecar/rules/rule_engine.h"

namespace shmrec::sidecar {
namespace {

using Type = Event::Type;
constexpr int64_t kSecond = 1'000'000'000;

Event event(Type type, int number = 0, double at_s = 0) {
  return {.type = type,
          .monotonic_ns = static_cast<int64_t>(at_s * kSecond),
          .run = "demo-1",
          .command = "/srv/demo --port 80",
          .executable = "/srv/demo",
          .container = "app",
          .number = number};
}

Rule rule(const std::string& name, Trigger trigger, RateLimit limit = {}) {
  return {.name = name, .trigger = std::move(trigger), .limit = limit};
}

StoredBundle stored(const std::string& rule, const Event& event, int64_t wall_s, bool keep) {
  StoredBundle bundle;
  bundle.info.rule = rule;
  bundle.info.keep = keep;
  bundle.command = event.command;
  bundle.container = event.container;
  bundle.failure = failure_of(event);
  if (!bundle.failure.empty()) bundle.kinds = {kind_of(event, "")};
  bundle.made.wall_ns = wall_s * kSecond;
  return bundle;
}

// ---- Matching -----------------------------------------------------------------------------------

TEST(Rules, FilterMatchesAllThatIsGiven) {
  Rule wanted = rule("r", {.exit_nonzero = true});
  EXPECT_TRUE(matches(wanted, event(Type::kExit, 1)));
  wanted.filter = {"/srv/* --port*", "/srv/*", "a?p"};
  EXPECT_TRUE(matches(wanted, event(Type::kExit, 1)));
  wanted.filter.container = "other";
  EXPECT_FALSE(matches(wanted, event(Type::kExit, 1)));
  wanted.filter = {"demo", "", ""};
  EXPECT_FALSE(matches(wanted, event(Type::kExit, 1)));
  wanted.filter = {"", "/*", ""};
  EXPECT_FALSE(matches(wanted, event(Type::kExit, 1))) << "'*' stops at '/' in paths";
}

TEST(Rules, EachTriggerMatchesItsEventsOnly) {
  Event mark = event(Type::kMark), file = event(Type::kFileTouched);
  mark.text = "checkout/failed";
  file.text = "/run/dump";
  const std::vector<Event> events = {event(Type::kExit, 0),
                                     event(Type::kExit, 1),
                                     event(Type::kExit, 3),
                                     event(Type::kSignal, 6),
                                     event(Type::kSignal, 11),
                                     event(Type::kLost),
                                     event(Type::kOutOfMemory),
                                     mark,
                                     file,
                                     event(Type::kRequest)};
  const struct {
    Trigger trigger;
    std::string matched;
  } kRows[] = {
      {{.exit_statuses = {3}}, "0010000000"},
      {{.exit_statuses = {0}}, "1000000000"},
      {{.exit_nonzero = true}, "0110000000"},
      {{.signals = {6}}, "0001000000"},
      {{.any_signal = true}, "0001100000"},
      {{.lost = true}, "0000010000"},
      {{.out_of_memory = true}, "0000001000"},
      {{.mark = "checkout*"}, "0000000100"},
      {{.mark = "other"}, "0000000000"},
      {{.file = "/run/dump"}, "0000000010"},
      {{.file = "/run/*"}, "0000000000"},
      {{.request = true}, "0000000001"},
      {{.signals = {11}, .lost = true, .request = true}, "0000110001"},
  };
  for (const auto& row : kRows) {
    std::string matched;
    for (const Event& one : events) matched += matches(rule("r", row.trigger), one) ? '1' : '0';
    EXPECT_EQ(matched, row.matched);
  }
}

TEST(Rules, ExitsOfProcessesCountOnlyIfTheRuleSaysSo) {
  Event worker = event(Type::kSignal, 11);
  worker.of_process = true;
  EXPECT_FALSE(matches(rule("r", {.any_signal = true}), worker));
  EXPECT_TRUE(matches(rule("r", {.any_signal = true, .any_process = true}), worker));
  EXPECT_EQ(reason_of(worker), "signal 11 (SIGSEGV) of /srv/demo");
}

TEST(Rules, ReasonsAndFailuresAreNamed) {
  EXPECT_EQ(reason_of(event(Type::kExit, 134)), "exit 134");
  EXPECT_EQ(reason_of(event(Type::kSignal, 6)), "signal 6 (SIGABRT)");
  EXPECT_EQ(reason_of(event(Type::kRequest)), "on demand");
  EXPECT_EQ(failure_of(event(Type::kSignal, 6)), "signal 6");
  EXPECT_EQ(failure_of(event(Type::kExit, 3)), "exit 3");
  EXPECT_EQ(failure_of(event(Type::kExit, 0)), "");
  EXPECT_EQ(failure_of(event(Type::kLost)), "lost");
  EXPECT_EQ(failure_of(event(Type::kRequest)), "");
}

TEST(Rules, MistakesAreNamedWithTheirRule) {
  const auto error_of = [](Rule bad) {
    const Result<> checked = check_rules({std::move(bad)});
    return checked ? "" : checked.error().message;
  };
  EXPECT_EQ(error_of(rule("good", {.request = true})), "");
  EXPECT_EQ(error_of(rule("r", {})), "rule \"r\": no trigger; expected at least one");
  EXPECT_EQ(error_of(rule("", {.request = true})),
            "rule \"\": name: expected 1 to 63 letters, digits or ._-");
  EXPECT_EQ(error_of(rule("r", {.exit_statuses = {256}})),
            "rule \"r\": exit status: expected numbers from 0 to 255");
  EXPECT_EQ(error_of(rule("r", {.signals = {0}})),
            "rule \"r\": signal: expected numbers from 1 to 64");
  EXPECT_EQ(error_of(rule("r", {.mark = "[a"})), "rule \"r\": mark: '[' has no ']'");
  EXPECT_EQ(error_of(rule("r", {.mark = std::string(256, 'x')})),
            "rule \"r\": mark: longer than 255 bytes");
  EXPECT_EQ(error_of(rule("r", {.file = "relative"})),
            "rule \"r\": file: expected an absolute path");
  EXPECT_NE(error_of(rule("r", {.readiness = ReadinessProbe{}})), "");
  EXPECT_NE(error_of(rule("r", {.request = true}, {.count = 1})), "");
  EXPECT_NE(error_of(rule("r", {.request = true}, {.count = 1, .window_s = -1})), "");
  const Rule twice = rule("r", {.request = true});
  EXPECT_EQ(check_rules({twice, twice}).error().message, "rule \"r\": name: used twice");
}

// ---- Deciding -----------------------------------------------------------------------------------

TEST(RuleEngine, FirstRuleThatMatchesDecides) {
  Rule second = rule("second", {.exit_nonzero = true});
  second.egress = {"s3"};
  RuleEngine engine({rule("first", {.exit_statuses = {3}}), second});
  const auto three = engine.on_event(event(Type::kExit, 3));
  ASSERT_TRUE(three);
  EXPECT_EQ(three->rule, "first");
  EXPECT_EQ(three->run, "demo-1");
  EXPECT_EQ(three->reason, "exit 3");
  EXPECT_TRUE(three->egress.empty());
  const auto four = engine.on_event(event(Type::kExit, 4));
  ASSERT_TRUE(four);
  EXPECT_EQ(four->rule, "second");
  EXPECT_EQ(four->egress, (std::vector<std::string>{"s3"}));
  EXPECT_FALSE(engine.on_event(event(Type::kExit, 0)));
}

TEST(RuleEngine, LimitHoldsInEveryWindowAndIsCounted) {
  RuleEngine engine({rule("r", {.request = true}, {.count = 2, .window_s = 60}),
                     rule("behind", {.request = true})});
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 0)));
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 50)));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 59.9))) << "nor by the rule behind it";
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 60)));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 109)));
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 110)));
  EXPECT_EQ(engine.limited().at("r"), 2u);
  EXPECT_EQ(engine.limited().at("behind"), 0u);
}

TEST(RuleEngine, TimeThatGoesBackwardsStandsStill) {
  RuleEngine engine({rule("r", {.request = true}, {.count = 1, .window_s = 60})});
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 1000)));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 10)));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 1059)));
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 1060)));
}

TEST(RuleEngine, OnlyTheFirstFailureOfALoopIsKept) {
  RuleEngine engine({rule("r", {.exit_nonzero = true, .any_signal = true})}, {.window_s = 100});
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, 0))->keep);
  for (int at = 10; at < 1000; at += 90)
    EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, at))->keep) << at;
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 11, 1000))->keep) << "another kind";
  Event other = event(Type::kSignal, 6, 1001);
  other.container = "other";
  EXPECT_TRUE(engine.on_event(other)->keep) << "another container";
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, 1100))->keep) << "after a pause";
}

TEST(RuleEngine, LoopGoesOnWhileTheLimitHoldsItsBundlesBack) {
  RuleEngine engine({rule("r", {.any_signal = true}, {.count = 1, .window_s = 150})},
                    {.window_s = 100});
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, 0))->keep);
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, 80)));
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, 160))->keep);
}

TEST(RuleEngine, ALimitLetsEveryFirstThrough) {
  RuleEngine engine({rule("r", {.any_signal = true}, {.count = 1, .window_s = 50})});
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, 0))->keep);
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 11, 1))->keep);
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 11, 2)));
  EXPECT_EQ(engine.limited_by(), "r");
}

TEST(RuleEngine, WithRoomNoFailureIsDropped) {
  RuleEngine engine(
      {rule("r", {.any_signal = true, .request = true}, {.count = 1, .window_s = 50})});
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, i), true)) << i;
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, 21), false));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 22), true)) << "it is no evidence";
}

TEST(RuleEngine, AKindIsProgramEndAndPlace) {
  RuleEngine engine({rule("r", {.any_signal = true})});
  Event crash = event(Type::kSignal, 11);
  const auto first = [&](const std::string& place) {
    crash.kind = kind_of(crash, place);
    return engine.on_event(crash)->keep;
  };
  EXPECT_TRUE(first("demo+0x10"));
  EXPECT_FALSE(first("demo+0x10"));
  EXPECT_TRUE(first("demo+0x20"));
  crash.command = "/srv/demo --port 81";
  EXPECT_FALSE(first("demo+0x20")) << "arguments make no other kind";
  crash.executable = "/srv/other";
  EXPECT_TRUE(first("demo+0x20"));
  crash.number = 6;
  EXPECT_TRUE(first("demo+0x20"));
  EXPECT_EQ(crash.kind, "app: signal 6 of /srv/other at demo+0x20");
}

TEST(RuleEngine, SuccessAndRequestsAreNeverKept) {
  RuleEngine engine({rule("r", {.exit_statuses = {0}, .request = true})});
  EXPECT_FALSE(engine.on_event(event(Type::kExit, 0))->keep);
  EXPECT_FALSE(engine.on_event(event(Type::kRequest))->keep);
}

TEST(RuleEngine, AWorkloadThatFailsInEverNewWaysCannotFillTheStore) {
  RuleEngine engine({rule("r", {.exit_nonzero = true})}, {.most = 4});
  size_t kept = 0;
  for (int i = 0; i < 5000; ++i) {
    Event next = event(Type::kExit, 1, i);
    next.executable = "/tmp/" + std::to_string(i);
    kept += engine.on_event(next)->keep;
  }
  EXPECT_EQ(kept, 4u);
  const StoredBundle one = stored("r", event(Type::kExit, 1), 0, true);
  engine.count_kept({one, one, one});  // somebody removed one
  EXPECT_TRUE(engine.on_event(event(Type::kExit, 2, 6000))->keep);
  EXPECT_FALSE(engine.on_event(event(Type::kExit, 3, 6001))->keep);
}

TEST(RuleEngine, WithRoomMoreFirstsAreKept) {
  RuleEngine engine({rule("r", {.exit_nonzero = true})}, {.most = 4, .most_with_room = 6});
  size_t kept = 0;
  for (int i = 1; i <= 100; ++i) kept += engine.on_event(event(Type::kExit, i, i), i > 50)->keep;
  EXPECT_EQ(kept, 6u);
}

TEST(RuleEngine, RequestsFromTheSpoolDoNotUseUpWhatIsForPeople) {
  const std::vector<Rule> rules{rule("r", {.request = true}, {.count = 2, .window_s = 60})};
  RuleEngine engine(rules);
  Event flood = event(Type::kRequest, 0, 1);
  flood.from_spool = true;
  EXPECT_TRUE(engine.on_event(flood));
  const auto second = engine.on_event(flood);
  EXPECT_FALSE(engine.on_event(flood));
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 1)));
  engine.withdraw(*second);
  EXPECT_TRUE(engine.on_event(flood));
  EXPECT_TRUE(engine.on_event(event(Type::kRequest, 0, 1)));
  EXPECT_FALSE(engine.on_event(event(Type::kRequest, 0, 1)));

  RuleEngine restarted(rules);
  const StoredBundle made = stored("r", flood, 0, false);
  restarted.restore({made, made}, {.wall_ns = 0}, 0);
  EXPECT_FALSE(restarted.on_event(flood)) << "a restart lets no more through";
}

TEST(RuleEngine, BundleThatCouldNotBeMadeDoesNotCount) {
  RuleEngine engine({rule("r", {.any_signal = true}, {.count = 1, .window_s = 60})}, {.most = 1});
  const auto decision = engine.on_event(event(Type::kSignal, 6, 0));
  ASSERT_TRUE(decision && decision->keep);
  engine.withdraw(*decision);
  const auto again = engine.on_event(event(Type::kSignal, 6, 1));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->keep);
}

TEST(RuleEngine, ReadinessStrikesOnceAfterFailuresInARow) {
  Rule probe = rule("r", {.readiness = ReadinessProbe{"http://localhost/ready", 3, 1}});
  RuleEngine engine({rule("other", {.request = true}), probe});
  const auto tell = [&](bool succeeded) {
    Event result = event(Type::kReadiness);
    result.text = "http://localhost/ready";
    result.succeeded = succeeded;
    return engine.on_event(result).has_value();
  };
  std::string struck;
  for (const char c : std::string("..+...+....+..")) struck += tell(c == '+') ? '!' : '-';
  EXPECT_EQ(struck, "-----!---!----");
}

// ---- Restart ------------------------------------------------------------------------------------

TEST(RuleEngine, RestartKeepsLimitsAndFirstFailures) {
  const auto rules = [] {
    return std::vector{rule("r", {.any_signal = true}, {.count = 1, .window_s = 60})};
  };
  const Moment now{.wall_ns = 10'000 * kSecond};
  const Event crash = event(Type::kSignal, 6);
  RuleEngine engine(rules(), {.window_s = 100});
  engine.restore({stored("r", crash, 9'980, true), stored("gone", crash, 9'990, false)}, now,
                 7 * kSecond);
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, 7)));
  const auto later = engine.on_event(event(Type::kSignal, 6, 7 + 40));
  ASSERT_TRUE(later) << "20 seconds of the window were over before the restart";
  EXPECT_FALSE(later->keep);
}

TEST(RuleEngine, RestartAfterTheClockWasSetBackLetsNothingThroughTooEarly) {
  RuleEngine engine({rule("r", {.any_signal = true}, {.count = 1, .window_s = 60})});
  const Moment now{.wall_ns = 100 * kSecond};
  engine.restore({stored("r", event(Type::kSignal, 6), 50'000, true)}, now, 0);
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 6, 59)));
  EXPECT_TRUE(engine.on_event(event(Type::kSignal, 6, 60)));
}

TEST(RuleEngine, RestartCountsWhatIsKept) {
  RuleEngine engine({rule("r", {.any_signal = true})}, {.most = 1});
  engine.restore({stored("r", event(Type::kSignal, 6), 0, true)}, {.wall_ns = 0}, 0);
  EXPECT_FALSE(engine.on_event(event(Type::kSignal, 11))->keep);
}

}  // namespace
}  // namespace shmrec::sidecar
