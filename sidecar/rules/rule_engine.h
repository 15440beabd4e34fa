// Applies the rules to what happens: events in, decisions out.
//
// Time: events carry it, by a monotonic clock; one that seems to go backwards stands still.
// Restart: all state but the readiness counts comes back from the store's list (restore).
// Memory is bounded, whatever the workload makes happen.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sidecar/rules/rules.h"
#include "sidecar/store/stored_bundle.h"

namespace shmrec::sidecar {

// Make a bundle of the event's run.
struct Decision {
  std::string rule;
  std::string run;
  std::string reason;              // CreateBundleOptions::trigger
  std::string failure;             // BundleFacts::failure
  std::vector<std::string> kinds;  // kind_of all failures that the bundle is about
  bool keep = false;               // the first failure of a crash loop
  bool from_spool = false;         // Event::from_spool
  bool cores = false;              // take them before
  std::vector<std::string> egress, hooks;
  std::string command, container;
  int64_t monotonic_ns = 0;
};

struct KeepOptions {
  // A failure is a first one if none of its kind was seen for so long.
  int64_t window_s = 24 * 3600;
  // Firsts that are kept for good, whatever the store's limits say; and while the store has room.
  // Further firsts are made, but may go again. A workload that fails in ever new ways must not fill
  // the store with what retention cannot drop. None is given up for a newer one: what was there
  // before the workload began to fail on purpose stays.
  size_t most = 16, most_with_room = 256;
};

class RuleEngine {
 public:
  // REQUIRES: check_rules(rules) is ok.
  explicit RuleEngine(std::vector<Rule> rules, KeepOptions keep = {});

  const std::vector<Rule>& rules() const { return rules_; }

  // Takes up what the bundles in the store say of the time before; before the first event.
  void restore(const std::vector<StoredBundle>& bundles, const Moment& now, int64_t monotonic_ns);

  // The bundle to be made, if any. `room`: the store is within its limits. A rule's limit holds for
  // what is no failure; for failures only when there is no room, and not for a first one that is
  // kept: with room no evidence is dropped.
  std::optional<Decision> on_event(const Event& event, bool room = false);
  // The rule whose limit said no to the last event, "" if none did.
  const std::string& limited_by() const { return limited_by_; }
  // Which of them are kept now: after some were made or removed.
  void count_kept(const std::vector<StoredBundle>& bundles);
  // The bundle could not be made: as if it had not been decided.
  void withdraw(const Decision& decision);
  // One bundle is made of both: `into` goes where `other` would have gone, and is kept if that was.
  void merge(Decision& into, const Decision& other);

  // By rule: how often its limit said no.
  const std::map<std::string, uint64_t>& limited() const { return limited_; }

 private:
  bool readiness_strikes(const Rule& rule, const Event& event);
  bool within_limit(const Rule& rule, std::deque<int64_t>& times, int64_t now);
  bool is_first(const std::string& kind, int64_t now);
  void see(const std::string& kind, int64_t now);

  std::vector<Rule> rules_;
  KeepOptions keep_;
  int64_t now_ = INT64_MIN;
  std::map<std::pair<std::string, bool>, std::deque<int64_t>>
      fired_;                                // by rule and from_spool, oldest first
  std::map<std::string, int64_t> failures_;  // by kind: when last seen
  size_t kept_ = 0;
  std::string limited_by_;
  std::map<std::pair<std::string, std::string>, int> not_ready_;  // by rule and run: in a row
  std::map<std::string, uint64_t> limited_;
};

}  // namespace shmrec::sidecar
