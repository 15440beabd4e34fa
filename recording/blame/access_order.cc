#include "recording/blame/access_order.h"

#include <algorithm>
#include <set>

namespace shmrec::recording {

size_t AccessOrder::add(RecordId id, uint64_t tsc) {
  nodes_.push_back({id, tsc, 0, {}});
  return nodes_.size() - 1;
}

void AccessOrder::chain(std::vector<Member>& members) {
  std::sort(members.begin(), members.end());
  for (size_t i = 1; i < members.size(); ++i) {
    nodes_[members[i - 1].second].followers.push_back(members[i].second);
    ++nodes_[members[i].second].waits_for;
  }
}

std::vector<RecordId> AccessOrder::sorted() {
  using ByClock = std::pair<std::pair<uint64_t, RecordId>, size_t>;
  std::set<ByClock> ready, waiting;
  const auto entry = [&](size_t node) {
    return ByClock{{nodes_[node].tsc, nodes_[node].id}, node};
  };
  for (size_t node = 0; node < nodes_.size(); ++node)
    (nodes_[node].waits_for == 0 ? ready : waiting).insert(entry(node));

  std::vector<RecordId> order;
  while (!ready.empty() || !waiting.empty()) {
    std::set<ByClock>& from = ready.empty() ? waiting : ready;
    const size_t next = from.extract(from.begin()).value().second;
    nodes_[next].waits_for = 0;
    order.push_back(nodes_[next].id);
    for (const size_t follower : nodes_[next].followers) {
      if (nodes_[follower].waits_for == 0 || --nodes_[follower].waits_for != 0) continue;
      waiting.erase(entry(follower));
      ready.insert(entry(follower));
    }
  }
  return order;
}

}  // namespace shmrec::recording
