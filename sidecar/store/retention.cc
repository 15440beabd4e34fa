#include "sidecar/store/retention.h"

#include <algorithm>

namespace shmrec::sidecar {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr ptrdiff_t kSpared = 4;  // of those about no failure

class Planner {
 public:
  Planner(std::vector<StoredBundle> bundles, uint64_t free_bytes)
      : left_(std::move(bundles)), free_(free_bytes) {
    std::sort(left_.begin(), left_.end(), [](const StoredBundle& a, const StoredBundle& b) {
      return a.sequence != b.sequence ? a.sequence < b.sequence : a.info.name < b.info.name;
    });
    for (const StoredBundle& bundle : left_) bytes_ += bundle.info.bytes;
  }

  void limit_age(uint64_t age_s, const Moment& now) {
    rule_ = "retention.age";
    if (age_s == 0) return;
    for (size_t i = 0; i < left_.size();) {
      const auto age = static_cast<uint64_t>(age_ns(left_[i].made, now) / kSecond);
      age > age_s && !left_[i].info.keep ? drop(i) : static_cast<void>(++i);
    }
  }

  void limit_count(uint64_t count) {
    rule_ = "retention.count";
    if (count == 0) return;
    while (left_.size() > count && drop_oldest()) continue;
    if (left_.size() > count)
      say(std::to_string(left_.size()) + " bundles are kept for good, the limit is " +
          std::to_string(count));
  }

  void limit_bytes(uint64_t bytes) {
    rule_ = "retention.bytes";
    if (bytes == 0) return;
    while (bytes_ > bytes && drop_oldest()) continue;
    if (bytes_ > bytes)
      say("bundles that are kept for good take " + std::to_string(bytes_) +
          " bytes, the limit is " + std::to_string(bytes));
  }

  // Others fill the volume too. If all that may go would not make enough room, nothing goes: the
  // evidence would be lost and the volume full all the same.
  void leave_free(uint64_t wanted) {
    rule_ = "retention.free";
    if (wanted == 0 || free_ >= wanted) return;
    if (free_ + droppable() < wanted)
      return say("the volume has " + std::to_string(free_) + " bytes free, the limit is " +
                 std::to_string(wanted) + ", and dropping bundles would not reach it");
    while (free_ < wanted && drop_oldest()) continue;
  }

  RetentionPlan take() {
    if (!plan_.unmet.empty()) plan_.unmet += "; remove bundles by hand or raise the limit";
    return std::move(plan_);
  }

 private:
  void drop(size_t i) {
    bytes_ -= left_[i].info.bytes;
    free_ += left_[i].info.bytes;
    plan_.drops.push_back({left_[i].info.name, rule_});
    left_.erase(left_.begin() + static_cast<ptrdiff_t>(i));
  }
  bool drop_oldest() {
    const auto wished = [](const StoredBundle& bundle) {
      return bundle.failure.empty() && !bundle.info.keep;
    };
    auto oldest = std::find_if(left_.begin(), left_.end(), wished);
    if (std::count_if(oldest, left_.end(), wished) <= kSpared)
      oldest = std::find_if(left_.begin(), left_.end(),
                            [](const StoredBundle& bundle) { return !bundle.info.keep; });
    if (oldest == left_.end()) return false;
    drop(static_cast<size_t>(oldest - left_.begin()));
    return true;
  }
  uint64_t droppable() const {
    uint64_t bytes = 0;
    for (const StoredBundle& bundle : left_) bytes += bundle.info.keep ? 0 : bundle.info.bytes;
    return bytes;
  }
  void say(const std::string& text) { plan_.unmet += (plan_.unmet.empty() ? "" : "; ") + text; }

  std::vector<StoredBundle> left_;  // oldest first
  uint64_t bytes_ = 0;
  uint64_t free_;
  RetentionPlan plan_;
  const char* rule_ = "";  // that is being met
};

}  // namespace

RetentionPlan plan_retention(std::vector<StoredBundle> bundles, const RetentionLimits& limits,
                             const Moment& now, uint64_t free_bytes) {
  Planner planner(std::move(bundles), free_bytes);
  planner.limit_age(limits.age_s, now);
  planner.limit_count(limits.count);
  planner.limit_bytes(limits.bytes);
  planner.leave_free(limits.free_bytes);
  return planner.take();
}

RetentionLimits within_memory(RetentionLimits limits, const DiskRoom& disk,
                              const MemoryRoom& memory, uint64_t store_bytes) {
  if (!disk.in_memory) return limits;
  const uint64_t free = std::min({disk.free_bytes, memory.free_bytes, UINT64_MAX - store_bytes});
  const uint64_t most = (free + store_bytes) / 2;
  if (limits.bytes == 0 || limits.bytes > most) limits.bytes = std::max<uint64_t>(most, 1);
  return limits;
}

}  // namespace shmrec::sidecar
